"""The server of the report finds the same sentences as the page that holds them all."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, expect

from insights.making import parquet, review
from insights.planting import planted
from reviews_parsing.errors import DataError
from reviews_parsing.insights import AnalysisOptions, Insights, open_analysis, report_server


@contextmanager
def serving(path: Path, **options: Any) -> Iterator[tuple[Insights, int]]:
    with ExitStack() as stack:
        insights, reviews = stack.enter_context(open_analysis([path], AnalysisOptions(**options), lambda *_: None))
        server = stack.enter_context(report_server(insights, reviews, 0))
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        stack.callback(thread.join)
        stack.callback(server.shutdown)
        yield insights, server.server_port


def get(port: int, target: str, host: str | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", target, headers={"Host": host} if host else {})
    response = connection.getresponse()
    result = response.status, response.read()
    connection.close()
    return result


def test_filters_find_what_the_page_finds(tmp_path: Path) -> None:
    path = planted(tmp_path, 7, 300, rated=True)
    with serving(path) as (insights, port):
        document = insights.evidence
        assert document is not None
        for filters in (
            {},
            {"category": "FOOD"},
            {"category": "STAFF", "polarity": "negative"},
            {"topic": "FOOD/rib"},
            {"topic": "no such topic"},
            {"by:business": "Hill", "from": "2024-06-01", "to": "2024-08-31"},
            {"min": "2", "max": "3", "weekday": "1"},
            {"search": "RIBS"},
            {"word": "STAFF/waiter", "polarity": "negative"},
            {"word": "no such word"},
        ):
            status, body = get(port, "/sentences?" + urlencode(filters))
            assert status == 200
            assert json.loads(body)["count"] == len(expected(document, filters)), filters
        sentence = json.loads(get(port, "/sentences?category=FOOD&sort=newest&limit=3&offset=1")[1])["sentences"][0]
        start, end = sentence["offsets"][2:]
        assert sentence["category"] == "FOOD"
        assert f"The {sentence['text'][start:end]} was" in sentence["text"]


def test_a_pooled_group_has_its_sentences(tmp_path: Path) -> None:
    rows = [review("The [tea](BEVERAGE+) was fine.", shop=f"shop {n % 7 if n < 60 else n}") for n in range(75)]
    with serving(parquet(tmp_path / "p.parquet", rows), by=("shop",)) as (insights, port):
        pooled = next(group for group in insights.comparisons[0].groups if group.pooled)
        _, body = get(port, "/sentences?" + urlencode({"by:shop": pooled.value}))
        assert json.loads(body)["count"] == pooled.reviews
        document = insights.evidence
        assert document is not None
        column = document["columns"][0]
        others = [row for row in document["reviews"] if column["values"][row[5]] not in column["named"]]
        assert (column["pooled"], len(others)) == (pooled.value, pooled.reviews)


def expected(document: dict[str, Any], filters: dict[str, str]) -> list[list[int]]:
    """Return the aspects of a document that match, by a plain loop."""
    import datetime

    matching = []
    ids = [topic[0] for topic in document["topics"]]
    for aspect in document["aspects"]:
        row = document["reviews"][aspect[0]]
        day = datetime.date(1970, 1, 1) + datetime.timedelta(days=row[2])
        facts = {
            "category": document["categories"][aspect[1]],
            "polarity": ("positive", "negative", "neutral", "other")[aspect[2]],
            "topic": ids[aspect[3]] if aspect[3] >= 0 else None,
            "word": document["words"][aspect[9]][0] if aspect[9] >= 0 else None,
            "by:business": document["columns"][0]["values"][row[5]],
            "weekday": str(day.isoweekday()),
        }
        tests = [facts[name] == value for name, value in filters.items() if name in facts]
        tests += [filters.get("from", "") <= day.isoformat() <= filters.get("to", "9")]
        tests += [float(filters.get("min", 0)) <= row[3] <= float(filters.get("max", 5))]
        tests += [filters.get("search", "").lower() in row[1].lower()]
        if all(tests):
            matching.append(aspect)
    return matching


def test_the_page_lists_sentences_of_the_server(browser: Browser, tmp_path: Path) -> None:
    path = planted(tmp_path, 7, 300)
    with serving(path, with_evidence=False) as (insights, port):
        opened = browser.new_page()
        errors: list[str] = []
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.on("console", lambda message: errors.append(message.text))
        opened.goto(f"http://127.0.0.1:{port}/")
        opened.locator("#all-list li").nth(49).wait_for()
        assert f"{insights.aspects:,} sentences" in str(opened.locator("#all-count").text_content())
        opened.locator("#all-more").click()
        opened.locator("#all-list li").nth(99).wait_for()
        opened.locator("#topics a.open").first.click()
        number = insights.topics[0].reviews
        expect(opened.locator("#all-count")).to_contain_text(f"of {number} reviews")
        assert errors == []
        opened.close()


def test_mistakes_and_strangers_are_refused(tmp_path: Path) -> None:
    with serving(parquet(tmp_path / "p.parquet", [review("The [tea](BEVERAGE+) was fine.")])) as (_, port):
        for target in ("/sentences?from=soon", "/sentences?min=few", "/sentences?limit=all"):
            status, body = get(port, target)
            assert (status, len(body.splitlines())) == (400, 1)
        assert get(port, "/other")[0] == 404
        assert get(port, "/", host="evil.example:80")[0] == 403
        assert get(port, "/sentences?limit=0")[0] == 200


def test_a_taken_port_and_missing_texts_are_one_line(tmp_path: Path) -> None:
    path = parquet(tmp_path / "p.parquet", [review("The [tea](BEVERAGE+) was fine.")])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            open_analysis([path], AnalysisOptions(), lambda *_: None) as opened,
            pytest.raises(DataError, match=f"port {port} cannot be opened"),
            report_server(*opened, port),
        ):
            pass
    rows = [{"text": "Cut away.", "aspects": review("The [ramen](FOOD+).")["aspects"]}]
    with (
        open_analysis([parquet(tmp_path / "q.parquet", rows)], AnalysisOptions(), lambda *_: None) as opened,
        pytest.raises(DataError, match="no sentences to serve"),
        report_server(*opened, 0),
    ):
        pass
