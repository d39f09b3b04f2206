"""Leases: one process at a time works on something, and another one takes over if it dies.

The holder writes the next entry of a write-once log and then changes a heartbeat tag every few seconds. A process that
finds a holder on this machine checks whether it lives; of a holder elsewhere it watches the heartbeat, so that the
clocks of the machines need not agree.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reviews_parsing.errors import TrackingError
from reviews_parsing.registry.log import WriteOnceLog

if TYPE_CHECKING:
    from mlflow import MlflowClient

LEASE_SECONDS = 60.0
"""Time without a heartbeat after which the holder is taken for dead."""
LEASE_PREFIX, HEARTBEAT_TAG, RELEASED_TAG = "lease", "lease_heartbeat", "lease_released"


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease that this process holds on a run."""

    log: WriteOnceLog
    number: int

    def is_held(self) -> bool:
        """Return whether no other process has taken over."""
        entry = self.log.newest()
        return entry is not None and entry.number == self.number


@contextmanager
def lease(client: MlflowClient, run_id: str, wait: Callable[[float], None] = time.sleep) -> Iterator[Lease | None]:
    """Hold the lease on a run for the block; yields None if a living process holds it."""
    log = WriteOnceLog(client, run_id, LEASE_PREFIX)
    entry = log.newest()
    number = entry.number + 1 if entry else 1
    if entry and not _is_abandoned(client, run_id, entry.number, entry.document, wait):
        yield None
        return
    if not log.append(number, {"host": socket.gethostname(), "pid": os.getpid(), "started": _start_of(os.getpid())}):
        yield None
        return
    ended = threading.Event()
    heartbeat = threading.Thread(target=_beat, args=(client, run_id, number, ended), daemon=True)
    heartbeat.start()
    try:
        yield Lease(log, number)
    finally:
        ended.set()
        heartbeat.join()
        client.set_tag(run_id, RELEASED_TAG, str(number))


def _beat(client: MlflowClient, run_id: str, number: int, ended: threading.Event) -> None:
    from mlflow.exceptions import MlflowException

    count = 0
    while not ended.wait(LEASE_SECONDS / 6):
        count += 1
        with suppress(MlflowException, OSError, TrackingError):  # the next heartbeat may get through
            client.set_tag(run_id, HEARTBEAT_TAG, f"{number}.{count}")


def _is_abandoned(
    client: MlflowClient, run_id: str, number: int, holder: dict[str, object], wait: Callable[[float], None]
) -> bool:
    tags = client.get_run(run_id).data.tags
    if tags.get(RELEASED_TAG) == str(number):
        return True
    if holder.get("host") == socket.gethostname() and holder.get("started") is not None:
        return _start_of(int(str(holder["pid"]))) != holder["started"]
    wait(LEASE_SECONDS)
    return bool(client.get_run(run_id).data.tags.get(HEARTBEAT_TAG) == tags.get(HEARTBEAT_TAG))


def _start_of(pid: int) -> str | None:
    """Return the start time of a process, which tells it from a later one with its number; None if it has ended."""
    with suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return fields[19] if fields[0] != "Z" else None
    return None
