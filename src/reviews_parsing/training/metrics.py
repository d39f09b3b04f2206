"""Exact-match entity metrics (span and category must be correct), calibration error, paired bootstrap."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from reviews_parsing.errors import DataError
from reviews_parsing.schema import Review


class Entity(NamedTuple):
    """Aspect to score; `location` identifies its review and span, such as (review number, start, end)."""

    location: Hashable
    category: str
    polarity: str | None = None


@dataclass(frozen=True, slots=True)
class Scores:
    """Precision, recall and F1 in [0, 1] (0 where undefined); support is the number of gold entities."""

    precision: float
    recall: float
    f1: float
    support: int

    @classmethod
    def of(cls, correct: int, predicted: int, support: int) -> Scores:
        """Return the scores of these counts."""
        precision = correct / predicted if predicted else 0.0
        recall = correct / support if support else 0.0
        f1 = 2 * correct / (predicted + support) if predicted + support else 0.0
        return cls(precision, recall, f1, support)

    @classmethod
    def of_sets(cls, gold: Set[Hashable], predicted: Set[Hashable]) -> Scores:
        """Return the scores of a set of predictions."""
        return cls.of(len(gold & predicted), len(predicted), len(gold))


def score(gold: Iterable[Entity], predicted: Iterable[Entity]) -> dict[str, Scores]:
    """Return scores by category, sorted, and the micro averages `aggregated`, `span` and `with_polarity`.

    `aggregated` compares spans and categories, `span` spans alone, `with_polarity` also polarities; it is omitted if
    gold has no polarities.
    """
    gold, predicted = list(gold), list(predicted)
    gold_pairs = {(e.location, e.category) for e in gold}
    predicted_pairs = {(e.location, e.category) for e in predicted}
    scores = {}
    for category in sorted({category for _, category in gold_pairs | predicted_pairs}):
        pairs = ({pair for pair in side if pair[1] == category} for side in (gold_pairs, predicted_pairs))
        scores[category] = Scores.of_sets(*pairs)
    scores["aggregated"] = Scores.of_sets(gold_pairs, predicted_pairs)
    scores["span"] = Scores.of_sets({e.location for e in gold}, {e.location for e in predicted})
    if any(e.polarity for e in gold):
        scores["with_polarity"] = Scores.of_sets(set(gold), set(predicted))
    return scores


def agreement(first: Sequence[Review], second: Sequence[Review]) -> tuple[int, dict[str, Scores]]:
    """Return the number of reviews (by id) that two annotations share, and the scores of the second on them.

    Implicit aspects are ignored. F1 does not depend on the order of the annotations. Raises DataError if no review is
    shared or a shared one has different texts.
    """
    second_by_id = {review.id: review for review in second}
    sides: tuple[list[Entity], list[Entity]] = ([], [])
    pairs = [(review, second_by_id[review.id]) for review in first if review.id in second_by_id]
    for pair in pairs:
        if pair[0].text != pair[1].text:
            raise DataError(f"review {pair[0].id} has another text in the second labels; label the same texts")
        for side, review in zip(sides, pair, strict=True):
            side += [Entity((review.id, *a.span), a.entity_group, a.polarity) for a in review.aspects if a.span]
    if not pairs:
        raise DataError("the two share no review id; give two annotations of the same reviews")
    return len(pairs), score(*sides)


def flatten(scores: Mapping[str, Scores]) -> dict[str, float]:
    """Return scores as metrics for the tracking server: `{"FOOD_f1": ..., "FOOD_support": ..., "span_f1": ...}`."""
    return {
        f"{name}_{figure}": float(getattr(values, figure))
        for name, values in scores.items()
        for figure in ("precision", "recall", "f1", "support")
    }


def expected_calibration_error(probabilities: Sequence[float], correct: Sequence[bool], bins: int = 10) -> float:
    """Return the mean |accuracy - confidence| over bins of equal width, weighted by size (Guo et al., 2017)."""
    return float(sum(abs(a - c) * n for c, a, n in reliability(probabilities, correct, bins)) / max(len(correct), 1))


def calibration_error_by_chance(
    probabilities: Sequence[float], bins: int = 10, samples: int = 200, seed: int = 0
) -> tuple[float, float]:
    """Return mean and 95th percentile of `expected_calibration_error` for perfectly calibrated probabilities.

    Both are above 0 for a finite number of answers. Estimated from `samples` random draws of the correct answers.
    """
    p, rng = np.asarray(probabilities, dtype=float), np.random.default_rng(seed)
    if not len(p):
        return 0.0, 0.0
    errors = [
        expected_calibration_error(probabilities, (rng.random(len(p)) < p).tolist(), bins) for _ in range(samples)
    ]
    return float(np.mean(errors)), float(np.quantile(errors, 0.95))


def reliability(
    probabilities: Sequence[float], correct: Sequence[bool], bins: int = 10
) -> list[tuple[float, float, int]]:
    """Return (mean probability, accuracy, count) of each non-empty bin."""
    p, hits = np.asarray(probabilities, dtype=float), np.asarray(correct, dtype=float)
    bin_of = np.minimum((p * bins).astype(int), bins - 1)
    return [
        (float(p[bin_of == b].mean()), float(hits[bin_of == b].mean()), int((bin_of == b).sum()))
        for b in np.unique(bin_of)
    ]


class Difference(NamedTuple):
    """Micro-F1 of the challenger minus that of the champion, with its 95 % interval."""

    mean: float
    low: float
    high: float


def paired_bootstrap(
    challenger: npt.NDArray[np.int64], champion: npt.NDArray[np.int64], samples: int = 10_000, seed: int = 0
) -> Difference:
    """Compare F1 by paired bootstrap over reviews (Koehn, 2004; Berg-Kirkpatrick et al., 2012).

    Each argument has shape [reviews, 3]: correct, predicted and gold entities of a review.
    """
    rng = np.random.default_rng(seed)
    count = len(challenger)
    differences = np.empty(samples)
    for i in range(samples):
        weights = np.bincount(rng.integers(0, count, count), minlength=count)
        differences[i] = _f1(weights @ challenger) - _f1(weights @ champion)
    low, high = np.quantile(differences, [0.025, 0.975])
    return Difference(f1_of_counts(challenger) - f1_of_counts(champion), float(low), float(high))


def f1_of_counts(counts: npt.NDArray[np.int64]) -> float:
    """Return the micro-F1 of counts of shape [reviews, 3]: correct, predicted and gold entities of a review."""
    return _f1(counts.sum(axis=0))


def _f1(counts: npt.NDArray[np.int64]) -> float:
    return Scores.of(*map(int, counts)).f1
