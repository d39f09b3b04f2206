"""Decoding of tag marginals into non-overlapping spans with probabilities, for many texts at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reviews_parsing.tagging.crf import Floats, Ints, Marginals

# Logit of what is certainly absent.
MIN_LOGIT = -30.0
# Probability from which a span is an answer: half of an F1 of two thirds (`Calibration.threshold`).
DEFAULT_THRESHOLD = 1 / 3


@dataclass(frozen=True, slots=True)
class Spans:
    """k spans in text order: words [start, stop) of text number `text`; shapes [k], `polarity_logits` [k, p].

    Spans of the same words are ordered by probability. `logit` is that of a span's probability, `polarity_logits` the
    mean over its words.
    """

    text: Ints
    start: Ints
    stop: Ints
    category: Ints
    logit: Floats
    polarity_logits: Floats


def softmax(logits: Floats) -> Floats:
    """Return the softmax over the last axis, in float64."""
    exp = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)  # type: ignore[no-any-return]


def sigmoid(x: Floats) -> Floats:
    """Return the logistic function of `x`."""
    return 1 / (1 + np.exp(-x))


def decode(
    words: Marginals,
    polarity_logits: Floats,
    first: Ints,
    threshold: float = DEFAULT_THRESHOLD,
    multi_label: bool = False,
) -> Spans:
    """Return the spans whose probability is at least `threshold` (over 0), the most probable of those that overlap.

    `words` are the marginals of n words, `polarity_logits` has shape [n, p] (p may be 0), `first[i]` is the index of
    the first word of text i and `first[-1]` is n. The probability of a span is that of its first word's tag, of
    continuing over each of its words, and of not continuing after the last. With `multi_label` the same words may be
    spans of several categories.
    """
    start, stop, category, p = _candidates(words, threshold)
    kept = _without_overlaps(start, stop, p, multi_label)
    start, stop, category, p = start[kept], stop[kept], category[kept], np.clip(p[kept], 1e-9, 1 - 1e-9)
    polarity_means = _range_means(polarity_logits.astype(np.float64), start, stop)
    text = np.searchsorted(first, start, side="right") - 1
    return Spans(text, start - first[text], stop - first[text], category, np.log(p / (1 - p)), polarity_means)


def max_over_words(logits: Floats, first: Ints) -> Floats:
    """Return the maximum over each text's words of `logits` [n, k], at least MIN_LOGIT: shape [texts, k].

    `first` is as in `decode`.
    """
    maxima = np.full((len(first) - 1, logits.shape[1]), MIN_LOGIT)
    nonempty = np.flatnonzero(np.diff(first))
    if len(nonempty):
        maxima[nonempty] = np.maximum(np.maximum.reduceat(logits, first[nonempty]), MIN_LOGIT)
    return maxima


def _candidates(words: Marginals, threshold: float) -> tuple[Ints, Ints, Ints, Floats]:
    """Return (start, stop, category, probability) of every span of at least this probability, overlapping or not."""
    begin_continues, inside_continues = words.continuation[:, 1::2], words.continuation[:, 2::2]
    begins = words.probabilities[:, 1::2]
    start, category = np.nonzero(begins >= threshold)
    prefix, continues, stop = begins[start, category], begin_continues[start, category], start + 1
    columns = [(start[:0], stop[:0], category[:0], prefix[:0])]
    while len(start):
        p = prefix * (1 - continues)
        prefix = prefix * continues
        ends, extends = p >= threshold, prefix >= threshold
        columns.append((start[ends], stop[ends], category[ends], p[ends]))
        start, stop, category, prefix = start[extends], stop[extends], category[extends], prefix[extends]
        continues, stop = inside_continues[stop, category], stop + 1
    starts, stops, categories, probabilities = (np.concatenate(column) for column in zip(*columns, strict=True))
    return starts, stops, categories, probabilities


def _without_overlaps(start: Ints, stop: Ints, p: Floats, multi_label: bool) -> Ints:
    """Return the indices of the spans to keep, in text order: greedily by probability, none that overlaps a kept one.

    With `multi_label`, a span of exactly the words of a kept one is kept too, after it.
    """
    order = np.lexsort((-p, stop, start))
    start, stop, p = start[order], stop[order], p[order]
    isolated = np.ones(len(order) + 1, dtype=bool)
    isolated[1:-1] = start[1:] >= np.maximum.accumulate(stop)[:-1]
    edges = np.flatnonzero(isolated)
    kept = np.ones(len(order), dtype=bool)
    for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if end - begin == 1:
            continue
        accepted: list[tuple[int, int]] = []
        for i in (begin + (-p[begin:end]).argsort(kind="stable")).tolist():
            span = int(start[i]), int(stop[i])
            overlapping = [rival for rival in accepted if rival[0] < span[1] and span[0] < rival[1]]
            kept[i] = not overlapping or (multi_label and overlapping == [span])
            if not overlapping:
                accepted.append(span)
    return order[kept]


def _range_means(rows: Floats, start: Ints, stop: Ints) -> Floats:
    """Return the mean of rows [start[i], stop[i]) for each i; no range is empty."""
    lengths = stop - start
    begins = np.cumsum(lengths) - lengths
    indices = np.repeat(start - begins, lengths) + np.arange(lengths.sum())
    sums = np.add.reduceat(rows[indices], begins, axis=0) if len(indices) else np.zeros((0, rows.shape[1]))
    means: Floats = sums / lengths[:, None]
    return means
