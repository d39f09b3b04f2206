"""Exact-match entity metrics: a prediction counts when its span and its category are both right."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from reviews_parsing.errors import DataError
from reviews_parsing.schema import Review


class Entity(NamedTuple):
    """One aspect for scoring; `where` tells reviews and spans apart, such as (review number, start, end)."""

    where: Hashable
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
    def of(cls, right: int, predicted: int, support: int) -> Scores:
        precision = right / predicted if predicted else 0.0
        recall = right / support if support else 0.0
        f1 = 2 * right / (predicted + support) if predicted + support else 0.0
        return cls(precision, recall, f1, support)


def score(gold: Iterable[Entity], predicted: Iterable[Entity]) -> dict[str, Scores]:
    """Scores by category, sorted, and `aggregated` (micro), `span` (category aside), `with_polarity`.

    The last only where gold has polarities; there it counts an entity as right when all three agree.
    """
    gold, predicted = list(gold), list(predicted)
    gold_pairs = {(e.where, e.category) for e in gold}
    predicted_pairs = {(e.where, e.category) for e in predicted}
    found = {}
    for category in sorted({category for _, category in gold_pairs | predicted_pairs}):
        of_gold = {pair for pair in gold_pairs if pair[1] == category}
        of_predicted = {pair for pair in predicted_pairs if pair[1] == category}
        found[category] = Scores.of(len(of_gold & of_predicted), len(of_predicted), len(of_gold))
    for name, ours, theirs in (
        ("aggregated", gold_pairs, predicted_pairs),
        ("span", {e.where for e in gold}, {e.where for e in predicted}),
        ("with_polarity", set(gold), set(predicted)),
    ):
        if name != "with_polarity" or any(e.polarity for e in gold):
            found[name] = Scores.of(len(ours & theirs), len(theirs), len(ours))
    return found


def agreement(first: Sequence[Review], second: Sequence[Review]) -> tuple[int, dict[str, Scores]]:
    """Scores of the second labels of the reviews that both have (by id) against the first, and how many those are.

    Implicit aspects are left out of the scores as everywhere; F1 is symmetric, so it does not matter who is first.
    Raises DataError where the two share no review or a shared one has another text.
    """
    other = {review.id: review for review in second}
    gold: list[Entity] = []
    given: list[Entity] = []
    shared = 0
    for review in first:
        if review.id not in other:
            continue
        if other[review.id].text != review.text:
            raise DataError(f"review {review.id} has another text in the second labels; label the same texts")
        shared += 1
        for side, labels in ((gold, review), (given, other[review.id])):
            side += [Entity((review.id, *a.span), a.entity_group, a.polarity) for a in labels.aspects if a.span]
    if not shared:
        raise DataError("the two share no review id; give two annotations of the same reviews")
    return shared, score(gold, given)


def flatten(scores: Mapping[str, Scores]) -> dict[str, float]:
    """`{"FOOD_f1": ..., "FOOD_support": ..., "aggregated_f1": ...}`, as the tracking server gets them."""
    return {
        f"{name}_{figure}": float(getattr(its, figure))
        for name, its in scores.items()
        for figure in ("precision", "recall", "f1", "support")
    }


def expected_calibration_error(probabilities: Sequence[float], right: Sequence[bool], bins: int = 10) -> float:
    """Mean |accuracy - confidence| over `bins` bins of equal width, weighted by their size (Guo et al., 2017)."""
    return float(sum(abs(a - c) * n for c, a, n in reliability(probabilities, right, bins)) / max(len(right), 1))


def calibration_error_by_chance(
    probabilities: Sequence[float], bins: int = 10, samples: int = 200, seed: int = 0
) -> tuple[float, float]:
    """What `expected_calibration_error` of so few answers is even where all probabilities are right.

    The mean, and what it stays under in 95 of 100 cases, from `samples` drawings of which answers are right.
    """
    p, rng = np.asarray(probabilities, dtype=float), np.random.default_rng(seed)
    if not len(p):
        return 0.0, 0.0
    errors = [
        expected_calibration_error(probabilities, (rng.random(len(p)) < p).tolist(), bins) for _ in range(samples)
    ]
    return float(np.mean(errors)), float(np.quantile(errors, 0.95))


def reliability(
    probabilities: Sequence[float], right: Sequence[bool], bins: int = 10
) -> list[tuple[float, float, int]]:
    """(mean probability, share right, count) of each bin that is not empty."""
    p, ok = np.asarray(probabilities, dtype=float), np.asarray(right, dtype=float)
    bin_of = np.minimum((p * bins).astype(int), bins - 1)
    return [
        (float(p[bin_of == b].mean()), float(ok[bin_of == b].mean()), int((bin_of == b).sum()))
        for b in np.unique(bin_of)
    ]


class Difference(NamedTuple):
    """Micro-F1 of challenger minus champion, and its 95 % interval."""

    mean: float
    low: float
    high: float


def paired_bootstrap(
    challenger: npt.NDArray[np.int64], champion: npt.NDArray[np.int64], samples: int = 10_000, seed: int = 0
) -> Difference:
    """Paired bootstrap over reviews (Koehn, 2004; Berg-Kirkpatrick et al., 2012).

    Each argument has shape [reviews, 3]: right, predicted and gold entities of a review.
    """
    rng = np.random.default_rng(seed)
    count = len(challenger)
    differences = np.empty(samples)
    for i in range(samples):
        weights = np.bincount(rng.integers(0, count, count), minlength=count)
        differences[i] = _f1(weights @ challenger) - _f1(weights @ champion)
    low, high = np.quantile(differences, [0.025, 0.975])
    return Difference(_f1(challenger.sum(axis=0)) - _f1(champion.sum(axis=0)), float(low), float(high))


def _f1(counts: npt.NDArray[np.int64]) -> float:
    right, predicted, support = (int(c) for c in counts)
    return Scores.of(right, predicted, support).f1
