"""The report of a file by other groups: drawn again without a parse, and opened as a page of its own origin."""

from __future__ import annotations

import json
import urllib.error
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from serving.client import Server

from .conftest import Site, page_over, until, upload
from .fake_server import FakeServer
from .test_files import REVIEWS, parse_file, send


def test_the_report_is_drawn_by_other_groups_without_another_parse(page: Page, server: Server, tmp_path: Path) -> None:
    path = tmp_path / "places.jsonl"
    venues, towns = ("Quay", "Mill"), ("Ghent", "Porto", "Lund")
    rows = [
        {"review": text, "venue": venues[n % 2], "town": towns[n % 3], "date": f"2024-0{n % 9 + 1}-01"}
        for n, text in enumerate(REVIEWS * 3)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    upload(page, path)
    groups = page.get_by_label("Compare groups by")
    expect(groups).to_have_value("venue")
    parts = groups.locator("optgroup option").all_text_contents()
    assert parts == ["year", "quarter", "month", "week", "day", "weekday"]
    parse_file(page)
    reviews = server.counter("reviews_parsing_reviews_total")
    figure = page.locator("figure").filter(has_text="Lund")
    expect(figure).to_have_count(0)
    groups.select_option("town")
    expect(page.get_by_role("table")).to_have_count(0)
    page.get_by_role("button", name="Compare by town").click()
    expect(figure.first).to_be_visible()
    expect(page.locator("figcaption", has_text="By town: share of reviews that mention each category")).to_be_visible()
    page.reload()
    expect(groups).to_have_value("town")
    expect(figure.first).to_be_visible()
    assert server.counter("reviews_parsing_reviews_total") == reviews
    # The report is a page of its own origin, with its own script.
    page.get_by_role("link", name="Open the report").click()
    expect(page.get_by_role("heading", name="By town")).to_be_visible()
    assert page.evaluate("window.origin") == "null"
    page.locator("#topics a.open").first.click()
    expect(page.locator("#all-count")).to_contain_text("of 36 reviews")
    page.go_back()
    expect(figure.first).to_be_visible()


def test_a_group_without_dates_is_an_error_and_no_plot_of_other_groups(fake_server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "page").mkdir()
    with page_over(fake_server.url, tmp_path / "home", tmp_path / "page") as site:
        job_id = send(site, "api/files?name=a.csv", b"text,date\nThe SOUP was fine.,soon\nThe BREAD too.,later\n")["id"]
        until(lambda: send(site, f"api/files/{job_id}")["state"] == "ready")
        parse, draw = (f"api/files/{job_id}/{action}" for action in ("parse", "draw"))
        assert refusal(site, draw, b"{}") == 404
        send(site, parse, b'{"column": "text"}')
        until(lambda: send(site, f"api/files/{job_id}")["state"] == "done")
        assert send(site, f"api/files/{job_id}/outcome")["plots"]
        assert refusal(site, draw, b'{"group_by": "size"}') == 400
        send(site, draw, b'{"group_by": "month"}')
        until(lambda: send(site, f"api/files/{job_id}")["state"] == "done")
        outcome = send(site, f"api/files/{job_id}/outcome")
        assert outcome["plots"] == []
        assert "'month' needs a column of dates" in outcome["plots_error"]
        assert outcome["aspects"] == 2
        assert refusal(site, f"files/{job_id}/report") == 404


def refusal(site: Site, path: str, body: bytes | None = None) -> int:
    with pytest.raises(urllib.error.HTTPError) as refused:
        send(site, path, body)
    refused.value.close()
    return refused.value.code
