"""Queue of parse requests: worker threads take them in batches, and requests that would wait too long are shed.

An idle worker takes the waiting requests, up to a batch, without a delay; under load the batches grow. The encoder
divides a batch among the cores of idle workers; while all have work, each encodes a batch of its own, so that one
tokenizes or decodes while another encodes. A long request is split into parts, and a long text is encoded in slices of
its windows. Later parts and slices have a lower priority than first parts, so that long requests do not delay short
ones. Batches are composed of the requests of all clients in turn, and when the queue is full, a request of the client
with most work waiting is shed.
"""

from __future__ import annotations

import asyncio
import atexit
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
from reviews_parsing.serving.clients import UNKNOWN, Client
from reviews_parsing.serving.fair_queue import FairQueue

# Phases of a batch.
PHASES = ("tokenize", "predict", "decode-spans")
# Limits of a batch in texts and estimated tokens, and of a part of a request: half a batch, so that a long request
# leaves room for others. A text longer than a part is encoded in slices of about SLICE_TOKENS.
BATCH_TEXTS, BATCH_TOKENS = 48, 3_000
PART_TEXTS, PART_TOKENS, SLICE_TOKENS = 24, 1_500, 512
# Work is counted in pages: one for each text, and one more for each PAGE_TOKENS tokens.
PAGE_TOKENS = 125
SLICE_PAGES = 1 + SLICE_TOKENS // PAGE_TOKENS
LETTERS_PER_TOKEN = 4
# First estimate of the time that a page takes a worker, its weight in pages, and the share by which a batch reduces the
# weight of the batches before it.
SECONDS_PER_PAGE, FIRST_PAGES, SMOOTHING = 0.005, 10, 0.1
# Niceness of the workers and, inherited, of the threads of the encoder: the event loop goes first, so that shed
# requests are answered at once.
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


@dataclass(eq=False, slots=True)
class _Request:
    """A request of a client. `dropped` is True once no client waits for the answer."""

    client: Client
    number: int
    parts: list[_Part] = field(default_factory=list)
    dropped: bool = False


@dataclass(eq=False, slots=True)
class _Part:
    """Texts of a request that wait together."""

    request: _Request
    texts: list[str]
    future: asyncio.Future[ParsedPart]
    queued: float
    # The batch of a long text that is encoded in part.
    progress: _Batch | None = None
    tokens: int = field(init=False)
    pages: int = field(init=False)

    def __post_init__(self) -> None:
        tokens = [estimate_tokens(text) for text in self.texts]
        self.tokens = sum(tokens)
        self.pages = sum(1 + size // PAGE_TOKENS for size in tokens)

    @property
    def is_long(self) -> bool:
        """True if the part is a single text that is encoded in slices."""
        return self.tokens > PART_TOKENS

    @property
    def turn_and_rest(self) -> tuple[int, int]:
        """Pages until a worker looks at the queue again, and pages that remain then."""
        remaining = self.progress.remaining_pages if self.progress else self.pages
        turn = min(remaining, SLICE_PAGES) if self.is_long else remaining
        return turn, remaining - turn


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
        """True if all requests of the batch were dropped."""
        return all(part.request.dropped for part in self.parts)

    @property
    def remaining_pages(self) -> int:
        """Remaining work of a batch in progress."""
        assert self.prepared is not None
        return 1 + sum(len(piece.ids) for piece in self.prepared.pieces[self.encoded_windows :]) // PAGE_TOKENS


class ParseQueue:
    """Parses requests in `threads` threads, at least one. Thread-safe.

    `max_wait` is the longest expected wait, in seconds, of a request that is admitted. `on_batch` is called after each
    batch, and `on_answer` once its requests are answered. `on_shed` is called for each request that is shed, with True
    if it was waiting. `clock` returns seconds and never goes back.
    """

    def __init__(
        self,
        parser: AspectParser,
        threads: int,
        max_wait: float,
        on_batch: Callable[[BatchTiming], None] = lambda batch: None,
        on_answer: Callable[[Prepared, Logits, list[ParsedReview]], None] = lambda prepared, logits, reviews: None,
        clock: Callable[[], float] = time.monotonic,
        on_shed: Callable[[bool], None] = lambda displaced: None,
    ) -> None:
        self._parser = parser
        self._threads = threads
        self._max_wait = max_wait
        self._on_batch = on_batch
        self._on_answer = on_answer
        self._on_shed = on_shed
        self._clock = clock
        # Later work is that of parts after a request's first, and of later slices.
        self._queue: FairQueue[_Part] = FairQueue()
        self._numbers = itertools.count()
        # Pages that the workers parse.
        self._running = 0
        # Seconds and pages of the last batches together: a page takes less time in a large batch.
        self._busy, self._pages = SECONDS_PER_PAGE * FIRST_PAGES, float(FIRST_PAGES)
        self._idle = 0
        self._changed = Condition()
        self._closed = self._ended = False
        self._workers = [Thread(target=self._serve, name=f"parse-{i}", daemon=True) for i in range(threads)]
        for worker in self._workers:
            worker.start()
        _queues.add(self)

    @property
    def waiting(self) -> int:
        """Number of waiting pages."""
        return sum(self._queue.pages)

    @property
    def alive(self) -> bool:
        """True unless a worker thread has died."""
        return self._closed or all(worker.is_alive() for worker in self._workers)

    def admit(self, client: Client = UNKNOWN) -> None:
        """Raise RequestRefused (503) if a single review of `client` would be shed now."""
        with self._changed:
            if self._full_class(is_long=False) is not None and not self._queue.displaceable(client, 1, later=False):
                raise self._overload(displaced=False)

    async def run(self, texts: Sequence[str], client: Client = UNKNOWN) -> list[ParsedPart]:
        """Return the parsed parts of `texts` in order. Raises RequestRefused as `stream` does.

        Cancellation drops the parts and slices that have not begun.
        """
        return [part async for part in self.stream(texts, client)]

    async def stream(self, texts: Sequence[str], client: Client = UNKNOWN) -> AsyncGenerator[ParsedPart, None]:
        """Yield the parsed parts of `texts` in order.

        Raises RequestRefused (503) if the request would wait longer than `max_wait` and no client has more work
        waiting, or later if it has to give way to a client with less work.
        If the iteration is cancelled or closed, the parts and slices that have not begun are dropped, and the next
        requests of the client wait as if these had been parsed.
        """
        loop = asyncio.get_running_loop()
        request = _Request(client, next(self._numbers))
        # A request without texts is a batch too.
        split = list(batches(texts, PART_TEXTS, PART_TOKENS, estimate_tokens)) or [[]]
        queued = self._clock()
        request.parts = [_Part(request, part, loop.create_future(), queued) for part in split]
        with self._changed:
            self._make_room(request)
            for turn, part in enumerate(request.parts):
                self._push(part, later=turn > 0)
            self._changed.notify(len(request.parts))
        try:
            for part in request.parts:
                yield await part.future
        finally:
            with self._changed:
                self._drop(request)
                for turn, part in enumerate(request.parts):
                    if part.future.cancelled() or part.future.cancel():
                        self._queue.fine(client, part.pages, later=turn > 0)

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

    def _full_class(self, is_long: bool) -> bool | None:
        """Return the class of work, first or later, of which too much is waiting; None if there is room for a request.

        A long request also waits for the later parts and slices of others. Raises RequestRefused after `close`.
        """
        if self._closed:
            raise RequestRefused("this version is no longer served; try again", HTTPStatus.SERVICE_UNAVAILABLE)
        first, later = self._queue.pages
        # The time until the workers are free, and then until the requests ahead have had their turn.
        pages = (self._running + (max(first, later) if is_long else first)) / self._threads
        if self._idle > len(self._queue) or pages * self._busy / self._pages < self._max_wait:
            return None
        return is_long and later > first

    def _make_room(self, request: _Request) -> None:
        """Shed requests of clients with more work, newest first. Raises RequestRefused if that is not enough."""
        parts = request.parts
        is_long = len(parts) > 1 or parts[0].is_long
        first = parts[0].turn_and_rest[0]
        later = sum(part.pages for part in parts) - first
        while (full := self._full_class(is_long)) is not None:
            heaviest = self._queue.displaceable(request.client, later if full else first, full)
            if heaviest is None:
                raise self._overload(displaced=False)
            self._drop(heaviest.request)
            _deliver(heaviest.request.parts, self._overload(displaced=True))

    def _overload(self, displaced: bool) -> RequestRefused:
        self._on_shed(displaced)
        message = "the server has more requests than it can queue; try again later"
        return RequestRefused(message, HTTPStatus.SERVICE_UNAVAILABLE)

    def _push(self, part: _Part, later: bool) -> None:
        self._queue.push(part, part.request.client, part.request.number, later, *part.turn_and_rest)

    def _drop(self, request: _Request) -> None:
        request.dropped = True
        for part in request.parts:
            self._queue.remove(part)

    def _serve(self) -> None:
        lower_priority()
        while taken := self._take():
            batch, pages, threads = taken
            try:
                is_complete = self._advance(batch, threads)
                if is_complete:
                    self._complete(batch)
                else:
                    self._continue(batch)
            except Exception as error:  # reported to the callers; the thread goes on
                _deliver(batch.parts, error)
            with self._changed:
                self._running -= pages

    def _take(self) -> tuple[_Batch, int, int] | None:
        """Return the next batch, the pages of its turn and the threads for it; None when it is time to end."""
        with self._changed:
            while True:
                if part := self._queue.take():
                    batch = part.progress or self._filled(part)
                    pages = sum(part.turn_and_rest[0] for part in batch.parts)
                    self._running += pages
                    return batch, pages, 1 + self._idle
                if self._closed:
                    return None
                self._idle += 1
                self._changed.wait()
                self._idle -= 1

    def _filled(self, part: _Part) -> _Batch:
        """Return a batch of `part` and of the next ones that fit."""
        parts, texts, tokens = [part], len(part.texts), part.tokens

        def fits(other: _Part) -> bool:
            return (
                other.progress is None
                and texts + len(other.texts) <= BATCH_TEXTS
                and tokens + other.tokens <= BATCH_TOKENS
            )

        while other := self._queue.take(fits):
            parts.append(other)
            texts += len(other.texts)
            tokens += other.tokens
        return _Batch(parts, self._clock())

    def _continue(self, batch: _Batch) -> None:
        """Put a long text whose windows are not all encoded back into the queue, behind the first parts."""
        with self._changed:
            if not self._ended and not batch.is_abandoned:
                [part] = batch.parts
                part.progress = batch
                self._push(part, later=True)
                self._changed.notify()

    def _advance(self, batch: _Batch, threads: int) -> bool:
        """Tokenize a new batch, and encode the next slice of its windows. Return whether all are encoded."""
        begin = self._clock()
        if batch.prepared is None:
            batch.prepared = self._parser.prepare([text for part in batch.parts for text in part.texts])
            batch.tokenized = self._clock()
        pieces = batch.prepared.pieces
        first, stop = batch.encoded_windows, len(pieces)
        if batch.parts[0].is_long:
            ends = itertools.accumulate(len(piece.ids) for piece in pieces[first:])
            # A text of characters that the tokenizer drops has no windows, however long it is.
            stop = min(stop, first + max(1, sum(1 for _ in itertools.takewhile(lambda end: end <= SLICE_TOKENS, ends))))
        batch.logits.append(self._parser.encode(replace(batch.prepared, pieces=pieces[first:stop]), threads))
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
        with self._changed:
            self._busy += batch.busy - SMOOTHING * self._busy
            self._pages += max(1, sum(part.pages for part in batch.parts)) - SMOOTHING * self._pages
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
