"""Servers under attack, each a process of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import psutil
import pytest

from serving.client import Server
from serving.conftest import Start, start  # noqa: F401  a fixture

MEGABYTE = 1 << 20
# Growth and time that have nothing to do with the attack: a first use of a code path, a busy machine.
FREE_MEMORY, FREE_SECONDS = 24 * MEGABYTE, 0.5


@pytest.fixture(scope="session")
def victim(start: Start) -> Iterator[Server]:  # noqa: F811
    """Yield a server that has answered before, so that it holds what it needs."""
    with start(REVIEWS_PARSING_MAX_WAIT="60") as server:
        assert server.infer(["The soup was cold."] * 200).status == 200
        yield server


@contextmanager
def bounded(server: Server, sent: int, bytes_a_byte: float = 100, seconds_a_byte: float = 20e-6) -> Iterator[None]:
    """Require a peak memory and CPU time per `sent` byte within these bounds, and a live server, during the block."""
    process = psutil.Process(server.process.pid)
    memory, cpu = process.memory_info().rss, sum(process.cpu_times()[:2])
    Path(f"/proc/{process.pid}/clear_refs").write_text("5", encoding="utf-8")  # resets the peak
    over, waits = Event(), []

    def poll() -> None:
        while not over.is_set():
            begin = time.perf_counter()
            assert server.get("/v2/health/live").status == 200
            waits.append(time.perf_counter() - begin)
            over.wait(0.02)

    poller = Thread(target=poll)
    poller.start()
    try:
        yield
    finally:
        over.set()
        poller.join()
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
    assert peak - memory <= FREE_MEMORY + bytes_a_byte * sent
    # The polls themselves cost about a millisecond each.
    assert sum(process.cpu_times()[:2]) - cpu <= FREE_SECONDS + seconds_a_byte * sent + 0.005 * len(waits)
    assert waits
    assert sorted(waits)[len(waits) // 2] < 0.2
    assert max(waits) < 2
