"""Two ranges of days are compared, overall and in each group."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from insights.making import parquet, review
from reviews_parsing.errors import DataError
from reviews_parsing.insights import analyse, figures
from reviews_parsing.insights.findings import range_sentence, reportable_differences


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Tea is blamed from May on, at the Hill only."""
    rows = [
        review(
            f"The [tea](BEVERAGE{'-' if month == 5 and shop == 'Hill' and n % 5 else '+'}) again.",
            date=f"2024-{month:02}-{n % 28 + 1:02}",
            business=shop,
        )
        for month in (3, 4, 5)
        for shop in ("Hill", "Quay")
        for n in range(40)
    ]
    return parquet(tmp_path / "p.parquet", rows)


@pytest.mark.parametrize("compare", ["month", "2024-04-01..2024-04-30,2024-05-01..2024-05-28"])
def test_a_change_at_one_place_is_reported_for_it(path: Path, compare: str) -> None:
    insights = analyse([path], compare=compare)
    compared = insights.compared
    assert compared is not None
    assert (compared.first, compared.last) == (date(2024, 5, 1), date(2024, 5, 28))
    assert (compared.reviews, compared.reviews_before) == (80, 80)
    differences = {(d.group, d.measure): d for d in compared.differences if d.topic is None}
    hill = differences["Hill", "blame"]
    assert (hill.hits, hill.total, hill.hits_before, hill.total_before) == (32, 40, 0, 40)
    assert hill.adjusted < 0.001
    assert hill.difference.low < 0.8 < hill.difference.high
    expected = "Business Hill: more reviews blame BEVERAGE: 80\u00a0% (32 of 40); before, 0\u00a0% (0 of 40)."
    assert range_sentence(insights, hill) == expected
    assert {d.group for d in reportable_differences(compared)} == {"Hill", None}
    assert {"ranges_blame", "ranges_praise"} <= set(figures(insights))


def test_the_last_quarter_and_year(path: Path) -> None:
    compared = analyse([path], compare="quarter").compared
    assert compared is not None
    assert (compared.first_before, compared.reviews, compared.reviews_before) == (date(2024, 1, 1), 160, 80)
    with pytest.raises(DataError, match="no review is dated from 2023-01-01 to 2023-12-31"):
        analyse([path], compare="year")


def test_ranges_that_are_none_are_refused(path: Path, tmp_path: Path) -> None:
    for text in (
        "fortnight",
        "2024-05-01..2024-05-31",
        "2024-05-01..2024-05-31,2024-04-01..2024-04-30",
        "2024-02-31..2024-03-01,2024-04-01..2024-04-02",
    ):
        with pytest.raises(DataError, match="names no ranges to compare"):
            analyse([path], compare=text)
    with pytest.raises(DataError, match="no review is dated from 2019-01-01"):
        analyse([path], compare="2019-01-01..2019-01-31,2024-04-01..2024-04-30")
    undated = parquet(tmp_path / "undated.parquet", [review("[Tea](BEVERAGE+).")])
    with pytest.raises(DataError, match="--compare needs a column of dates"):
        analyse([undated], compare="month")
