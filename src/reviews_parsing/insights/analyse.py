"""From files to tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from reviews_parsing.errors import DataError
from reviews_parsing.insights import changes, counting, dates, groups, sentences, words
from reviews_parsing.insights.dates import Time
from reviews_parsing.insights.source import Reviews, opened, quoted
from reviews_parsing.insights.tables import Insights

Progress = Callable[[float, str], None]


def analyse(
    paths: Sequence[str | Path],
    by: Sequence[str] = (),
    *,
    time: str | None = None,
    min_score: float = 0.0,
    language: str = "en",
    progress: Progress | None = None,
) -> Insights:
    """What the parsed reviews of files, folders, globs and URLs of these (.parquet, .jsonl, .csv) say.

    Groups are compared by the columns `by`; where no such column is, `year`, `quarter`, `month`, `week`, `day` and
    `weekday` are those of the review's date, which is in the column `time`; by default that is found by its type or
    name. Aspects less probable than `min_score` do not count. Words are merged by their lemma in `language`, an ISO
    639 code. Counting is done by DuckDB in the files, within 1 GB of memory; the tables have the size of what they
    show. `progress` is told the share that is done, and what is under way.

    Raises DataError where there is nothing to read, a column is not there, or a file is damaged.
    """
    tell = progress or (lambda share, what: None)
    by = tuple(dict.fromkeys(by))
    lemmas = words.lemmatiser(language)
    with opened(paths) as reviews:
        tell(0.05, "looking for dates")
        when = dates.find(reviews, time)
        _prepare(reviews, by, when, min_score)
        tell(0.1, "counting")
        of = counting.count(reviews, len(by), when is not None)
        ((total, speaking),) = cast(
            list[tuple[int, int]], reviews.rows(f"SELECT reviews, speaking FROM totals WHERE of = {of[()]}")
        )
        found = counting.categories(reviews, total, of[()])
        order = [category.category for category in found]
        periods = counting.periods(reviews, of["period",], order) if when else ()
        tell(0.4, "words")
        named, judgements = words.find(reviews, order, lemmas)
        tell(0.7, "sentences")
        telling, shown = sentences.find(reviews, order)
        tell(0.9, "comparing groups")
        return Insights(
            sources=tuple(map(str, paths)),
            min_score=min_score,
            by=by,
            reviews=total,
            with_aspects=speaking,
            aspects=sum(category.aspects for category in found),
            implicit=sum(category.implicit for category in found),
            time=when.column if when else None,
            grain=when.grain if when else None,
            first=when.first if when else None,
            last=when.last if when else None,
            dated=when.dated if when else 0,
            categories=found,
            periods=periods,
            changes=changes.find(periods),
            words=named,
            judgements=judgements,
            sentences=telling,
            shown=shown,
            comparisons=tuple(
                groups.compare(reviews, name, f"by_{n}", of[f"by_{n}",], order) for n, name in enumerate(by)
            ),
            cells=counting.cells(reviews, of, len(by)) if len(by) > 1 else (),
            notes=_notes(total, speaking, when),
        )


def _prepare(reviews: Reviews, by: Sequence[str], when: Time | None, min_score: float) -> None:
    """Makes the view `dated`: the reviews with the period and the groups of each, and its aspects that count."""
    moment = when.moment if when else "NULL::TIMESTAMP"
    period = f"date_trunc('{when.grain}', moment)::DATE" if when else "NULL::DATE"
    grouped = "".join(f", {_group(reviews, name, when)} AS by_{n}" for n, name in enumerate(by))
    reviews.rows(
        f"CREATE VIEW dated AS SELECT * REPLACE (list_filter(aspects, lambda x: x.entity_group IS NOT NULL AND "
        f"coalesce(x.score, 0) >= {float(min_score)!r}) AS aspects), {period} AS period{grouped}"
        f" FROM (SELECT *, {moment} AS moment FROM reviews)"
    )


def _group(reviews: Reviews, name: str, when: Time | None) -> str:
    if name in reviews.columns:
        return _named(f"trim({quoted(name)}::VARCHAR)")
    if name not in dates.PARTS:
        parts = f", and of the date {', '.join(dates.PARTS)}" if when else ""
        raise DataError(f"no column '{name}' to compare by; there are {', '.join(reviews.columns)}{parts}")
    if when is None:
        raise DataError(f"'{name}' needs a column of dates: name it with --time, one of {', '.join(reviews.columns)}")
    return _named(dates.PARTS[name])


def _named(value: str) -> str:
    return f"coalesce(nullif({value}, ''), '(none)')"


def _notes(total: int, speaking: int, when: Time | None) -> tuple[str, ...]:
    notes = []
    if not speaking:
        notes.append("No review has an aspect that counts.")
    if when is None:
        notes.append("No column dates the reviews, so nothing is shown over time: name one with --time COLUMN.")
    elif when.dated < total:
        notes.append(f"{total - when.dated:,} of {total:,} reviews have no date in '{when.column}' that can be read.")
    return tuple(notes)
