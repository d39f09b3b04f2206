"""All sentences with aspects: as one document for the page, and page by page for the server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any, cast

from reviews_parsing.insights.quotes import JOINT_PROBABILITY, joint_probability, review_name, review_struct
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
    reviews: Reviews, text: str, by: Sequence[str], order: Sequence[str], topics: Sequence[TopicForms]
) -> dict[str, Any]:
    """Return all sentences with aspects as a document of columns, which `report.js` reads.

    `reviews` holds [name, text, day since 1970, stars, place, values of `by` ...] with numbers of `places` and values;
    `aspects` holds [review, category, polarity, topic, start, end, span start, span end, joint probability in percent].
    Offsets are code points of the text; a span of -1 marks an implicit aspect.
    """
    categories = {category: n for n, category in enumerate(order)}
    topic_of = {pair: n for n, topic in enumerate(topics) for pair in topic.forms}
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
                ]
            )
    return {
        "categories": list(order),
        "topics": [[topic.id, topic.category, topic.name] for topic in topics],
        "places": list(places),
        "columns": [{"name": name, "values": list(table)} for name, table in zip(by, values, strict=True)],
        "reviews": rows,
        "aspects": aspects,
    }


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


def query_sentences(
    reviews: Reviews,
    text: str,
    by: Sequence[str],
    filters: Mapping[str, str],
    topics: Mapping[str, Sequence[tuple[str, str]]],
) -> dict[str, Any]:
    """Return one page of sentences that match filters, and their number, for the server.

    Filters are category, topic, polarity, place, from, to (days), min and max stars, search, sort (probability, date,
    stars), offset and limit, and by_0, by_1, ... for groups.
    """
    where = ["true"]
    parameters: list[object] = []

    def add(condition: str, value: object) -> None:
        where.append(condition)
        parameters.append(value)

    if filters.get("category"):
        add("a.entity_group = ?", filters["category"])
    if (polarity := filters.get("polarity")) in POLARITIES:
        add("a.polarity = ?", polarity)
    if filters.get("topic"):
        pairs = topics.get(filters["topic"], ())
        forms = ", ".join(f"({literal(category)}, {literal(form)})" for category, form in pairs) or "(NULL, NULL)"
        where.append(f"(a.entity_group, lower(trim(a.word))) IN ({forms})")
    for name, condition in (
        ("from", "moment::DATE >= ?::DATE"),
        ("to", "moment::DATE <= ?::DATE"),
        ("place", "place = ?"),
    ):
        if filters.get(name):
            add(condition, filters[name])
    for name, condition in (("min", "stars >= ?"), ("max", "stars <= ?")):
        if filters.get(name):
            add(condition, float(filters[name]))
    if filters.get("search"):
        add(f"contains(lower({quoted(text)}), lower(?))", filters["search"])
    for n in range(len(by)):
        if filters.get(f"by_{n}"):
            add(f"by_{n} = ?", filters[f"by_{n}"])
    orders = {"date": "moment DESC NULLS LAST", "oldest": "moment NULLS LAST", "stars": "stars NULLS LAST"}
    order = orders.get(filters.get("sort", ""), f"round({JOINT_PROBABILITY}, 2) DESC")
    limit = min(int(filters.get("limit") or 50), 500)
    offset = int(filters.get("offset") or 0)
    groups = "".join(f", by_{n}" for n in range(len(by)))
    source = f"FROM (SELECT *, unnest({ASPECTS}) AS a FROM dated) WHERE {' AND '.join(where)}"
    ((count,),) = cast(list[tuple[int]], reviews.rows(f"SELECT count(*) {source}", parameters))
    rows = reviews.rows(
        f"SELECT {review_struct(reviews, text)}, a{groups} {source} ORDER BY {order}, {ROW_ID}, a.start LIMIT {limit}"
        f" OFFSET {offset}",
        parameters,
    )
    result = []
    for review, aspect, *values in cast(list[tuple[Any, ...]], rows):
        displayed, spans = _sentences({**review, "aspects": [aspect]})
        if spans:
            probability = joint_probability(aspect)
            result.append(
                {
                    "name": review_name(reviews, review),
                    "text": displayed,
                    "day": review["day"].isoformat() if review["day"] else None,
                    "stars": review["stars"],
                    "place": review["place"],
                    "groups": values,
                    "category": aspect["entity_group"],
                    "polarity": aspect["polarity"],
                    "offsets": spans[0][1],
                    "probability": None if probability is None else round(100 * probability),
                }
            )
    return {"count": count, "sentences": result}
