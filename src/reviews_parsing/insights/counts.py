"""Counts of reviews and aspects in SQL: by category or topic, period and group.

`dated` is the view of reviews with their period, groups, stars and counted aspects. `coded` adds numbers of periods and
groups. `CountTables` holds the tables of counts and returns them as arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, cast

from reviews_parsing.insights.results import Category, Cell, Group, Period
from reviews_parsing.insights.reviews import ROW_ID, Reviews
from reviews_parsing.insights.statistics import wilson

if TYPE_CHECKING:
    import numpy as np

POSITIVE, NEGATIVE, NEUTRAL = "positive", "negative", "neutral"
POLARITIES = (POSITIVE, NEGATIVE, NEUTRAL, "conflict", "mixed")
"""Usual names of polarities."""
MEASURES = ("mentions", "praise", "blame")
"""Measures of a category or topic, in the order of the second axis of `Cube.hits`."""
MAX_CELLS = 100_000

Grouping = tuple[str, ...]
"""Columns that rows are counted by."""


@dataclass(frozen=True, slots=True)
class Cube:
    """Counts by subject, period (or side of a comparison of two ranges) and group.

    `total` has shape [periods, groups]; `hits` [subjects, 3, periods, groups] counts the reviews that mention, praise
    and blame a subject; `stars` [3, periods, groups] holds the number, sum and sum of squares of ratings.
    """

    total: np.ndarray
    hits: np.ndarray
    stars: np.ndarray


def create_totals(reviews: Reviews, by: int, has_dates: bool) -> dict[Grouping, int]:
    """Create the table `totals` with a row per period, and per group of each column by_0, by_1, ...

    Column `grouping` tells which set of columns a row is counted by; the result maps each set to that number.
    """
    groupings: list[Grouping] = [(), *([("period",)] if has_dates else []), *((f"by_{n}",) for n in range(by))]
    if by > 1:
        groupings.append(_crossed(by))
    columns = list(dict.fromkeys(column for grouping in groupings for column in grouping))
    numbers = _numbers(groupings, columns)
    number = f"grouping({', '.join(columns)})" if columns else "0"
    sets = ", ".join(f"({', '.join(grouping)})" for grouping in groupings)
    reviews.rows(
        f"CREATE TABLE totals AS SELECT {number} AS grouping, {''.join(f'{c}, ' for c in columns)}count(*) AS reviews, "
        f"count(*) FILTER (len(aspects) > 0) AS with_aspects FROM dated GROUP BY GROUPING SETS ({sets})"
    )
    return numbers


def _numbers(groupings: Sequence[Grouping], columns: Sequence[str]) -> dict[Grouping, int]:
    """Return the value of SQL's grouping() for each set: one bit per column, the first the highest, set if summed."""
    bits = {column: 1 << position for position, column in enumerate(reversed(columns))}
    return {grouping: sum(bit for column, bit in bits.items() if column not in grouping) for grouping in groupings}


def create_codes(reviews: Reviews, periods: Sequence[date], groups: Sequence[Sequence[Group]]) -> None:
    """Create the view `coded`: `dated` with t, the number of the period, and g0, g1, ..., the numbers of groups.

    A review without a date has the number of periods as t. Pooled values have the number of the pooled group.
    """
    reviews.insert("period_codes", {"period": list(periods), "t": list(range(len(periods)))}, ["DATE", "INTEGER"])
    joins, columns = "LEFT JOIN period_codes USING (period)", f"coalesce(t, {len(periods)}) AS t"
    for n, values in enumerate(groups):
        rows = [(group.value, number) for number, group in enumerate(values) if not group.pooled]
        pooled = next((number for number, group in enumerate(values) if group.pooled), len(values))
        table: dict[str, Sequence[object]] = {
            f"by_{n}": [value for value, _ in rows],
            f"g{n}": [number for _, number in rows],
        }
        reviews.insert(f"group_codes_{n}", table, ["VARCHAR", "INTEGER"])
        joins += f" LEFT JOIN group_codes_{n} USING (by_{n})"
        columns += f", coalesce(g{n}, {pooled}) AS g{n}"
    reviews.rows(f"CREATE VIEW coded AS SELECT dated.*, {columns} FROM dated {joins}")


@dataclass(frozen=True, slots=True)
class CountTables:
    """The tables `counts` (of categories) and `topic_counts`, by period or side and group.

    Args:
        reviews: Connection with the view `coded`.
        periods: Number of periods; undated reviews are counted in one more.
        sizes: Number of groups of each of the columns g0, g1, ...
        crossed: Number of the columns by_0, by_1, ... that categories are also counted by all together.
        compared: Whether `coded` has a column side: 0 and 1 are the two ranges of a comparison.
    """

    reviews: Reviews
    periods: int
    sizes: Sequence[int]
    crossed: int
    compared: bool

    def create(self) -> None:
        """Create the table `counts`; rows with a NULL category count all reviews."""
        kinds = ", ".join(
            f"list_transform(list_filter(aspects, lambda x: {condition}),"
            f" lambda x: {{'category': x.entity_group, 'kind': '{kind}'}})"
            for kind, condition in (
                ("mention", "true"),
                ("praise", f"x.polarity = '{POSITIVE}'"),
                ("blame", f"x.polarity = '{NEGATIVE}'"),
            )
        )
        # list_distinct counts a review once per category and kind, however many aspects it has.
        unit = f"list_distinct(list_concat([{{'category': NULL::VARCHAR, 'kind': 'review'}}], {kinds}))"
        sums = ", ".join(
            f"count(*) FILTER (unit.kind = '{kind}') AS {name}"
            for kind, name in zip(("review", "mention", "praise", "blame"), _COUNTS, strict=True)
        )
        stars = ", ".join(
            f"{sql} FILTER (unit.kind = 'review') AS {name}"
            for sql, name in zip(("count(stars)", "sum(stars)", "sum(stars * stars)"), _STARS, strict=True)
        )
        columns, sets = self._grouping_sets("unit.category", topics=False)
        self.reviews.rows(
            f"CREATE TABLE counts AS WITH units AS (SELECT {columns}, stars, unnest({unit}) AS unit FROM coded)"
            f" SELECT grouping({columns}) AS grouping, {columns}, unit.category AS category, {sums}, {stars}"
            f" FROM units GROUP BY GROUPING SETS ({sets})"
        )

    def create_topics(self) -> None:
        """Create `topic_reviews`, a row per review and topic, and `topic_counts`.

        Reads the table `topic_forms` (category, form, topic).
        """
        columns, sets = self._grouping_sets("topic", topics=True)
        values = ", ".join(f"any_value({column}) AS {column}" for column in self._columns(topics=True))
        self.reviews.rows(
            f"CREATE TABLE topic_reviews AS SELECT row_id, topic,"
            f" bool_or(coalesce(polarity = '{POSITIVE}', false)) AS praise,"
            f" bool_or(coalesce(polarity = '{NEGATIVE}', false)) AS blame, {values} FROM"
            f" (SELECT {ROW_ID} AS row_id, f.topic, a.polarity, {columns} FROM"
            f" (SELECT {ROW_ID}, {columns}, unnest(aspects) AS a FROM coded) JOIN topic_forms f"
            f" ON a.entity_group = f.category AND lower(trim(a.word)) = f.form) GROUP BY row_id, topic"
        )
        self.reviews.rows(
            f"CREATE TABLE topic_counts AS SELECT grouping({columns}) AS grouping, {columns}, topic, 0 AS total,"
            f" count(*) AS mentioning, count(*) FILTER (praise) AS praising, count(*) FILTER (blame) AS blaming"
            f" FROM topic_reviews GROUP BY GROUPING SETS ({sets})"
        )

    def cube(self, subjects: Sequence[str] | int, dimension: int | None, axis: str = "t") -> Cube:
        """Return the counts of categories (by name), or of the first topics (by number), in the groups of a column.

        Without a dimension, all reviews are one group. `axis` is `t` for periods or `side` for the ranges compared.
        """
        import numpy as np

        topics = isinstance(subjects, int)
        count = subjects if isinstance(subjects, int) else len(subjects)
        number = self._number(_axis(axis, dimension), topics)
        data = self.reviews.arrays(
            f"SELECT {axis} AS t, {'0' if dimension is None else f'g{dimension}'} AS g, * FROM"
            f" {'topic_counts' if topics else 'counts'} WHERE grouping = {number} AND {axis} IS NOT NULL"
        )
        groups = 1 if dimension is None else self.sizes[dimension]
        shape = (self.periods + 1 if axis == "t" else 2), groups + 1
        total, hits = np.zeros(shape, np.int64), np.zeros((count, 3, *shape), np.int64)
        stars = np.zeros((3, *shape))
        t, g = np.asarray(data["t"], np.int64), np.asarray(data["g"], np.int64)
        if topics:
            subject = np.asarray(data["topic"], np.int64)
        else:
            rank = {name: n for n, name in enumerate(cast(Sequence[str], subjects))}
            names = np.ma.asarray(data["category"])
            whole = np.ma.getmaskarray(names)
            subject = np.array([-1 if w else rank.get(n, -1) for n, w in zip(names.data, whole, strict=True)], np.int64)
            total[t[whole], g[whole]] = np.asarray(data["total"])[whole]
            for n, name in enumerate(_STARS):
                stars[n, t[whole], g[whole]] = np.ma.filled(np.ma.asarray(data[name], float), 0)[whole]
        chosen = subject >= 0
        for n, name in enumerate(_COUNTS[1:]):
            hits[subject[chosen], n, t[chosen], g[chosen]] = np.asarray(data[name])[chosen]
        # The last group holds the reviews of small groups that are too few to be pooled.
        return Cube(total[:, :groups], hits[..., :groups], stars[..., :groups])

    def overall_number(self) -> int:
        """Return the value of `grouping` in `counts` for the rows by period alone."""
        return self._number(("t",), topics=False)

    def crossed_number(self) -> int:
        """Return the value of `grouping` in `counts` for the rows by all of by_0, by_1, ..."""
        return self._number(_crossed(self.crossed), topics=False)

    def _number(self, grouping: Grouping, topics: bool) -> int:
        return _numbers([grouping], self._columns(topics))[grouping]

    def _groupings(self, topics: bool) -> list[Grouping]:
        axes = ["t", "side"] if self.compared else ["t"]
        groupings = [_axis(axis, n) for axis in axes for n in (None, *range(len(self.sizes)))]
        if self.crossed > 1 and not topics:
            groupings.append(_crossed(self.crossed))
        return groupings

    def _columns(self, topics: bool) -> list[str]:
        return list(dict.fromkeys(column for grouping in self._groupings(topics) for column in grouping))

    def _grouping_sets(self, key: str, topics: bool) -> tuple[str, str]:
        sets = ", ".join(f"({', '.join((*grouping, key))})" for grouping in self._groupings(topics))
        return ", ".join(self._columns(topics)), sets


_COUNTS, _STARS = ("total", "mentioning", "praising", "blaming"), ("rated", "stars_sum", "stars_squares")


def _crossed(columns: int) -> Grouping:
    """Return the grouping by all of by_0, by_1, ..."""
    return tuple(f"by_{n}" for n in range(columns))


def _axis(axis: str, dimension: int | None) -> Grouping:
    return (axis,) if dimension is None else (axis, f"g{dimension}")


def read_categories(tables: CountTables, total: int) -> tuple[Category, ...]:
    """Return all categories, the most mentioned first."""
    rows = tables.reviews.rows(
        f"""
        SELECT a.category, c.mentioning, praising, blaming, aspects, implicit, positive, neutral, negative
        FROM (SELECT category, sum(mentioning)::BIGINT AS mentioning, sum(praising)::BIGINT AS praising,
            sum(blaming)::BIGINT AS blaming FROM counts WHERE grouping = {tables.overall_number()}
            AND category IS NOT NULL GROUP BY 1) c
        JOIN (
            SELECT a.entity_group AS category, count(*) AS aspects, count(*) FILTER (a.word IS NULL) AS implicit,
                count(*) FILTER (a.polarity = '{POSITIVE}') AS positive,
                count(*) FILTER (a.polarity = '{NEUTRAL}') AS neutral,
                count(*) FILTER (a.polarity = '{NEGATIVE}') AS negative
            FROM (SELECT unnest(aspects) AS a FROM dated) GROUP BY 1
        ) a ON c.category = a.category ORDER BY mentioning DESC, c.category
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


def periods_of(cube: Cube, starts: Sequence[date], order: Sequence[str]) -> tuple[Period, ...]:
    """Return each category in each period with reviews, also where no review mentions it."""
    periods = []
    for n, category in enumerate(order):
        for t, start in enumerate(starts):
            total = int(cube.total[t].sum())
            mentioning, praising, blaming = (int(count) for count in cube.hits[n, :, t].sum(axis=-1))
            shares = wilson(mentioning, total), wilson(praising, mentioning), wilson(blaming, mentioning)
            periods.append(
                Period(start, category, total, mentioning, shares[0], praising, shares[1], blaming, shares[2])
            )
    return tuple(periods)


def read_cells(tables: CountTables, groupings: Mapping[Grouping, int]) -> tuple[Cell, ...]:
    """Return each category in each combination of values of the columns by_0, by_1, ..., the largest first."""
    names = _crossed(tables.crossed)
    join_condition = " AND ".join(f"t.{name} = c.{name}" for name in names)
    rows = tables.reviews.rows(
        f"SELECT [{', '.join(f't.{n}' for n in names)}], category, t.reviews, c.mentioning, praising, blaming"
        f" FROM totals t JOIN counts c ON {join_condition} WHERE t.grouping = {groupings[names]}"
        f" AND c.grouping = {tables.crossed_number()} AND category IS NOT NULL"
        f" ORDER BY t.reviews DESC, 1, c.mentioning DESC, category LIMIT {MAX_CELLS}"
    )
    strings: dict[str, str] = {}
    cells = []
    for values, category, *figures in rows:
        # Each row has its own copies of the same few values.
        group = tuple(strings.setdefault(value, value) for value in cast(list[str], values))
        name = strings.setdefault(cast(str, category), cast(str, category))
        cells.append(Cell(group, name, *cast(list[int], figures)))
    return tuple(cells)
