"""The model's work, off the event loop, in batches, and bounded: what cannot be started soon is turned away at once.

A worker that becomes free takes whatever waits, up to a batch: nobody is kept waiting for company, and under load the
batches grow by themselves. A long request is cut into parts that take turns with those of others.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Condition, Thread

from reviews_parsing.errors import RequestRefused
from reviews_parsing.parser import AspectParser
from reviews_parsing.schema import ParsedReview

OVERLOADED = 503
# A batch is full at so many texts or characters; a text waits as one for every PAGE characters that it begins.
BATCH_TEXTS, BATCH_CHARACTERS = 32, 8_000
PAGE = 500


@dataclass(frozen=True, slots=True)
class Batch:
    """How a batch went: when its phases began (nanoseconds since the epoch), the last entry when it was done."""

    texts: int
    tokens: int
    windows: int
    times: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Parsed:
    """Part of an answer, the batch that it came from, and the seconds that it waited for it."""

    reviews: list[ParsedReview]
    batch: Batch
    waited: float


@dataclass(slots=True)
class _Part:
    texts: list[str]
    future: asyncio.Future[Parsed]
    since: int = field(default_factory=time.time_ns)
    characters: int = field(init=False)
    weight: int = field(init=False)

    def __post_init__(self) -> None:
        self.characters = sum(map(len, self.texts))
        self.weight = sum(1 + len(text) // PAGE for text in self.texts)


class Work:
    """Parses in `threads` threads while texts of at most `max_waiting` pages wait; tells `on_batch` of each batch."""

    def __init__(
        self,
        parser: AspectParser,
        threads: int,
        max_waiting: int,
        on_batch: Callable[[Batch], None] = lambda batch: None,
    ) -> None:
        self._parser = parser
        self._on_batch = on_batch
        self._max_waiting = max_waiting
        self._queue: list[tuple[int, int, _Part]] = []
        self._numbers = itertools.count()
        self._waiting = 0
        self._idle = 0
        self._changed = Condition()
        self._closed = False
        for number in range(threads):
            Thread(target=self._serve, name=f"parse-{number}", daemon=True).start()

    @property
    def waiting(self) -> int:
        """Pages that wait."""
        return self._waiting

    async def run(self, texts: Sequence[str]) -> list[Parsed]:
        """`texts` in order, in parts. Raises RequestRefused (503) at once where too much waits already.

        Cancelled, what has not begun is not begun.
        """
        loop = asyncio.get_running_loop()
        parts = [_Part(part, loop.create_future()) for part in _parts(texts)]
        weight = sum(part.weight for part in parts)
        with self._changed:
            at_once = self._idle > len(self._queue)
            if self._waiting + weight > self._max_waiting and not at_once:
                raise RequestRefused("the server has more requests than it can queue; try again later", OVERLOADED)
            for turn, part in enumerate(parts):
                heapq.heappush(self._queue, (turn, next(self._numbers), part))
            self._waiting += weight
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

    def _serve(self) -> None:
        while batch := self._take():
            texts = [text for part in batch for text in part.texts]
            try:
                reviews, done = self._parse(texts)
            except Exception as error:  # whatever it was, the callers are told and the thread lives on
                _deliver(batch, error)
                continue
            self._on_batch(done)
            remaining = iter(reviews)
            waits = [max(0, done.times[0] - part.since) / 1e9 for part in batch]
            _deliver(
                batch,
                [
                    Parsed([next(remaining) for _ in part.texts], done, wait)
                    for part, wait in zip(batch, waits, strict=True)
                ],
            )

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
                    part = heapq.heappop(self._queue)[2]
                    self._waiting -= part.weight
                    if not part.future.cancelled():
                        batch.append(part)
                        texts += len(part.texts)
                        characters += part.characters
                if batch or self._closed:
                    return batch
                self._idle += 1
                self._changed.wait()
                self._idle -= 1

    def _parse(self, texts: list[str]) -> tuple[list[ParsedReview], Batch]:
        begun = time.time_ns()
        prepared = self._parser.prepare(texts)
        tokenized = time.time_ns()
        logits = self._parser.encode(prepared)
        predicted = time.time_ns()
        reviews = self._parser.finish(prepared, logits)
        times = (begun, tokenized, predicted, time.time_ns())
        return reviews, Batch(len(texts), prepared.tokens, len(prepared.pieces), times)


def _parts(texts: Sequence[str]) -> Iterator[list[str]]:
    """Consecutive texts that fill a batch; at least one part, which may be empty."""
    part: list[str] = []
    characters = 0
    for text in texts:
        if part and (len(part) == BATCH_TEXTS or characters + len(text) > BATCH_CHARACTERS):
            yield part
            part, characters = [], 0
        part.append(text)
        characters += len(text)
    yield part


def _deliver(batch: Sequence[_Part], outcome: Exception | Sequence[Parsed]) -> None:
    """One wake-up of the event loop for a whole batch."""

    def settle() -> None:
        for number, part in enumerate(batch):
            if part.future.done():
                continue
            if isinstance(outcome, Exception):
                part.future.set_exception(outcome)
            else:
                part.future.set_result(outcome[number])

    batch[0].future.get_loop().call_soon_threadsafe(settle)
