"""Many requests at once, and long ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from reviews_parsing.parser import AspectParser

from .client import Answer, Server
from .conftest import Start


def test_each_of_many_concurrent_requests_gets_its_own_answers(server: Server, parser: AspectParser) -> None:
    dishes = ["lobster", "ramen", "risotto", "falafel", "brisket", "tiramisu", "pierogi", "ceviche"]
    batches = [
        [f"Table {n}: the {dish} was {'great' if n % 2 else 'awful'}." for dish in dishes[: 1 + n % len(dishes)]]
        for n in range(96)
    ]
    with ThreadPoolExecutor(32) as clients:
        answers = list(clients.map(server.infer, batches))
    for batch, answer in zip(batches, answers, strict=True):
        assert answer.predictions == [parsed.to_json() for parsed in parser.parse(batch)]


def test_others_are_answered_while_a_long_text_is_read(start: Start) -> None:
    text = ("The grilled octopus was tender and the waiter never smiled once. " * 3100)[:200_000]
    # A server of its own, which need not come to the end.
    with start() as server, ThreadPoolExecutor(1) as client:
        long = client.submit(server.infer, [text])
        while server.counter("reviews_parsing_requests_in_progress") < 1:
            assert not long.done()
        waits = [_seconds(lambda: server.get("/v2/health/live")) for _ in range(30)]
        short = [_seconds(lambda: server.infer(["Lovely soup."])) for _ in range(5)]
        assert not long.done()
        server.process.kill()
        assert long.exception()
    assert sorted(waits)[len(waits) // 2] < 0.2
    assert max(waits) < 2
    assert max(short) < 5


def _seconds(call: Callable[[], Answer]) -> float:
    begin = time.perf_counter()
    assert call().status == 200
    return time.perf_counter() - begin
