"""Many requests at once, and long ones."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from reviews_parsing.parser import AspectParser

from .client import Server


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


def test_the_server_answers_others_while_it_reads_a_long_text(server: Server) -> None:
    text = ("The grilled octopus was tender and the waiter never smiled once. " * 3100)[:200_000]
    with ThreadPoolExecutor(1) as client:
        long = client.submit(server.infer, [text])
        waits = []
        while not long.done():
            start = time.perf_counter()
            assert server.get("/v2/health/live").status == 200
            waits.append(time.perf_counter() - start)
        aspects = long.result().predictions[0]
    assert len(waits) > 20
    assert sorted(waits)[len(waits) // 2] < 0.5
    assert len(aspects) > 1000
    assert all(text[a["start"] : a["end"]] == a["word"] for a in aspects)
