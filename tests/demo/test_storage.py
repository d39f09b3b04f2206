"""A storage that is full: a clear line, no lost results, and no file that waits forever."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from reviews_parsing.corrections import CorrectionStore
from reviews_parsing.demo import jobs
from reviews_parsing.demo.jobs import Job, JobState, JobStore
from reviews_parsing.errors import RequestRefused
from reviews_parsing.io.files import write_bytes
from reviews_parsing.settings import Settings


async def upload(store: JobStore, content: bytes) -> Job:
    async def chunks() -> AsyncIterator[bytes]:
        yield content

    job = await store.create("reviews.csv", chunks())
    await ended(store, job)
    return job


async def ended(store: JobStore, job: Job) -> None:
    while job.id in store._tasks:
        await asyncio.sleep(0.01)


def test_a_full_disk_is_a_message_and_keeps_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def run() -> None:
        store = JobStore(Settings(), CorrectionStore(Settings().home / "corrections.db"))
        async with store.running():
            job = await upload(store, b"text\nA fine soup.\n")
            assert job.state is JobState.READY
            monkeypatch.setattr(jobs, "write_bytes", fail)
            with pytest.raises(OSError, match="No space left"):
                store.parse(job, "text", None)
            assert (job.state, job.column) == (JobState.READY, None)
            # Full since the start of the parse.
            monkeypatch.setattr(jobs, "write_bytes", write_bytes)
            store.parse(job, "text", None)
            monkeypatch.setattr(jobs, "write_bytes", fail)
            await ended(store, job)
            assert (job.state, job.message) == (JobState.READY, jobs.STORAGE_FULL)
            with pytest.raises(RequestRefused, match="cannot store the file now"):
                await upload(store, b"text\nA fine soup.\n")

    # The browser of other tests has an event loop in this thread.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, run()).result()


def test_idle_and_waiting_files_set_no_timer_but_that_of_the_sweeper(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        release = asyncio.Event()

        async def wait(*_: object) -> dict[str, str]:
            await release.wait()
            return {"error": "not read"}

        async def chunks() -> AsyncIterator[bytes]:
            yield b"text\nA fine soup.\n"

        monkeypatch.setattr(jobs, "run_worker", wait)
        loop: Any = asyncio.get_running_loop()

        def next_timer() -> float:
            seconds: float = min(timer.when() - loop.time() for timer in loop._scheduled if not timer.cancelled())
            return seconds

        store = JobStore(Settings(), CorrectionStore(Settings().home / "corrections.db"))
        async with store.running():
            await asyncio.sleep(0)
            assert next_timer() > jobs.SWEEP_SECONDS / 2
            files = [await store.create("reviews.csv", chunks()) for _ in range(jobs.CONCURRENT_READS + 1)]
            for _ in range(3):
                await asyncio.sleep(0)
            assert {file.state for file in files} == {JobState.SCANNING}
            assert next_timer() > jobs.SWEEP_SECONDS / 2
            release.set()
            await asyncio.gather(*store._tasks.values())
            assert {file.state for file in files} == {JobState.UNREADABLE}

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, run()).result()
