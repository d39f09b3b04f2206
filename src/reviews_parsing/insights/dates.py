"""Dates of reviews and lengths of periods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import cast

from reviews_parsing.errors import DataError
from reviews_parsing.insights.reviews import Reviews, literal, quoted

DATE_COLUMNS = (
    "date",
    "time",
    "created_at",
    "review_date",
    "timestamp",
    "datetime",
    "created",
    "published_at",
    "posted_at",
)
PARTS = {
    "year": "strftime(moment, '%Y')",
    "quarter": "strftime(moment, '%Y') || '-Q' || quarter(moment)",
    "month": "strftime(moment, '%Y-%m')",
    "week": "strftime(moment, '%G-W%V')",
    "day": "strftime(moment, '%Y-%m-%d')",
    "weekday": "isodow(moment) || ' ' || dayname(moment)",
}
"""Parts of a date for `--by`, in SQL."""
GRAINS = {"day": 1, "week": 7, "month": 30.4, "quarter": 91.3, "year": 365.2}
"""Lengths of periods in days."""
MAX_PERIODS, MIN_PERIODS, MIN_PERIOD_REVIEWS = 60, 6, 20
"""A plot has at most MAX_PERIODS, and fewer than MIN_PERIODS only if each then has MIN_PERIOD_REVIEWS reviews."""

# Unambiguous formats; 03/04/2024 is not among them.
_FORMATS = ("%Y-%m", "%Y/%m/%d", "%d.%m.%Y", "%d %B %Y", "%d %b %Y", "%B %d, %Y", "%b %d, %Y", "%Y%m%d")
_DATE_TYPES = ("date", "timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns", "timestamp with time zone")
_NUMBER_TYPES = ("integer", "bigint", "uinteger", "ubigint", "double")


@dataclass(frozen=True, slots=True)
class Time:
    """A column of dates: SQL for the timestamp of a row, grain, first and last day, and number of dated rows."""

    column: str
    moment: str
    grain: str
    first: date
    last: date
    dated: int


def find_dates(reviews: Reviews, name: str | None) -> Time | None:
    """Return the dates in the column `name`, by default in the first column with a date type or a usual name, or None.

    Raises DataError if the column does not exist or has no dates.
    """
    if name is not None and name not in reviews.columns:
        raise DataError(f"no column '{name}' to date the reviews; there are {', '.join(reviews.columns)}")
    for column in [name] if name is not None else _candidates(reviews):
        moment = _moment_sql(column, str(reviews.columns[column]).lower())
        if moment is None:
            continue
        query = (
            f"SELECT min(moment)::DATE, max(moment)::DATE, count(moment) FROM (SELECT {moment} AS moment FROM reviews)"
        )
        ((first, last, dated),) = cast(list[tuple[date | None, date | None, int]], reviews.rows(query))
        if first is not None and last is not None:
            return Time(column, moment, grain(first, last, dated), first, last, dated)
    if name is not None:
        raise DataError(f"no date in column '{name}' can be read: write dates as 2026-01-31")
    return None


def grain(first: date, last: date, dated: int) -> str:
    """Return the shortest period with few enough points of enough reviews."""
    days = (last - first).days + 1
    names = list(GRAINS)
    chosen = next((name for name in names if days / GRAINS[name] <= MAX_PERIODS), "year")
    for name in names[names.index(chosen) + 1 :]:
        if dated * GRAINS[chosen] / days >= MIN_PERIOD_REVIEWS or days / GRAINS[name] < MIN_PERIODS:
            break
        chosen = name
    return chosen


def _candidates(reviews: Reviews) -> Sequence[str]:
    """Return columns that may hold dates: first those with a usual name and a date type."""
    typed = [name for name, kind in reviews.columns.items() if str(kind).lower() in _DATE_TYPES]
    usual = [name for date_column in DATE_COLUMNS for name in reviews.columns if name.lower() == date_column]
    return [name for name in usual if name in typed] + typed + usual


def _moment_sql(column: str, kind: str) -> str | None:
    """Return SQL for the timestamp in a column, or None if its type holds no dates."""
    name = quoted(column)
    if kind in _DATE_TYPES:
        return f"{name}::TIMESTAMP"
    # Seconds since 1970 are below 5e9 in this century, milliseconds above.
    if kind in _NUMBER_TYPES:
        microseconds = f"(CASE WHEN {name} < 5e9 THEN 1e6 ELSE 1e3 END * {name})::BIGINT"
        return f"CASE WHEN {name} BETWEEN 1e8 AND 1e13 THEN make_timestamp({microseconds}) END"
    if kind != "varchar":
        return None
    formats = ", ".join(map(literal, _FORMATS))
    return f"coalesce(try_cast({name} AS TIMESTAMP), try_strptime(trim({name}), [{formats}]))"
