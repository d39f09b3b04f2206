"""From an encoder's logits to spans with probabilities, for many texts at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reviews_parsing.tagging.crf import Floats, Ints, Marginals

# A logit of what is certainly not there.
MIN_LOGIT = -30.0
# What is less probable costs more F1 than it brings, where F1 is about two thirds (`Calibration.threshold`).
DEFAULT_THRESHOLD = 1 / 3


@dataclass(frozen=True, slots=True)
class Spans:
    """k spans, in the order of the texts and within each text: words [start, stop) of text number `text`.

    Of several with the same words the most probable comes first. `logit` is that of a span's probability;
    `polarity_logits` the mean over its words. Shapes [k], but [k, p] the last.
    """

    text: Ints
    start: Ints
    stop: Ints
    category: Ints
    logit: Floats
    polarity_logits: Floats


def softmax(logits: Floats) -> Floats:
    """Softmax over the last axis, in float64."""
    exp = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)  # type: ignore[no-any-return]


def sigmoid(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))


def decode(
    words: Marginals,
    polarity_logits: Floats,
    first: Ints,
    threshold: float = DEFAULT_THRESHOLD,
    multi_label: bool = False,
) -> Spans:
    """Spans in texts of `words`, n in all, with `polarity_logits` of shape [n, p]; p may be 0.

    `first[i]` is the number of text i's first word, and `first[-1]` is n. The probability of a span is that of its
    first word's tag, of going on to each of its words, and of not going on after the last. An answer is what is at
    least `threshold` probable, over 0, and of what shares a word the most probable; with `multi_label` the same words
    may be spans of several categories.
    """
    start, stop, category, p = _probable(words, threshold)
    kept = _without_overlaps(start, stop, p, multi_label)
    start, stop, category, p = start[kept], stop[kept], category[kept], np.clip(p[kept], 1e-9, 1 - 1e-9)
    means = _means(polarity_logits.astype(np.float64), start, stop)
    text = np.searchsorted(first, start, side="right") - 1
    return Spans(text, start - first[text], stop - first[text], category, np.log(p / (1 - p)), means)


def max_over_words(logits: Floats, first: Ints) -> Floats:
    """The maximum over each text's words of `logits` of shape [n, k]: shape [texts, k].

    `first` is as in `decode`. A text without words has MIN_LOGIT everywhere, which is also the least that is returned.
    """
    found = np.full((len(first) - 1, logits.shape[1]), MIN_LOGIT)
    some = np.flatnonzero(np.diff(first))
    if len(some):
        found[some] = np.maximum(np.maximum.reduceat(logits, first[some]), MIN_LOGIT)
    return found


def _probable(words: Marginals, threshold: float) -> tuple[Ints, Ints, Ints, Floats]:
    """(first word, word after the last, category, probability) of every span that is at least so probable."""
    of_begin, of_inside = words.goes_on[:, 1::2], words.goes_on[:, 2::2]
    begins = words.probabilities[:, 1::2]
    start, category = np.nonzero(begins >= threshold)
    so_far, goes_on, stop = begins[start, category], of_begin[start, category], start + 1
    found = [(start[:0], stop[:0], category[:0], so_far[:0])]
    while len(start):
        p = so_far * (1 - goes_on)
        so_far = so_far * goes_on
        ends, further = p >= threshold, so_far >= threshold
        found.append((start[ends], stop[ends], category[ends], p[ends]))
        start, stop, category, so_far = start[further], stop[further], category[further], so_far[further]
        goes_on, stop = of_inside[stop, category], stop + 1
    starts, stops, categories, probabilities = (np.concatenate(its) for its in zip(*found, strict=True))
    return starts, stops, categories, probabilities


def _without_overlaps(start: Ints, stop: Ints, p: Floats, multi_label: bool) -> Ints:
    """Which spans stay where of those that share a word the most probable does, in their order.

    With `multi_label`, what has the very words of one that stays does too, after it.
    """
    order = np.lexsort((-p, stop, start))
    start, stop, p = start[order], stop[order], p[order]
    alone = np.ones(len(order) + 1, dtype=bool)
    alone[1:-1] = start[1:] >= np.maximum.accumulate(stop)[:-1]
    edges = np.flatnonzero(alone)
    kept = np.ones(len(order), dtype=bool)
    for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if end - begin == 1:
            continue
        stay: list[tuple[int, int]] = []
        for i in (begin + (-p[begin:end]).argsort(kind="stable")).tolist():
            mine = int(start[i]), int(stop[i])
            others = [its for its in stay if its[0] < mine[1] and mine[0] < its[1]]
            kept[i] = not others or (multi_label and others == [mine])
            if not others:
                stay.append(mine)
    return order[kept]


def _means(rows: Floats, start: Ints, stop: Ints) -> Floats:
    """The mean of rows [start[i], stop[i]) for each i; every range holds a row."""
    lengths = stop - start
    begins = np.cumsum(lengths) - lengths
    its = np.repeat(start - begins, lengths) + np.arange(lengths.sum())
    sums = np.add.reduceat(rows[its], begins, axis=0) if len(its) else np.zeros((0, rows.shape[1]))
    found: Floats = sums / lengths[:, None]
    return found
