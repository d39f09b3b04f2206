"""The model's work, off the event loop, in batches, and bounded: what cannot be started soon is turned away at once.

A worker that becomes free takes whatever waits, up to a batch: nobody is kept waiting for company, and under load the
batches grow by themselves. A long request is cut into parts, which wait until no request's first part does.
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import heapq
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Condition, Thread, get_native_id
from weakref import WeakSet

from reviews_parsing.encoder import Logits
from reviews_parsing.errors import RequestRefused
from reviews_parsing.parser import AspectParser, Prepared
from reviews_parsing.schema import ParsedReview
from reviews_parsing.serving.batches import batches

OVERLOADED = 503
# Of a batch.
PHASES = ("tokenize", "predict", "decode-spans")
# A batch is full at so many texts or characters; work is counted in pages, one for every PAGE characters begun.
BATCH_TEXTS, BATCH_CHARACTERS = 32, 8_000
PAGE = 500
# Seconds that a page takes one worker, until it is known, and how fast what is known follows what is seen.
SECONDS_PER_PAGE, FOLLOW = 0.005, 0.1
# How far workers stand back for the event loop: what cannot be served must still be told so.
NICE = 5


@dataclass(frozen=True, slots=True)
class BatchTiming:
    """How a batch went: when its phases began (nanoseconds since the epoch), the last entry when it was done."""

    texts: int
    tokens: int
    windows: int
    times: tuple[int, int, int, int]

    def phases(self) -> Iterator[tuple[str, int, int]]:
        """Each with when it began and ended."""
        return ((name, *times) for name, times in zip(PHASES, itertools.pairwise(self.times), strict=True))


@dataclass(frozen=True, slots=True)
class ParsedPart:
    """Part of an answer, the batch that it came from, and the seconds that it waited for it."""

    reviews: list[ParsedReview]
    batch: BatchTiming
    waited: float


@dataclass(slots=True)
class _Part:
    texts: list[str]
    future: asyncio.Future[ParsedPart]
    since: int = field(default_factory=time.time_ns)
    characters: int = field(init=False)
    pages: int = field(init=False)

    def __post_init__(self) -> None:
        self.characters = sum(map(len, self.texts))
        self.pages = sum(1 + len(text) // PAGE for text in self.texts)


class ParseQueue:
    """Parses in `threads` threads; tells `on_batch` of each batch, and `on_answer` what it was once it is answered.

    `max_wait` is the longest, in seconds, that a request may have to wait by what batches have taken so far.
    """

    def __init__(
        self,
        parser: AspectParser,
        threads: int,
        max_wait: float,
        on_batch: Callable[[BatchTiming], None] = lambda batch: None,
        on_answer: Callable[[Prepared, Logits, list[ParsedReview]], None] = lambda prepared, logits, reviews: None,
    ) -> None:
        self._parser = parser
        self._threads = threads
        self._max_wait = max_wait
        self._on_batch = on_batch
        self._on_answer = on_answer
        self._queue: list[tuple[bool, int, _Part]] = []
        self._numbers = itertools.count()
        # Pages that wait in first parts, and in later ones; and those that each worker parses.
        self._waiting = [0, 0]
        self._running = [0] * threads
        self._seconds_per_page = SECONDS_PER_PAGE
        self._idle = 0
        self._changed = Condition()
        self._closed = False
        self._workers = [
            Thread(target=self._serve, args=(number,), name=f"parse-{number}", daemon=True) for number in range(threads)
        ]
        for worker in self._workers:
            worker.start()
        _works.add(self)

    @property
    def waiting(self) -> int:
        """Pages that wait."""
        return sum(self._waiting)

    def admit(self, parts: int = 1) -> None:
        """Raises RequestRefused (503) where a request of so many parts could not begin soon."""
        if self._closed:  # nobody is left to do it
            raise RequestRefused("this version is no longer served; try again", OVERLOADED)
        # Until a worker is free, and then until those before have had their turn.
        pages = min(self._running) + max(self._waiting[:parts]) / self._threads
        if self._idle <= len(self._queue) and pages * self._seconds_per_page >= self._max_wait:
            raise RequestRefused("the server has more requests than it can queue; try again later", OVERLOADED)

    async def run(self, texts: Sequence[str]) -> list[ParsedPart]:
        """`texts` in order, in parts. Raises what `admit` raises, at once.

        Cancelled, what has not begun is not begun.
        """
        loop = asyncio.get_running_loop()
        # A request for nothing is a batch too.
        its = list(batches(texts, BATCH_TEXTS, BATCH_CHARACTERS)) or [[]]
        parts = [_Part(part, loop.create_future()) for part in its]
        with self._changed:
            self.admit(len(parts))
            for turn, part in enumerate(parts):
                heapq.heappush(self._queue, (turn > 0, next(self._numbers), part))
                self._waiting[turn > 0] += part.pages
            self._changed.notify(len(parts))
        try:
            return [await part.future for part in parts]
        except BaseException:
            for part in parts:
                part.future.cancel()
            raise

    def close(self) -> None:
        """The threads end when what waits is done."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def end(self) -> None:
        """Wait for the batches under way; what waits is not begun."""
        with self._changed:
            self._queue.clear()
        self.close()
        for worker in self._workers:
            worker.join()

    def _serve(self, number: int) -> None:
        stand_back()
        while batch := self._take():
            texts = [text for part in batch for text in part.texts]
            self._running[number] = pages = sum(part.pages for part in batch)
            try:
                prepared, logits, reviews, done = self._parse(texts)
            except Exception as error:  # whatever it was, the callers are told and the thread lives on
                _deliver(batch, error)
                continue
            finally:
                self._running[number] = 0
            self._on_batch(done)
            taken = (done.times[-1] - done.times[0]) / 1e9 / max(1, pages)
            self._seconds_per_page += FOLLOW * (taken - self._seconds_per_page)
            remaining = iter(reviews)
            waits = [max(0, done.times[0] - part.since) / 1e9 for part in batch]
            _deliver(
                batch,
                [
                    ParsedPart([next(remaining) for _ in part.texts], done, wait)
                    for part, wait in zip(batch, waits, strict=True)
                ],
            )
            self._on_answer(prepared, logits, reviews)

    def _take(self) -> list[_Part]:
        """The parts of the next batch, without those whose callers have gone; nothing when it is time to end."""
        with self._changed:
            while True:
                batch: list[_Part] = []
                texts = characters = 0
                while self._queue and (
                    not batch
                    or (
                        texts + len(self._queue[0][2].texts) <= BATCH_TEXTS
                        and characters + self._queue[0][2].characters <= BATCH_CHARACTERS
                    )
                ):
                    later, _, part = heapq.heappop(self._queue)
                    self._waiting[later] -= part.pages
                    if not part.future.cancelled():
                        batch.append(part)
                        texts += len(part.texts)
                        characters += part.characters
                if batch or self._closed:
                    return batch
                self._idle += 1
                self._changed.wait()
                self._idle -= 1

    def _parse(self, texts: list[str]) -> tuple[Prepared, Logits, list[ParsedReview], BatchTiming]:
        begun = time.time_ns()
        prepared = self._parser.prepare(texts)
        tokenized = time.time_ns()
        logits = self._parser.encode(prepared)
        predicted = time.time_ns()
        reviews = self._parser.finish(prepared, logits)
        times = (begun, tokenized, predicted, time.time_ns())
        return prepared, logits, reviews, BatchTiming(len(texts), prepared.tokens, len(prepared.pieces), times)


def stand_back() -> None:
    """This thread lets others go first."""
    if sys.platform == "linux":  # elsewhere threads have no priority of their own
        os.setpriority(os.PRIO_PROCESS, get_native_id(), NICE)


def return_free_memory() -> None:
    """To the system: what loading a model took, and what earlier models left between others'."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if malloc_trim is not None:  # glibc's alone
        malloc_trim(0)


def _deliver(batch: Sequence[_Part], outcome: Exception | Sequence[ParsedPart]) -> None:
    """One wake-up of the event loop for a whole batch."""

    def settle() -> None:
        for number, part in enumerate(batch):
            if part.future.done():
                continue
            if isinstance(outcome, Exception):
                part.future.set_exception(outcome)
            else:
                part.future.set_result(outcome[number])

    with suppress(RuntimeError):  # the loop has ended: nobody waits any more
        batch[0].future.get_loop().call_soon_threadsafe(settle)


_works: WeakSet[ParseQueue] = WeakSet()


@atexit.register
def _end() -> None:
    """A thread that comes out of the encoder when the interpreter has gone aborts the process."""
    for work in list(_works):
        work.end()
