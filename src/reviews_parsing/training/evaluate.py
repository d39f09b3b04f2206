"""Evaluation of a parser on labelled reviews: metrics, calibration and the most confident mistakes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from reviews_parsing.errors import DataError
from reviews_parsing.parser import AspectParser
from reviews_parsing.schema import Aspect, Review
from reviews_parsing.training.metrics import (
    Entity,
    Scores,
    calibration_error_by_chance,
    expected_calibration_error,
    flatten,
    reliability,
    score,
)

CONTEXT_CHARACTERS = 60
SCORE_THRESHOLDS = (0.0, 0.5, 0.7, 0.8, 0.9)
# Bounds of the length groups of reviews, in words.
LENGTH_BOUNDS = (10, 20, 40, 80)
Span = tuple[int, int] | None
Key = tuple[Span, str]
# Review number, span, opinion span, category, polarity.
Quad = tuple[int, Span, Span, str, str | None]


@dataclass(frozen=True, slots=True)
class Mistake:
    """Wrong or missing answer with its context, in which the span is between ⟦ and ⟧."""

    kind: str
    probability: float
    gold: str
    predicted: str
    context: str
    review: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Result of `evaluate`; `counts` has shape [reviews, 3]: correct, predicted and gold spans of each review.

    `scores` are by category and micro-averaged, see `metrics.score`. `by_polarity` requires the correct span, category
    and polarity; `by_words` groups reviews by length; `by_score` has, for each category and "aggregated", the scores of
    spans above each of SCORE_THRESHOLDS.

    `implicit` (aspects without a span) and `tasd` (all aspects) require the correct span, category and polarity, `quad`
    also the opinion. They are None if the labels have no implicit aspects, or no opinions.

    `parts` are counts like `counts` that require more: "polarities" also the polarity, "opinions" polarity and opinion;
    "implicit aspects" counts those. Parts that no label has are left out.

    `spans` and `polarities` are pairs (probability, correct) of each predicted span, and of the polarity of each
    correct span.
    """

    scores: Mapping[str, Scores]
    by_polarity: Mapping[str, Scores]
    by_words: Mapping[str, Scores]
    by_score: Mapping[str, Mapping[float, Scores]]
    implicit: Scores | None
    tasd: Scores | None
    quad: Scores | None
    counts: npt.NDArray[np.int64]
    parts: Mapping[str, npt.NDArray[np.int64]]
    spans: Sequence[tuple[float, bool]]
    polarities: Sequence[tuple[float, bool]]
    confusion: Mapping[tuple[str, str], int]
    mistakes: Sequence[Mistake]
    seconds: float = field(compare=False)

    @property
    def f1s(self) -> dict[str, float]:
        """Micro-F1 of explicit aspects by the parts that must be correct."""
        names = {"span": "span", "span_category": "aggregated", "span_category_polarity": "with_polarity"}
        return {name: self.scores[metric].f1 for name, metric in names.items() if metric in self.scores}

    @property
    def f1(self) -> float:
        """Micro-F1 of span and category."""
        return self.scores["aggregated"].f1

    def metrics(self) -> dict[str, float]:
        """Return all figures by name: `FOOD_f1`, `aggregated_f1`, `span_ece`, `reviews_per_second`, ...

        `span_ece_chance` and `span_ece_most` are the mean and the 95th percentile of the calibration error that chance
        alone causes, see `metrics.calibration_error_by_chance`.
        """
        figures = flatten(self.scores)
        for kind, answers in (("span", self.spans), ("polarity", self.polarities)):
            if answers or kind == "span":
                probabilities, correct = [p for p, _ in answers], [is_correct for _, is_correct in answers]
                figures[f"{kind}_ece"] = expected_calibration_error(probabilities, correct)
                figures[f"{kind}_ece_chance"], figures[f"{kind}_ece_most"] = calibration_error_by_chance(probabilities)
        if self.polarities:
            figures["polarity_accuracy"] = sum(correct for _, correct in self.polarities) / len(self.polarities)
        optional = {"implicit": self.implicit, "tasd": self.tasd, "quad": self.quad}
        figures |= flatten({name: scores for name, scores in optional.items() if scores})
        return figures | {"seconds": self.seconds, "reviews_per_second": len(self.counts) / self.seconds}


def calibration_line(metrics: Mapping[str, float]) -> str:
    """Return the expected calibration errors as text, each with the error that chance alone causes."""
    return "; ".join(
        f"{kind} {metrics[f'{kind}_ece']:.3f} (by chance {metrics[f'{kind}_ece_chance']:.3f} on average, "
        f"95th percentile {metrics[f'{kind}_ece_most']:.3f})"
        for kind in ("span", "polarity")
        if f"{kind}_ece" in metrics
    )


def reliability_table(evaluation: Evaluation) -> list[dict[str, str | float | int]]:
    """Return mean probability, share of correct answers, and number of answers, by tenths of the probability."""
    kinds = {"span": evaluation.spans, "polarity": evaluation.polarities}
    return [
        {"answer": kind, "probability": round(mean, 4), "correct": round(accuracy, 4), "answers": count}
        for kind, answers in kinds.items()
        if answers
        for mean, accuracy, count in reliability([p for p, _ in answers], [correct for _, correct in answers])
    ]


def evaluate(
    parser: AspectParser, reviews: Sequence[Review], mapping: Mapping[str, str | None] | None = None
) -> Evaluation:
    """Parse `reviews` and compare the answers with their labels. Raises DataError if no label has a span.

    `mapping` renames categories of the answers, or drops them (None), for labels with fewer categories than the model.
    """
    mapping = mapping or {}
    if not any(aspect.span for review in reviews for aspect in review.aspects):
        raise DataError("the data to evaluate on has no labelled span; check it with `reviews-parsing data stats`")
    begin = time.perf_counter()
    parsed = parser.parse([review.text for review in reviews])
    seconds = time.perf_counter() - begin
    gold: list[Entity] = []
    predicted: list[Entity] = []
    quads: tuple[set[Quad], set[Quad]] = set(), set()
    counts, mistakes = [], []
    spans: list[tuple[str, float, bool]] = []
    polarities: list[tuple[float, bool]] = []
    confusion: Counter[tuple[str, str]] = Counter()
    for number, (review, parsed_review) in enumerate(zip(reviews, parsed, strict=True)):
        answers = [
            replace(a, entity_group=group)
            for a in parsed_review.aspects
            if (group := mapping.get(a.entity_group, a.entity_group))
        ]
        labels: dict[Key, Aspect] = {(a.span, a.entity_group): a for a in review.aspects if a.span}
        explicit: dict[Key, Aspect] = {(a.span, a.entity_group): a for a in answers if a.span}
        gold += [Entity((number, *a.span), a.entity_group, a.polarity) for a in review.aspects if a.span]
        predicted += [Entity((number, *a.span), a.entity_group, a.polarity) for a in explicit.values() if a.span]
        for side, aspects in zip(quads, (review.aspects, answers), strict=True):
            side |= {(number, a.span, _opinion_span(a), a.entity_group, a.polarity) for a in aspects}
        correct = labels.keys() & explicit.keys()
        counts.append((len(correct), len(explicit), len(labels)))
        for key, aspect in explicit.items():
            spans.append((aspect.entity_group, aspect.score or 0.0, key in correct))
            if key in correct and aspect.polarity is not None and labels[key].polarity is not None:
                polarities.append((aspect.polarity_score or 0.0, aspect.polarity == labels[key].polarity))
        mistakes += _mistakes(review, labels, explicit)
        by_span: dict[Span, str] = dict(explicit.keys())
        confusion.update((group, by_span.pop(span, "O")) for span, group in labels)
        confusion.update(("O", group) for group in by_span.values())
    mistakes.sort(key=lambda m: -m.probability)
    table = np.array(counts)
    triples = [{(quad[0], quad[1], *quad[3:]) for quad in side} for side in quads]
    implicit = [{triple for triple in side if triple[1] is None} for side in triples]
    by_polarity = {
        name: Scores.of_sets(*({e for e in side if e.polarity == name} for side in (gold, predicted)))
        for name in sorted({e.polarity for e in gold if e.polarity})
    }
    return Evaluation(
        scores=score(gold, predicted),
        by_polarity=by_polarity,
        by_words=_by_words(reviews, table),
        by_score=_by_score(spans, gold),
        implicit=Scores.of_sets(*implicit) if implicit[0] else None,
        tasd=Scores.of_sets(*triples) if implicit[0] else None,
        quad=Scores.of_sets(*quads) if any(opinion for _, _, opinion, _, _ in quads[0]) else None,
        counts=table,
        parts=_count_parts(len(reviews), *quads),
        spans=[(probability, is_correct) for _, probability, is_correct in spans],
        polarities=polarities,
        confusion=confusion,
        mistakes=mistakes,
        seconds=seconds,
    )


def _count_parts(size: int, gold: set[Quad], predicted: set[Quad]) -> dict[str, npt.NDArray[np.int64]]:
    """Return the counts of each review that require polarities, implicit aspects or opinions to be right."""
    sides = (gold, predicted)
    polarities, implicit = (
        [
            {(number, span, group, polarity) for number, span, _, group, polarity in side if bool(span) is explicit}
            for side in sides
        ]
        for explicit in (True, False)
    )
    parts: dict[str, Sequence[set[Any]]] = {}
    if any(polarity for *_, polarity in polarities[0]):
        parts["polarities"] = polarities
    if implicit[0]:
        parts["implicit aspects"] = implicit
    if any(opinion for _, _, opinion, _, _ in gold):
        parts["opinions"] = sides
    return {name: _count_by_review(size, *side) for name, side in parts.items()}


def _count_by_review(size: int, gold: set[Any], predicted: set[Any]) -> npt.NDArray[np.int64]:
    """Return the numbers of correct, predicted and gold items, whose first member is the number of their review."""
    columns = [np.array([item[0] for item in items], dtype=np.int64) for items in (gold & predicted, predicted, gold)]
    return np.stack([np.bincount(column, minlength=size) for column in columns], axis=1)


def _opinion_span(aspect: Aspect) -> Span:
    return (aspect.opinion.start, aspect.opinion.end) if aspect.opinion else None


def _by_words(reviews: Sequence[Review], counts: npt.NDArray[np.int64]) -> dict[str, Scores]:
    """Return scores by the length of reviews in words (separated by white space)."""
    groups = np.searchsorted(LENGTH_BOUNDS, [len(review.text.split()) for review in reviews], side="left")
    names = [f"up to {bound}" for bound in LENGTH_BOUNDS] + [f"over {LENGTH_BOUNDS[-1]}"]
    return {names[group]: Scores.of(*map(int, counts[groups == group].sum(axis=0))) for group in np.unique(groups)}


def _by_score(spans: Sequence[tuple[str, float, bool]], gold: Sequence[Entity]) -> dict[str, dict[float, Scores]]:
    """Return scores by category and threshold; `spans` are (category, probability, correct)."""
    supports = Counter(category for _, category in {(e.location, e.category) for e in gold})
    table = {}
    for name in [*sorted({*supports, *(category for category, _, _ in spans)}), "aggregated"]:
        answers = [(p, correct) for category, p, correct in spans if name in (category, "aggregated")]
        support = supports.total() if name == "aggregated" else supports[name]
        table[name] = {
            threshold: Scores.of(
                sum(correct for p, correct in answers if p >= threshold),
                sum(p >= threshold for p, _ in answers),
                support,
            )
            for threshold in SCORE_THRESHOLDS
        }
    return table


def _mistakes(review: Review, labels: Mapping[Key, Aspect], answers: Mapping[Key, Aspect]) -> list[Mistake]:
    """Return the differences of answers and labels by kind; missed aspects get a probability of one half."""
    mistakes = []
    missed = {key: aspect for key, aspect in labels.items() if key not in answers}
    for key, aspect in answers.items():
        probability = aspect.score or 0.0
        if key in labels:
            label: Aspect | None = labels[key]
            if label is None or label.polarity in (None, aspect.polarity):
                continue
            kind, probability = "polarity", aspect.polarity_score or 0.0
        else:
            overlapping = [k for k in missed if k[0] and key[0] and k[0][0] < key[0][1] and key[0][0] < k[0][1]]
            label = missed.pop(overlapping[0]) if overlapping else None
            kind = "spurious" if label is None else "category" if label.span == aspect.span else "boundary"
        context = _context(review, aspect)
        mistakes.append(Mistake(kind, probability, _describe(label), _describe(aspect), context, review.id))
    mistakes += [Mistake("missed", 0.5, _describe(a), "", _context(review, a), review.id) for a in missed.values()]
    return mistakes


def _describe(aspect: Aspect | None) -> str:
    if aspect is None:
        return ""
    return " ".join(filter(None, (f"{aspect.word!r}", aspect.entity_group, aspect.polarity)))


def _context(review: Review, aspect: Aspect) -> str:
    start, end = aspect.span or (0, 0)
    prefix, suffix = (
        review.text[max(0, start - CONTEXT_CHARACTERS) : start],
        review.text[end : end + CONTEXT_CHARACTERS],
    )
    return f"{prefix}⟦{review.text[start:end]}⟧{suffix}"
