"""Texts of very many tokens: others are served meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from reviews_parsing.parser import AspectParser
from serving.conftest import Start

MARKS = "!?" * 20_000


def test_single_reviews_are_answered_between_the_windows_of_texts_of_marks(start: Start) -> None:
    # However slow the machine is, nothing is shed.
    with (
        start(REVIEWS_PARSING_THREADS="1", REVIEWS_PARSING_MAX_WAIT="3600") as server,
        ThreadPoolExecutor(2) as clients,
    ):
        long = [clients.submit(server.infer, [MARKS]) for _ in range(2)]
        while server.counter("reviews_parsing_requests_in_progress") < 1:
            assert not all(answer.done() for answer in long)
        statuses = [server.infer(["Lovely soup."]).status for _ in range(10)]
        assert statuses == [200] * 10
        assert not all(answer.done() for answer in long)
        server.process.kill()
        assert any(answer.exception() for answer in long)


def test_a_text_in_slices_has_the_answer_of_the_parser(start: Start, parser: AspectParser) -> None:
    text = "The lobster was superb! " + MARKS[:6000] + " The waiter was rude, and the terrace lovely."
    # The tokenizer drops all of it.
    invisible = "\u200d" * 3000
    with start(REVIEWS_PARSING_MAX_WAIT="60") as server:
        for each in (text, invisible):
            assert server.infer([each]).predictions == [parser.parse([each])[0].to_json()]
