"""Groups of reviews held against each other, with tests of significance."""

from __future__ import annotations

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
MOST = 20
"""As many groups are told apart, the largest; the others are pooled."""
MEASURES = ("mentions", "praise", "blame")

T = TypeVar("T", Test, Contrast)
_Tally = tuple[int, int, int, int]
"""Reviews of a group; those that mention a category; of them, those that praise and that blame it."""


def compare(reviews: Reviews, column: str, name: str, of: int, order: Sequence[str]) -> Comparison:
    """The groups of a column, in the columns `name` of the tables of counts, in the rows that are counted by it."""
    groups = _groups(reviews, name, of, chronological=column in dates.PARTS)
    if len(groups) < 2:
        ((there,),) = cast(list[tuple[int]], reviews.rows(f"SELECT count(*) FROM totals WHERE of = {of}"))
        why = (
            f"all reviews have the same '{column}'"
            if there == 1
            else f"none of its {there:,} groups has {LEAST} reviews, which is too few to compare"
        )
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


def _groups(reviews: Reviews, name: str, of: int, chronological: bool) -> tuple[Group, ...]:
    """The groups that are told apart, the largest first or in the order of time, and what the others are together."""
    rows = cast(
        list[tuple[str, int, int, int]],
        reviews.rows(
            f"""
            WITH ranked AS (SELECT {name} AS value, reviews, reviews >= {LEAST}
                AND row_number() OVER (ORDER BY reviews DESC, {name}) <= {MOST} AS apart FROM totals WHERE of = {of})
            SELECT CASE WHEN apart THEN value END AS value, sum(reviews)::BIGINT, count(*), 0 FROM ranked
            GROUP BY apart, CASE WHEN apart THEN value END
            """
        ),
    )
    apart = [Group(value, its) for value, its, _, _ in rows if value is not None]
    apart.sort(key=lambda group: (group.value,) if chronological else (-group.reviews, group.value))
    pooled = [Group(f"{number:,} others", its, number) for value, its, number, _ in rows if value is None]
    return tuple(apart) + tuple(group for group in pooled if group.reviews >= LEAST)


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
