"""The queue: batches, admission, slices of long texts. The parser and the clock are the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event

import numpy as np
import pytest

from reviews_parsing.encoder import Logits, Piece
from reviews_parsing.errors import RequestRefused
from reviews_parsing.parser import Prepared
from reviews_parsing.schema import ParsedReview
from reviews_parsing.serving.queue import (
    BATCH_TEXTS,
    PAGE_TOKENS,
    PART_TEXTS,
    PART_TOKENS,
    SLICE_TOKENS,
    ParsedPart,
    ParseQueue,
    estimate_tokens,
)

WINDOW = 500
# The first text of a test: the worker stays in it until the test opens the gate.
BLOCKER = "blocker"
# Joiners, which the tokenizer drops.
INVISIBLE = "\u200d" * 3000


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeParser:
    """A parser of one word each; a token takes `seconds_per_token` of the clock."""

    clock: Clock
    seconds_per_token: float = 0.0
    gate: Event = field(default_factory=Event)
    entered: Event = field(default_factory=Event)
    # Texts of each call of the encoder, with the number of windows.
    calls: list[tuple[tuple[str, ...], int]] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)

    def prepare(self, texts: list[str]) -> Prepared:
        pieces = []
        for text in texts:
            tokens = len(text) if set(text) == {"!"} else int(text != INVISIBLE)
            pieces += [Piece([0] * min(WINDOW, tokens - start), [0]) for start in range(0, tokens, WINDOW)]
        empty = np.zeros(0, np.int64)
        return Prepared(texts, [], pieces, empty, empty, empty)

    def encode(self, prepared: Prepared, threads: int) -> Logits:
        self.threads.append(threads)
        self.calls.append((tuple(text[:20] for text in prepared.texts), len(prepared.pieces)))
        if BLOCKER in prepared.texts:
            self.entered.set()
            assert self.gate.wait(60)
        self.clock.now += self.seconds_per_token * prepared.tokens
        rows = np.arange(len(prepared.pieces), dtype=np.float32)[:, None]
        return Logits(rows, rows, rows, rows, rows, rows)

    def finish(self, prepared: Prepared, logits: Logits) -> list[ParsedReview]:
        assert len(logits.tags) == len(prepared.pieces)
        if "broken" in prepared.texts:
            raise ValueError("broken")
        return [ParsedReview(text, ()) for text in prepared.texts]


@contextmanager
def queue_of(parser: FakeParser, max_wait: float = 60.0, threads: int = 1, **options: object) -> Iterator[ParseQueue]:
    queue = ParseQueue(parser, threads, max_wait, clock=parser.clock, **options)  # type: ignore[arg-type]
    try:
        yield queue
    finally:
        parser.gate.set()
        queue.end()


async def blocked(queue: ParseQueue, parser: FakeParser) -> asyncio.Task[object]:
    """Block the only worker in a batch until the gate opens."""
    task = asyncio.create_task(queue.run([BLOCKER]))
    await asyncio.to_thread(parser.entered.wait, 60)
    return task


async def queued(queue: ParseQueue, *requests: list[str]) -> list[asyncio.Task[list[ParsedPart]]]:
    tasks = [asyncio.create_task(queue.run(texts)) for texts in requests]
    await asyncio.sleep(0)
    return tasks


def test_requests_that_wait_share_a_batch_and_keep_their_order() -> None:
    parser = FakeParser(Clock())

    async def check() -> None:
        with queue_of(parser) as queue:
            blocker = await blocked(queue, parser)
            tasks = await queued(queue, ["a", "b"], ["c"], ["d"])
            parser.gate.set()
            await blocker
            answers = [[review.text for part in await task for review in part.reviews] for task in tasks]
        assert answers == [["a", "b"], ["c"], ["d"]]
        assert [texts for texts, _ in parser.calls] == [(BLOCKER,), ("a", "b", "c", "d")]

    asyncio.run(check())


def test_a_worker_encodes_in_its_own_thread_and_those_of_idle_workers() -> None:
    parser = FakeParser(Clock())

    async def check() -> None:
        with queue_of(parser, threads=3) as queue:
            # The threads have started, and wait.
            while 3 not in parser.threads:
                await queue.run(["alone"])
            blocker = await blocked(queue, parser)
            while 2 not in parser.threads:
                await queue.run(["beside a busy worker"])
            assert not blocker.done()
            parser.gate.set()
            await blocker
        assert set(parser.threads[parser.calls.index(((BLOCKER,), 1)) + 1 :]) <= {1, 2}

    asyncio.run(asyncio.wait_for(check(), 60))


def test_a_batch_holds_no_more_texts_than_its_limit() -> None:
    parser = FakeParser(Clock())

    async def check() -> None:
        with queue_of(parser) as queue:
            blocker = await blocked(queue, parser)
            tasks = await queued(queue, *[[f"review {number}"] for number in range(BATCH_TEXTS + 8)])
            parser.gate.set()
            await asyncio.gather(blocker, *tasks)
        assert [len(texts) for texts, _ in parser.calls] == [1, BATCH_TEXTS, 8]

    asyncio.run(check())


def test_later_parts_of_a_long_request_wait_for_short_requests() -> None:
    parser = FakeParser(Clock())

    async def check() -> None:
        with queue_of(parser) as queue:
            blocker = await blocked(queue, parser)
            tasks = await queued(queue, ["long"] * (4 * PART_TEXTS), ["short"])
            parser.gate.set()
            await asyncio.gather(blocker, *tasks)
        batches = [texts for texts, _ in parser.calls[1:]]
        expected = [("long",) * PART_TEXTS + ("short",), ("long",) * 2 * PART_TEXTS, ("long",) * PART_TEXTS]
        assert batches == expected

    asyncio.run(check())


def test_a_short_request_is_answered_between_the_slices_of_a_long_text() -> None:
    parser = FakeParser(Clock())
    text = "!" * (10 * WINDOW)

    async def check() -> None:
        with queue_of(parser) as queue:
            blocker = await blocked(queue, parser)
            [long, short] = await queued(queue, [text], ["short"])
            parser.gate.set()
            await asyncio.gather(blocker, long, short)
            assert queue.waiting == 0
        windows = SLICE_TOKENS // WINDOW
        marks = "!" * 20
        assert parser.calls[1:3] == [((marks,), windows), (("short",), 1)]
        assert parser.calls[3:] == [((marks,), windows)] * (10 // windows - 1)

    asyncio.run(check())


def test_the_rest_of_a_text_is_dropped_once_its_client_has_gone() -> None:
    parser = FakeParser(Clock())

    async def check() -> None:
        with queue_of(parser) as queue:
            blocker = await blocked(queue, parser)
            [gone, waiting] = await queued(queue, ["!" * (9 * SLICE_TOKENS)], ["short"])
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
            parser.gate.set()
            await asyncio.gather(blocker, waiting)
            assert queue.waiting == 0
        assert [texts for texts, _ in parser.calls] == [(BLOCKER,), ("short",)]

    asyncio.run(check())


def test_admission_counts_tokens() -> None:
    parser = FakeParser(Clock(), seconds_per_token=0.001)

    async def check() -> None:
        with queue_of(parser, max_wait=1.0) as queue:
            parser.gate.set()
            await queue.run(["!" * 400])  # measures the time of a token
            parser.gate.clear()
            blocker = await blocked(queue, parser)
            waiting = await queued(queue, ["short"], ["!" * 40_000])
            # The rest of a long text yields to single reviews, so they are admitted, and long requests are not.
            queue.admit()
            for texts in (["!" * 40_000], ["short"] * (2 * BATCH_TEXTS)):
                with pytest.raises(RequestRefused, match="later") as refused:
                    await queue.run(texts)
                assert refused.value.status == 503
            # Many texts that are not sliced hold up single reviews.
            for _ in range(2):
                waiting += await queued(queue, ["!" * (PART_TOKENS - 10)])
            with pytest.raises(RequestRefused, match="later"):
                queue.admit()
            parser.gate.set()
            await asyncio.gather(blocker, *waiting)
            assert queue.waiting == 0

    asyncio.run(check())


def test_waiting_is_counted_in_pages_of_tokens() -> None:
    parser = FakeParser(Clock())

    async def check() -> None:
        with queue_of(parser) as queue:
            blocker = await blocked(queue, parser)
            waiting = await queued(queue, ["short"], ["!" * (3 * PAGE_TOKENS)])
            assert queue.waiting == 1 + 4
            parser.gate.set()
            await asyncio.gather(blocker, *waiting)
            assert queue.waiting == 0

    asyncio.run(check())


def test_the_time_in_the_queue_comes_from_the_clock() -> None:
    parser = FakeParser(Clock())

    async def check() -> None:
        with queue_of(parser) as queue:
            blocker = await blocked(queue, parser)
            [task] = await queued(queue, ["a"])
            parser.clock.now += 7
            parser.gate.set()
            await blocker
            [part] = await task
            assert part.waited == 7
            begin, *_, end = part.batch.times
            assert end == begin

    asyncio.run(check())


def test_an_error_reaches_its_callers_and_the_worker_goes_on() -> None:
    parser = FakeParser(Clock())

    async def check() -> None:
        with queue_of(parser) as queue:
            with pytest.raises(ValueError, match="broken"):
                await queue.run(["broken"])
            [part] = await queue.run(["whole"])
            assert [review.text for review in part.reviews] == ["whole"]
            assert queue.alive

    asyncio.run(check())


def test_a_closed_queue_answers_what_waits_and_admits_nothing() -> None:
    parser = FakeParser(Clock())

    async def check() -> None:
        with queue_of(parser) as queue:
            blocker = await blocked(queue, parser)
            [task] = await queued(queue, ["!" * (10 * WINDOW)])
            queue.close()
            with pytest.raises(RequestRefused, match="no longer served"):
                await queue.run(["late"])
            parser.gate.set()
            await asyncio.gather(blocker, task)

    asyncio.run(check())


def test_a_long_text_without_windows_is_answered() -> None:
    parser = FakeParser(Clock())

    async def check() -> None:
        with queue_of(parser) as queue:
            [part] = await asyncio.wait_for(queue.run([INVISIBLE]), 30)
            assert [review.text for review in part.reviews] == [INVISIBLE]

    asyncio.run(check())


def test_a_request_without_texts_is_answered() -> None:
    parser = FakeParser(Clock())

    async def check() -> None:
        with queue_of(parser) as queue:
            [part] = await queue.run([])
            assert part.reviews == []

    asyncio.run(check())


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("", 1, 4),
        ("The waiter was kind, and the soup was warm.", 8, 16),
        ("!" * 40_000, 40_000, 40_010),
        ("é" * 1000, 200, 1010),
        ("好吃" * 500, 1000, 1010),
        (" \n" * 10_000, 1, 4),
    ],
)
def test_tokens_are_estimated_from_letters_and_marks(text: str, low: int, high: int) -> None:
    assert low <= estimate_tokens(text) <= high
