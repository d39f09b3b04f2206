"""All sentences with aspects: as one document for the page, and page by page for the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any, cast

from reviews_parsing.errors import DataError
from reviews_parsing.insights.quotes import JOINT_PROBABILITY, joint_probability, review_name, review_struct
from reviews_parsing.insights.results import Group, Insights, Word
from reviews_parsing.insights.reviews import ASPECTS, ROW_ID, Reviews, literal, quoted
from reviews_parsing.insights.text import readable
from reviews_parsing.insights.topics import TopicForms
from reviews_parsing.tagging.sentences import sentences

MAX_REVIEWS = 50_000
"""Reviews of a page that holds all its sentences; larger analyses are served from the files."""
POLARITIES = ("positive", "negative", "neutral")
FETCH_ROWS = 2000
MAX_SENTENCE = 600
"""Characters of a sentence; a longer one, or the text of an implicit aspect, is cut around the span."""


def read_evidence(
    reviews: Reviews,
    text: str,
    by: Mapping[str, Sequence[Group]],
    order: Sequence[str],
    topics: Sequence[TopicForms],
    words: Sequence[Word],
) -> dict[str, Any]:
    """Return all sentences with aspects as a document of columns, which `report.js` reads.

    `reviews` holds [name, text, day since 1970, stars, place, values of `by` ...] with numbers of `places` and values;
    `aspects` holds [review, category, polarity, topic, start, end, span start, span end, joint probability in percent,
    word]. Offsets are code points of the text; a span of -1 marks an implicit aspect.
    """
    categories = {category: n for n, category in enumerate(order)}
    topic_of = {pair: n for n, topic in enumerate(topics) for pair in topic.forms}
    word_of = {(word.category, form): n for n, word in enumerate(words) for form in word.forms}
    places: dict[str, int] = {}
    values: list[dict[str, int]] = [{} for _ in by]
    rows: list[list[Any]] = []
    aspects: list[list[int | None]] = []
    for review, *groups in _stream(reviews, text, len(by)):
        displayed, spans = _sentences(review)
        if not spans:
            continue
        day: date | None = review["day"]
        place = review["place"]
        rows.append(
            [
                review_name(reviews, review),
                displayed,
                None if day is None else (day - date(1970, 1, 1)).days,
                None if review["stars"] is None else round(review["stars"], 2),
                None if place is None else places.setdefault(place, len(places)),
                *(table.setdefault(value, len(table)) for table, value in zip(values, groups, strict=True)),
            ]
        )
        for aspect, offsets in spans:
            probability = joint_probability(aspect)
            form = (aspect["word"] or "").strip().lower()
            polarity = aspect["polarity"]
            aspects.append(
                [
                    len(rows) - 1,
                    categories[aspect["entity_group"]],
                    POLARITIES.index(polarity) if polarity in POLARITIES else len(POLARITIES),
                    topic_of.get((aspect["entity_group"], form), -1),
                    *offsets,
                    None if probability is None else round(100 * probability),
                    word_of.get((aspect["entity_group"], form), -1),
                ]
            )
    return {
        "categories": list(order),
        "topics": [[topic.id, topic.category, topic.name] for topic in topics],
        "places": list(places),
        "words": [word_entry(word) for word in words],
        "columns": [
            {"name": name, "values": list(table), **_pooling(groups)}
            for (name, groups), table in zip(by.items(), values, strict=True)
        ],
        "reviews": rows,
        "aspects": aspects,
    }


def word_entry(word: Word) -> tuple[str, str]:
    """Return the value of the filter for a word, and its label."""
    return f"{word.category}/{word.word}", f"{word.word} ({word.category})"


def _pooling(groups: Sequence[Group]) -> dict[str, Any]:
    """Return the name of the pooled group of a column, and the values that are not in it."""
    pooled = next((group.value for group in groups if group.pooled), None)
    return {"pooled": pooled, "named": [group.value for group in groups if not group.pooled] if pooled else []}


def _stream(reviews: Reviews, text: str, by: int) -> Iterator[Sequence[Any]]:
    """Yield (review, group values ...) in the order of the files."""
    groups = "".join(f", by_{n}" for n in range(by))
    cursor = reviews.connection.cursor()
    cursor.execute(
        f"SELECT {review_struct(reviews, text)}{groups} FROM dated WHERE len({ASPECTS}) > 0 ORDER BY {ROW_ID}"
    )
    while batch := cursor.fetchmany(FETCH_ROWS):
        yield from batch


def _sentences(review: Mapping[str, Any]) -> tuple[str, list[tuple[Mapping[str, Any], list[int]]]]:
    """Return the readable text of a review, and each aspect with sentence and span offsets in it."""
    text = review["text"] or ""
    bounds = list(sentences(text))
    offsets: list[int] = []
    aspects = [a for a in review["aspects"] if a["start"] is None or text[a["start"] : a["end"]] == a["word"]]
    for aspect in aspects:
        if aspect["start"] is None:
            offsets += [0, len(text), 0, 0]
            continue
        start, end = aspect["start"], aspect["end"]
        first = max((s for s, _ in bounds if s <= start), default=0)
        last = min((e for _, e in bounds if e >= end), default=len(text))
        if last - first > MAX_SENTENCE:
            first, last = max(first, start - MAX_SENTENCE // 2), min(last, end + MAX_SENTENCE // 2)
        offsets += [first, last, start, end]
    displayed, moved = readable(text, offsets)
    result: list[tuple[Mapping[str, Any], list[int]]] = []
    for n, aspect in enumerate(aspects):
        part = moved[4 * n : 4 * n + 4]
        if aspect["start"] is None:
            part = [part[0], min(part[1], MAX_SENTENCE), -1, -1]
        result.append((aspect, part))
    return displayed, result


def remote_document(insights: Insights) -> dict[str, Any]:
    """Return the document of a page whose sentences come from a server: the values of its filters."""
    columns = [
        {"name": c.column, "values": [g.value for g in c.groups if not g.pooled], **_pooling(c.groups)}
        for c in insights.comparisons
    ]
    return {
        "remote": True,
        "categories": [category.category for category in insights.categories],
        "topics": [[topic.id, topic.category, topic.name] for topic in insights.topics],
        "words": [word_entry(word) for word in insights.words],
        "columns": columns,
        "dated": insights.dated > 0,
        "rated": insights.rating is not None,
    }


def query_sentences(
    reviews: Reviews, text: str, insights: Insights, filters: Mapping[str, str], offset: int = 0, limit: int = 50
) -> dict[str, Any]:
    """Return one page of the sentences that match filters, and the number of sentences and reviews that do.

    Filters have the names of `report.js`: category, topic, word, polarity, from, to (days), weekday, min, max (stars),
    search, sort, and by:COLUMN for groups. Raises DataError if a value is not a day or number.
    """
    clauses = ["true"]
    parameters: list[object] = []
    conditions = {
        "category": "a.entity_group = ?",
        "from": "moment::DATE >= ?",
        "to": "moment::DATE <= ?",
        "weekday": "isodow(moment) = ?",
        "min": "stars >= ?",
        "max": "stars <= ?",
        "search": f"contains(lower({quoted(text)}), lower(?))",
    }
    for n, comparison in enumerate(insights.comparisons):
        if value := filters.get(f"by:{comparison.column}"):
            pooling = _pooling(comparison.groups)
            is_pooled = value == pooling["pooled"]
            clauses.append(f"NOT list_contains(?, by_{n})" if is_pooled else f"by_{n} = ?")
            parameters.append(pooling["named"] if is_pooled else value)
    types: dict[str, Callable[[str], object]] = {
        "from": date.fromisoformat,
        "to": date.fromisoformat,
        "weekday": int,
        "min": float,
        "max": float,
    }
    for name, condition in conditions.items():
        if value := filters.get(name):
            try:
                parameters.append(types.get(name, str)(value))
            except ValueError:
                raise DataError(f"'{value}' is not a value of the filter '{name}'") from None
            clauses.append(condition)
    polarities = ", ".join(map(literal, POLARITIES))
    if (polarity := filters.get("polarity")) == "other":
        clauses.append(f"(a.polarity IS NULL OR a.polarity NOT IN ({polarities}))")
    elif polarity:
        clauses.append("a.polarity = ?")
        parameters.append(polarity)
    if topic := filters.get("topic"):
        number = next((n for n, t in enumerate(insights.topics) if t.id == topic), -1)
        clauses.append(
            "(a.entity_group, lower(trim(a.word))) IN"
            f" (SELECT (category, form) FROM topic_forms WHERE topic = {number})"
        )
    if chosen := filters.get("word"):
        forms = {word_entry(word)[0]: (word.category, list(word.forms)) for word in insights.words}
        clauses.append("a.entity_group = ? AND list_contains(?, lower(trim(a.word)))")
        parameters += forms.get(chosen, ("", [""]))
    orders = {
        "newest": "moment DESC NULLS LAST",
        "oldest": "moment NULLS LAST",
        "fewest stars": "stars NULLS LAST",
        "most stars": "stars DESC NULLS LAST",
    }
    order = orders.get(filters.get("sort", ""), f"round({JOINT_PROBABILITY}, 2) DESC")
    source = f"FROM (SELECT *, unnest({ASPECTS}) AS a FROM dated) WHERE {' AND '.join(clauses)}"
    ((count, number_of_reviews),) = cast(
        list[tuple[int, int]], reviews.rows(f"SELECT count(*), count(DISTINCT {ROW_ID}) {source}", parameters)
    )
    rows = reviews.rows(
        f"SELECT {review_struct(reviews, text)}, a {source} ORDER BY {order}, {ROW_ID}, a.start LIMIT {limit}"
        f" OFFSET {offset}",
        parameters,
    )
    result = []
    for review, aspect in cast(list[tuple[dict[str, Any], dict[str, Any]]], rows):
        displayed, spans = _sentences({**review, "aspects": [aspect]})
        if spans:
            probability = joint_probability(aspect)
            result.append(
                {
                    "name": review_name(reviews, review),
                    "text": displayed,
                    "date": review["day"].isoformat() if review["day"] else None,
                    "stars": review["stars"],
                    "place": review["place"],
                    "category": aspect["entity_group"],
                    "polarity": aspect["polarity"],
                    "offsets": spans[0][1],
                    "probability": None if probability is None else round(100 * probability),
                }
            )
    return {"count": count, "reviews": number_of_reviews, "rows": len(rows), "sentences": result}
