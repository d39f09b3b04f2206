"""Analysis of parsed files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, cast

from reviews_parsing.errors import DataError
from reviews_parsing.insights import counts, dates, evidence, groups, quotes, ratings, topics
from reviews_parsing.insights.candidates import CountTests, Dimension
from reviews_parsing.insights.dates import Dating
from reviews_parsing.insights.ratings import RatingColumn
from reviews_parsing.insights.results import Category, Group, GroupComparison, Insights, Topic
from reviews_parsing.insights.reviews import ASPECTS, Reviews, literal, normalised, open_reviews, quoted
from reviews_parsing.insights.search import FindingSearch, apply_trends
from reviews_parsing.insights.similar import find_similar_topics
from reviews_parsing.insights.statistics import wilson

Progress = Callable[[float, str], None]
_OWN_COLUMN = re.compile(r"moment|period|side|stars|place|t|by_\d+|g\d+", re.IGNORECASE)
"""Columns that the views add; columns of the files with these names are hidden from them."""
PLACE_COLUMNS = (
    *("business", "place", "restaurant", "hotel", "venue", "branch", "location", "property", "outlet", "store", "site"),
    *("business_name", "place_name", "restaurant_name", "hotel_name", "venue_name", "branch_name", "location_name"),
    *("business_id", "place_id", "restaurant_id", "hotel_id", "property_name", "store_name", "shop"),
)


@dataclass(frozen=True, slots=True)
class AnalysisOptions:
    """Options of an analysis.

    Args:
        by: Columns to compare groups by; None for the column of places.
        time: Column of the date; by default the first with a date type or a usual name.
        min_score: Aspects with a lower score are not counted.
        language: Language of the reviews (ISO 639), for lemmas.
        rating: Column of ratings; by default the first with a usual name and numbers on a known scale.
        date_format: Format of the date (strptime); by default inferred from all values.
        as_of: Day that relative dates ("a month ago") refer to; by default the modification time of the files.
        topics: Topic file that merges, splits, renames and hides topics.
        compare: `month` (or day, week, quarter, year) for the last one against the one before, or two ranges of days.
        with_evidence: Whether to collect all sentences for the page.
    """

    by: tuple[str, ...] | None = None
    time: str | None = None
    min_score: float = 0.0
    language: str = "en"
    rating: str | None = None
    date_format: str | None = None
    as_of: datetime | None = None
    topics: Path | None = None
    compare: str | None = None
    with_evidence: bool = True


def analyse(
    paths: Sequence[str | Path], by: Sequence[str] | None = None, *, progress: Progress | None = None, **options: Any
) -> Insights:
    """Analyse the parsed reviews of files, folders, globs and URLs (.parquet, .jsonl, .csv).

    Args:
        paths: Outputs of `parse`.
        by: Columns to compare groups by, where `year`, `quarter`, `month`, `week`, `day` and `weekday` are parts of the
            date unless a column has that name. By default a column of places, such as `business`.
        progress: Called with the completed share and the current step.
        options: The fields of `Options`, by name.

    Raises DataError if there are no reviews, a column does not exist, or a file is damaged.
    """
    chosen = AnalysisOptions(by=None if by is None else tuple(dict.fromkeys(by)), **options)
    with open_analysis(paths, chosen, progress or _ignore) as (insights, _):
        return insights


def _ignore(share: float, step: str) -> None:
    """Report no progress."""


@contextmanager
def open_analysis(  # noqa: PLR0915  one step after another
    paths: Sequence[str | Path], options: AnalysisOptions, report: Progress
) -> Iterator[tuple[Insights, Reviews]]:
    """Analyse, and keep the reviews open with the views `dated` and `coded` for further queries."""
    lemmatise = topics.lemmatiser(options.language)
    edits = topics.read_topic_file(options.topics)
    with open_reviews(paths) as reviews:
        report(0.03, "looking for dates and ratings")
        dating, date_notes = dates.find_dates(
            reviews, options.time, date_format=options.date_format, as_of=options.as_of
        )
        rating, rating_notes = ratings.find_rating(reviews, options.rating)
        place = _place_column(reviews, options.by)
        by = options.by if options.by is not None else (place,) if place else ()
        ranges = groups.parse_ranges(options.compare, dating) if options.compare else None
        columns = [*by, *_extra_columns(reviews, by, dating)]
        _create_view(reviews, columns, dating, rating, place, ranges, options.min_score)

        report(0.08, "counting")
        groupings = counts.create_totals(reviews, len(columns), dating is not None)
        total, with_aspects = cast(
            tuple[int, int],
            reviews.rows(f"SELECT reviews, with_aspects FROM totals WHERE grouping = {groupings[()]}")[0],
        )
        starts = _starts(reviews, groupings) if dating else ()
        grouped = [
            groups.read_groups(reviews, name, f"by_{n}", groupings[f"by_{n}",]) for n, name in enumerate(columns)
        ]
        counts.create_codes(reviews, starts, [values for values, _ in grouped])
        tables = counts.CountTables(
            reviews, len(starts), [len(values) for values, _ in grouped], len(columns), ranges is not None
        )
        tables.create()
        categories = counts.read_categories(tables, total)
        order = [category.category for category in categories]

        report(0.35, "words and topics")
        targets = topics.read_targets(reviews, lemmatise, len(starts))
        words, judgements = topics.read_words(reviews, order, targets)
        forms, eligible, topic_notes = topics.gather_topics(
            targets, order, lemmatise, options.language, edits, len(starts)
        )
        topics.insert_topic_forms(reviews, forms)
        tables.create_topics()
        subjects = [(topic.id, topic.category, topic.name) for topic in forms]

        report(0.6, "ratings")
        stars = (
            ratings.find_drivers(reviews, rating, place, order, [(t.id, t.category) for t in forms]) if rating else None
        )
        text = reviews.text if reviews.text and not _OWN_COLUMN.fullmatch(reviews.text) else None
        disagreements, disagreement_counts = quotes.find_disagreements(reviews, text) if rating else ((), (0, 0))

        report(0.7, "tests")
        overall = tables.cube(order, None), tables.cube(len(forms), None)
        cubes = [(tables.cube(order, n), tables.cube(len(forms), n)) for n in range(len(columns))]
        dimensions = [
            Dimension(name, values, *cube, changes=name not in dates.PARTS)
            for name, (values, reason), cube in zip(columns, grouped, cubes, strict=True)
            if reason is None and (name == "weekday" or not groups.is_chronological(reviews, name))
        ]
        search = FindingSearch(
            CountTests(order, subjects, starts, overall, dimensions),
            stars,
            eligible,
            dating.grain if dating else None,
        )
        comparisons: list[GroupComparison] = [
            groups.compare(name, values, reason, cube[0], order)
            for name, (values, reason), cube in zip(by, grouped, cubes, strict=False)
        ]
        compared = None
        if ranges is not None and options.compare:
            sides: list[tuple[str | None, Sequence[Group], counts.Cube, counts.Cube]] = [
                (None, groups.ALL_REVIEWS, tables.cube(order, None, "side"), tables.cube(len(forms), None, "side"))
            ]
            sides += [
                (name, values, tables.cube(order, n, "side"), tables.cube(len(forms), n, "side"))
                for n, (name, (values, reason)) in enumerate(zip(by, grouped, strict=False))
                if reason is None and not groups.is_chronological(reviews, name)
            ]
            compared = groups.compare_ranges(options.compare, ranges, sides, order, subjects)

        report(0.8, "sentences")
        sentences, quoted_reviews = quotes.select_quotes(reviews, text, order)
        document = None
        if options.with_evidence and text is not None and total <= evidence.MAX_REVIEWS:
            groups_by = {name: values for name, (values, _) in zip(by, grouped, strict=False)}
            document = evidence.read_evidence(reviews, text, groups_by, order, forms, words)
        counted_topics = _topics(forms, overall[1], len(starts), total)
        report(0.95, "findings")
        yield (
            Insights(
                sources=tuple(map(str, paths)),
                min_score=options.min_score,
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
                periods=counts.periods_of(overall[0], starts, order),
                changes=search.changes(),
                words=words,
                judgements=judgements,
                sentences=sentences,
                shown=quoted_reviews,
                comparisons=tuple(comparisons),
                cells=counts.read_cells(tables, groupings) if len(by) > 1 else (),
                notes=(
                    *_notes(categories, reviews, total, dating),
                    *date_notes,
                    *rating_notes,
                    *topic_notes,
                ),
                starts=starts,
                topics=apply_trends(counted_topics, search),
                similar_topics=find_similar_topics(counted_topics, options.language),
                findings=search.findings(),
                rating=stars,
                disagreements=disagreements,
                disagreement_counts=disagreement_counts,
                compared=compared,
                place=place,
                evidence=document,
                empty=reviews.empty,
                foreign=reviews.foreign,
            ),
            reviews,
        )


def _place_column(reviews: Reviews, by: Sequence[str] | None) -> str | None:
    """Return the column that names the places of reviews: one with a usual name, else the first of `by`."""
    return find_place_column(reviews.columns) or next((name for name in by or () if name in reviews.columns), None)


def find_place_column(columns: Iterable[str]) -> str | None:
    """Return the column with a usual name of places, such as `business`, if there is one."""
    names = {normalised(name): name for name in reversed(list(columns))}
    return next((names[name] for name in PLACE_COLUMNS if name in names), None)


def list_group_columns(columns: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the columns to compare by, and the parts of the date if a column has a usual name of dates."""
    parts = [name for name in dates.PARTS if name not in columns]
    has_dates = any(normalised(name) in dates.DATE_COLUMNS for name in columns)
    return list(columns), parts if has_dates else []


def _extra_columns(reviews: Reviews, by: Sequence[str], dating: Dating | None) -> list[str]:
    """Return `weekday` if reviews are dated to the day and it is not compared anyway."""
    if dating is None or "weekday" in by or reviews.resolve("weekday"):
        return []
    query = f"SELECT count(DISTINCT day(moment)) FROM (SELECT {dating.moment} AS moment FROM reviews)"
    ((days,),) = cast(list[tuple[int]], reviews.rows(query))
    return ["weekday"] if days > 7 else []


def _starts(reviews: Reviews, groupings: dict[counts.Grouping, int]) -> tuple[date, ...]:
    rows = reviews.rows(
        f"SELECT period FROM totals WHERE grouping = {groupings['period',]} AND period IS NOT NULL ORDER BY period"
    )
    return tuple(cast(date, start) for (start,) in rows)


def _create_view(
    reviews: Reviews,
    columns: Sequence[str],
    dating: Dating | None,
    rating: RatingColumn | None,
    place: str | None,
    ranges: tuple[date, date, date, date] | None,
    min_score: float,
) -> None:
    """Create the view `dated`: reviews with period, side, stars, place, groups and counted aspects."""
    moment = dating.moment if dating else "NULL::TIMESTAMP"
    period = f"date_trunc('{dating.grain}', moment)::DATE" if dating else "NULL::DATE"
    side = "NULL::INTEGER"
    if ranges is not None:
        old, new = (f"moment::DATE BETWEEN DATE '{a}' AND DATE '{b}'" for a, b in (ranges[:2], ranges[2:]))
        side = f"CASE WHEN {new} THEN 1 WHEN {old} THEN 0 END"
    # Columns of the files are read in the inner query, where names such as "stars" or "place" are still theirs.
    groups_sql = [
        (n, _group_sql(reviews, name, dating), reviews.resolve(name) is not None) for n, name in enumerate(columns)
    ]
    inner = "".join(f", {sql} AS by_{n}" for n, sql, in_file in groups_sql if in_file)
    outer = f", {side} AS side" + "".join(f", {sql} AS by_{n}" for n, sql, in_file in groups_sql if not in_file)
    stars = f"({rating.stars})::DOUBLE" if rating else "NULL::DOUBLE"
    place_name = f"nullif(trim({quoted(place)}::VARCHAR), '')" if place else "NULL::VARCHAR"
    hidden = ", ".join(quoted(name) for name in reviews.columns if _OWN_COLUMN.fullmatch(name))
    reviews.rows(
        f"CREATE VIEW dated AS SELECT * REPLACE (list_filter({ASPECTS}, lambda x: x.entity_group IS NOT NULL AND "
        f"coalesce(x.score, 0) >= {float(min_score)!r}) AS {ASPECTS}), {period} AS period{outer}"
        f" FROM (SELECT * {f'EXCLUDE ({hidden})' if hidden else ''}, {moment} AS moment, {stars} AS stars,"
        f" {place_name} AS place{inner} FROM reviews)"
    )


def _group_sql(reviews: Reviews, name: str, dating: Dating | None) -> str:
    """Return SQL for the group of a review. Raises DataError if there is no such column or part of a date."""
    if column := reviews.resolve(name):
        value = f"trim({quoted(column)}::VARCHAR)"
    elif name not in dates.PARTS:
        parts = f", and of the date {', '.join(dates.PARTS)}" if dating else ""
        raise DataError(f"no column '{name}' to compare by; there are {', '.join(reviews.columns)}{parts}")
    elif dating is None:
        raise DataError(f"'{name}' needs a column of dates: name it with --time, one of {', '.join(reviews.columns)}")
    else:
        value = dates.PARTS[name]
    return f"coalesce(nullif({value}, ''), '(none)')"


def _topics(forms: Sequence[topics.TopicForms], cube: counts.Cube, periods: int, total: int) -> list[Topic]:
    """Return the topics with their counts."""
    result = []
    for n, topic in enumerate(forms):
        by_period = cube.hits[n, :, :periods].sum(axis=-1)
        reviews, praising, blaming = (int(count) for count in cube.hits[n].sum(axis=(1, 2)))
        net = (praising - blaming) / reviews if reviews else 0.0
        result.append(
            Topic(
                topic.id,
                topic.category,
                topic.name,
                tuple(dict.fromkeys(form for _, form in topic.forms)),
                reviews,
                wilson(reviews, total),
                praising,
                blaming,
                net,
                "steady",
                None,
                tuple(int(c) for c in by_period[0]),
            )
        )
    return result


def _polarity_notes(reviews: Reviews, categories: Sequence[Category]) -> list[str]:
    """Return a note on polarities that are neither praise nor blame because their names are unknown, or absent."""
    if not any(category.other for category in categories):
        return []
    names = ", ".join(map(literal, counts.POLARITIES))
    rows = reviews.rows(
        "SELECT a.polarity, count(*) FROM (SELECT unnest(aspects) AS a FROM dated)"
        f" WHERE a.polarity NOT IN ({names}) GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    if rows:
        unknown = ", ".join(f"'{str(name)[:40]}' ({count:,})" for name, count in rows[:3])
        return [f"Only 'positive' is praise and only 'negative' is blame, so aspects with {unknown} are neither."]
    if not any(category.aspects > category.other for category in categories):
        return ["No aspect is positive, neutral or negative, so there is neither praise nor blame."]
    return []


def _notes(categories: Sequence[Category], reviews: Reviews, total: int, dating: Dating | None) -> list[str]:
    notes = []
    number = sum(count for _, count in reviews.foreign)
    if reviews.empty:
        rows = total + number + reviews.empty
        notes.append(f"{reviews.empty:,} of {rows:,} rows have an empty text and are not counted.")
    if number:
        languages = ", ".join(f"{language} {count:,}" for language, count in reviews.foreign)
        verb = "review is" if number == 1 else "reviews are"
        notes.append(f"{number:,} {verb} in a language that the model does not read ({languages}) and not counted.")
    if not categories:
        notes.append("No review has an aspect that counts.")
    notes += _polarity_notes(reviews, categories)
    if dating is None:
        notes.append("No column dates the reviews, so nothing is shown over time: name one with --time COLUMN.")
    elif dating.first == dating.last:
        notes.append(f"All dated reviews are of {dating.first}, so nothing can change over time.")
    return notes
