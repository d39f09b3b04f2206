"""The model's work, off the event loop, and bounded: what cannot be started soon is turned away at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import TypeVar

from reviews_parsing.errors import RequestRefused

OVERLOADED = 503

T = TypeVar("T")


class Work:
    """Runs jobs in `threads` threads while at most `waiting` others wait."""

    def __init__(self, threads: int, waiting: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="request")
        self._places = BoundedSemaphore(threads + waiting)

    async def run(self, job: Callable[[], T]) -> T:
        """The result of `job`. Raises RequestRefused (503) at once where every place is taken."""
        if not self._places.acquire(blocking=False):
            raise RequestRefused("the server has more requests than it can queue; try again later", OVERLOADED)
        # The place is free when the job is done, not when its client has gone.
        future = self._executor.submit(job)
        future.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(future)
