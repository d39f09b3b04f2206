"""Two versions compared on live requests: counts of agreement, off the path of requests, and shed first."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from ports import free_port
from reviews_parsing.schema import Aspect, ParsedReview
from reviews_parsing.serving import comparison
from reviews_parsing.serving.comparison import WAITING, ComparisonTarget, VersionComparison, agreement
from reviews_parsing.serving.protocol import COMPARISON_HEADER

from .client import DEADLINE, MODEL, Server, tensor
from .conftest import Start
from .other_server import other_server, response

SOUP = Aspect("FOOD", "soup", 0, 4, "positive")
WAITER = Aspect("SERVICE", "waiter", 10, 16, "negative")
TEXT = "soup and a waiter with a xylophone"
REVIEW = ParsedReview(TEXT, (SOUP, WAITER))


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "RELOAD_SECONDS", 0.01)


def until(condition: Callable[[], object], otherwise: object = "it did not come") -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.005)


def count(version: str, result: str) -> float:
    labels = {"version": version, "result": result}
    return REGISTRY.get_sample_value("reviews_parsing_compared_reviews_total", labels) or 0.0


@contextmanager
def comparing(file: Path, url: str, version: str, busy: bool = False) -> Iterator[VersionComparison]:
    """Yield the comparison of version 1 with `version`, all reviews of which are sampled."""
    file.write_text(json.dumps({"url": url, "version": version, "percent": 100}), encoding="utf-8")
    running = VersionComparison(file, "1", lambda: busy)
    try:
        yield running
    finally:
        running.close()


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        ([SOUP, WAITER], [(2, 0), (2, 0), (2, 0)]),
        ([WAITER, SOUP], [(2, 0), (2, 0), (2, 0)]),
        ([SOUP], [(1, 1), (1, 1), (1, 1)]),
        ([], [(0, 2), (0, 2), (0, 2)]),
        ([SOUP, Aspect("SERVICE", "waiter", 10, 16, "neutral")], [(2, 0), (2, 0), (1, 2)]),
        ([SOUP, Aspect("STAFF", "waiter", 10, 16, "negative")], [(2, 0), (1, 2), (1, 2)]),
        ([SOUP, Aspect("SERVICE", "a waiter", 8, 16, "negative")], [(1, 2), (1, 2), (1, 2)]),
        ([SOUP, WAITER, Aspect("PLACE")], [(2, 1), (2, 1), (2, 1)]),
    ],
)
def test_agreement_is_of_spans_then_categories_then_polarities(
    theirs: list[Aspect], expected: list[tuple[int, int]]
) -> None:
    assert [counts for _, *counts in map(list, agreement(REVIEW.aspects, theirs))] == [list(pair) for pair in expected]


def test_agreement_and_latency_are_counted(tmp_path: Path) -> None:
    answers = iter([response("v-count", SOUP, WAITER), response("v-count", SOUP), (503, {"error": "later"})])
    with (
        other_server(lambda: next(answers)) as url,
        comparing(tmp_path / "file", url, "v-count") as running,
    ):
        for _ in range(3):
            running.observe([TEXT], [REVIEW])
        until(lambda: count("v-count", "shed") == 1)
    assert (count("v-count", "same"), count("v-count", "differ"), count("v-count", "failed")) == (1, 1, 0)
    for result, expected in (("agree", 3), ("differ", 1)):
        labels = {"version": "v-count", "part": "polarities", "result": result}
        assert REGISTRY.get_sample_value("reviews_parsing_compared_aspects_total", labels) == expected
    assert REGISTRY.get_sample_value("reviews_parsing_compared_seconds_count", {"version": "v-count"}) == 2


def test_a_connection_that_the_other_server_closed_meanwhile_fails_nothing(tmp_path: Path) -> None:
    with (
        other_server(lambda: response("v-idle", SOUP, WAITER), silent_close=True) as url,
        comparing(tmp_path / "file", url, "v-idle") as running,
    ):
        running.observe([TEXT] * 3, [REVIEW] * 3)
        until(lambda: count("v-idle", "same") == 3 or count("v-idle", "failed"))
    assert count("v-idle", "failed") == 0


def test_a_server_that_is_busy_compares_nothing(tmp_path: Path) -> None:
    with (
        other_server(lambda: response("v-busy", SOUP)) as url,
        comparing(tmp_path / "file", url, "v-busy", busy=True) as running,
    ):
        running.observe([TEXT], [REVIEW])
    assert (count("v-busy", "shed"), count("v-busy", "differ")) == (1, 0)


def test_a_server_that_stalls_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, ended = threading.Event(), threading.Event()

    def stall() -> tuple[int, object]:
        asked.set()
        ended.wait()
        return response("v-stall", SOUP)

    with other_server(stall) as url, comparing(tmp_path / "file", url, "v-stall") as running:
        running.observe([TEXT], [REVIEW])
        until(asked.is_set)
        # The thread stands still: the queue fills up, and everything else is dropped.
        running.observe([TEXT] * (WAITING + 10), [REVIEW] * (WAITING + 10))
        assert count("v-stall", "shed") == 10
        ended.set()


def test_after_a_failure_it_pauses_and_no_text_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with comparing(tmp_path / "file", f"http://127.0.0.1:{free_port()}", "v-gone") as running:
        running.observe([TEXT], [REVIEW])
        until(lambda: count("v-gone", "failed") == 1)
        running.observe([TEXT] * 3, [REVIEW] * 3)
    assert (count("v-gone", "failed"), count("v-gone", "shed")) == (1, 0)
    assert "version v-gone does not answer (ConnectionRefusedError)" in caplog.text
    assert "xylophone" not in caplog.text


def test_reviews_that_waited_are_not_sent_after_a_failure(tmp_path: Path) -> None:
    asked, ended, calls = threading.Event(), threading.Event(), []

    def break_slowly() -> tuple[int, object]:
        calls.append(1)
        asked.set()
        ended.wait()
        return 500, {}

    with other_server(break_slowly) as url, comparing(tmp_path / "file", url, "v-slow") as running:
        running.observe([TEXT], [REVIEW])
        until(asked.is_set)
        running.observe([TEXT] * 5, [REVIEW] * 5)
        ended.set()
        until(lambda: count("v-slow", "shed") == 5)
    assert (count("v-slow", "failed"), len(calls)) == (1, 1)


@pytest.mark.parametrize("form", [response("v-other", SOUP), (200, {}), (400, {"error": TEXT}), (200, [])])
def test_an_answer_of_another_version_or_form_is_a_failure(
    tmp_path: Path, form: tuple[int, object], caplog: pytest.LogCaptureFixture
) -> None:
    before = count("v-form", "failed")
    with other_server(lambda: form) as url, comparing(tmp_path / "file", url, "v-form") as running:
        running.observe([TEXT], [REVIEW])
        until(lambda: count("v-form", "failed") == before + 1)
    assert "xylophone" not in caplog.text


def test_the_file_decides_at_any_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mlserver")
    file = tmp_path / "file"
    with other_server(lambda: response("v-file", SOUP)) as url:
        running = VersionComparison(file, "1", lambda: False)
        running.observe([TEXT], [REVIEW])
        file.write_text(json.dumps({"url": url, "version": "v-file", "percent": 100}), encoding="utf-8")
        until(lambda: "version v-file, 100 %" in caplog.text)
        running.observe([TEXT], [REVIEW])
        until(lambda: count("v-file", "differ") == 1)
        file.write_text("", encoding="utf-8")
        until(lambda: "comparison: none" in caplog.text)
        running.observe([TEXT], [REVIEW])
        running.close()
    assert count("v-file", "differ") == 1


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"url": "http://x", "version": "2"}',
        '{"url": "http://x", "version": "2", "percent": 0}',
        '{"url": "file:///etc/passwd", "version": "2", "percent": 1}',
        '{"url": "http://[", "version": "2", "percent": 1}',
        '{"url": "http://x", "version": "2", "percent": NaN}',
    ],
)
def test_a_file_that_names_nothing_compares_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "file").write_text(content, encoding="utf-8")
    assert ComparisonTarget.read(tmp_path / "file") is None
    assert ComparisonTarget.read(tmp_path / "missing") is None


def test_the_other_version_compares_nothing_with_itself(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        (tmp_path / "file").write_text(json.dumps({"url": url, "version": "7", "percent": 100}), encoding="utf-8")
        running = VersionComparison(tmp_path / "file", "7", lambda: False)
        running.observe([TEXT], [REVIEW])
        running.close()
        listening.settimeout(0)
        with pytest.raises(BlockingIOError):
            listening.accept()


def test_two_servers_of_the_same_model_agree(
    start: Start, server: Server, champion_folder: Path, tmp_path: Path
) -> None:
    """The champion of the other server is version 1, and the same folder is served here under a digest."""
    file = tmp_path / "comparison.json"
    url = f"http://127.0.0.1:{server.http}"
    file.write_text(json.dumps({"url": url, "version": "1", "percent": 100}), encoding="utf-8")
    variables = {"REVIEWS_PARSING_MODEL_URI": str(champion_folder), "REVIEWS_PARSING_MAX_WAIT": "60"}
    before, parsed = requests(server), server.counter("reviews_parsing_reviews_total")
    with start(REVIEWS_PARSING_COMPARISON=str(file), **variables) as comparing_server:
        assert comparing_server.infer(["The soup was superb and the waiter was rude."]).status == 200
        reviews = "reviews_parsing_compared_reviews_total"
        until(lambda: comparing_server.counter(reviews, version="1") == 1, comparing_server.log)
        assert comparing_server.counter(reviews, result="same") == 1
        assert comparing_server.stop() == 0
        assert "superb" not in comparing_server.log + server.log
    assert server.counter("reviews_parsing_reviews_total") == parsed + 1
    assert requests(server) == before, "requests, failures and latencies are those of clients"


def requests(server: Server) -> list[float]:
    return [server.counter(f"reviews_parsing_request{name}") for name in ("s_total", "s_shed_total", "_seconds_count")]


def test_the_other_server_sheds_a_comparison_before_any_request(server: Server) -> None:
    header = {COMPARISON_HEADER: "1", "Content-Type": "application/json"}
    body = json.dumps({"inputs": [tensor()]}).encode()
    assert server.post(f"{MODEL}/infer", body, header).status == 200
    with ThreadPoolExecutor(3) as clients:
        answers = [clients.submit(server.infer, [TEXT * 100] * 8) for _ in range(3)]
        until(lambda: server.counter("reviews_parsing_waiting") > 0)
        shed = server.counter("reviews_parsing_requests_shed_total")
        refused = server.post(f"{MODEL}/infer", body, header)
        assert (refused.status, refused.error) == (503, "requests of clients wait; a comparison is shed first")
        assert [answer.result().status for answer in answers] == [200] * 3
    assert server.counter("reviews_parsing_requests_shed_total") == shed
