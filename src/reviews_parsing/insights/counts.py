"""Counting in SQL: one pass over the reviews for how many there are, another for what they speak of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import cast

from reviews_parsing.insights.source import Reviews
from reviews_parsing.insights.statistics import wilson
from reviews_parsing.insights.tables import Category, Cell, Period, Share

POSITIVE, NEGATIVE, NEUTRAL = "positive", "negative", "neutral"
MOST_CELLS = 100_000


@dataclass(frozen=True, slots=True)
class Counts:
    """Reviews that speak of a category, and those of them that praise and blame it."""

    category: str
    reviews: int
    praising: int
    blaming: int


def _groupings(by: int, timed: bool) -> list[tuple[str, ...]]:
    """The sets of columns that are counted by: none, time, each of `by`, and all of `by` where there are several."""
    each = [(f"by_{n}",) for n in range(by)]
    together = [tuple(f"by_{n}" for n in range(by))] if by > 1 else []
    return [(), *([("period",)] if timed else []), *each, *together]


def count(reviews: Reviews, by: int, timed: bool) -> dict[tuple[str, ...], int]:
    """Makes the tables `totals` and `counts`: one row a group, and one a group and category.

    Expects the table `dated`, with columns period, by_0, by_1, ... and aspects. A row's column `of` says by which of
    the sets of columns it counts; the answer is the value of `of` for each set.
    """
    sets = _groupings(by, timed)
    columns = list(dict.fromkeys(column for its in sets for column in its))
    listed = "".join(f"{column}, " for column in columns)
    # grouping() has a bit for each column, the first the highest: whether it is summed over.
    which = f"grouping({', '.join(columns)})" if columns else "0"
    bits = {column: 1 << place for place, column in enumerate(reversed(columns))}
    totals = ", ".join(f"({', '.join(columns)})" for columns in sets)
    reviews.rows(
        f"CREATE TABLE totals AS SELECT {which} AS of, {listed}count(*) AS reviews, "
        f"count(*) FILTER (len(aspects) > 0) AS speaking FROM dated GROUP BY GROUPING SETS ({totals})"
    )
    sets_with_category = ", ".join(f"({', '.join((*columns, 'said.category'))})" for columns in sets)
    kinds = ", ".join(
        f"list_transform(list_filter(aspects, lambda x: {where}),"
        f" lambda x: {{'category': x.entity_group, 'kind': '{kind}'}})"
        for kind, where in (
            ("mention", "true"),
            ("praise", f"x.polarity = '{POSITIVE}'"),
            ("blame", f"x.polarity = '{NEGATIVE}'"),
        )
    )
    tallies = ", ".join(
        f"count(*) FILTER (said.kind = '{kind}') AS {name}"
        for kind, name in (("mention", "reviews"), ("praise", "praising"), ("blame", "blaming"))
    )
    # Each review once for each category and kind, however many aspects it has of them.
    reviews.rows(
        f"CREATE TABLE counts AS"
        f" WITH said AS (SELECT {listed}unnest(list_distinct(list_concat({kinds}))) AS said FROM dated)"
        f" SELECT {which} AS of, {listed}said.category AS category, {tallies} FROM said"
        f" GROUP BY GROUPING SETS ({sets_with_category})"
    )
    return {its: sum(bit for column, bit in bits.items() if column not in its) for its in sets}


def categories(reviews: Reviews, total: int, everything: int) -> tuple[Category, ...]:
    """Every category, the most often mentioned first; `everything` is the value of `of` that sums over all."""
    rows = reviews.rows(
        f"""
        SELECT c.category, reviews, praising, blaming, aspects, implicit, positive, neutral, negative
        FROM (FROM counts WHERE of = {everything}) c JOIN (
            SELECT a.entity_group AS category, count(*) AS aspects, count(*) FILTER (a.word IS NULL) AS implicit,
                count(*) FILTER (a.polarity = '{POSITIVE}') AS positive,
                count(*) FILTER (a.polarity = '{NEUTRAL}') AS neutral,
                count(*) FILTER (a.polarity = '{NEGATIVE}') AS negative
            FROM (SELECT unnest(aspects) AS a FROM dated) GROUP BY 1
        ) a ON c.category = a.category ORDER BY reviews DESC, c.category
        """
    )
    found = []
    for category, *figures in rows:
        its, praising, blaming, aspects, implicit, positive, neutral, negative = cast(list[int], figures)
        found.append(
            Category(
                category=cast(str, category),
                reviews=its,
                mentions=wilson(its, total),
                praising=praising,
                praise=wilson(praising, its),
                blaming=blaming,
                blame=wilson(blaming, its),
                aspects=aspects,
                implicit=implicit,
                positive=positive,
                neutral=neutral,
                negative=negative,
                other=aspects - positive - neutral - negative,
            )
        )
    return tuple(found)


def periods(reviews: Reviews, of: int, order: Iterable[str]) -> tuple[Period, ...]:
    """Every category in every period in which reviews were written, whether or not they speak of it."""
    totals = dict(
        cast(
            list[tuple[date, int]],
            reviews.rows(f"SELECT period, reviews FROM totals WHERE of = {of} AND period IS NOT NULL ORDER BY period"),
        )
    )
    rows = reviews.rows(f"SELECT period, category, reviews, praising, blaming FROM counts WHERE of = {of}")
    known = {(period, category): its for period, category, *its in rows}
    found = []
    for category in order:
        for start, total in totals.items():
            its, praising, blaming = cast(list[int], known.get((start, category), [0, 0, 0]))
            shares: list[Share] = [wilson(its, total), wilson(praising, its), wilson(blaming, its)]
            found.append(Period(start, category, total, its, shares[0], praising, shares[1], blaming, shares[2]))
    return tuple(found)


def cells(reviews: Reviews, sets: Mapping[tuple[str, ...], int], by: int) -> tuple[Cell, ...]:
    """Every category in every combination of the values of `by`, the largest first."""
    names = tuple(f"by_{n}" for n in range(by))
    of = sets[names]
    same = " AND ".join(f"t.{name} = c.{name}" for name in names)
    rows = reviews.rows(
        f"SELECT [{', '.join(f't.{n}' for n in names)}], category, t.reviews, c.reviews, praising, blaming"
        f" FROM totals t JOIN counts c ON {same} WHERE t.of = {of} AND c.of = {of}"
        f" ORDER BY t.reviews DESC, 1, c.reviews DESC, category LIMIT {MOST_CELLS}"
    )
    return tuple(
        Cell(tuple(cast(list[str], values)), *cast(tuple[str, int, int, int, int], tuple(its))) for values, *its in rows
    )
