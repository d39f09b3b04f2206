"""Comparison of groups of reviews, with tests of significance."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar, cast

from reviews_parsing.insights import dates
from reviews_parsing.insights.results import Comparison, Contrast, Group, Test
from reviews_parsing.insights.reviews import Reviews
from reviews_parsing.insights.statistics import adjusted, independence, newcombe, wilson

MIN_REVIEWS = 10
"""Groups with fewer reviews are pooled."""
MAX_GROUPS = 24
"""Number of groups that are not pooled: the largest, or the latest where groups are periods."""
MEASURES = ("mentions", "praise", "blame")

_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]+)?")
T = TypeVar("T", Test, Contrast)


def compare(reviews: Reviews, column: str, name: str, grouping: int, order: Sequence[str]) -> Comparison:
    """Compare the groups of a column, which the tables of counts call `name` and count by the set `grouping`."""
    chronological = column in dates.PARTS and column not in reviews.columns
    groups, small = _groups(reviews, name, grouping, chronological)
    if reason := _incomparable(groups, small, column, chronological):
        return Comparison(column, groups, (), (), f"There is nothing to compare by '{column}': {reason}.")
    counts = _counts(reviews, name, grouping, groups)
    tests, contrasts = [], []
    for category in order:
        for position, measure in enumerate(MEASURES):
            pairs = []
            for group in groups:
                mentioning, *polar = counts[group.value, category]
                pairs.append((mentioning, group.reviews) if position == 0 else (polar[position - 1], mentioning))
            tests.append(_test(category, measure, pairs))
            hits, total = sum(h for h, _ in pairs), sum(n for _, n in pairs)
            for group, (group_hits, group_total) in zip(groups, pairs, strict=True):
                if 0 < group_total < total:
                    rest = hits - group_hits, total - group_total
                    contrasts.append(_contrast(group.value, category, measure, (group_hits, group_total), rest))
    return Comparison(column, groups, _adjust(tests), _adjust(contrasts))


def _groups(reviews: Reviews, name: str, grouping: int, chronological: bool) -> tuple[tuple[Group, ...], int]:
    """Return the groups, with the small ones pooled into the last, and the number of reviews in small groups.

    They are sorted by size, or by value if all values are numbers or periods.
    """
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
    return (*groups, *(group for group in pooled if group.reviews >= MIN_REVIEWS)), sum(small for *_, small in rows)


def _incomparable(groups: Sequence[Group], small: int, column: str, chronological: bool) -> str | None:
    """Return the reason why groups cannot be compared, or None."""
    unpooled = sum(group.reviews for group in groups if not group.pooled)
    if not unpooled or (chronological and small > unpooled):
        longer = ", which longer stretches of time may have" if chronological else ""
        return f"most of its groups have fewer than {MIN_REVIEWS} reviews{longer}"
    if len(groups) == 1:
        return f"all other reviews have the same '{column}', or are fewer than {MIN_REVIEWS}"
    return None


def _counts(
    reviews: Reviews, name: str, grouping: int, groups: Sequence[Group]
) -> dict[tuple[str, str], tuple[int, int, int]]:
    """Return (mentioning, praising, blaming) by (group, category)."""
    pooled = next((group.value for group in groups if group.pooled), None)
    rows = reviews.rows(
        f"SELECT CASE WHEN list_contains($1, {name}) THEN {name} END AS value, category, sum(reviews)::BIGINT,"
        f" sum(praising)::BIGINT, sum(blaming)::BIGINT FROM counts WHERE grouping = {grouping} GROUP BY 1, 2",
        [[group.value for group in groups if not group.pooled]],
    )
    counts: dict[tuple[str, str], tuple[int, int, int]] = defaultdict(lambda: (0, 0, 0))
    for value, category, *figures in rows:
        counts[cast(str, pooled if value is None else value), cast(str, category)] = cast(
            tuple[int, int, int], tuple(figures)
        )
    return counts


def _test(category: str, measure: str, pairs: Sequence[tuple[int, int]]) -> Test:
    test, statistic, p, effect = independence([(hits, total - hits) for hits, total in pairs])
    return Test(category, measure, test, statistic, p, p, effect)


def _contrast(value: str, category: str, measure: str, pair: tuple[int, int], rest: tuple[int, int]) -> Contrast:
    hits, total = pair
    test, _, p, _ = independence([(hits, total - hits), (rest[0], rest[1] - rest[0])])
    difference = newcombe(*pair, *rest)
    return Contrast(value, category, measure, total, hits, wilson(*pair), rest[0] / rest[1], difference, test, p, p)


def _adjust(results: Sequence[T]) -> tuple[T, ...]:
    """Return the results with p-values adjusted together."""
    corrected = adjusted([result.p for result in results])
    return tuple(replace(result, adjusted=p) for result, p in zip(results, corrected, strict=True))
