"""How good a parser is on labelled reviews: metrics, calibration and its worst mistakes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

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
    score,
)

CONTEXT = 60
THRESHOLDS = (0.0, 0.5, 0.7, 0.8, 0.9)
# Reviews are told apart by so many words at most.
WORDS = (10, 20, 40, 80)


@dataclass(frozen=True, slots=True)
class Mistake:
    """One wrong or missing answer in its context, the span between ⟦ and ⟧."""

    kind: str
    probability: float
    gold: str
    predicted: str
    context: str
    review: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `evaluate` found; `counts` has shape [reviews, 3]: right, predicted and gold spans of each review.

    `by_polarity` counts an aspect as right when span, category and polarity are; `by_words` leaves polarity aside.
    `implicit` and `tasd` ask for category and polarity: of the aspects without a span, and of all; `quad` asks for the
    opinion too. They are there only where the labels have aspects without a span, and opinions.

    `by_score` has, for each category and for all ("aggregated"), the scores of spans with at least a probability.

    `spans` and `polarities` hold (probability, right) of each predicted span, and of the polarity of each right span.
    """

    scores: Mapping[str, Scores]
    by_polarity: Mapping[str, Scores]
    by_words: Mapping[str, Scores]
    by_score: Mapping[str, Mapping[float, Scores]]
    implicit: Scores | None
    tasd: Scores | None
    quad: Scores | None
    counts: npt.NDArray[np.int64]
    spans: Sequence[tuple[float, bool]]
    polarities: Sequence[tuple[float, bool]]
    confusion: Mapping[tuple[str, str], int]
    mistakes: Sequence[Mistake]
    seconds: float = field(compare=False)

    @property
    def f1s(self) -> dict[str, float]:
        """Micro-F1 of explicit aspects by what must be right."""
        names = {"span": "span", "span_category": "aggregated", "span_category_polarity": "with_polarity"}
        return {name: self.scores[its].f1 for name, its in names.items() if its in self.scores}

    @property
    def f1(self) -> float:
        """Micro-F1 of span + category."""
        return self.scores["aggregated"].f1

    def metrics(self) -> dict[str, float]:
        """All figures by name: `FOOD_f1`, `aggregated_f1`, `span_ece`, `reviews_per_second`, ...

        `span_ece_chance` and `span_ece_most` are what the error would be by chance, were all probabilities right: the
        mean, and what it stays under in 95 of 100 cases.
        """
        figures = flatten(self.scores)
        for kind, answers in (("span", self.spans), ("polarity", self.polarities)):
            if answers or kind == "span":
                probabilities, right = _columns(answers)
                figures[f"{kind}_ece"] = expected_calibration_error(probabilities, right)
                figures[f"{kind}_ece_chance"], figures[f"{kind}_ece_most"] = calibration_error_by_chance(probabilities)
        if self.polarities:
            figures["polarity_accuracy"] = sum(right for _, right in self.polarities) / len(self.polarities)
        for name, its in (("implicit", self.implicit), ("tasd", self.tasd), ("quad", self.quad)):
            figures |= flatten({name: its}) if its else {}
        return figures | {"seconds": self.seconds, "reviews_per_second": len(self.counts) / self.seconds}


def calibration_line(metrics: Mapping[str, float]) -> str:
    """The expected calibration errors, each beside what chance alone makes of so many answers."""
    return "; ".join(
        f"{kind} {metrics[f'{kind}_ece']:.3f} (by chance alone {metrics[f'{kind}_ece_chance']:.3f}, "
        f"seldom over {metrics[f'{kind}_ece_most']:.3f})"
        for kind in ("span", "polarity")
        if f"{kind}_ece" in metrics
    )


def evaluate(
    parser: AspectParser, reviews: Sequence[Review], mapping: Mapping[str, str | None] | None = None
) -> Evaluation:
    """Parse `reviews` and hold the answers against their explicit aspects. Raises DataError where there are none.

    `mapping` renames categories of the answers, or with None drops them: a model may tell apart what the labels do not.
    """
    mapping = mapping or {}
    gold_of = [[a for a in review.aspects if a.span] for review in reviews]
    if not any(gold_of):
        raise DataError("the data to evaluate on holds no labelled span; check it with `reviews-parsing data stats`")
    begin = time.perf_counter()
    parsed = parser.parse([review.text for review in reviews])
    seconds = time.perf_counter() - begin
    gold, predicted, counts, mistakes = [], [], [], []
    quads: list[set[Quad]] = [set(), set()]
    spans: list[tuple[str, float, bool]] = []
    polarities: list[tuple[float, bool]] = []
    confusion: dict[tuple[str, str], int] = {}
    for number, (review, labels, answer) in enumerate(zip(reviews, gold_of, parsed, strict=True)):
        wanted: dict[Key, Aspect] = {(a.span, a.entity_group): a for a in labels}
        answers = [
            replace(a, entity_group=group)
            for a in answer.aspects
            if (group := mapping.get(a.entity_group, a.entity_group))
        ]
        given: dict[Key, Aspect] = {(a.span, a.entity_group): a for a in answers if a.span}
        gold += [Entity((number, *a.span), a.entity_group, a.polarity) for a in labels if a.span]
        predicted += [Entity((number, *a.span), a.entity_group, a.polarity) for a in given.values() if a.span]
        for side, aspects in zip(quads, (review.aspects, answers), strict=True):
            side |= {(number, a.span, _opinion_span(a), a.entity_group, a.polarity) for a in aspects}
        right = wanted.keys() & given.keys()
        counts.append((len(right), len(given), len(wanted)))
        for key, aspect in given.items():
            spans.append((aspect.entity_group, aspect.score or 0.0, key in right))
            if key in right and aspect.polarity is not None and wanted[key].polarity is not None:
                polarities.append((aspect.polarity_score or 0.0, aspect.polarity == wanted[key].polarity))
        mistakes += _mistakes(review, wanted, given)
        by_span: dict[Span, str] = dict(given.keys())
        for span, group in wanted:
            pair = (group, by_span.pop(span, "O"))
            confusion[pair] = confusion.get(pair, 0) + 1
        for group in by_span.values():
            confusion["O", group] = confusion.get(("O", group), 0) + 1
    mistakes.sort(key=lambda m: -m.probability)
    table = np.array(counts)
    triples = [{(number, span, *its) for number, span, _, *its in side} for side in quads]
    implicit = [{triple for triple in side if triple[1] is None} for side in triples]
    polarity = {
        name: _overlap(*({e for e in side if e.polarity == name} for side in (gold, predicted)))
        for name in sorted({e.polarity for e in gold if e.polarity})
    }
    return Evaluation(
        score(gold, predicted),
        polarity,
        _by_words(reviews, table),
        _by_score(spans, gold),
        _overlap(*implicit) if implicit[0] else None,
        _overlap(*triples) if implicit[0] else None,
        _overlap(*quads) if any(opinion for _, _, opinion, _, _ in quads[0]) else None,
        table,
        [(probability, right) for _, probability, right in spans],
        polarities,
        confusion,
        mistakes,
        seconds,
    )


def _opinion_span(aspect: Aspect) -> Span:
    return (aspect.opinion.start, aspect.opinion.end) if aspect.opinion else None


def _overlap(gold: Set[Hashable], predicted: Set[Hashable]) -> Scores:
    return Scores.of(len(gold & predicted), len(predicted), len(gold))


def _by_words(reviews: Sequence[Review], counts: npt.NDArray[np.int64]) -> dict[str, Scores]:
    """Scores of short and long reviews apart; words are what white space parts."""
    bucket = np.searchsorted(WORDS, [len(review.text.split()) for review in reviews], side="left")
    names = [f"up to {most}" for most in WORDS] + [f"over {WORDS[-1]}"]
    return {
        name: Scores.of(*map(int, counts[bucket == number].sum(axis=0)))
        for number, name in enumerate(names)
        if (bucket == number).any()
    }


def _by_score(spans: Sequence[tuple[str, float, bool]], gold: Sequence[Entity]) -> dict[str, dict[float, Scores]]:
    """`spans` are (category, probability, right)."""
    support = Counter(category for _, category in {(e.where, e.category) for e in gold})
    found = {}
    for name in [*sorted({*support, *(category for category, _, _ in spans)}), "aggregated"]:
        its = [(p, right) for category, p, right in spans if name in (category, "aggregated")]
        wanted = support.total() if name == "aggregated" else support[name]
        found[name] = {
            least: Scores.of(sum(right for p, right in its if p >= least), sum(p >= least for p, _ in its), wanted)
            for least in THRESHOLDS
        }
    return found


Span = tuple[int, int] | None
Key = tuple[Span, str]
# Number of the review, span, opinion, category, polarity.
Quad = tuple[int, Span, Span, str, str | None]


def _mistakes(review: Review, wanted: Mapping[Key, Aspect], given: Mapping[Key, Aspect]) -> list[Mistake]:
    """Every difference, named by what it is; a missed aspect has no probability of its own and gets one half."""
    found = []
    missed = {key: aspect for key, aspect in wanted.items() if key not in given}
    for key, aspect in given.items():
        probability = aspect.score or 0.0
        if key in wanted:
            truth: Aspect | None = wanted[key]
            if truth is None or truth.polarity in (None, aspect.polarity):
                continue
            kind, probability = "polarity", aspect.polarity_score or 0.0
        else:
            near = [k for k in missed if k[0] and key[0] and k[0][0] < key[0][1] and key[0][0] < k[0][1]]
            truth = missed.pop(near[0]) if near else None
            kind = "spurious" if truth is None else "category" if truth.span == aspect.span else "boundary"
        found.append(Mistake(kind, probability, _label(truth), _label(aspect), _context(review, aspect), review.id))
    found += [Mistake("missed", 0.5, _label(a), "", _context(review, a), review.id) for a in missed.values()]
    return found


def _label(aspect: Aspect | None) -> str:
    if aspect is None:
        return ""
    return " ".join(filter(None, (f"{aspect.word!r}", aspect.entity_group, aspect.polarity)))


def _context(review: Review, aspect: Aspect) -> str:
    start, end = aspect.span or (0, 0)
    before, after = review.text[max(0, start - CONTEXT) : start], review.text[end : end + CONTEXT]
    return f"{before}⟦{review.text[start:end]}⟧{after}"


def _columns(pairs: Sequence[tuple[float, bool]]) -> tuple[list[float], list[bool]]:
    return [p for p, _ in pairs], [right for _, right in pairs]
