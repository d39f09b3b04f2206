from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from insights.making import Row, parquet, review
from reviews_parsing.insights import analyse, write_report

QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=QUIET.split())
        yield launched
        launched.close()


@pytest.fixture
def rows() -> list[Row]:
    """Five reviews with figures computed by hand."""
    return [
        review("The [soup](FOOD+) was [lovely](!), the [waiter](STAFF-) [rude](!).", id="a", date="2024-01-05"),
        review("[Soups](FOOD+) to [love](!) and a [soup](FOOD-) to send back.", id="b", date="2024-01-20"),
        review("[Waiters](STAFF+) who smile.", "FOOD+", id="c", date="2024-02-11"),
        review("A [table](AMBIENCE=) by the door.", id="d", date="2024-02-28"),
        review("We came on a Monday.", id="e", date="2024-03-03"),
    ]


@pytest.fixture
def parsed(tmp_path: Path, rows: list[Row]) -> Path:
    return parquet(tmp_path / "parsed.parquet", rows)


@pytest.fixture(scope="session")
def rated_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a report with all sections: a place got worse in September, and blame costs stars."""
    folder = tmp_path_factory.mktemp("rated")
    rows = []
    for n in range(360):
        place, month = ("Hill", "Quay", "Mill")[n % 3], n // 30 + 1
        slow = place == "Hill" and month > 8 and n % 5
        text = (
            f"🍜 The [soup](FOOD{'-' if n % 7 == 0 else '+'}) came. The [service](SERVICE{'-' if slow else '+'}) too."
        )
        stars = 5 - 2 * bool(slow) - n % 2
        rows.append(review(text, id=f"r{n}", business=place, date=f"2024-{month:02}-{n % 28 + 1:02}", stars=stars))
    path = folder / "report.html"
    write_report(analyse([parquet(folder / "p.parquet", rows)], compare="month"), path)
    return path
