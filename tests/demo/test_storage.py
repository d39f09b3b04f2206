"""A storage that is full: a clear line, no lost results, and no file that waits forever."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

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
