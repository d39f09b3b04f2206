"""Which column dates the reviews, and how long a period is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import cast

from reviews_parsing.errors import DataError
from reviews_parsing.insights.source import Reviews, literal, quoted

NAMES = ("date", "time", "created_at", "review_date", "timestamp", "datetime", "created", "published_at", "posted_at")
PARTS = {
    "year": "strftime(moment, '%Y')",
    "quarter": "strftime(moment, '%Y') || '-Q' || quarter(moment)",
    "month": "strftime(moment, '%Y-%m')",
    "week": "strftime(moment, '%G-W%V')",
    "day": "strftime(moment, '%Y-%m-%d')",
    "weekday": "isodow(moment) || ' ' || dayname(moment)",
}
"""What `--by` can make of a date."""
GRAINS = {"day": 1, "week": 7, "month": 30.4, "quarter": 91.3, "year": 365.2}
"""The lengths of a period, in days."""
MOST_PERIODS, FEWEST_PERIODS, ENOUGH = 60, 6, 20
"""A plot has no more periods; and no fewer, unless each has that many reviews."""

# Formats that are read in one way only: 03/04/2024 is not among them.
_FORMATS = ("%Y-%m", "%Y/%m/%d", "%d.%m.%Y", "%d %B %Y", "%d %b %Y", "%B %d, %Y", "%b %d, %Y", "%Y%m%d")
_TIMES = ("date", "timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns", "timestamp with time zone")
_NUMBERS = ("integer", "bigint", "uinteger", "ubigint", "double")


@dataclass(frozen=True, slots=True)
class Time:
    """The column of dates, SQL for the moment of a row, the grain, the first and last day, and the rows dated."""

    column: str
    moment: str
    grain: str
    first: date
    last: date
    dated: int


def find(reviews: Reviews, wanted: str | None) -> Time | None:
    """The wanted column, else one of a type of dates, else one of a usual name that holds dates; None if there is none.

    Raises DataError where the wanted column does not exist or holds no date that can be read.
    """
    if wanted is not None and wanted not in reviews.columns:
        raise DataError(f"no column '{wanted}' to date the reviews; there are {', '.join(reviews.columns)}")
    for column in [wanted] if wanted is not None else _candidates(reviews):
        moment = _moment(column, str(reviews.columns[column]).lower())
        if moment is None:
            continue
        query = (
            f"SELECT min(moment)::DATE, max(moment)::DATE, count(moment) FROM (SELECT {moment} AS moment FROM reviews)"
        )
        ((first, last, dated),) = cast(list[tuple[date | None, date | None, int]], reviews.rows(query))
        if first is not None and last is not None:
            return Time(column, moment, grain(first, last, dated), first, last, dated)
    if wanted is not None:
        raise DataError(f"no date in column '{wanted}' can be read: write dates as 2026-01-31")
    return None


def grain(first: date, last: date, dated: int) -> str:
    """The shortest period that makes a plot with few enough points, of enough reviews each."""
    days = (last - first).days + 1
    names = list(GRAINS)
    chosen = next((name for name in names if days / GRAINS[name] <= MOST_PERIODS), "year")
    for name in names[names.index(chosen) + 1 :]:
        if dated * GRAINS[chosen] / days >= ENOUGH or days / GRAINS[name] < FEWEST_PERIODS:
            break
        chosen = name
    return chosen


def _candidates(reviews: Reviews) -> Sequence[str]:
    typed = [name for name, kind in reviews.columns.items() if str(kind).lower() in _TIMES]
    usual = [name for wanted in NAMES for name in reviews.columns if name.lower() == wanted]
    return [name for name in usual if name in typed] + typed + usual


def _moment(column: str, kind: str) -> str | None:
    """SQL for the timestamp in a column of that type; None where such a type holds none."""
    name = quoted(column)
    if kind in _TIMES:
        return f"{name}::TIMESTAMP"
    # Seconds of this century are below 5e9, and milliseconds above; a year is neither.
    if kind in _NUMBERS:
        microseconds = f"(CASE WHEN {name} < 5e9 THEN 1e6 ELSE 1e3 END * {name})::BIGINT"
        return f"CASE WHEN {name} BETWEEN 1e8 AND 1e13 THEN make_timestamp({microseconds}) END"
    if kind != "varchar":
        return None
    formats = ", ".join(map(literal, _FORMATS))
    return f"coalesce(try_cast({name} AS TIMESTAMP), try_strptime(trim({name}), [{formats}]))"
