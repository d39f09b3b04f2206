"""Groups of reviews held against each other, with tests of significance."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar, cast

from reviews_parsing.insights import dates
from reviews_parsing.insights.source import Reviews
from reviews_parsing.insights.statistics import adjusted, independence, newcombe, wilson
from reviews_parsing.insights.tables import Comparison, Contrast, Group, Test

LEAST = 10
"""A group of fewer reviews is pooled with others."""
MOST = 24
"""As many groups are told apart, the largest, of stretches of time the latest; the others are pooled."""
MEASURES = ("mentions", "praise", "blame")

_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]+)?")
T = TypeVar("T", Test, Contrast)
_Tally = tuple[int, int, int, int]
"""Reviews of a group; those that mention a category; of them, those that praise and that blame it."""


def compare(reviews: Reviews, column: str, name: str, of: int, order: Sequence[str]) -> Comparison:
    """The groups of a column, in the columns `name` of the tables of counts, in the rows that are counted by it."""
    chronological = column in dates.PARTS and column not in reviews.columns
    groups, small = _groups(reviews, name, of, chronological)
    if why := _incomparable(groups, small, column, chronological):
        return Comparison(column, groups, (), (), f"There is nothing to compare by '{column}': {why}.")
    tallies = _tallies(reviews, name, of, groups)
    tests, contrasts = [], []
    for category in order:
        for place, measure in enumerate(MEASURES):
            pairs = [_pair(tallies[group.value, category], group.reviews, place) for group in groups]
            tests.append(_test(category, measure, pairs))
            hits, total = sum(h for h, _ in pairs), sum(n for _, n in pairs)
            for group, (its, its_of) in zip(groups, pairs, strict=True):
                if 0 < its_of < total:
                    contrasts.append(
                        _contrast(group.value, category, measure, (its, its_of), (hits - its, total - its_of))
                    )
    return Comparison(column, groups, _adjust(tests), _adjust(contrasts))


def _groups(reviews: Reviews, name: str, of: int, chronological: bool) -> tuple[tuple[Group, ...], int]:
    """The groups that are told apart, by size, or in the order of time or number, and what the others are together.

    With them, how many reviews are in groups that are too small.
    """
    first = f"{name} DESC" if chronological else f"reviews DESC, {name}"
    rows = cast(
        list[tuple[str | None, int, int, int]],
        reviews.rows(
            f"""
            WITH ranked AS (SELECT {name} AS value, reviews, reviews < {LEAST} AS small,
                row_number() OVER (ORDER BY {first}) AS place FROM totals WHERE of = {of})
            SELECT CASE WHEN NOT small AND place <= {MOST} THEN value END AS value, sum(reviews)::BIGINT, count(*),
                coalesce(sum(reviews) FILTER (small), 0)::BIGINT FROM ranked GROUP BY 1
            """
        ),
    )
    apart = [Group(value, its) for value, its, _, _ in rows if value is not None]
    if chronological:
        apart.sort(key=lambda group: group.value)
    elif all(_NUMBER.fullmatch(group.value) for group in apart):
        apart.sort(key=lambda group: float(group.value))
    else:
        apart.sort(key=lambda group: (-group.reviews, group.value))
    pooled = [Group(f"{number:,} others", its, number) for value, its, number, _ in rows if value is None]
    groups = (*apart, *(group for group in pooled if group.reviews >= LEAST))
    return groups, sum(small for *_, small in rows)


def _incomparable(groups: Sequence[Group], small: int, column: str, chronological: bool) -> str | None:
    """Why there is nothing to compare, None where there is."""
    apart = sum(group.reviews for group in groups if not group.pooled)
    if not apart or (chronological and small > apart):
        longer = ", which longer stretches of time may have" if chronological else ""
        return f"most of its groups have fewer than {LEAST} reviews{longer}"
    if len(groups) == 1:
        return f"all other reviews have the same '{column}', or are fewer than {LEAST}"
    return None


def _tallies(reviews: Reviews, name: str, of: int, groups: Sequence[Group]) -> dict[tuple[str, str], _Tally]:
    """(mentioning, praising, blaming) by (group, category)."""
    pooled = next((group.value for group in groups if group.pooled), None)
    apart = [group.value for group in groups if not group.pooled]
    rows = reviews.rows(
        f"SELECT CASE WHEN list_contains($1, {name}) THEN {name} END AS value, category, sum(reviews)::BIGINT,"
        f" sum(praising)::BIGINT, sum(blaming)::BIGINT FROM counts WHERE of = {of} GROUP BY 1, 2",
        [apart],
    )
    found: dict[tuple[str, str], _Tally] = defaultdict(lambda: (0, 0, 0, 0))
    for value, category, *its in rows:
        found[cast(str, pooled if value is None else value), cast(str, category)] = cast(_Tally, tuple(its))
    return found


def _pair(tally: Sequence[int], reviews: int, place: int) -> tuple[int, int]:
    """(hits, of) of a measure."""
    return (tally[0], reviews) if place == 0 else (tally[place], tally[0])


def _test(category: str, measure: str, pairs: Sequence[tuple[int, int]]) -> Test:
    test, statistic, p, effect = independence([(hits, of - hits) for hits, of in pairs])
    return Test(category, measure, test, statistic, p, p, effect)


def _contrast(value: str, category: str, measure: str, its: tuple[int, int], rest: tuple[int, int]) -> Contrast:
    test, _, p, _ = independence([(its[0], its[1] - its[0]), (rest[0], rest[1] - rest[0])])
    difference = newcombe(*its, *rest)
    return Contrast(value, category, measure, its[1], its[0], wilson(*its), rest[0] / rest[1], difference, test, p, p)


def _adjust(found: Sequence[T]) -> tuple[T, ...]:
    """With what the p-values are worth among so many tests."""
    corrected = adjusted([its.p for its in found])
    return tuple(replace(its, adjusted=p) for its, p in zip(found, corrected, strict=True))
