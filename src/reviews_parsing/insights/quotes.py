"""Quotes: sentences with a high score, of moderate length and one polarity, each with its review."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from reviews_parsing.insights.counts import NEGATIVE, POSITIVE
from reviews_parsing.insights.results import QuotedReview, Sentence, Span
from reviews_parsing.insights.reviews import ASPECTS, FILE, ROW, Reviews, quoted
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


@dataclass(frozen=True, slots=True)
class _Candidate:
    """The sentence [start, end) of a review around an aspect, with its quality in [0, 1]."""

    review: Mapping[str, Any]
    aspect: Mapping[str, Any]
    start: int
    end: int
    quality: float


def select_quotes(reviews: Reviews, order: Sequence[str]) -> tuple[tuple[Sentence, ...], tuple[QuotedReview, ...]]:
    """Return up to three quotes per category for praise and for blame, and their reviews."""
    text = text_column(reviews)
    if text is None:
        return (), ()
    candidates = _candidates(reviews, text)
    quoted_reviews: dict[str, QuotedReview] = {}
    quotes: list[Sentence] = []
    used_texts: set[str] = set()
    for category in order:
        for polarity in (POSITIVE, NEGATIVE):
            for candidate in _best(candidates.get((category, polarity), []), used_texts):
                quotes.append(_quote(candidate, reviews.names, quoted_reviews))
    return tuple(quotes), tuple(quoted_reviews.values())


def text_column(reviews: Reviews) -> str | None:
    """Return the string column that the offsets of aspects refer to, or None."""
    strings = [name for name, kind in reviews.columns.items() if str(kind) == "VARCHAR"]
    if not strings:
        return None
    matches = ", ".join(
        f"count(*) FILTER (substr({quoted(n)}, a.start + 1, a.end - a.start) = a.word)" for n in strings
    )
    ((counts, *_),) = reviews.rows(
        f"SELECT [{matches}] FROM (SELECT *, a FROM (SELECT *, unnest({ASPECTS}) AS a FROM"
        f" (FROM dated WHERE len({ASPECTS}) > 0 LIMIT 1000)) WHERE a.word IS NOT NULL)"
    )
    count, name = max(zip(cast(list[int], counts), strings, strict=True), key=lambda pair: pair[0])
    return name if count else None


def _candidates(reviews: Reviews, text: str) -> dict[tuple[str, str], list[_Candidate]]:
    """Return the most probable aspects of each category and polarity, in the shortest reviews if they tie."""
    names = {name.lower(): name for name in reversed(reviews.columns)}
    identity = next((names[name] for name in ID_COLUMNS if name in names), None)
    rows = reviews.rows(
        f"""
        SELECT a.entity_group, a.polarity, max_by(review, rank) FROM (
            SELECT a, {{'text': {quoted(text)}, 'aspects': {ASPECTS}, 'aspect': a, 'file': {FILE}, 'row': {ROW},
                'id': {f"{quoted(identity)}::VARCHAR" if identity else "NULL"}}} AS review,
                round(coalesce(a.score, 1) * coalesce(a.polarity_score, 1), 2) - length({quoted(text)}) / 1e6
                - (hash({FILE}, {ROW}, a.start) % 1000) / 1e12 AS rank
            FROM (SELECT *, unnest({ASPECTS}) AS a FROM dated WHERE length({quoted(text)}) <= {MAX_REVIEW_LENGTH})
            WHERE a.word IS NOT NULL AND a.polarity IN ('{POSITIVE}', '{NEGATIVE}')
        ) GROUP BY 1, 2, hash(lower(a.word)) % {WORD_SHARDS}, hash(review.text) % {TEXT_SHARDS}
        """
    )
    candidates: dict[tuple[str, str], list[_Candidate]] = defaultdict(list)
    for category, polarity, review in cast(list[tuple[str, str, dict[str, Any]]], rows):
        if candidate := _candidate(review):
            candidates[category, polarity].append(candidate)
    return candidates


def _candidate(review: Mapping[str, Any]) -> _Candidate | None:
    aspect = review["aspect"]
    text = review["text"]
    if text[aspect["start"] : aspect["end"]] != aspect["word"]:
        return None
    start, end = next(((s, e) for s, e in sentences(text) if s <= aspect["start"] and aspect["end"] <= e), (0, 0))
    if not MIN_LENGTH <= end - start <= MAX_LENGTH:
        return None
    neighbours = [a for a in review["aspects"] if a["start"] is not None and start <= a["start"] < end]
    unanimous = all(a["polarity"] == aspect["polarity"] for a in neighbours)
    probability = _probability(aspect)
    if probability is not None and probability < MIN_PROBABILITY:
        return None
    length = end - start
    excess = max(BEST_LENGTH.start - length, length - BEST_LENGTH.stop, 0) / (MAX_LENGTH - BEST_LENGTH.stop)
    quality = (1.0 if probability is None else probability) * (1.0 if unanimous else 0.4) * (1 - 0.6 * min(excess, 1))
    return _Candidate(review, aspect, start, end, quality * (1.1 if aspect["opinion"] else 1))


def _probability(aspect: Mapping[str, Any]) -> float | None:
    """Return the product of the scores of category and polarity, or None if there are no scores."""
    scores = [score for score in (aspect["score"], aspect["polarity_score"]) if score is not None]
    return None if not scores else scores[0] * (scores[1] if len(scores) == 2 else 1)


def _best(candidates: Sequence[_Candidate], used_texts: set[str]) -> Iterator[_Candidate]:
    """Yield the best candidates without repeating a review or sentence, preferably with different words."""
    words: set[str] = set()
    number = 0
    ranked = sorted(candidates, key=lambda c: (-c.quality, c.review["text"], c.start))
    for new_words_only in (True, False):
        for candidate in ranked:
            text = candidate.review["text"]
            texts = {text.casefold().strip(), text[candidate.start : candidate.end].casefold()}
            word = candidate.aspect["word"].casefold()
            if number == QUOTES_PER_SIDE:
                return
            if texts & used_texts or (new_words_only and word in words):
                continue
            used_texts |= texts
            words.add(word)
            number += 1
            yield candidate


def _quote(candidate: _Candidate, names: Mapping[str, str], quoted_reviews: dict[str, QuotedReview]) -> Sentence:
    review, aspect = candidate.review, candidate.aspect
    name = review["id"] or f"{Path(names[review['file']]).name}, row {review['row'] + 1}"
    key = f"{review['file']}:{review['row']}"
    if key not in quoted_reviews:
        spans = sorted(
            (a["start"], a["end"], a["entity_group"], a["polarity"])
            for a in review["aspects"]
            if a["start"] is not None
        )
        quoted_reviews[key] = QuotedReview(name, review["text"], tuple(Span(*span) for span in spans))
    return Sentence(
        category=aspect["entity_group"],
        polarity=aspect["polarity"],
        sentence=review["text"][candidate.start : candidate.end],
        start=aspect["start"] - candidate.start,
        end=aspect["end"] - candidate.start,
        word=aspect["word"],
        probability=_probability(aspect),
        review=list(quoted_reviews).index(key),
        review_name=name,
    )
