"""Sentences report significant differences of at least a point; tables hold the rest."""

from __future__ import annotations

from datetime import date

import pytest

from reviews_parsing.insights.findings import contrast_sentence, reportable_changes, reportable_contrasts
from reviews_parsing.insights.results import Change, Contrast, Group, GroupComparison
from reviews_parsing.insights.statistics import newcombe, wilson


def contrast(value: str, hits: int, rest: int) -> Contrast:
    """Return a contrast between two groups of a million reviews each."""
    million = 1_000_000
    shares = wilson(hits, million), rest / million, newcombe(hits, million, rest, million)
    return Contrast(value, "FOOD", "mentions", million, hits, *shares, "chi-squared", 1e-9, 1e-9)


def test_small_and_pooled_differences_are_not_told() -> None:
    groups = (Group("Mill", 10**6), Group("Quay", 10**6), Group("36 others", 36 * 10**6, 36))
    contrasts = (contrast("Mill", 305_000, 300_000), contrast("Quay", 200_000, 300_000), contrast("36 others", 9, 5**8))
    (one,) = reportable_contrasts(comparison := GroupComparison("business", groups, (), contrasts))
    sentence = "Where business is Quay, 20\u00a0% of the reviews mention FOOD, elsewhere 30\u00a0%"
    assert contrast_sentence(comparison, one) == f"{sentence} (a difference of \u221210 points)."


@pytest.mark.parametrize(("after", "count"), [(305_000, 0), (320_000, 1)])
def test_changes_of_less_than_a_point_are_not_told(after: int, count: int) -> None:
    million = 1_000_000
    change = Change("FOOD", "praise", date(2024, 1, 1), wilson(300_000, million), wilson(after, million), 1e-9, 1e-9)
    assert len(reportable_changes([change])) == count
