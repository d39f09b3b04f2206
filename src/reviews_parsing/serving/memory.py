"""Memory of the server: blocks of the heap that return to the system, and objects that the collector skips."""

from __future__ import annotations

import ctypes
import gc
import sys

# Number of the parameter in malloc.h, and the size of a block that is smaller than the tables of a model.
M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES = -3, 4 * 2**20


def map_large_blocks() -> None:
    """Map each large block of memory by itself, so that those of an unloaded model return to the system at once.

    By default glibc raises the size of such blocks (mallopt, M_MMAP_THRESHOLD) when the first one is freed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:  # only glibc has it
        mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)


def return_free_memory() -> None:
    """Return free heap memory to the system: loading a model leaves much of it."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if malloc_trim is not None:  # only glibc has it
        malloc_trim(0)


def freeze_objects() -> None:
    """Let later garbage collections skip the objects that exist now, and collect what was frozen before.

    Otherwise each full collection visits all objects of the imported libraries, and stops every thread meanwhile.
    """
    if gc.get_freeze_count():
        gc.unfreeze()
        gc.collect()
    gc.freeze()
