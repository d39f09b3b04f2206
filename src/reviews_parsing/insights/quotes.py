"""Quotes with a high joint probability that agree with the rating, and reviews whose stars and text disagree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import PurePath
from typing import Any, cast

from reviews_parsing.insights.counts import NEGATIVE, POSITIVE
from reviews_parsing.insights.results import Disagreement, QuotedReview, Sentence, Span
from reviews_parsing.insights.reviews import ASPECTS, ROW_BITS, ROW_ID, Reviews, quoted
from reviews_parsing.insights.text import readable
from reviews_parsing.tagging.sentences import sentences

WORD_SHARDS, TEXT_SHARDS = 16, 32
"""The candidates of a category and polarity are the best aspects of each shard of words and texts. A sentence that a
thousand reviews copy therefore takes the place of one."""
QUOTES_PER_SIDE = 3
MIN_PROBABILITY = 0.5
MAX_REVIEW_LENGTH = 4000
"""Characters of a review that is quoted, because the page shows the whole review."""
MIN_LENGTH, MAX_LENGTH = 15, 220
BEST_LENGTH = range(35, 121)
"""Characters of a quote: the limits, and the lengths without a penalty."""
ID_COLUMNS = ("id", "review_id", "reviewid", "review id", "uuid")
HIGH_STARS, LOW_STARS = 4, 2
MAX_DISAGREEMENTS = 20
FETCH_ROWS = 500
JOINT_PROBABILITY = "coalesce(a.score, 1) * coalesce(a.polarity_score, 1)"


@dataclass(frozen=True, slots=True)
class _Candidate:
    """The sentence [start, end) of a review around an aspect with a word, and its quality in [0, 1].

    `number` is its row in the table `quote_candidates`, which holds the whole review and aspect.
    """

    number: int
    text: str
    word: str
    word_start: int
    start: int
    end: int
    quality: float


def select_quotes(
    reviews: Reviews, text: str | None, order: Sequence[str]
) -> tuple[tuple[Sentence, ...], tuple[QuotedReview, ...]]:
    """Return up to three quotes per category for praise and for blame, and their reviews; `text` is the text column."""
    if text is None:
        return (), ()
    candidates = _candidates(reviews, text)
    used_texts: set[str] = set()
    chosen = [
        candidate
        for category in order
        for polarity in (POSITIVE, NEGATIVE)
        for candidate in _best(candidates.get((category, polarity), []), used_texts)
    ]
    numbers = ", ".join(str(candidate.number) for candidate in chosen)
    rows = reviews.rows(f"SELECT number, best FROM quote_candidates WHERE number IN ({numbers})") if chosen else []
    best = dict(cast(list[tuple[int, dict[str, Any]]], rows))
    quoted_reviews: dict[int, QuotedReview] = {}
    quotes = [_quote(candidate, best[candidate.number], reviews, quoted_reviews) for candidate in chosen]
    return tuple(quotes), tuple(quoted_reviews.values())


def review_struct(reviews: Reviews, text: str) -> str:
    """Return SQL for a struct with text, aspects, id, place, day and stars of a review of the view `dated`."""
    names = {name.lower(): name for name in reversed(reviews.columns)}
    identity = next((f"{quoted(names[name])}::VARCHAR" for name in ID_COLUMNS if name in names), "NULL")
    return (
        f"{{'text': {quoted(text)}, 'aspects': {ASPECTS}, 'row': {ROW_ID}, 'id': {identity}, 'place': place,"
        f" 'day': moment::DATE, 'stars': stars}}"
    )


def review_name(reviews: Reviews, review: Mapping[str, Any]) -> str:
    """Return the id of a review, or the name of its file and its row."""
    if review["id"]:
        return str(review["id"])
    file, row = divmod(review["row"], 1 << ROW_BITS)
    return f"{PurePath(reviews.names[file]).name}, row {row + 1}"


def joint_probability(aspect: Mapping[str, Any]) -> float | None:
    """Return the product of the scores of category and polarity, or None if there are no scores."""
    scores = [score for score in (aspect["score"], aspect["polarity_score"]) if score is not None]
    return prod(scores) if scores else None


def _candidates(reviews: Reviews, text: str) -> dict[tuple[str, str], list[_Candidate]]:
    """Return the most probable aspects of each category and polarity that agree with the rating."""
    reviews.rows(
        f"""
        CREATE TABLE quote_candidates AS SELECT row_number() OVER () AS number, * FROM (
        SELECT a.entity_group AS category, a.polarity AS polarity,
            max_by({{'review': review, 'aspect': a}}, row(rank, row_id, a.start)) AS best FROM (
            SELECT a, {review_struct(reviews, text)} AS review,
                round({JOINT_PROBABILITY}, 2) - length({quoted(text)}) / 1e6
                - (hash({ROW_ID}, a.start) % 1000) / 1e12 AS rank, {ROW_ID} AS row_id
            FROM (SELECT *, unnest({ASPECTS}) AS a FROM dated WHERE length({quoted(text)}) <= {MAX_REVIEW_LENGTH})
            WHERE a.word IS NOT NULL AND {JOINT_PROBABILITY} >= {MIN_PROBABILITY}
            AND (a.polarity = '{POSITIVE}' AND coalesce(stars > {LOW_STARS}, true)
                OR a.polarity = '{NEGATIVE}' AND coalesce(stars < {HIGH_STARS}, true))
        ) GROUP BY 1, 2, hash(lower(a.word)) % {WORD_SHARDS}, hash(review.text) % {TEXT_SHARDS})
        """
    )
    candidates: dict[tuple[str, str], list[_Candidate]] = defaultdict(list)
    cursor = reviews.connection.cursor()
    cursor.execute("SELECT number, category, polarity, best FROM quote_candidates")
    # As rows of Python, all candidates would need more memory than any other step.
    while batch := cursor.fetchmany(FETCH_ROWS):
        for number, category, polarity, best in batch:
            if candidate := _candidate(number, best["review"], best["aspect"]):
                candidates[category, polarity].append(candidate)
    return candidates


def _candidate(number: int, review: Mapping[str, Any], aspect: Mapping[str, Any]) -> _Candidate | None:
    text = review["text"]
    if text[aspect["start"] : aspect["end"]] != aspect["word"]:
        return None
    start, end = next(((s, e) for s, e in sentences(text) if s <= aspect["start"] and aspect["end"] <= e), (0, 0))
    if not MIN_LENGTH <= end - start <= MAX_LENGTH:
        return None
    neighbours = [a for a in review["aspects"] if a["start"] is not None and start <= a["start"] < end]
    unanimous = all(a["polarity"] == aspect["polarity"] for a in neighbours)
    probability = joint_probability(aspect)
    length = end - start
    excess = max(BEST_LENGTH.start - length, length - BEST_LENGTH.stop, 0) / (MAX_LENGTH - BEST_LENGTH.stop)
    quality = (1.0 if probability is None else probability) * (1.0 if unanimous else 0.4) * (1 - 0.6 * min(excess, 1))
    quality *= 1.1 if aspect["opinion"] else 1
    return _Candidate(number, text, aspect["word"], aspect["start"], start, end, quality)


def _best(candidates: Sequence[_Candidate], used_texts: set[str]) -> Iterator[_Candidate]:
    """Yield the best candidates without repeating a review or sentence, preferably with different words."""
    words: set[str] = set()
    number = 0
    ranked = sorted(candidates, key=lambda c: (-c.quality, c.text, c.word_start))
    for new_words_only in (True, False):
        for candidate in ranked:
            text = candidate.text
            texts = {text.casefold().strip(), text[candidate.start : candidate.end].casefold()}
            word = candidate.word.casefold()
            if number == QUOTES_PER_SIDE:
                return
            if texts & used_texts or (new_words_only and word in words):
                continue
            used_texts |= texts
            words.add(word)
            number += 1
            yield candidate


def _quote(
    candidate: _Candidate, best: Mapping[str, Any], reviews: Reviews, quoted_reviews: dict[int, QuotedReview]
) -> Sentence:
    review, aspect = best["review"], best["aspect"]
    name = review_name(reviews, review)
    if review["row"] not in quoted_reviews:
        quoted_reviews[review["row"]] = QuotedReview(name, *readable_review(review))
    sentence, offsets = readable(
        review["text"][candidate.start : candidate.end],
        [aspect["start"] - candidate.start, aspect["end"] - candidate.start],
    )
    return Sentence(
        category=aspect["entity_group"],
        polarity=aspect["polarity"],
        sentence=sentence,
        start=offsets[0],
        end=offsets[1],
        word=sentence[offsets[0] : offsets[1]],
        probability=joint_probability(aspect),
        review=list(quoted_reviews).index(review["row"]),
        review_name=name,
        place=review["place"],
        day=review["day"],
        stars=review["stars"],
    )


def readable_review(review: Mapping[str, Any]) -> tuple[str, tuple[Span, ...]]:
    """Return the text of a review without HTML entities, and its spans in that text."""
    spans = sorted(
        (a["start"], a["end"], a["entity_group"], a["polarity"]) for a in review["aspects"] if a["start"] is not None
    )
    text, offsets = readable(review["text"], [offset for span in spans for offset in span[:2]])
    moved = zip(offsets[::2], offsets[1::2], spans, strict=True)
    return text, tuple(Span(start, end, category, polarity) for start, end, (_, _, category, polarity) in moved)


def find_disagreements(reviews: Reviews, text: str | None) -> tuple[tuple[Disagreement, ...], tuple[int, int]]:
    """Return reviews whose stars and text disagree, the most probable first, and the number on each side.

    Many stars and only blame come first in the numbers, few stars and only praise second.
    """
    sides = (
        ("blame", f"stars >= {HIGH_STARS}", NEGATIVE, POSITIVE),
        ("praise", f"stars <= {LOW_STARS}", POSITIVE, NEGATIVE),
    )
    result: list[Disagreement] = []
    counts = []
    for side, condition, polarity, opposite in sides:
        group_filter = (
            f"{condition} AND len(list_filter({ASPECTS}, lambda x: x.polarity = '{polarity}')) > 0"
            f" AND len(list_filter({ASPECTS}, lambda x: x.polarity = '{opposite}')) = 0"
        )
        ((count,),) = cast(list[tuple[int]], reviews.rows(f"SELECT count(*) FROM dated WHERE {group_filter}"))
        counts.append(count)
        if text is None or not count:
            continue
        miss = (
            f"list_product(list_transform({ASPECTS}, lambda a:"
            f" CASE WHEN a.polarity = '{polarity}' THEN 1 - {JOINT_PROBABILITY} ELSE 1 END))"
        )
        rows = cast(
            list[tuple[dict[str, Any], float]],
            reviews.rows(
                f"SELECT {review_struct(reviews, text)}, 1 - {miss} AS p FROM dated"
                f" WHERE {group_filter} AND length({quoted(text)}) <= {MAX_REVIEW_LENGTH}"
                f" ORDER BY round(p, 3) DESC, {ROW_ID} LIMIT {MAX_DISAGREEMENTS}"
            ),
        )
        for review, probability in rows:
            readable_text, spans = readable_review(review)
            result.append(
                Disagreement(
                    review_name(reviews, review),
                    review["place"],
                    review["day"],
                    review["stars"],
                    side,
                    round(probability, 4),
                    readable_text,
                    spans,
                )
            )
    return tuple(result), (counts[0], counts[1])
