"""Active learning: select the unlabelled reviews whose labels would improve the model most.

A review is represented by features with an expected number of model errors each: words with an uncertain tag, pairs of
tags or of polarities that the model confuses, uncertain implicit aspects. Features that are uncertain in many reviews
of the pool weigh more, with diminishing returns for each selected review that has them. The selection maximises

    sum over features f of sqrt(errors expected of f in the pool) * log(1 + 2 * errors expected of f in the selection)

a monotone submodular function (feature-based coverage; Wei, Iyer and Bilmes, 2015); greedy selection reaches at least
63 % of its maximum. It combines uncertainty with diversity.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from reviews_parsing.data.duplicates import find_duplicates
from reviews_parsing.encoder import Logits
from reviews_parsing.parser import AspectParser, Prepared
from reviews_parsing.schema import ParsedReview, Review
from reviews_parsing.tagging import decode, softmax

ExpectedErrors = defaultdict[Any, float]
"""Expected number of model errors by feature."""
MIN_ERROR_PROBABILITY = 0.01
"""Lower probabilities do not count as uncertain."""
HALF_SATURATION_ERRORS = 0.5
"""Expected errors of a feature in the selection, after which a further one gains half as much."""
CANDIDATES_PER_SUGGESTION, MIN_CANDIDATES = 20, 2000
"""Limit the candidates in memory, so that the pool can have any size."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A review to label: its source row, the model's prediction, and the expected number of wrong labels in it."""

    source_row: Mapping[str, Any]
    parsed_review: ParsedReview
    errors: float

    def to_review(self) -> Review:
        """Return the predicted labels for correction; `meta` has the source row and `errors`."""
        meta = {key: value for key, value in self.source_row.items() if key not in ("id", "review_id", "aspects")}
        digest = hashlib.sha256(self.parsed_review.text.encode("utf-8", "replace")).hexdigest()[:12]
        review_id = str(self.source_row.get("id") or self.source_row.get("review_id") or f"review-{digest}")
        meta["errors"] = round(self.errors, 2)
        return Review(review_id, self.parsed_review.text, self.parsed_review.aspects, meta)


class _RankedReview(NamedTuple):
    """A candidate, ordered by expected errors per cost; of equal candidates the earlier one is greater."""

    score: float
    order: int
    cost: float
    expected_errors: ExpectedErrors
    suggestion: Suggestion


def suggest(
    parser: AspectParser,
    pool: Iterable[tuple[str, Mapping[str, Any]]],
    count: int,
    excluded_texts: Iterable[str] = (),
    progress: Callable[[int], None] = lambda reviews_read: None,
) -> list[Suggestion]:
    """Return the `count` reviews of the pool that are most worth labelling, best first.

    `pool` yields (text, source row). Blank, excluded and (nearly) duplicate texts are skipped. The cost of a review is
    the square root of its length in words. Memory is constant but for the vocabulary of the pool. `progress` is called
    with the number of reviews read.
    """
    pool_errors: ExpectedErrors = defaultdict(float)
    candidates: list[_RankedReview] = []
    max_candidates = max(MIN_CANDIDATES, CANDIDATES_PER_SUGGESTION * count)
    parsed_pool = _parse_pool(parser, pool, excluded_texts)
    for number, (source_row, parsed_review, words, expected_errors) in enumerate(parsed_pool):
        _add(pool_errors, expected_errors)
        # The features of words repeat the errors of their tags and polarities.
        errors = sum(expected for feature, expected in expected_errors.items() if feature[0] != "word")
        cost = math.sqrt(words + 1)
        suggestion = Suggestion(source_row, parsed_review, errors)
        candidate = _RankedReview(errors / cost, -number, cost, expected_errors, suggestion)
        (heapq.heappush if len(candidates) < max_candidates else heapq.heappushpop)(candidates, candidate)
        progress(number + 1)
    return list(_select(_deduplicate(candidates), pool_errors, count))


def _deduplicate(candidates: list[_RankedReview]) -> list[_RankedReview]:
    """Return the best candidate of each group of near-duplicates."""
    ranked = sorted(candidates, reverse=True)
    texts = [candidate.suggestion.parsed_review.text for candidate in ranked]
    duplicates = {pair.later for pair in find_duplicates(texts, [""] * len(texts))}
    return [candidate for number, candidate in enumerate(ranked) if number not in duplicates]


def _select(candidates: list[_RankedReview], pool_errors: ExpectedErrors, count: int) -> Iterator[Suggestion]:
    """Select greedily by gain; gains are updated lazily, since they can only decrease (Minoux, 1978)."""
    weights = {feature: math.sqrt(expected) for feature, expected in pool_errors.items()}
    covered_errors: ExpectedErrors = defaultdict(float)

    def gain(candidate: _RankedReview) -> float:
        gains = (
            weights[feature] * math.log1p(expected / (covered_errors[feature] + HALF_SATURATION_ERRORS))
            for feature, expected in candidate.expected_errors.items()
        )
        return sum(gains) / candidate.cost

    heap = [(-gain(candidate), -candidate.order, candidate) for candidate in candidates]
    heapq.heapify(heap)
    while heap and count:
        _, order, candidate = heapq.heappop(heap)
        updated_entry = (-gain(candidate), order, candidate)
        if heap and updated_entry > heap[0]:
            heapq.heappush(heap, updated_entry)
            continue
        _add(covered_errors, candidate.expected_errors)
        count -= 1
        yield candidate.suggestion


def _add(total: ExpectedErrors, expected_errors: ExpectedErrors) -> None:
    for feature, expected in expected_errors.items():
        total[feature] += expected


def _parse_pool(
    parser: AspectParser, pool: Iterable[tuple[str, Mapping[str, Any]]], excluded_texts: Iterable[str]
) -> Iterator[tuple[Mapping[str, Any], ParsedReview, int, ExpectedErrors]]:
    """Yield (source row, prediction, number of words, expected errors) for each text that is not skipped."""
    skipped_texts = set(map(_normalize, excluded_texts)) | {""}
    pending_rows: list[Mapping[str, Any]] = []

    def texts() -> Iterator[str]:
        for text, source_row in pool:
            if (key := _normalize(text)) not in skipped_texts:
                skipped_texts.add(key)
                pending_rows.append(source_row)
                yield text

    for prepared, logits in parser.encoded(texts()):
        size = len(prepared.texts)
        rows, pending_rows[:size] = pending_rows[:size], []
        words = np.diff(prepared.first).tolist()
        expected = _expect_errors(parser, prepared, logits)
        yield from zip(rows, parser.finish(prepared, logits), words, expected, strict=True)


def _normalize(text: str) -> str:
    return " ".join(text.casefold().split())


def _expect_errors(parser: AspectParser, prepared: Prepared, logits: Logits) -> list[ExpectedErrors]:
    """Return the expected errors of each text, from the probabilities of tags, polarities and implicit aspects."""
    expected_errors: list[ExpectedErrors] = [defaultdict(float) for _ in prepared.texts]
    first = prepared.first
    tags = parser.tags(prepared, logits)
    spans = decode(tags, logits.polarities, first)
    polarities = spans.polarity_logits * parser.config.calibration.polarity_scale
    text_of_word = np.repeat(np.arange(len(prepared.texts)), np.diff(first))
    for kind, probabilities, text_of_row, word_of_row in (
        ("tag", tags.probabilities, text_of_word, np.arange(len(text_of_word)) - first[text_of_word]),
        ("polarity", softmax(polarities) if polarities.size else polarities, spans.text, spans.start),
    ):
        if probabilities.shape[0] == 0 or probabilities.shape[1] < 2:
            continue
        second, top = np.argsort(probabilities, axis=1)[:, -2:].T
        error_probability = 1 - probabilities[np.arange(len(probabilities)), top]
        for row in np.flatnonzero(error_probability > MIN_ERROR_PROBABILITY).tolist():
            text, word, error = int(text_of_row[row]), int(word_of_row[row]), float(error_probability[row])
            start, end = prepared.bounds(text, word, word + 1)
            expected_errors[text][kind, int(top[row]), int(second[row])] += error
            expected_errors[text]["word", prepared.texts[text][start:end].casefold()] += error
    implicit = parser.implicit_scores(prepared, logits)
    error_probability = np.minimum(implicit, 1 - implicit)
    for text, category in np.argwhere(error_probability > MIN_ERROR_PROBABILITY).tolist():
        expected_errors[text]["implicit", category] += float(error_probability[text, category])
    return expected_errors
