"""Counts of reviews and aspects in SQL: by category, period and group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import cast

from reviews_parsing.insights.results import Category, Cell, Period
from reviews_parsing.insights.reviews import Reviews
from reviews_parsing.insights.statistics import wilson

POSITIVE, NEGATIVE, NEUTRAL = "positive", "negative", "neutral"
MAX_CELLS = 100_000

Grouping = tuple[str, ...]
"""Columns that rows are counted by."""


def _groupings(by: int, has_dates: bool) -> list[Grouping]:
    """Return the sets of columns to count by: none, period, each of `by`, and all of `by` if there are two or more."""
    single: list[Grouping] = [(f"by_{n}",) for n in range(by)]
    crossed: list[Grouping] = [tuple(f"by_{n}" for n in range(by))] if by > 1 else []
    return [(), *([("period",)] if has_dates else []), *single, *crossed]


def create_counts(reviews: Reviews, by: int, has_dates: bool) -> dict[Grouping, int]:
    """Create the tables `totals` (a row per group) and `counts` (a row per group and category).

    Reads the view `dated` with columns period, by_0, by_1, ... and aspects. Column `grouping` of both tables tells
    which set of columns a row is counted by; the result maps each set to that number.
    """
    groupings = _groupings(by, has_dates)
    columns = list(dict.fromkeys(column for grouping in groupings for column in grouping))
    selected = "".join(f"{column}, " for column in columns)
    # grouping() has one bit per column, the first column the highest; a set bit means summed over.
    number = f"grouping({', '.join(columns)})" if columns else "0"
    bits = {column: 1 << position for position, column in enumerate(reversed(columns))}
    sets = ", ".join(f"({', '.join(grouping)})" for grouping in groupings)
    reviews.rows(
        f"CREATE TABLE totals AS SELECT {number} AS grouping, {selected}count(*) AS reviews, "
        f"count(*) FILTER (len(aspects) > 0) AS with_aspects FROM dated GROUP BY GROUPING SETS ({sets})"
    )
    sets = ", ".join(f"({', '.join((*grouping, 'mention.category'))})" for grouping in groupings)
    kinds = ", ".join(
        f"list_transform(list_filter(aspects, lambda x: {condition}),"
        f" lambda x: {{'category': x.entity_group, 'kind': '{kind}'}})"
        for kind, condition in (
            ("mention", "true"),
            ("praise", f"x.polarity = '{POSITIVE}'"),
            ("blame", f"x.polarity = '{NEGATIVE}'"),
        )
    )
    sums = ", ".join(
        f"count(*) FILTER (mention.kind = '{kind}') AS {name}"
        for kind, name in (("mention", "reviews"), ("praise", "praising"), ("blame", "blaming"))
    )
    # list_distinct counts a review once per category and kind, however many aspects it has.
    reviews.rows(
        f"CREATE TABLE counts AS"
        f" WITH mentions AS (SELECT {selected}unnest(list_distinct(list_concat({kinds}))) AS mention FROM dated)"
        f" SELECT {number} AS grouping, {selected}mention.category AS category, {sums} FROM mentions"
        f" GROUP BY GROUPING SETS ({sets})"
    )
    return {grouping: sum(bit for column, bit in bits.items() if column not in grouping) for grouping in groupings}


def read_categories(reviews: Reviews, total: int, grouping: int) -> tuple[Category, ...]:
    """Return all categories, the most mentioned first; `grouping` is the number of the set without columns."""
    rows = reviews.rows(
        f"""
        SELECT c.category, reviews, praising, blaming, aspects, implicit, positive, neutral, negative
        FROM (FROM counts WHERE grouping = {grouping}) c JOIN (
            SELECT a.entity_group AS category, count(*) AS aspects, count(*) FILTER (a.word IS NULL) AS implicit,
                count(*) FILTER (a.polarity = '{POSITIVE}') AS positive,
                count(*) FILTER (a.polarity = '{NEUTRAL}') AS neutral,
                count(*) FILTER (a.polarity = '{NEGATIVE}') AS negative
            FROM (SELECT unnest(aspects) AS a FROM dated) GROUP BY 1
        ) a ON c.category = a.category ORDER BY reviews DESC, c.category
        """
    )
    categories = []
    for category, *figures in rows:
        mentioning, praising, blaming, aspects, implicit, positive, neutral, negative = cast(list[int], figures)
        categories.append(
            Category(
                category=cast(str, category),
                reviews=mentioning,
                mentions=wilson(mentioning, total),
                praising=praising,
                praise=wilson(praising, mentioning),
                blaming=blaming,
                blame=wilson(blaming, mentioning),
                aspects=aspects,
                implicit=implicit,
                positive=positive,
                neutral=neutral,
                negative=negative,
                other=aspects - positive - neutral - negative,
            )
        )
    return tuple(categories)


def read_periods(reviews: Reviews, grouping: int, order: Iterable[str]) -> tuple[Period, ...]:
    """Return each category in each period with reviews, also where no review mentions it."""
    totals = cast(
        list[tuple[date, int]],
        reviews.rows(
            f"SELECT period, reviews FROM totals WHERE grouping = {grouping} AND period IS NOT NULL ORDER BY period"
        ),
    )
    rows = reviews.rows(f"SELECT period, category, reviews, praising, blaming FROM counts WHERE grouping = {grouping}")
    counts = {(period, category): cast(list[int], figures) for period, category, *figures in rows}
    periods = []
    for category in order:
        for start, total in totals:
            mentioning, praising, blaming = counts.get((start, category), [0, 0, 0])
            shares = wilson(mentioning, total), wilson(praising, mentioning), wilson(blaming, mentioning)
            periods.append(
                Period(start, category, total, mentioning, shares[0], praising, shares[1], blaming, shares[2])
            )
    return tuple(periods)


def read_cells(reviews: Reviews, groupings: Mapping[Grouping, int], by: int) -> tuple[Cell, ...]:
    """Return each category in each combination of values of the columns `by`, the largest first."""
    names = tuple(f"by_{n}" for n in range(by))
    grouping = groupings[names]
    same = " AND ".join(f"t.{name} = c.{name}" for name in names)
    rows = reviews.rows(
        f"SELECT [{', '.join(f't.{n}' for n in names)}], category, t.reviews, c.reviews, praising, blaming"
        f" FROM totals t JOIN counts c ON {same} WHERE t.grouping = {grouping} AND c.grouping = {grouping}"
        f" ORDER BY t.reviews DESC, 1, c.reviews DESC, category LIMIT {MAX_CELLS}"
    )
    return tuple(
        Cell(tuple(cast(list[str], values)), *cast(tuple[str, int, int, int, int], tuple(figures)))
        for values, *figures in rows
    )
