"""SIGTERM: the process cleans up and exits within a grace period, even if its main thread does not react."""

from __future__ import annotations

import os
import signal
import sys
import threading

GRACE_SECONDS = 8.0
"""Time for cleaning up; `docker stop` kills after 10 s, Kubernetes after 30 s."""
EXIT_STATUS = 128 + signal.SIGTERM


def exit_on_sigterm(grace_seconds: float = GRACE_SECONDS) -> None:
    """Raise SystemExit in the main thread on SIGTERM, and end the process after `grace_seconds` in any case.

    Python runs signal handlers between two bytecodes of the main thread, so a long call into a library delays them. The
    wake-up descriptor is written at once, and a thread that reads it ends the process. Temporary files that are left
    behind are removed by the next run.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_STATUS))
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reading, grace_seconds), name="sigterm", daemon=True).start()


def _watch(descriptor: int, grace_seconds: float) -> None:
    while (number := os.read(descriptor, 1)) and number != bytes([signal.SIGTERM]):
        pass
    threading.Event().wait(grace_seconds)
    os._exit(EXIT_STATUS)
