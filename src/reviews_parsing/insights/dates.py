"""Dates of reviews: the column, its format, and the length of periods."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import cast

from reviews_parsing.errors import DataError
from reviews_parsing.insights.reviews import Reviews, literal, normalised, quoted

DATE_COLUMNS = (
    *("date", "time", "created_at", "review_date", "timestamp", "datetime", "created", "published_at", "posted_at"),
    *("unixreviewtime", "reviewtime", "date_of_visit", "date_of_stay", "visit_date", "stay_date"),
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
FIRST_YEAR = 1990
"""Earlier years, and years after the next one, are not dates of reviews."""

_DAY_OR_MONTH = "can be day or month first: give --date-format %d/%m/%Y or %m/%d/%Y"
_DAY_OR_YEAR = "can be day or year first: give --date-format %d-%m-%y or %y-%m-%d"
_SERIAL_DAYS = "BETWEEN 32874 AND 47848"
"""Days of 1990 to 2030 as a spreadsheet counts them, from 1899-12-30."""
_DATE_TYPES = ("date", "timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns", "timestamp with time zone")
_NUMBER_TYPES = ("integer", "bigint", "uinteger", "ubigint", "hugeint", "float", "double", "decimal")
# Formats of dates in words, after ordinals ("5th"), the full stop of an abbreviated month, commas and the time of day
# are removed and years have four digits.
_WORD_FORMATS = (
    *("%d %B %Y", "%d %b %Y", "%B %d %Y", "%b %d %Y", "%B %Y", "%b %Y", "%A %B %d %Y", "%A %d %B %Y", "%a %d %b %Y"),
    *("%d-%b-%Y", "%d-%B-%Y", "%d/%b/%Y", "%d/%B/%Y", "%b-%Y", "%B-%Y", "%Y-%b-%d", "%a %b %d %Y"),
)
_DAY_MONTH = r"^(\d{1,2}) ?([./-]) ?(\d{1,2}) ?[./-] ?(\d{4}|\d{2})(?:[T, ].*)?$"
_YEAR_FIRST = r"^(\d{2})[./-](\d{1,2})[./-](\d{1,2})(?:[T, ].*)?$"
_RELATIVE = (
    r"^(?:about |almost |over |nearly |more than )?(an?|one|\d{1,3}|last) *"
    r"(second|minute|min|hour|hr|h|day|d|week|wk|w|month|mo|year|yr|y)s?( ago)?$|^(today|yesterday|just now)$"
)
_CLOCK = (
    r"(,? at)?[,t ]? *\b\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?( ?[ap]\.?m\b\.?)?"
    r"( ?((gmt|utc)?[+-]\d{2}:?\d{2}|utc|gmt|[ecmp][sd]t|bst|cest|cet|ist|z)\b)?"
)
# Names of months in German, French, Spanish, Italian, Portuguese and Dutch.
_MONTHS = {
    "january": "januar|januari|janvier|enero|gennaio|janeiro",
    "february": "februar|februari|février|febrero|febbraio|fevereiro",
    "march": "märz|mars|marzo|março|maart",
    "april": "avril|abril|aprile",
    "may": "mai|mayo|maggio|maio|mei",
    "june": "juni|juin|junio|giugno|junho",
    "july": "juli|juillet|julio|luglio|julho",
    "august": "août|agosto|augustus",
    "september": "septembre|septiembre|settembre|setembro",
    "october": "oktober|octobre|octubre|ottobre|outubro",
    "november": "novembre|noviembre|novembro",
    "december": "dezember|décembre|diciembre|dicembre|dezembro",
}
_PREFIX = (
    r"^(?:reviewed in \D{2,60} on|date of (?:visit|stay|experience)|"
    r"reviewed|visited|stayed|written|posted|dined|edited|updated|published)"
    r"(?: in| on)?:? *"
)


@dataclass(frozen=True, slots=True)
class Dating:
    """A column of dates: SQL for the timestamp of a row, grain, first and last day, and number of dated rows."""

    column: str
    moment: str
    grain: str
    first: date
    last: date
    dated: int


def find_dates(
    reviews: Reviews, name: str | None, *, date_format: str | None = None, as_of: datetime | None = None
) -> tuple[Dating | None, tuple[str, ...]]:
    """Return the dates in a column, and notes; by default the first column with a date type or a usual name.

    The format of a text column is inferred from all its values; `date_format` (strptime) sets it. Relative dates ("a
    month ago") are relative to `as_of`, by default the modification time of the files.

    Raises DataError if the column does not exist or has no dates or none in `date_format`, or its dates can be day or
    month first.
    """
    column_name = name and reviews.resolve(name)
    if name is not None and column_name is None:
        raise DataError(f"no column '{name}' to date the reviews; there are {', '.join(reviews.columns)}")
    _check_format(reviews, date_format)
    notes: list[str] = []
    for column in [column_name] if column_name else _candidates(reviews):
        reading = _read_column(reviews, column, date_format, as_of)
        if reading is None:
            continue
        moment, ambiguous, relative_note = reading
        moment = _in_range(moment)
        query = (
            f"SELECT min(moment)::DATE, max(moment)::DATE, count(moment), count(*) FROM"
            f" (SELECT {moment} AS moment FROM reviews)"
        )
        ((first, last, dated, total),) = cast(list[tuple[date | None, date | None, int, int]], reviews.rows(query))
        if first is not None and last is not None:
            if date_format is not None:
                _require_format(reviews, column, date_format)
            if relative_note:
                notes.append(relative_note)
            if dated < total:
                notes += _unread(reviews, column, moment, total - dated, total, ambiguous)
            return Dating(column, moment, grain(first, last, dated), first, last, dated), tuple(notes)
        if ambiguous:
            question = f"dates such as '{ambiguous[0]}' in column '{column}' {ambiguous[1]}"
            if name is not None:
                raise DataError(question)
            notes.append(question[0].upper() + question[1:] + ".")
        elif name is None and total:
            example = _example(reviews, column)
            notes += [f"No date in column '{column}' can be read, such as '{example}': give --date-format."] * bool(
                example
            )
    if name is not None:
        raise DataError(f"no date in column '{name}' can be read: write dates as 2026-01-31, or give --date-format")
    return None, tuple(dict.fromkeys(notes))


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
    usual = [name for date_column in DATE_COLUMNS for name in reviews.columns if normalised(name) == date_column]
    return list(dict.fromkeys([name for name in usual if name in typed] + typed + usual))


def _in_range(moment: str) -> str:
    """Return SQL that is NULL for years in which the reviews cannot have been written."""
    limits = f"TIMESTAMP '{FIRST_YEAR}-01-01' AND TIMESTAMP '{date.today().year + 1}-12-31 23:59:59'"
    return f"CASE WHEN {moment} BETWEEN {limits} THEN {moment} END"


def _check_format(reviews: Reviews, date_format: str | None) -> None:
    if date_format is None:
        return
    try:
        reviews.rows(f"SELECT try_strptime('', {literal(date_format)})")
    except DataError:
        raise DataError(f"'{date_format}' is not a format of dates: give one such as %d/%m/%Y") from None


def _require_format(reviews: Reviews, column: str, date_format: str) -> None:
    """Raise DataError if no text of a column has the format."""
    value = f"trim({quoted(column)})"
    if str(reviews.columns[column]) != "VARCHAR":
        return
    ((fitting,),) = reviews.rows(f"SELECT count(try_strptime({value}, {literal(date_format)})) FROM reviews")
    if not fitting:
        raise DataError(
            f"no date in column '{column}' has the format '{date_format}', such as '{_example(reviews, column)}': give "
            "--date-format as in %d/%m/%Y, or leave it out"
        )


def _read_column(
    reviews: Reviews, column: str, date_format: str | None, as_of: datetime | None
) -> tuple[str, tuple[str, str] | None, str | None] | None:
    """Return SQL for the timestamp, an ambiguous value with the question if there is one, and a note on the reading.

    Returns None if the type of the column holds no dates.
    """
    name, kind = quoted(column), str(reviews.columns[column]).lower()
    if kind in _DATE_TYPES:
        return f"{name}::TIMESTAMP", None, None
    if kind.partition("(")[0] in _NUMBER_TYPES:
        number = f"{name}::DOUBLE"
        if _has_serial_days(reviews, number):
            return _serial_day(number), None, _serial_note(column)
        return _epoch(number), None, None
    if kind != "varchar":
        return None
    value = f"trim({name})"
    parts = f"regexp_extract({value}, {literal(_DAY_MONTH)}, ['a', 'sep', 'b', 'y'])"
    ((day_first, month_first, undecided, example, relative),) = cast(
        list[tuple[int, int, int, str | None, int]],
        reviews.rows(
            f"SELECT count(*) FILTER (a > 12 AND b <= 12), count(*) FILTER (b > 12 AND a <= 12),"
            f" count(*) FILTER (a <= 12 AND b <= 12 AND a <> b AND sep <> '.'),"
            f" min(v) FILTER (a <= 12 AND b <= 12 AND a <> b AND sep <> '.'), count(*) FILTER (relative)"
            f" FROM (SELECT nullif(p.a, '')::INT AS a, nullif(p.b, '')::INT AS b, p.sep AS sep, v, relative FROM"
            f" (SELECT {parts} AS p, {value} AS v, regexp_matches(lower({value}), {literal(_RELATIVE)}) AS relative"
            f" FROM reviews))"
        ),
    )
    order = "day" if day_first and not month_first else "month" if month_first and not day_first else None
    ambiguous = (example, _DAY_OR_MONTH) if undecided and order is None and example else None
    note = None
    short_years = _order_of_short_years(reviews, value)
    if short_years == "year":
        order, ambiguous = "year", None
    elif short_years is not None:
        order, ambiguous = "unclear", (short_years, _DAY_OR_YEAR)
    now = as_of or reviews.modified
    forms = list(_text_forms(value, date_format, order, now))
    if _has_serial_days(reviews, number := f"try_cast({value} AS DOUBLE)"):
        forms.append(_serial_day(number))
        note = _serial_note(column)
    sql = f"coalesce({', '.join(forms)})"
    if relative and as_of is None:
        source = "the modification time of the files" if now else "nothing, because the files are in a bucket"
        day = f" ({now:%Y-%m-%d})" if now else ""
        note = f"{relative:,} relative dates in '{column}' are relative to {source}{day}: --as-of sets the day."
    return sql, ambiguous if date_format is None else None, note


def _order_of_short_years(reviews: Reviews, value: str) -> str | None:
    """Return `year` if dates such as 19-03-12 begin with the year, an example if that is unclear, else None."""
    last = date.today().year % 100 + 1
    parts = f"regexp_extract({value}, {literal(_YEAR_FIRST)}, ['a', 'b', 'y'])"
    ((possible, certain, first, third, example),) = cast(
        list[tuple[bool | None, int, int, int, str | None]],
        reviews.rows(
            f"SELECT bool_and(a <= {last} AND b BETWEEN 1 AND 12 AND y BETWEEN 1 AND 31), count(*) FILTER (y > {last}),"
            f" count(DISTINCT a), count(DISTINCT y), min(v) FROM (SELECT try_cast(p.a AS INT) AS a,"
            f" try_cast(p.b AS INT) AS b, try_cast(p.y AS INT) AS y, v FROM (SELECT {parts} AS p, {value} AS v"
            f" FROM reviews) WHERE p.a <> '')"
        ),
    )
    if not possible:
        return None
    return "year" if certain else example if first < third else None


def _has_serial_days(reviews: Reviews, number: str) -> bool:
    """Return True if all numbers are days as a spreadsheet counts them."""
    query = f"SELECT bool_and({number} {_SERIAL_DAYS}) FROM reviews WHERE {number} IS NOT NULL"
    return bool(reviews.rows(query)[0][0])


def _serial_day(number: str) -> str:
    return f"CASE WHEN {number} {_SERIAL_DAYS} THEN make_timestamp((({number} - 25569) * 86400000000)::BIGINT) END"


def _serial_note(column: str) -> str:
    return f"Numbers in '{column}' are read as days since 1899-12-30, as spreadsheets count them."


def _example(reviews: Reviews, column: str) -> str:
    """Return a value of a column, '' if it is empty."""
    value = f"trim({quoted(column)}::VARCHAR)"
    rows = reviews.rows(f"SELECT min({value}) FROM reviews WHERE {value} <> ''")
    return str(rows[0][0] or "")[:40]


def _text_forms(value: str, date_format: str | None, order: str | None, now: datetime | None) -> Iterator[str]:
    """Yield SQL for the timestamp of a text in each form."""

    def case_when(condition: str, result: str) -> str:
        return f"CASE WHEN {condition} THEN {result} END"

    def matches(pattern: str) -> str:
        return f"regexp_matches({value}, {literal(pattern)})"

    if date_format is not None:
        yield f"try_strptime({value}, {literal(date_format)})"
    iso = f"regexp_replace({value}, '^(\\d{{4}})[-/. ](\\d{{1,2}})[-/. ]', '\\1-\\2-')"
    yield case_when(matches(r"^\d{4}[-/. ]\d{1,2}[-/. ]\d"), f"try_cast({iso} AS TIMESTAMP)")
    week = f"regexp_replace({value} || '-1', '^(\\d{{4}})-?W(\\d{{2}})-?(\\d).*$', '\\1-W\\2-\\3')"
    yield case_when(matches(r"^\d{4}-?W\d{2}(-?\d)?$"), f"try_strptime({week}, '%G-W%V-%u')")
    kanji = f"regexp_replace({value}, '^(\\d{{4}})年 ?(\\d{{1,2}})月 ?(\\d{{1,2}})日.*$', '\\1-\\2-\\3')"
    yield case_when(matches(r"^\d{4}年 ?\d{1,2}月 ?\d{1,2}日"), f"try_strptime({kanji}, '%Y-%m-%d')")
    yield case_when(matches(r"^\d{1,2} \d{1,2}, \d{4}$"), f"try_strptime({value}, '%m %d, %Y')")
    milliseconds = rf"regexp_extract({value}, '^/Date\((\d+)', 1)"
    yield case_when(matches(r"^/Date\(\d+"), _epoch(f"try_cast({milliseconds} AS DOUBLE)"))
    yield case_when(matches(r"^\d{4}-\d{2}$"), f"try_strptime({value}, '%Y-%m')")
    yield case_when(matches(r"^\d{8}(T\d{6}.*)?$"), f"try_strptime(left({value}, 8), '%Y%m%d')")
    yield case_when(matches(r"^(\d{9,19}(\.\d+)?|\d(\.\d+)?[eE]\+?\d{1,2})$"), _epoch(f"try_cast({value} AS DOUBLE)"))
    if order == "year":
        text = f"regexp_replace({value}, {literal(_YEAR_FIRST)}, '20\\1-\\2-\\3')"
        yield case_when(matches(_YEAR_FIRST), f"try_strptime({text}, '%Y-%m-%d')")
    lengths = ((r"\d{4}", ""), (r"\d{2}", "20"))
    for year, prefix in lengths[:1] if order in ("year", "unclear") else lengths:
        pattern = _DAY_MONTH.replace(r"\d{4}|\d{2}", year)
        first, second = (f"try_cast(regexp_extract({value}, {literal(pattern)}, {n}) AS INTEGER)" for n in (1, 3))
        stop = f"regexp_extract({value}, {literal(pattern)}, 2) = '.'"
        # One of the numbers is above 12, or both are equal; stops are day first; else the order of the other values.
        day_first = f"{first} > 12 OR {first} = {second} OR ({stop} AND {second} <= 12) OR {order == 'day'}"
        for condition, day, month in ((day_first, 1, 3), (f"{second} > 12 OR {order == 'month'}", 3, 1)):
            text = f"regexp_replace({value}, {literal(pattern)}, '{prefix}\\4-\\{month}-\\{day}')"
            yield case_when(f"{matches(pattern)} AND ({condition})", f"try_strptime({text}, '%Y-%m-%d')")
    words = f"regexp_replace(lower({value}), {literal(_PREFIX)}, '')"
    for pattern, replacement in (
        (r" *\(.*\)$", ""),
        (r" \d{1,2}\.\d{2}\.\d{2}(\.\d+)?( ?[ap]m)?$", ""),
        (r"(\d)(st|[nr]d|th|er|º|\.)( |$)", r"\1 "),
        (r"(\d)(st|[nr]d|th)\b", r"\1"),
        (r" de ", " "),
        *((rf"\b({names})\b", month) for month, names in _MONTHS.items()),
        (r"\b(jan|feb|mar|apr|jun|jul|aug|sep|oct|nov|dec)\.", r"\1"),
        (r"\bsept\b\.?", "sep"),
        (_CLOCK, ""),
        (r",? at \d.*$|,", ""),
        (r"^(\d{1,2})([a-z]{3})(\d{4})$", r"\1 \2 \3"),
        (r"^(\d{1,2}[ /-][a-z]{3,9}[ /-]|[a-z]{3,9} \d{1,2} )(\d{2})$", r"\120\2"),
        (" +", " "),
    ):
        words = f"regexp_replace({words}, {literal(pattern)}, {literal(replacement)}, 'g')"
    formats = ", ".join(map(literal, _WORD_FORMATS))
    yield case_when(matches(r"\pL{3}.*\d|\d.*\pL{3}"), f"try_strptime(trim({words}), [{formats}])")
    if now is not None:
        yield _relative(f"regexp_replace(lower({value}), {literal(_PREFIX)}, '')", now)


def _epoch(number: str) -> str:
    """Return SQL for the timestamp of a number: seconds to nanoseconds since 1970, or 20240131."""
    # Of the years 1990 to 2100, seconds, milliseconds, microseconds and nanoseconds have disjoint ranges.
    units = " ".join(
        f"WHEN {number} BETWEEN {6.3e8 * factor} AND {4.2e9 * factor}"
        f" THEN make_timestamp(({number} * {1e6 / factor})::BIGINT)"
        for factor in (1, 1e3, 1e6, 1e9)
    )
    day = f"WHEN {number} BETWEEN 19900101 AND 21001231 THEN try_strptime({number}::BIGINT::VARCHAR, '%Y%m%d')"
    return f"CASE {units} {day} END"


def _relative(value: str, now: datetime) -> str:
    """Return SQL for a relative date such as `3 weeks ago`."""
    moment = f"TIMESTAMP '{now:%Y-%m-%d %H:%M:%S}'"
    pattern = literal(_RELATIVE)
    number = f"coalesce(try_cast(regexp_extract({value}, {pattern}, 1) AS INTEGER), 1)"
    units = {"year": "to_years(N)", "month": "to_months(N)", "week": "to_days(7 * N)", "day": "to_days(N)"}
    units |= {"hour": "to_hours(N)", "minute": "to_minutes(N)", "second": "to_seconds(N)"}
    short = {"min": "minute", "hr": "hour", "h": "hour", "d": "day", "wk": "week", "w": "week", "mo": "month"}
    units |= {name: units[unit] for name, unit in (short | {"yr": "year", "y": "year"}).items()}
    cases = " ".join(f"WHEN '{unit}' THEN {interval.replace('N', number)}" for unit, interval in units.items())
    return (
        f"CASE WHEN {value} IN ('today', 'just now') THEN {moment}"
        f" WHEN {value} = 'yesterday' THEN {moment} - to_days(1)"
        f" WHEN regexp_matches({value}, {pattern}) THEN"
        f" {moment} - CASE regexp_extract({value}, {pattern}, 2) {cases} END END"
    )


def _unread(
    reviews: Reviews, column: str, moment: str, missing: int, total: int, ambiguous: tuple[str, str] | None
) -> Iterator[str]:
    """Yield notes on the values that are not dates: their number, and the most frequent ones."""
    yield f"{missing:,} of {total:,} reviews have no date in '{column}' that can be read."
    rows = cast(
        list[tuple[str, int]],
        reviews.rows(
            f"SELECT v, count(*) AS n FROM"
            f" (SELECT trim({quoted(column)}::VARCHAR) AS v, {moment} AS moment FROM reviews)"
            f" WHERE moment IS NULL AND v <> '' GROUP BY 1 ORDER BY n DESC, 1 LIMIT 3"
        ),
    )
    if rows:
        values = ", ".join(f"'{value[:40]}' ({n:,})" for value, n in rows)
        advice = f" Dates such as '{ambiguous[0]}' {ambiguous[1]}." if ambiguous else ""
        yield f"Most frequent values of '{column}' that are not dates: {values}.{advice}"
