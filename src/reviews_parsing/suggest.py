"""Which reviews would teach a model most, if somebody labelled them.

A review is what the parser doubts in it: the words whose tags it may have got wrong, the tags that it cannot tell
apart, the polarities, the aspects without a span, each with the number of errors to be expected there. What is doubted
often in the pool is worth learning, and less so the more of it is chosen already: the choice maximises

    sum over doubts f of sqrt(errors expected of f in the pool) * log(1 + 2 * errors expected of f in the choice)

a monotone submodular function (feature-based coverage; Wei, Iyer and Bilmes, 2015), of which taking the best review one
by one reaches at least 63 % of the maximum. So uncertainty brings a review in, and diversity keeps its likes out.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from reviews_parsing.data.duplicates import pairs
from reviews_parsing.encoder import Logits
from reviews_parsing.parser import AspectParser, Prepared
from reviews_parsing.schema import ParsedReview, Review
from reviews_parsing.tagging import decode, max_over_words, sigmoid, softmax

# The number of errors expected of each thing that a parser may be wrong about.
Doubts = defaultdict[Any, float]
# Less than this is no doubt.
LEAST = 0.01
# Half an error that somebody has put right teaches as much as the next whole one.
HALF = 0.5
# How many candidates for a place are kept, whatever the size of the pool.
CANDIDATES, AT_LEAST = 20, 2000


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A review to label: what came in with its text, what the model makes of it, and in how much that may be wrong.

    `errors` is the number of labels of the review that are expected to be wrong.
    """

    given: Mapping[str, Any]
    parsed: ParsedReview
    errors: float

    def as_review(self) -> Review:
        """The answer as labels to correct; `meta` has what came in, and `errors`."""
        meta = {key: value for key, value in self.given.items() if key not in ("id", "review_id", "aspects")}
        name = hashlib.sha256(self.parsed.text.encode("utf-8", "replace")).hexdigest()[:12]
        review_id = str(self.given.get("id") or self.given.get("review_id") or f"review-{name}")
        return Review(review_id, self.parsed.text, self.parsed.aspects, meta | {"errors": round(self.errors, 2)})


class _Candidate(NamedTuple):
    """Ordered by what it is worth by itself, and among equals the earlier the better."""

    worth: float
    order: int
    cost: float
    doubts: Doubts
    suggestion: Suggestion


def suggest(
    parser: AspectParser,
    pool: Iterable[tuple[str, Mapping[str, Any]]],
    wanted: int,
    known: Iterable[str] = (),
    progress: Callable[[int], None] = lambda done: None,
) -> list[Suggestion]:
    """The `wanted` reviews of the pool that are worth labelling most, the most worth first.

    `pool` gives (text, whatever belongs to it). Texts that are blank, among `known`, or (nearly) given twice are left
    out. A review twice as long must teach 1.4 times as much. Memory is flat but for the words of the pool. `progress`
    hears how many reviews are read.
    """
    expected: Doubts = defaultdict(float)
    best: list[_Candidate] = []
    room = max(AT_LEAST, CANDIDATES * wanted)
    order = count(0, -1)
    for done, (given, parsed, words, doubts) in enumerate(_read(parser, pool, known), start=1):
        _add(expected, doubts)
        errors, cost = sum(share for key, share in doubts.items() if key[0] != "word"), math.sqrt(words + 1)
        found = _Candidate(errors / cost, next(order), cost, doubts, Suggestion(given, parsed, errors))
        (heapq.heappush if len(best) < room else heapq.heappushpop)(best, found)
        progress(done)
    return list(_chosen(_different(best), expected, wanted))


def _different(candidates: list[_Candidate]) -> list[_Candidate]:
    """Of candidates that are nearly word for word the same only the best."""
    ranked = sorted(candidates, reverse=True)
    texts = [candidate.suggestion.parsed.text for candidate in ranked]
    again = {pair.later for pair in pairs(texts, [""] * len(texts))}
    return [candidate for number, candidate in enumerate(ranked) if number not in again]


def _chosen(candidates: list[_Candidate], expected: Doubts, wanted: int) -> Iterator[Suggestion]:
    """The candidates that add most, one by one; lazily, as what one adds can only shrink (Minoux, 1978)."""
    weight = {key: math.sqrt(share) for key, share in expected.items()}
    covered: Doubts = defaultdict(float)

    def gain(candidate: _Candidate) -> float:
        rise = (weight[f] * math.log1p(x / (covered[f] + HALF)) for f, x in candidate.doubts.items())
        return sum(rise) / candidate.cost

    heap = [(-gain(candidate), -candidate.order, candidate) for candidate in candidates]
    heapq.heapify(heap)
    while heap and wanted:
        _, order, candidate = heapq.heappop(heap)
        now = (-gain(candidate), order, candidate)
        if heap and now > heap[0]:
            heapq.heappush(heap, now)
            continue
        _add(covered, candidate.doubts)
        wanted -= 1
        yield candidate.suggestion


def _add(total: Doubts, some: Doubts) -> None:
    for key, share in some.items():
        total[key] += share


def _read(
    parser: AspectParser, pool: Iterable[tuple[str, Mapping[str, Any]]], known: Iterable[str]
) -> Iterator[tuple[Mapping[str, Any], ParsedReview, int, Doubts]]:
    """(what belongs to it, what is found, number of words, doubts) of each review that may be labelled."""
    seen = set(map(_key, known)) | {""}
    waiting: list[Mapping[str, Any]] = []

    def texts() -> Iterator[str]:
        for text, given in pool:
            if (key := _key(text)) not in seen:
                seen.add(key)
                waiting.append(given)
                yield text

    for prepared, logits in parser.encoded(texts()):
        given, waiting[: len(prepared.texts)] = waiting[: len(prepared.texts)], []
        words = np.diff(prepared.first).tolist()
        yield from zip(given, parser.finish(prepared, logits), words, _doubts(parser, prepared, logits), strict=True)


def _key(text: str) -> str:
    return " ".join(text.casefold().split())


def _doubts(parser: AspectParser, prepared: Prepared, logits: Logits) -> list[Doubts]:
    """For each text what the parser may be wrong about, and the number of errors expected there."""
    found: list[Doubts] = [defaultdict(float) for _ in prepared.texts]
    first = prepared.first
    calibration = parser.config.calibration
    tags = parser.tags(prepared, logits)
    spans = decode(tags, logits.polarities, first)
    text_of = np.repeat(np.arange(len(prepared.texts)), np.diff(first))
    polarities = spans.polarity_logits * calibration.polarity_scale
    for kind, shares, places in (
        ("tag", tags.probabilities, text_of),
        ("polarity", softmax(polarities) if polarities.size else polarities, spans.text),
    ):
        if shares.shape[0] == 0 or shares.shape[1] < 2:
            continue
        second, top = np.argsort(shares, axis=1)[:, -2:].T
        doubt = 1 - shares[np.arange(len(shares)), top]
        for row in np.flatnonzero(doubt > LEAST).tolist():
            text = int(places[row])
            found[text][kind, int(top[row]), int(second[row])] += float(doubt[row])
            word = row - int(first[text]) if kind == "tag" else int(spans.start[row])
            start, end = prepared.bounds(text, word, word + 1)
            found[text]["word", prepared.texts[text][start:end].casefold()] += float(doubt[row])
    known = len(parser.taxonomy.implicit) * max(1, len(parser.taxonomy.polarities))
    implicit = max_over_words(logits.implicit[:, :known], first)
    chance = sigmoid(calibration.implicit_scale * implicit + calibration.implicit_bias)
    unsure = np.minimum(chance, 1 - chance)
    for at, pair in zip(*(axis.tolist() for axis in np.nonzero(unsure > LEAST)), strict=True):
        found[at]["implicit", pair] += float(unsure[at, pair])
    return found
