"""Dates are recognised in any column, and changes over time are detected."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from insights.making import Row, jsonl, parquet, review
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
    columns: list[Row] = [{name: value} for value in values]
    rows = [review("[Tea](BEVERAGE+).", **column) for column in columns]
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


def read(tmp_path: Path, values: list[object], **options: Any) -> tuple[list[date | None], tuple[str, ...]]:
    """Return the day of each value of a column, and the notes."""
    rows = [review("[Tea](BEVERAGE+).", date=value, n=n) for n, value in enumerate(values)]
    path = jsonl(tmp_path / "p.jsonl", rows)
    insights = analyse([path], ["day", "n"], **options)
    days = {int(cell.values[1]): date.fromisoformat(cell.values[0]) for cell in insights.cells if "-" in cell.values[0]}
    return [days.get(n) for n in range(len(values))], insights.notes


@pytest.mark.parametrize(
    ("value", "day"),
    [
        ("5 Jan 2024", date(2024, 1, 5)),
        ("Jan. 5th, 2024", date(2024, 1, 5)),
        ("January 5, 2024 at 9:30 PM", date(2024, 1, 5)),
        ("Fri, 05 Jan 2024 09:00:00 +0000", date(2024, 1, 5)),
        ("Fri Jan 05 09:00:00 2024", date(2024, 1, 5)),
        ("5 January 2024, 9:30 p.m.", date(2024, 1, 5)),
        ("05-Jan-24", date(2024, 1, 5)),
        ("5 Jan 98", None),
        ("Jan 5, 24", date(2024, 1, 5)),
        ("June 2019", date(2019, 6, 1)),
        ("Date of visit: June 2019", date(2019, 6, 1)),
        ("Sept 2019", date(2019, 9, 1)),
        ("2024-01", date(2024, 1, 1)),
        ("20240105", date(2024, 1, 5)),
        ("2024/1/5", date(2024, 1, 5)),
        ("2024-01-05T23:00:00.123Z", date(2024, 1, 5)),
        ("25.12.23", date(2023, 12, 25)),
        ("05.01.2024", date(2024, 1, 5)),
        ("12/25/2023 10:00", date(2023, 12, 25)),
        ("1704445200", date(2024, 1, 5)),
        (1704445200, date(2024, 1, 5)),
        (1704445200.5, date(2024, 1, 5)),
        ("1704445200000", date(2024, 1, 5)),
        ("1.704445E+09", date(2024, 1, 5)),
        ("1704445200000000000", date(2024, 1, 5)),
        ("2024-W01-5", date(2024, 1, 5)),
        ("2024W02", date(2024, 1, 8)),
        ("20240105T230000Z", date(2024, 1, 5)),
        ("2024.01.05", date(2024, 1, 5)),
        ("25. 12. 2023", date(2023, 12, 25)),
        ("5. März 2023", date(2023, 3, 5)),
        ("1er août 2023", date(2023, 8, 1)),
        ("5 de enero de 2024", date(2024, 1, 5)),
        ("3 dicembre 2023", date(2023, 12, 3)),
        ("2024年1月5日", date(2024, 1, 5)),
        ("Reviewed in the United States 🇺🇸 on January 5, 2024", date(2024, 1, 5)),
        ("Reviewed in India on 5 January 2024", date(2024, 1, 5)),
        ("01 5, 2024", date(2024, 1, 5)),
        ("05JAN2024", date(2024, 1, 5)),
        ("05-JAN-24 10.30.00.000000 AM", date(2024, 1, 5)),
        ("Fri Jan 05 10:00:00 EST 2024", date(2024, 1, 5)),
        ("Fri Jan 05 2024 10:00:00 GMT-0500 (Eastern Standard Time)", date(2024, 1, 5)),
        ("/Date(1704445200000+0100)/", date(2024, 1, 5)),
        ("2024-W60", None),
        ("Dec-19", None),
        ("1989-12-31", None),
        ("2099-01-01", None),
        ("0000-00-00", None),
        ("31/02/2024", None),
        ("5", None),
        ("soon", None),
    ],
)
def test_forms_of_a_date(tmp_path: Path, value: object, day: date | None) -> None:
    days, notes = read(tmp_path, [value, "2024-03-03"])
    assert days == [day, date(2024, 3, 3)]
    assert any("1 of 2 reviews have no date in 'date'" in note for note in notes) is (day is None)
    if day is None:
        assert any(f"'{value}' (1)" in note for note in notes)


@pytest.mark.parametrize(
    ("values", "days"),
    [
        (["03/04/2024", "25/12/2023"], [date(2024, 4, 3), date(2023, 12, 25)]),
        (["03/04/2024", "12/25/2023"], [date(2024, 3, 4), date(2023, 12, 25)]),
        (["03-04-24", "25-12-23", "1/2/2024"], [date(2024, 4, 3), date(2023, 12, 25), date(2024, 2, 1)]),
    ],
)
def test_one_value_decides_the_order_of_all(tmp_path: Path, values: list[object], days: list[date]) -> None:
    assert read(tmp_path, values)[0] == days


@pytest.mark.parametrize(
    ("values", "days"),
    [
        (["19-03-12", "19-04-29"], [date(2019, 3, 12), date(2019, 4, 29)]),
        (["20/01/05", "20/01/31", "19/12/24"], [date(2020, 1, 5), date(2020, 1, 31), date(2019, 12, 24)]),
        (["12.03.19", "13.04.19"], [date(2019, 3, 12), date(2019, 4, 13)]),
    ],
)
def test_two_digits_may_be_a_year_at_the_beginning(tmp_path: Path, values: list[object], days: list[date]) -> None:
    assert read(tmp_path, values)[0] == days


def test_a_year_that_may_be_a_day_is_asked_for(tmp_path: Path) -> None:
    values = ["19-03-12", "19-03-13", "20-01-01"]
    path = jsonl(tmp_path / "p.jsonl", [review("[Tea](BEVERAGE+).", date=value) for value in values])
    insights = analyse([path])
    assert insights.time is None
    assert any("'19-03-12' in column 'date' can be day or year first: give --date-format" in n for n in insights.notes)
    assert analyse([path], date_format="%y-%m-%d").last == date(2020, 1, 1)


@pytest.mark.parametrize("values", [[43831, 43832.5, 44000], ["43831", "43832.5", "44000"]])
def test_days_of_a_spreadsheet(tmp_path: Path, values: list[object]) -> None:
    days, notes = read(tmp_path, values)
    assert days == [date(2020, 1, 1), date(2020, 1, 2), date(2020, 6, 18)]
    assert any("days since 1899-12-30" in note for note in notes)
    assert read(tmp_path, [43831, 1704445200])[0] == [None, date(2024, 1, 5)]


def test_a_usual_column_without_a_date_is_named(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "p.jsonl", [review("[Tea](BEVERAGE+).", date="Spring 2019")])
    insights = analyse([path])
    assert "No date in column 'date' can be read, such as 'Spring 2019': give --date-format." in insights.notes


def test_an_order_that_no_value_decides_is_asked_for(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "p.jsonl", [review("[Tea](BEVERAGE+).", date="03/04/2024") for _ in range(2)])
    insights = analyse([path])
    assert insights.time is None
    assert any(
        "'03/04/2024' in column 'date' can be day or month first: give --date-format" in n for n in insights.notes
    )
    with pytest.raises(DataError, match="can be day or month first: give --date-format"):
        analyse([path], time="date")
    assert analyse([path], date_format="%d/%m/%Y").first == date(2024, 4, 3)
    assert analyse([path], date_format="%m/%d/%Y").first == date(2024, 3, 4)


def test_a_format_that_is_none_is_refused(parsed: Path) -> None:
    with pytest.raises(DataError, match="'%Q' is not a format of dates"):
        analyse([parsed], date_format="%Q")
    with pytest.raises(DataError, match="no date in column 'date' has the format '%d/%m/%Y', such as '20"):
        analyse([parsed], date_format="%d/%m/%Y")


def test_relative_dates_are_relative_to_a_day_or_to_the_file(tmp_path: Path) -> None:
    values: list[object] = ["a month ago", "2 weeks ago", "yesterday", "3 days ago", "a year ago", "edited an hour ago"]
    values += ["3w ago", "about 2 months ago", "over a year ago", "2 d"]
    days, notes = read(tmp_path, values, as_of=datetime(2024, 3, 15, 12))
    assert days == [
        date(2024, 2, 15),
        date(2024, 3, 1),
        date(2024, 3, 14),
        date(2024, 3, 12),
        date(2023, 3, 15),
        date(2024, 3, 15),
        date(2024, 2, 23),
        date(2024, 1, 15),
        date(2023, 3, 15),
        date(2024, 3, 13),
    ]
    assert notes == ()
    os.utime(tmp_path / "p.jsonl", (1704445200, 1704445200))
    insights = analyse([tmp_path / "p.jsonl"])
    assert insights.last == date(2024, 1, 5)
    assert any("modification time of the files (2024-01-05): --as-of sets the day" in note for note in insights.notes)


def test_a_column_is_known_however_its_name_is_written(tmp_path: Path) -> None:
    for name in ("Date of visit", "reviewTime", "review.date", "unixReviewTime", "Review Date"):
        column: Row = {name: "2024-01-05"}
        path = jsonl(tmp_path / "p.jsonl", [review("[Tea](BEVERAGE+).", **column)])
        assert analyse([path]).time == name
