"""Dates are recognised in any column, and changes over time are detected."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from tests.insights.making import jsonl, parquet, review

from reviews_parsing.errors import DataError
from reviews_parsing.insights import analyse, findings
from reviews_parsing.insights.dates import grain

FIRST, LAST = date(2024, 1, 5), date(2024, 3, 3)


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("visited", [FIRST, LAST], pa.date32()),
        ("at", [datetime(2024, 1, 5, 9), datetime(2024, 3, 3, 23)], pa.timestamp("us")),
        ("at", [datetime(2024, 1, 5, 9, tzinfo=UTC), datetime(2024, 3, 3, 20, tzinfo=UTC)], pa.timestamp("ms", "UTC")),
        ("Date", ["2024-01-05", "2024-03-03"], None),
        ("created_at", ["2024-01-05T09:00:00Z", "2024-03-03T09:00:00Z"], None),
        ("review_date", ["January 5, 2024", "3 Mar 2024"], None),
        ("time", [1704445200, 1709456400], None),
        ("timestamp", [1704445200000, 1709456400000], None),
    ],
)
def test_the_column_is_found_by_its_type_or_name(tmp_path: Path, name: str, values: list[object], kind: object) -> None:
    rows = [review("[Tea](BEVERAGE+).", **{name: value}) for value in values]
    insights = analyse([parquet(tmp_path / "p.parquet", rows, **({name: kind} if kind else {}))])
    assert (insights.time, insights.first, insights.last, insights.dated) == (name, FIRST, LAST, 2)


def test_a_column_can_be_named_and_what_cannot_be_read_is_counted(tmp_path: Path) -> None:
    rows = [review("[Tea](BEVERAGE+).", eaten=day) for day in ("2024-01-05", "03/04/2024", None, "2024-03-03")]
    path = jsonl(tmp_path / "p.jsonl", rows)
    assert analyse([path]).time is None
    assert "--time COLUMN" in analyse([path]).notes[0]
    insights = analyse([path], time="eaten")
    assert (insights.time, insights.dated) == ("eaten", 2)
    assert insights.notes[0] == "2 of 4 reviews have no date in 'eaten' that can be read."
    assert "'03/04/2024' (1)" in insights.notes[1]
    assert "--date-format" in insights.notes[1]


def test_a_column_that_is_not_there_or_holds_no_date_is_refused(parsed: Path) -> None:
    with pytest.raises(DataError, match=r"no column 'when'.*text, id, date"):
        analyse([parsed], time="when")
    with pytest.raises(DataError, match="no date in column 'text'"):
        analyse([parsed], time="text")


@pytest.mark.parametrize(
    ("days", "reviews", "expected"),
    [
        (1, 5, "day"),
        (30, 100_000, "day"),
        (30, 5, "day"),
        (200, 100_000, "week"),
        (1000, 100_000, "month"),
        (1000, 240, "quarter"),
        (5000, 100_000, "quarter"),
        (20_000, 100_000, "year"),
    ],
)
def test_periods_are_few_and_full_enough(days: int, reviews: int, expected: str) -> None:
    assert grain(FIRST, FIRST + timedelta(days=days), reviews) == expected


def test_since_when_is_told(tmp_path: Path) -> None:
    rows = [
        review(f"[Tea](BEVERAGE{'-' if month > 8 and n % 4 else '+'}).", date=f"2024-{month:02}-{n + 1:02}")
        for month in range(1, 13)
        for n in range(20)
    ]
    insights = analyse([parquet(tmp_path / "p.parquet", rows)])
    changes = {change.measure: change for change in insights.changes}
    assert set(changes) == {"praise", "blame"}
    assert changes["blame"].since.month in (8, 9)
    assert (changes["blame"].before.value, changes["praise"].before.value) == pytest.approx((0, 1), abs=0.02)
    assert changes["blame"].after.value == pytest.approx(0.75, abs=0.05)
    assert any(line.startswith("Since ") and "blame BEVERAGE" in line for line in findings(insights))


def test_nothing_has_changed_where_nothing_has(tmp_path: Path) -> None:
    rows = [
        review(f"[Tea](BEVERAGE{'-' if n % 3 else '+'}).", date=f"2024-{n // 3 % 12 + 1:02}-{n % 28 + 1:02}")
        for n in range(324)
    ]
    assert analyse([parquet(tmp_path / "p.parquet", rows)]).changes == ()
