"""Analysis of parsed files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from reviews_parsing.errors import DataError
from reviews_parsing.insights import changes, counts, dates, groups, quotes, words
from reviews_parsing.insights.dates import Time
from reviews_parsing.insights.results import Insights
from reviews_parsing.insights.reviews import Reviews, open_reviews, quoted

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
    """Analyse the parsed reviews of files, folders, globs and URLs (.parquet, .jsonl, .csv).

    Groups are compared by the columns `by`, where `year`, `quarter`, `month`, `week`, `day` and `weekday` are parts of
    the date unless a column has that name. The date is in the column `time`, by default the first column with a date
    type or a usual name. Aspects with a score below `min_score` are not counted. Words are merged by their lemma in
    `language`, an ISO 639 code. DuckDB counts within 1 GB of memory. `progress` receives the completed share and the
    current step.

    Raises DataError if there are no reviews, a column does not exist, or a file is damaged.
    """
    report = progress or (lambda share, step: None)
    by = tuple(dict.fromkeys(by))
    lemmatise = words.lemmatiser(language)
    with open_reviews(paths) as reviews:
        report(0.05, "looking for dates")
        dating = dates.find_dates(reviews, time)
        _create_view(reviews, by, dating, min_score)
        report(0.1, "counting")
        groupings = counts.create_counts(reviews, len(by), dating is not None)
        ((total, with_aspects),) = cast(
            list[tuple[int, int]],
            reviews.rows(f"SELECT reviews, with_aspects FROM totals WHERE grouping = {groupings[()]}"),
        )
        categories = counts.read_categories(reviews, total, groupings[()])
        order = [category.category for category in categories]
        periods = counts.read_periods(reviews, groupings["period",], order) if dating else ()
        report(0.4, "words")
        targets, judgements = words.read_words(reviews, order, lemmatise)
        report(0.7, "sentences")
        sentences, quoted_reviews = quotes.select_quotes(reviews, order)
        report(0.9, "comparing groups")
        return Insights(
            sources=tuple(map(str, paths)),
            min_score=min_score,
            by=by,
            reviews=total,
            with_aspects=with_aspects,
            aspects=sum(category.aspects for category in categories),
            implicit=sum(category.implicit for category in categories),
            time=dating.column if dating else None,
            grain=dating.grain if dating else None,
            first=dating.first if dating else None,
            last=dating.last if dating else None,
            dated=dating.dated if dating else 0,
            categories=categories,
            periods=periods,
            changes=changes.find_changes(periods),
            words=targets,
            judgements=judgements,
            sentences=sentences,
            shown=quoted_reviews,
            comparisons=tuple(
                groups.compare(reviews, name, f"by_{n}", groupings[f"by_{n}",], order) for n, name in enumerate(by)
            ),
            cells=counts.read_cells(reviews, groupings, len(by)) if len(by) > 1 else (),
            notes=_notes(total, with_aspects, dating),
        )


def _create_view(reviews: Reviews, by: Sequence[str], dating: Time | None, min_score: float) -> None:
    """Create the view `dated`: reviews with their period, groups and counted aspects."""
    moment = dating.moment if dating else "NULL::TIMESTAMP"
    period = f"date_trunc('{dating.grain}', moment)::DATE" if dating else "NULL::DATE"
    group_columns = "".join(f", {_group_sql(reviews, name, dating)} AS by_{n}" for n, name in enumerate(by))
    reviews.rows(
        f"CREATE VIEW dated AS SELECT * REPLACE (list_filter(aspects, lambda x: x.entity_group IS NOT NULL AND "
        f"coalesce(x.score, 0) >= {float(min_score)!r}) AS aspects), {period} AS period{group_columns}"
        f" FROM (SELECT *, {moment} AS moment FROM reviews)"
    )


def _group_sql(reviews: Reviews, name: str, dating: Time | None) -> str:
    """Return SQL for the group of a review. Raises DataError if there is no such column or part of a date."""
    if name in reviews.columns:
        value = f"trim({quoted(name)}::VARCHAR)"
    elif name not in dates.PARTS:
        parts = f", and of the date {', '.join(dates.PARTS)}" if dating else ""
        raise DataError(f"no column '{name}' to compare by; there are {', '.join(reviews.columns)}{parts}")
    elif dating is None:
        raise DataError(f"'{name}' needs a column of dates: name it with --time, one of {', '.join(reviews.columns)}")
    else:
        value = dates.PARTS[name]
    return f"coalesce(nullif({value}, ''), '(none)')"


def _notes(total: int, with_aspects: int, dating: Time | None) -> tuple[str, ...]:
    notes = []
    if not with_aspects:
        notes.append("No review has an aspect that counts.")
    if dating is None:
        notes.append("No column dates the reviews, so nothing is shown over time: name one with --time COLUMN.")
    elif dating.dated < total:
        notes.append(
            f"{total - dating.dated:,} of {total:,} reviews have no date in '{dating.column}' that can be read."
        )
    return tuple(notes)
