"""Limits on bytes, time, connections and the queue. Each is a setting; reaching one is counted and logged."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus

from reviews_parsing.errors import RequestRefused
from reviews_parsing.serving.metrics import count_limit
from reviews_parsing.settings import Settings

LOG_INTERVAL_SECONDS = 60.0

log = logging.getLogger("mlserver")


class LimitLog:
    """Counts each time that a limit is reached, and logs one line a minute for each limit."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._logged: dict[str, float] = {}
        self._unlogged: dict[str, int] = {}

    def record(self, limit: str) -> None:
        """Record that `limit`, the name of a setting, was reached."""
        count_limit(limit)
        self._unlogged[limit] = count = self._unlogged.get(limit, 0) + 1
        now = self._clock()
        if now - self._logged.get(limit, -LOG_INTERVAL_SECONDS) >= LOG_INTERVAL_SECONDS:
            value = getattr(Settings(), limit)
            log.warning("limit REVIEWS_PARSING_%s (%s) was reached %d times", limit.upper(), value, count)
            self._logged[limit], self._unlogged[limit] = now, 0


limit_log = LimitLog()


class ByteBudget:
    """Bytes of request bodies that are in memory at the same time, in all requests together."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._reserved = 0

    @contextmanager
    def reservation(self) -> Iterator[Callable[[int], None]]:
        """Yield a function that reserves more bytes until the block ends; it raises RequestRefused (503)."""
        total = 0

        def reserve(size: int) -> None:
            nonlocal total
            if self._reserved + size > self._limit:
                limit_log.record("max_bytes_in_flight")
                raise RequestRefused(
                    "the server holds as many bytes of requests as it can; try again later",
                    HTTPStatus.SERVICE_UNAVAILABLE,
                )
            self._reserved += size
            total += size

        try:
            yield reserve
        finally:
            self._reserved -= total


def timed_out(subject: str, limit: str) -> RequestRefused:
    """Record that a limit of time was reached, and return the error (408)."""
    limit_log.record(limit)
    message = f"the {subject} did not arrive within the time limit; send it again, faster"
    return RequestRefused(message, HTTPStatus.REQUEST_TIMEOUT)
