"""Comparison of groups of reviews, and of two ranges of days, with tests of significance."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, TypeVar, cast

from reviews_parsing.errors import DataError
from reviews_parsing.insights import dates
from reviews_parsing.insights.counts import MEASURES, Cube
from reviews_parsing.insights.results import Contrast, Group, GroupComparison, RangeComparison, RangeDifference, Test
from reviews_parsing.insights.reviews import Reviews
from reviews_parsing.insights.statistics import adjusted, independence, newcombe, two_share_p, wilson

if TYPE_CHECKING:
    from reviews_parsing.insights.dates import Dating

MIN_REVIEWS = 10
"""Groups with fewer reviews are pooled."""
MAX_GROUPS = 24
"""Number of groups that are not pooled: the largest, or the latest where groups are periods."""

ALL_REVIEWS = (Group("", 0),)
"""The group of a comparison over all reviews."""

_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]+)?")
_RANGE = re.compile(r"(\d{4}-\d\d-\d\d)\.\.(\d{4}-\d\d-\d\d)")
T = TypeVar("T", Test, Contrast, RangeDifference)


def is_chronological(reviews: Reviews, column: str) -> bool:
    """Tell whether the groups of a column are parts of the date."""
    return column in dates.PARTS and reviews.resolve(column) is None


def read_groups(reviews: Reviews, column: str, name: str, grouping: int) -> tuple[tuple[Group, ...], str | None]:
    """Return the groups of a column, small ones pooled into the last, and why they cannot be compared, or None.

    `name` is the column in the table of totals, counted by the set `grouping`. Groups are sorted by size, or by value
    if all values are numbers or periods.
    """
    chronological = is_chronological(reviews, column)
    rank = f"{name} DESC" if chronological else f"reviews DESC, {name}"
    rows = cast(
        list[tuple[str | None, int, int, int]],
        reviews.rows(
            f"""
            WITH ranked AS (SELECT {name} AS value, reviews, reviews < {MIN_REVIEWS} AS small,
                row_number() OVER (ORDER BY {rank}) AS position FROM totals WHERE grouping = {grouping})
            SELECT CASE WHEN NOT small AND position <= {MAX_GROUPS} THEN value END AS value, sum(reviews)::BIGINT,
                count(*), coalesce(sum(reviews) FILTER (small), 0)::BIGINT FROM ranked GROUP BY 1
            """
        ),
    )
    groups = [Group(value, size) for value, size, _, _ in rows if value is not None]
    if chronological:
        groups.sort(key=lambda group: group.value)
    elif all(_NUMBER.fullmatch(group.value) for group in groups):
        groups.sort(key=lambda group: float(group.value))
    else:
        groups.sort(key=lambda group: (-group.reviews, group.value))
    pooled = [Group(f"{number:,} others", size, number) for value, size, number, _ in rows if value is None]
    result = (*groups, *(group for group in pooled if group.reviews >= MIN_REVIEWS))
    return result, _incomparable(result, sum(small for *_, small in rows), column, chronological)


def _incomparable(groups: Sequence[Group], small: int, column: str, chronological: bool) -> str | None:
    """Return the reason why groups cannot be compared, or None."""
    unpooled = sum(group.reviews for group in groups if not group.pooled)
    if not unpooled or (chronological and small > unpooled):
        longer = ", which longer stretches of time may have" if chronological else ""
        return f"most of its groups have fewer than {MIN_REVIEWS} reviews{longer}"
    if len(groups) == 1:
        return f"all other reviews have the same '{column}', or are fewer than {MIN_REVIEWS}"
    return None


def compare(
    column: str, groups: tuple[Group, ...], reason: str | None, cube: Cube, order: Sequence[str]
) -> GroupComparison:
    """Compare the groups of a column."""
    if reason:
        return GroupComparison(column, groups, (), (), f"There is nothing to compare by '{column}': {reason}.")
    counts = cube.hits.sum(axis=2)
    tests, contrasts = [], []
    for n, category in enumerate(order):
        for position, measure in enumerate(MEASURES):
            totals = [group.reviews for group in groups] if position == 0 else counts[n, 0].tolist()
            pairs = list(zip(counts[n, position].tolist(), totals, strict=True))
            tests.append(_test(category, measure, pairs))
            hits, total = sum(h for h, _ in pairs), sum(n for _, n in pairs)
            for group, (group_hits, group_total) in zip(groups, pairs, strict=True):
                if 0 < group_total < total:
                    other_reviews = hits - group_hits, total - group_total
                    contrasts.append(
                        _contrast(group.value, category, measure, (group_hits, group_total), other_reviews)
                    )
    return GroupComparison(column, groups, _adjust(tests), _adjust(contrasts))


def _test(category: str, measure: str, pairs: Sequence[tuple[int, int]]) -> Test:
    test, statistic, p, effect = independence([(hits, total - hits) for hits, total in pairs])
    return Test(category, measure, test, statistic, p, p, effect)


def _contrast(
    value: str, category: str, measure: str, pair: tuple[int, int], other_reviews: tuple[int, int]
) -> Contrast:
    hits, total = pair
    test, _, p, _ = independence([(hits, total - hits), (other_reviews[0], other_reviews[1] - other_reviews[0])])
    difference = newcombe(*pair, *other_reviews)
    return Contrast(
        value,
        category,
        measure,
        total,
        hits,
        wilson(*pair),
        other_reviews[0] / other_reviews[1],
        difference,
        test,
        p,
        p,
    )


def _adjust(results: Sequence[T]) -> tuple[T, ...]:
    """Return the results with p-values adjusted together."""
    corrected = adjusted([result.p for result in results])
    return tuple(replace(result, adjusted=p) for result, p in zip(results, corrected, strict=True))


def parse_ranges(text: str, dating: Dating | None) -> tuple[date, date, date, date]:
    """Return the first and last day of the previous and of the current range.

    `text` is day, week, month, quarter or year (the last one with reviews and the one before), or two ranges such as
    2024-01-01..2024-03-31,2024-04-01..2024-06-30. Raises DataError if it is neither, or reviews have no dates.
    """
    if dating is None:
        raise DataError("--compare needs a column of dates: name it with --time COLUMN")
    if text in dates.GRAINS:
        first = _start(dating.last, text)
        previous_start = _start(first - timedelta(days=1), text)
        return previous_start, first - timedelta(days=1), first, dating.last
    parts = [_RANGE.fullmatch(part.strip()) for part in text.split(",")]
    try:
        days = [date.fromisoformat(day) for match in parts if match for day in match.groups()]
    except ValueError:
        days = []
    if len(parts) != 2 or len(days) != 4 or days[0] > days[1] or days[2] > days[3] or days[1] >= days[2]:
        forms = "month (day, week, quarter, year) or FIRST..LAST,FIRST..LAST, the earlier range first"
        raise DataError(f"'{text}' names no ranges to compare: give {forms}, with days such as 2024-01-31")
    return days[0], days[1], days[2], days[3]


def _start(day: date, grain: str) -> date:
    """Return the first day of the period that contains a day."""
    if grain == "week":
        return day - timedelta(days=day.weekday())
    if grain == "quarter":
        return day.replace(month=3 * ((day.month - 1) // 3) + 1, day=1)
    return {"day": day, "month": day.replace(day=1), "year": day.replace(month=1, day=1)}[grain]


def compare_ranges(
    name: str,
    ranges: tuple[date, date, date, date],
    cubes: Sequence[tuple[str | None, Sequence[Group], Cube, Cube]],
    order: Sequence[str],
    topics: Sequence[tuple[str, str, str]],
) -> RangeComparison:
    """Compare two ranges, overall and in each group: shares of all reviews that mention, praise or blame a subject.

    Raises DataError if a range has no reviews.
    """
    import numpy as np

    totals = cubes[0][2].total.sum(axis=1)
    for number, first, last in ((0, ranges[0], ranges[1]), (1, ranges[2], ranges[3])):
        if not totals[number]:
            raise DataError(f"no review is dated from {first} to {last}: choose other ranges for --compare")
    differences = []
    for column, groups, cube, topic_cube in cubes:
        for g, group in enumerate(groups):
            if group.pooled:
                continue
            total_before, now = (int(total) for total in cube.total[:, g])
            if min(total_before, now) < MIN_REVIEWS and column is not None:
                continue
            subjects: list[tuple[str, str | None, np.ndarray]] = [
                (category, None, cube.hits[n]) for n, category in enumerate(order)
            ]
            if column is None:
                subjects += [(category, topic, topic_cube.hits[n]) for n, (topic, category, _) in enumerate(topics)]
            for category, topic, counts in subjects:
                for m, measure in enumerate(MEASURES):
                    old, new = (int(count) for count in counts[m, :, g])
                    if old + new == 0 or min(total_before, now) == 0:
                        continue
                    p = float(two_share_p(*(np.array([v]) for v in (new, now, old, total_before)))[0])
                    differences.append(
                        RangeDifference(
                            column,
                            None if column is None else group.value,
                            category,
                            topic,
                            measure,
                            now,
                            new,
                            wilson(new, now),
                            total_before,
                            old,
                            wilson(old, total_before),
                            newcombe(new, now, old, total_before),
                            p,
                            p,
                        )
                    )
    old_first, old_last, first, last = ranges
    counts_of = int(totals[1]), int(totals[0])
    return RangeComparison(name, first, last, old_first, old_last, *counts_of, _adjust(differences))
