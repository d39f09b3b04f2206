"""Groups that differ are reported, equal ones are not, and small ones are pooled."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from insights.making import Row, parquet, review
from reviews_parsing.errors import DataError
from reviews_parsing.insights import analyse, findings
from reviews_parsing.insights.findings import reportable_contrasts
from reviews_parsing.insights.statistics import independence


def tea(sign: str, **columns: Any) -> Row:
    return review(f"[Tea](BEVERAGE{sign}) as it comes.", **columns)


def test_a_group_that_differs_is_found(tmp_path: Path) -> None:
    rows = [tea("+" if n % 10 else "-", shop="Quay") for n in range(60)]
    rows += [tea("-" if n % 3 else "+", shop="Hill") for n in range(60)]
    rows += [tea("+" if n % 10 else "-", shop="Park") for n in range(60)]
    insights = analyse([parquet(tmp_path / "p.parquet", rows)], ["shop"])
    (comparison,) = insights.comparisons
    assert [(g.value, g.reviews) for g in comparison.groups] == [("Hill", 60), ("Park", 60), ("Quay", 60)]
    worst = reportable_contrasts(comparison)[0]
    assert (worst.value, worst.hits, worst.reviews, worst.test) == ("Hill", 20, 60, "chi-squared")
    assert worst.measure == "praise"
    assert worst.rest == pytest.approx(108 / 120)
    assert worst.difference.value == pytest.approx(20 / 60 - 108 / 120)
    assert worst.difference.low < worst.difference.value < worst.difference.high < 0
    blame = next(t for t in comparison.tests if t.measure == "blame")
    assert blame.adjusted < 0.001
    assert any("Hill" in line for line in findings(insights))


def test_groups_alike_are_seldom_called_different() -> None:
    chance = random.Random(1)
    for groups, size in ((2, 300), (2, 12), (4, 300), (4, 12)):
        tables = [[chance.choices([True, False], [3, 7], k=size) for _ in range(groups)] for _ in range(100)]
        values = [independence([(sum(its), size - sum(its)) for its in table])[2] for table in tables]
        # Five of a hundred are expected at the most; twelve come once in a hundred such rows.
        assert sum(p < 0.05 for p in values) < 12, (groups, size)


def test_small_groups_are_taken_together_or_said_to_be_small(tmp_path: Path) -> None:
    rows = [tea("+", shop="large") for _ in range(30)] + [tea("-", shop=f"tiny {n}") for n in range(12)]
    rows += [tea("+", shop=None), tea("+", shop=" ")]
    path = parquet(tmp_path / "p.parquet", rows)
    (comparison,) = analyse([path], ["shop"]).comparisons
    assert [(g.value, g.reviews, g.pooled) for g in comparison.groups] == [("large", 30, 0), ("13 others", 14, 13)]
    (alone,) = analyse([parquet(tmp_path / "q.parquet", rows[:33])], ["shop"]).comparisons
    assert "the same 'shop', or are fewer than 10" in str(alone.note)
    assert alone.contrasts == ()
    (small,) = analyse([parquet(tmp_path / "r.parquet", rows[30:39])], ["shop"]).comparisons
    assert "fewer than 10 reviews" in str(small.note)
    sparse = [tea("+", date=f"2024-{n % 12 + 1:02}-05") for n in range(40)] + [tea("+", date="2024-12-06")] * 8
    (months,) = analyse([parquet(tmp_path / "s.parquet", sparse)], ["month"]).comparisons
    assert "longer stretches of time" in str(months.note)


def test_groups_of_numbers_and_of_time_stand_in_their_order(tmp_path: Path) -> None:
    rows = [tea("+", stars=n % 11, date=f"2024-{n % 2 + 1:02}-05") for n in range(143)]
    stars, months, days = analyse([parquet(tmp_path / "p.parquet", rows)], ["stars", "month", "weekday"]).comparisons
    assert [g.value for g in stars.groups] == [str(n) for n in range(11)]
    assert [g.value for g in months.groups] == ["2024-01", "2024-02"]
    assert [g.value for g in days.groups] == ["1 Monday", "5 Friday"]


def test_of_many_months_the_latest_are_told_apart(tmp_path: Path) -> None:
    rows = [tea("+", date=f"{2021 + n % 36 // 12}-{n % 12 + 1:02}-05") for n in range(360)]
    (comparison,) = analyse([parquet(tmp_path / "p.parquet", rows)], ["month"]).comparisons
    assert [g.value for g in comparison.groups[:2]] == ["2022-01", "2022-02"]
    assert [(g.value, g.pooled) for g in comparison.groups[-2:]] == [("2023-12", 0), ("12 others", 12)]


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("year", ["2024", "2025"]),
        ("quarter", ["2024-Q4", "2025-Q1"]),
        ("week", ["2024-W51", "2025-W01"]),
        ("day", ["2024-12-20", "2025-01-02"]),
    ],
)
def test_parts_of_a_date(tmp_path: Path, part: str, values: list[str]) -> None:
    rows = [tea("+", date=day) for day in ("2024-12-20", "2025-01-02") for _ in range(10)]
    (comparison,) = analyse([parquet(tmp_path / "p.parquet", rows)], [part]).comparisons
    assert [group.value for group in comparison.groups] == values


def test_a_column_of_the_file_goes_before_a_part_of_the_date(tmp_path: Path) -> None:
    rows = [tea("+", month=name, date="2024-01-05") for name in ("Nivôse", "Germinal") for _ in range(10)]
    (comparison,) = analyse([parquet(tmp_path / "p.parquet", rows)], ["month"]).comparisons
    assert {g.value for g in comparison.groups} == {"Nivôse", "Germinal"}


def test_an_unknown_column_is_refused_with_those_there_are(parsed: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column 'shop' to compare by; there are text, id, date, and of the date"):
        analyse([parsed], ["shop"])
    undated = parquet(tmp_path / "undated.parquet", [tea("+", shop="a")])
    with pytest.raises(DataError, match="'month' needs a column of dates: name it with --time, one of text, shop"):
        analyse([undated], ["month"])
