"""Threads for training: as many as usable cores, none of which spins while another program wants its core.

Measured on two cores, steps of 16 windows: with one core taken by another program, OpenMP's default took 3.3 times as
long as on free cores, a short spin 1.6 times; on free cores the two are alike. `benchmarks/threads.py` repeats it.
"""

from __future__ import annotations

import os
import sys

from reviews_parsing.cores import usable_cores

# How often a thread of libgomp looks for work before it sleeps; by default, for minutes.
SPIN = "2000"


def settle() -> None:
    """Choose the threads of torch. Call it before torch is imported: OpenMP reads how long to spin when it is loaded.

    OMP_NUM_THREADS, OMP_WAIT_POLICY and GOMP_SPINCOUNT of the environment stay as they are.
    """
    if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN)
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(usable_cores())
