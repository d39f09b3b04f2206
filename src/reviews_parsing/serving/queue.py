"""Queue of parse requests: worker threads take them in batches, and requests that would wait too long are shed.

An idle worker takes the waiting requests, up to a batch, without a delay; under load the batches grow. A long request
is split into parts, and a long text is encoded in slices of its windows. Later parts and slices have a lower priority
than first parts, so that long requests do not delay short ones.
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import heapq
import itertools
import os
import string
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from threading import Condition, Thread, get_native_id
from weakref import WeakSet

import numpy as np

from reviews_parsing.encoder import Logits
from reviews_parsing.errors import RequestRefused
from reviews_parsing.parser import AspectParser, Prepared
from reviews_parsing.schema import ParsedReview
from reviews_parsing.serving.batches import batches

# Phases of a batch.
PHASES = ("tokenize", "predict", "decode-spans")
# Limits of a batch in texts and estimated tokens. A longer text is encoded in slices of about SLICE_TOKENS.
BATCH_TEXTS, BATCH_TOKENS, SLICE_TOKENS = 32, 2_000, 512
# Work is counted in pages: one for each text, and one more for each PAGE_TOKENS tokens.
PAGE_TOKENS = 125
SLICE_PAGES = 1 + SLICE_TOKENS // PAGE_TOKENS
LETTERS_PER_TOKEN = 4
# First estimate of the time that a page takes a worker, and the weight of a new measurement in the moving average.
SECONDS_PER_PAGE, SMOOTHING = 0.005, 0.1
# Niceness of worker threads: the event loop goes first, so that shed requests are answered at once.
NICE = 5

_WORD_BYTES = (string.ascii_letters + string.digits).encode()
_SPACE_BYTES = string.whitespace.encode()


def estimate_tokens(text: str) -> int:
    """Return an estimate of the tokens of `text`: the tokenizer makes one of each mark and of a few letters."""
    characters = text.encode("ascii", "replace").translate(None, _SPACE_BYTES)
    marks = len(characters.translate(None, _WORD_BYTES))
    return 2 + marks + (len(characters) - marks) // LETTERS_PER_TOKEN


@dataclass(frozen=True, slots=True)
class BatchTiming:
    """Size of a batch, and the begin of each phase and the end of the last in nanoseconds since the epoch."""

    texts: int
    tokens: int
    windows: int
    times: tuple[int, ...]

    def phases(self) -> Iterator[tuple[str, int, int]]:
        """Yield the name, begin and end of each phase."""
        return ((name, *times) for name, times in zip(PHASES, itertools.pairwise(self.times), strict=True))


@dataclass(frozen=True, slots=True)
class ParsedPart:
    """Reviews of a part of a request, its batch, and the seconds that it waited in the queue."""

    reviews: list[ParsedReview]
    batch: BatchTiming
    waited: float


@dataclass(slots=True)
class _Part:
    """Texts of a request that wait together."""

    texts: list[str]
    future: asyncio.Future[ParsedPart]
    queued: float
    tokens: int = field(init=False)
    # Work in all, and until a worker looks at the queue again.
    pages: int = field(init=False)
    next_pages: int = field(init=False)

    def __post_init__(self) -> None:
        tokens = [estimate_tokens(text) for text in self.texts]
        self.tokens = sum(tokens)
        self.pages = sum(1 + size // PAGE_TOKENS for size in tokens)
        self.next_pages = SLICE_PAGES if self.is_long else self.pages

    @property
    def is_long(self) -> bool:
        """True if the part is a single text that is encoded in slices."""
        return self.tokens > BATCH_TOKENS


@dataclass(slots=True)
class _Batch:
    """Parts that are parsed together, and their progress: the windows of long texts are encoded in slices."""

    parts: list[_Part]
    begin: float
    begin_ns: int = field(default_factory=time.time_ns)
    tokenized: float = 0.0
    busy: float = 0.0
    prepared: Prepared | None = None
    logits: list[Logits] = field(default_factory=list)
    encoded_windows: int = 0

    @property
    def is_abandoned(self) -> bool:
        """True if all requests of the batch were cancelled."""
        return all(part.future.cancelled() for part in self.parts)

    @property
    def pages(self) -> int:
        """Remaining work of a batch in progress."""
        assert self.prepared is not None
        return 1 + sum(len(piece.ids) for piece in self.prepared.pieces[self.encoded_windows :]) // PAGE_TOKENS

    @property
    def next_pages(self) -> int:
        """Work until a worker looks at the queue again."""
        if self.prepared is None:
            return sum(part.next_pages for part in self.parts)
        return min(self.pages, SLICE_PAGES)


class ParseQueue:
    """Parses requests in `threads` threads. Thread-safe.

    `max_wait` is the longest expected wait, in seconds, of a request that is admitted. `on_batch` is called after each
    batch, and `on_answer` once its requests are answered. `clock` returns seconds and never goes back.
    """

    def __init__(
        self,
        parser: AspectParser,
        threads: int,
        max_wait: float,
        on_batch: Callable[[BatchTiming], None] = lambda batch: None,
        on_answer: Callable[[Prepared, Logits, list[ParsedReview]], None] = lambda prepared, logits, reviews: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parser = parser
        self._threads = threads
        self._max_wait = max_wait
        self._on_batch = on_batch
        self._on_answer = on_answer
        self._clock = clock
        # Entries are (later, number, work); `later` is True for parts after a request's first, and for later slices.
        self._queue: list[tuple[bool, int, _Part | _Batch]] = []
        self._numbers = itertools.count()
        # Pages that wait, first parts and later ones, and pages that each worker parses.
        self._waiting = [0, 0]
        self._running = [0] * threads
        self._seconds_per_page = SECONDS_PER_PAGE
        self._idle = 0
        self._changed = Condition()
        self._closed = self._ended = False
        self._workers = [
            Thread(target=self._serve, args=(number,), name=f"parse-{number}", daemon=True) for number in range(threads)
        ]
        for worker in self._workers:
            worker.start()
        _queues.add(self)

    @property
    def waiting(self) -> int:
        """Number of waiting pages."""
        return sum(self._waiting)

    @property
    def alive(self) -> bool:
        """True unless a worker thread has died."""
        return self._closed or all(worker.is_alive() for worker in self._workers)

    def admit(self, is_long: bool = False) -> None:
        """Raise RequestRefused (503) if a request would wait longer than `max_wait`.

        A long request also waits for the later parts and slices of others.
        """
        if self._closed:
            raise RequestRefused("this version is no longer served; try again", HTTPStatus.SERVICE_UNAVAILABLE)
        # The time until a worker is free, and then until the requests ahead have had their turn.
        ahead = max(self._waiting) if is_long else self._waiting[0]
        pages = min(self._running) + ahead / self._threads
        if self._idle <= len(self._queue) and pages * self._seconds_per_page >= self._max_wait:
            message = "the server has more requests than it can queue; try again later"
            raise RequestRefused(message, HTTPStatus.SERVICE_UNAVAILABLE)

    async def run(self, texts: Sequence[str]) -> list[ParsedPart]:
        """Return the parsed parts of `texts` in order. Raises RequestRefused as `admit` does.

        Cancellation drops the parts and slices that have not begun.
        """
        return [part async for part in self.stream(texts)]

    async def stream(self, texts: Sequence[str]) -> AsyncGenerator[ParsedPart, None]:
        """Yield the parsed parts of `texts` in order. Raises RequestRefused as `admit` does.

        If the iteration is cancelled or closed, the parts and slices that have not begun are dropped.
        """
        loop = asyncio.get_running_loop()
        # A request without texts is a batch too.
        split = list(batches(texts, BATCH_TEXTS, BATCH_TOKENS, estimate_tokens)) or [[]]
        queued = self._clock()
        parts = [_Part(part, loop.create_future(), queued) for part in split]
        with self._changed:
            self.admit(is_long=len(parts) > 1 or parts[0].is_long)
            for turn, part in enumerate(parts):
                self._push(turn > 0, part)
            self._changed.notify(len(parts))
        try:
            for part in parts:
                yield await part.future
        finally:
            for part in parts:
                part.future.cancel()

    def close(self) -> None:
        """Accept no more requests; the threads end when those in the queue are answered."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def end(self) -> None:
        """Drop the waiting requests, and wait until the threads have ended."""
        with self._changed:
            self._ended = True
            self._queue.clear()
        self.close()
        for worker in self._workers:
            worker.join()

    def _push(self, later: bool, work: _Part | _Batch) -> None:
        heapq.heappush(self._queue, (later, next(self._numbers), work))
        self._count_waiting(later, work, 1)

    def _count_waiting(self, later: bool, work: _Part | _Batch, sign: int) -> None:
        """Count work that enters (1) or leaves (-1) the queue; slices after the first count as later work."""
        self._waiting[later] += sign * work.next_pages
        self._waiting[True] += sign * (work.pages - work.next_pages)

    def _serve(self, number: int) -> None:
        lower_priority()
        while batch := self._take():
            self._running[number] = batch.next_pages
            try:
                is_complete = self._advance(batch)
                if is_complete:
                    self._complete(batch)
                elif not batch.is_abandoned:
                    self._continue(batch)
            except Exception as error:  # reported to the callers; the thread goes on
                _deliver(batch.parts, error)
            finally:
                self._running[number] = 0

    def _take(self) -> _Batch | None:
        """Return the next batch, without parts whose callers have gone; None when it is time to end."""
        with self._changed:
            while True:
                parts: list[_Part] = []
                texts = tokens = 0
                while self._queue:
                    work = self._queue[0][2]
                    if isinstance(work, _Batch):
                        if parts:
                            break
                        self._pop()
                        if not work.is_abandoned:
                            return work
                        continue
                    if parts and (texts + len(work.texts) > BATCH_TEXTS or tokens + work.tokens > BATCH_TOKENS):
                        break
                    self._pop()
                    if not work.future.cancelled():
                        parts.append(work)
                        texts += len(work.texts)
                        tokens += work.tokens
                if parts:
                    return _Batch(parts, self._clock())
                if self._closed:
                    return None
                self._idle += 1
                self._changed.wait()
                self._idle -= 1

    def _pop(self) -> None:
        later, _, work = heapq.heappop(self._queue)
        self._count_waiting(later, work, -1)

    def _continue(self, batch: _Batch) -> None:
        """Put a batch whose windows are not all encoded back into the queue, behind the first parts."""
        with self._changed:
            if not self._ended:
                self._push(True, batch)
                self._changed.notify()

    def _advance(self, batch: _Batch) -> bool:
        """Tokenize a new batch, and encode the next slice of its windows. Return whether all are encoded."""
        begin = self._clock()
        if batch.prepared is None:
            batch.prepared = self._parser.prepare([text for part in batch.parts for text in part.texts])
            batch.tokenized = self._clock()
        pieces = batch.prepared.pieces
        first, stop = batch.encoded_windows, len(pieces)
        if batch.parts[0].is_long:
            ends = itertools.accumulate(len(piece.ids) for piece in pieces[first:])
            stop = first + max(1, sum(1 for _ in itertools.takewhile(lambda end: end <= SLICE_TOKENS, ends)))
        batch.logits.append(self._parser.encode(replace(batch.prepared, pieces=pieces[first:stop])))
        batch.encoded_windows = stop
        batch.busy += self._clock() - begin
        return stop == len(pieces)

    def _complete(self, batch: _Batch) -> None:
        """Decode an encoded batch and deliver its reviews."""
        prepared = batch.prepared
        assert prepared is not None
        predicted = self._clock()
        logits = Logits(*map(np.concatenate, zip(*batch.logits, strict=True)))
        reviews = self._parser.finish(prepared, logits)
        finished_at = self._clock()
        batch.busy += finished_at - predicted
        moments = (batch.begin, batch.tokenized, predicted, finished_at)
        # Durations come from the monotonic clock; the wall clock, which may be set, gives the begin alone.
        times = tuple(batch.begin_ns + round((moment - batch.begin) * 1e9) for moment in moments)
        timing = BatchTiming(len(prepared.texts), prepared.tokens, len(prepared.pieces), times)
        self._on_batch(timing)
        pages = max(1, sum(part.pages for part in batch.parts))
        self._seconds_per_page += SMOOTHING * (batch.busy / pages - self._seconds_per_page)
        remaining = iter(reviews)
        parsed = [
            ParsedPart([next(remaining) for _ in part.texts], timing, max(0.0, batch.begin - part.queued))
            for part in batch.parts
        ]
        _deliver(batch.parts, parsed)
        self._on_answer(prepared, logits, reviews)


def lower_priority() -> None:
    """Lower the priority of the calling thread."""
    if sys.platform == "linux":  # elsewhere threads have no priority of their own
        os.setpriority(os.PRIO_PROCESS, get_native_id(), NICE)


def return_free_memory() -> None:
    """Return free heap memory to the system: loading a model leaves much of it."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if malloc_trim is not None:  # only glibc has it
        malloc_trim(0)


def _deliver(parts: Sequence[_Part], outcome: Exception | Sequence[ParsedPart]) -> None:
    """Set the futures of a batch, with one wake-up of the event loop."""

    def settle() -> None:
        for number, part in enumerate(parts):
            if part.future.done():
                continue
            if isinstance(outcome, Exception):
                part.future.set_exception(outcome)
            else:
                part.future.set_result(outcome[number])

    with suppress(RuntimeError):  # the event loop is closed
        parts[0].future.get_loop().call_soon_threadsafe(settle)


_queues: WeakSet[ParseQueue] = WeakSet()


@atexit.register
def _end() -> None:
    """End all queues: a thread that returns from the encoder after the interpreter has ended aborts the process."""
    for queue in list(_queues):
        queue.end()
