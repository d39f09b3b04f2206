from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from insights.making import Row, parquet, review

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
