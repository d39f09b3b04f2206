"""Pace of refusals: clients that cause many wait for the answers, so that the event loop has time for other clients.

Generic cell rate algorithm (ITU-T I.371) for each address: a refusal moves the time at which the next one is due, and
is answered when its own time has come. Addresses with a time in the future share the rate of the server. Connections
of an address that abandons many requests are closed at once, because it does not wait for answers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from http import HTTPStatus

from reviews_parsing.serving.limits import limit_log

# Refusals of an address that are answered at once, as seconds of its rate.
BURST_SECONDS = 1.0
# Maximum delay in seconds. Shed requests are the fault of the server as well.
MAX_DELAY_SECONDS, MAX_SHED_DELAY_SECONDS = 10.0, 1.0
# Size of a request that counts as one more refusal.
BYTES_PER_REFUSAL = 65_536
PRUNE_SECONDS = 0.1


class RefusalPace:
    """Delays of the refusals of all endpoints: `rate` a second are answered at once. Not thread-safe.

    At most `max_delayed` refusals wait at the same time; beyond, they are answered at once. `clock` returns seconds and
    never goes back.
    """

    def __init__(self, rate: float, max_delayed: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._refusals, self._abandoned = _Rate(rate, clock), _Rate(rate, clock)
        self._max_delayed = max_delayed
        self._delayed = 0
        self._closed = asyncio.Event()

    def delay(self, address: str, status: int, size: int = 0) -> float:
        """Count a refusal of a request of `size` bytes, and return the seconds after which to answer it."""
        longest = MAX_SHED_DELAY_SECONDS if status == HTTPStatus.SERVICE_UNAVAILABLE else MAX_DELAY_SECONDS
        return self._refusals.count(address, 1 + size / BYTES_PER_REFUSAL, longest)

    def abandon(self, address: str) -> None:
        """Count a request whose client has gone."""
        self._abandoned.count(address, 1, MAX_SHED_DELAY_SECONDS)

    def admits(self, address: str) -> bool:
        """Return False while an address opens connections only to abandon its requests."""
        return self._abandoned.lateness(address) == 0

    async def wait(self, address: str, status: int, size: int = 0) -> None:
        """Wait until a refusal of a request of `size` bytes may be answered, or the pace is closed."""
        seconds = self.delay(address, status, size)
        if not seconds or self._delayed >= self._max_delayed or self._closed.is_set():
            return
        limit_log.record("refusals_per_second")
        self._delayed += 1
        try:
            async with asyncio.timeout(seconds):
                await self._closed.wait()
        except TimeoutError:
            pass
        finally:
            self._delayed -= 1

    def close(self) -> None:
        """Delay nothing any more."""
        self._closed.set()


class _Rate:
    """Rate of events that is divided among addresses, by the generic cell rate algorithm."""

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        # Time at which the events of an address until now are paid for.
        self._due: dict[str, float] = {}
        self._pruned = clock()

    def count(self, address: str, cost: float, longest: float) -> float:
        """Count an event of an address, and return the seconds until it is due, no more than `longest`."""
        now = self._clock()
        if now - self._pruned >= PRUNE_SECONDS:
            self._due = {other: due for other, due in self._due.items() if due > now}
            self._pruned = now
        due = max(now, self._due.get(address, now)) + cost * max(1, len(self._due)) / self._rate
        self._due[address] = min(due, now + BURST_SECONDS + longest)
        return self.lateness(address)

    def lateness(self, address: str) -> float:
        """Return the seconds until the events of an address are due, beyond a burst."""
        now = self._clock()
        return max(0.0, self._due.get(address, now) - now - BURST_SECONDS)
