"""Servers under attack, each a process of its own."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from threading import Event, Thread

import psutil
import pytest

from serving.client import Server
from serving.conftest import Start, start  # noqa: F401  a fixture

# The benchmark of attacks sends the same requests.
sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
MEGABYTE = 1 << 20
ENOUGH_POLLS = 10
# Growth and time that have nothing to do with the attack: a first use of a code path, a busy machine.
FREE_MEMORY, FREE_SECONDS = 24 * MEGABYTE, 0.5
LOOP, LOOP_SECONDS = 5_000_000, 0.08


@pytest.fixture(scope="session")
def victim(start: Start) -> Iterator[Server]:  # noqa: F811
    """Yield a server that has answered before, so that it holds what it needs."""
    with start(REVIEWS_PARSING_MAX_WAIT="60") as server:
        assert server.infer(["The soup was cold."] * 200).status == 200
        yield server


@contextmanager
def bounded(server: Server, sent: int, bytes_a_byte: float = 100, seconds_a_byte: float = 20e-6) -> Iterator[None]:
    """Require a peak memory and CPU time per `sent` byte within these bounds, and a live server, during the block.

    Times are relative to those of this machine at this moment, which may be slow or busy.
    """
    slowness = measure_slowness()
    calm = median(poll_liveness(server) for _ in range(5))
    process = psutil.Process(server.process.pid)
    memory, cpu = process.memory_info().rss, sum(process.cpu_times()[:2])
    Path(f"/proc/{process.pid}/clear_refs").write_text("5", encoding="utf-8")  # resets the peak
    over, waits = Event(), []

    def poll() -> None:
        while not over.is_set():
            waits.append(poll_liveness(server))
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
    cost = sum(process.cpu_times()[:2]) - cpu
    slowness = max(slowness, measure_slowness())
    assert cost <= slowness * (FREE_SECONDS + seconds_a_byte * sent + 0.005 * len(waits))
    assert waits
    # The median of fewer says more about the machine than about the server.
    assert len(waits) < ENOUGH_POLLS or median(waits) < max(0.2 * slowness, 10 * calm)


def poll_liveness(server: Server) -> float:
    """Return the seconds until the server says that it is live."""
    begin = time.perf_counter()
    assert server.get("/v2/health/live").status == 200
    return time.perf_counter() - begin


def measure_slowness() -> float:
    """Return the CPU time of a fixed loop, relative to that of an idle core of 2.6 GHz, or 1 if that is more."""
    begin = time.process_time()
    sum(range(LOOP))
    return max(1.0, (time.process_time() - begin) / LOOP_SECONDS)
