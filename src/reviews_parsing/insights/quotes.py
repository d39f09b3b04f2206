"""The sentences that show best what is said: sure, short, of one polarity; each with the review it is from."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from reviews_parsing.insights.counting import NEGATIVE, POSITIVE
from reviews_parsing.insights.source import ASPECTS, FILE, ROW, Reviews, quoted
from reviews_parsing.insights.tables import Sentence, Shown, Span

WORD_SHARDS, TEXT_SHARDS = 16, 32
"""Of each category and polarity, words and texts are dealt out, and of each shard the surest aspect is looked at: so
one sentence that a thousand reviews copy takes the place of one."""
KEPT = 3
LEAST_SURE = 0.5
LONGEST_REVIEW = 4000
"""Characters; sentences of longer reviews are not shown, because the page shows the whole review beside them."""
SHORTEST, LONGEST = 15, 220
BEST = range(35, 121)
"""Characters of a sentence: the bounds, and how long it is best."""
IDS = ("id", "review_id", "reviewid", "review id", "uuid")

_ENDS = re.compile(r"[.!?…。！？]+[\"'”’)\]]*(?=\s|$)|[。！？]|\n+")


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A sentence [start, end) of a review around an aspect, and how well it would do, in [0, 1]."""

    review: Mapping[str, Any]
    aspect: Mapping[str, Any]
    start: int
    end: int
    value: float


def find(reviews: Reviews, order: Sequence[str]) -> tuple[tuple[Sentence, ...], tuple[Shown, ...]]:
    """Up to three sentences that praise and three that blame each category, and the reviews that they are from."""
    text = text_column(reviews)
    if text is None:
        return (), ()
    pools = _candidates(reviews, text)
    shown: dict[str, Shown] = {}
    found: list[Sentence] = []
    texts: set[str] = set()
    for category in order:
        for polarity in (POSITIVE, NEGATIVE):
            for best in _best(pools.get((category, polarity), []), texts):
                found.append(_sentence(best, reviews.names, shown))
    return tuple(found), tuple(shown.values())


def text_column(reviews: Reviews) -> str | None:
    """The column of strings that the offsets of aspects point into; None where it was left out."""
    strings = [name for name, kind in reviews.columns.items() if str(kind) == "VARCHAR"]
    if not strings:
        return None
    hits = ", ".join(f"count(*) FILTER (substr({quoted(n)}, a.start + 1, a.end - a.start) = a.word)" for n in strings)
    ((hits_of, *_),) = reviews.rows(
        f"SELECT [{hits}] FROM (SELECT *, a FROM (SELECT *, unnest({ASPECTS}) AS a FROM"
        f" (FROM dated WHERE len({ASPECTS}) > 0 LIMIT 1000)) WHERE a.word IS NOT NULL)"
    )
    most, name = max(zip(cast(list[int], hits_of), strings, strict=True), key=lambda pair: pair[0])
    return name if most else None


def _candidates(reviews: Reviews, text: str) -> dict[tuple[str, str], list[_Candidate]]:
    """The surest aspects of each category and polarity, of equally sure ones those in the shortest reviews.

    They are of different words and texts, as far as there are any.
    """
    names = {name.lower(): name for name in reversed(reviews.columns)}
    identity = next((names[name] for name in IDS if name in names), None)
    rows = reviews.rows(
        f"""
        SELECT a.entity_group, a.polarity, max_by(review, sure) FROM (
            SELECT a, {{'text': {quoted(text)}, 'aspects': {ASPECTS}, 'aspect': a, 'file': {FILE}, 'row': {ROW},
                'id': {f"{quoted(identity)}::VARCHAR" if identity else "NULL"}}} AS review,
                round(coalesce(a.score, 1) * coalesce(a.polarity_score, 1), 2) - length({quoted(text)}) / 1e6
                - (hash({FILE}, {ROW}, a.start) % 1000) / 1e12 AS sure
            FROM (SELECT *, unnest({ASPECTS}) AS a FROM dated WHERE length({quoted(text)}) <= {LONGEST_REVIEW})
            WHERE a.word IS NOT NULL AND a.polarity IN ('{POSITIVE}', '{NEGATIVE}')
        ) GROUP BY 1, 2, hash(lower(a.word)) % {WORD_SHARDS}, hash(review.text) % {TEXT_SHARDS}
        """
    )
    pools: dict[tuple[str, str], list[_Candidate]] = defaultdict(list)
    for category, polarity, review in cast(list[tuple[str, str, dict[str, Any]]], rows):
        if candidate := _candidate(review):
            pools[category, polarity].append(candidate)
    return pools


def _candidate(review: Mapping[str, Any]) -> _Candidate | None:
    aspect = review["aspect"]
    text = review["text"]
    if text[aspect["start"] : aspect["end"]] != aspect["word"]:
        return None
    start, end = next(((s, e) for s, e in split(text) if s <= aspect["start"] and aspect["end"] <= e), (0, 0))
    if not SHORTEST <= end - start <= LONGEST:
        return None
    beside = [a for a in review["aspects"] if a["start"] is not None and start <= a["start"] < end]
    clear = all(a["polarity"] == aspect["polarity"] for a in beside)
    sure = (1 if aspect["score"] is None else aspect["score"]) * (
        1 if aspect["polarity_score"] is None else aspect["polarity_score"]
    )
    if sure < LEAST_SURE:
        return None
    length = end - start
    off = max(BEST.start - length, length - BEST.stop, 0) / (LONGEST - BEST.stop)
    value = sure * (1.0 if clear else 0.4) * (1 - 0.6 * min(off, 1)) * (1.1 if aspect["opinion"] else 1)
    return _Candidate(review, aspect, start, end, value)


def split(text: str) -> Iterator[tuple[int, int]]:
    """The sentences of a text, as [start, end) without the white space around them."""
    start = 0
    for end in [match.end() for match in _ENDS.finditer(text)] + [len(text)]:
        piece = text[start:end]
        if stripped := piece.strip():
            begin = start + piece.index(stripped)
            yield begin, begin + len(stripped)
        start = end


def _best(pool: Sequence[_Candidate], texts: set[str]) -> Iterator[_Candidate]:
    """The best of a pool that say different things: no review, sentence or word twice. `texts` is what was said."""
    words: set[str] = set()
    kept = 0
    ranked = sorted(pool, key=lambda c: (-c.value, c.review["text"], c.start))
    for fresh_words in (True, False):
        for candidate in ranked:
            text = candidate.review["text"]
            said = {text.casefold().strip(), text[candidate.start : candidate.end].casefold()}
            word = candidate.aspect["word"].casefold()
            if kept == KEPT:
                return
            if said & texts or (fresh_words and word in words):
                continue
            texts |= said
            words.add(word)
            kept += 1
            yield candidate


def _sentence(best: _Candidate, names: Mapping[str, str], shown: dict[str, Shown]) -> Sentence:
    review, aspect = best.review, best.aspect
    name = review["id"] or f"{Path(names[review['file']]).name}, row {review['row'] + 1}"
    where = f"{review['file']}:{review['row']}"
    if where not in shown:
        spans = sorted(
            (a["start"], a["end"], a["entity_group"], a["polarity"])
            for a in review["aspects"]
            if a["start"] is not None
        )
        shown[where] = Shown(name, review["text"], tuple(Span(*span) for span in spans))
    scores = [s for s in (aspect["score"], aspect["polarity_score"]) if s is not None]
    probability = None if not scores else scores[0] * (scores[1] if len(scores) == 2 else 1)
    return Sentence(
        category=aspect["entity_group"],
        polarity=aspect["polarity"],
        sentence=review["text"][best.start : best.end],
        start=aspect["start"] - best.start,
        end=aspect["end"] - best.start,
        word=aspect["word"],
        probability=probability,
        review=list(shown).index(where),
        review_name=name,
    )
