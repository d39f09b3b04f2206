"""Rows through the parser: while some are parsed, the next are read."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from queue import Full, Queue
from typing import NamedTuple, TypeVar

from reviews_parsing.batch.chunks import Chunk
from reviews_parsing.batch.plan import Options, Plan
from reviews_parsing.batch.source import Part
from reviews_parsing.parser import AspectParser
from reviews_parsing.schema import ParsedReview

T = TypeVar("T")
AHEAD = 4
"""Chunks that are read before they are asked for."""


class Parsed(NamedTuple):
    """Rows of a part, and what was found in each of those that are no rejects."""

    part: Part
    chunk: Chunk
    reviews: list[ParsedReview]


def parse(parser: AspectParser, plan: Plan, parts: Sequence[Part], options: Options) -> Generator[Parsed]:
    """Every row of `parts`, in their order. Raises DataError where an input cannot be read."""
    waiting: deque[tuple[Part, Chunk, int]] = deque()
    chunks = ahead(plan.chunks(parts), AHEAD)

    def texts() -> Iterator[str]:
        for part, chunk in chunks:
            some = chunk.texts(plan.texts[part.source])
            waiting.append((part, chunk, len(some)))
            yield from some

    def ready(found: list[ParsedReview]) -> Iterator[Parsed]:
        while waiting and len(found) == waiting[0][2]:
            part, chunk, _ = waiting.popleft()
            yield Parsed(part, chunk, found)
            found = []

    found: list[ParsedReview] = []
    try:
        for review in parser.parse_iter(texts(), options.min_score, options.spans_only):
            # Chunks that are all rejects have no review to wait for.
            yield from ready([]) if not found else ()
            found.append(review)
            if len(found) == waiting[0][2]:
                yield from ready(found)
                found = []
        yield from ready([])
    finally:
        chunks.close()


def ahead(items: Iterator[T], most: int) -> Generator[T]:
    """The same, made in a thread of their own, which ends with this."""
    queue: Queue[tuple[bool, T | BaseException | None]] = Queue(most)
    over = threading.Event()

    def hand(more: bool, item: T | BaseException | None) -> None:
        while not over.is_set():
            try:
                queue.put((more, item), timeout=0.1)
            except Full:
                continue
            return

    def work() -> None:
        try:
            for item in items:
                hand(True, item)
                if over.is_set():
                    break
            hand(False, None)
        except BaseException as error:
            hand(False, error)
        finally:
            close = getattr(items, "close", None)
            if close:
                close()

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            more, item = queue.get()
            if not more:
                if isinstance(item, BaseException):
                    raise item
                return
            yield item  # type: ignore[misc]
    finally:
        over.set()
        thread.join()
