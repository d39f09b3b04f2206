"""Decoding of tag marginals into non-overlapping spans with probabilities, for many texts at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reviews_parsing.tagging.crf import Floats, Ints, Marginals

# Logit of an absent class.
MIN_LOGIT = -30.0
# Minimum probability of an answer: half of an F1 of two thirds, see `Calibration.threshold`.
DEFAULT_THRESHOLD = 1 / 3


@dataclass(frozen=True, slots=True)
class Spans:
    """Arrays of k spans in text order: words [start, stop) of text number `text`, shapes [k].

    Spans of the same words are ordered by probability. `logit` is the logit of the span's probability;
    `polarity_logits` of shape [k, p] are means over its words.
    """

    text: Ints
    start: Ints
    stop: Ints
    category: Ints
    logit: Floats
    polarity_logits: Floats


def softmax(logits: Floats) -> Floats:
    """Return the softmax over the last axis, which may be empty, in float64."""
    exp = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True, initial=-np.inf))
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
    """Return the spans with a probability of at least `threshold` (over 0); of overlapping spans the most probable.

    `words` are the marginals of n words, `polarity_logits` has shape [n, p] (p may be 0), `first[i]` is the index of
    the first word of text i and `first[-1]` is n. The probability of a span is the product of the probabilities of its
    first tag, of each continuation, and of its end after the last word. With `multi_label`, the same words may be spans
    of several categories.
    """
    start, stop, category, p = _candidates(words, threshold)
    chosen = _without_overlaps(start, stop, p, multi_label)
    start, stop, category, p = start[chosen], stop[chosen], category[chosen], np.clip(p[chosen], 1e-9, 1 - 1e-9)
    polarity_means = _range_means(polarity_logits.astype(np.float64), start, stop)
    text = np.searchsorted(first, start, side="right") - 1
    return Spans(text, start - first[text], stop - first[text], category, np.log(p / (1 - p)), polarity_means)


def max_over_words(logits: Floats, first: Ints) -> Floats:
    """Return the maximum of `logits` [n, k] over the words of each text, at least MIN_LOGIT; shape [texts, k]."""
    maxima = np.full((len(first) - 1, logits.shape[1]), MIN_LOGIT)
    nonempty = np.flatnonzero(np.diff(first))
    if len(nonempty):
        maxima[nonempty] = np.maximum(np.maximum.reduceat(logits, first[nonempty]), MIN_LOGIT)
    return maxima


def _candidates(words: Marginals, threshold: float) -> tuple[Ints, Ints, Ints, Floats]:
    """Return (start, stop, category, probability) of all spans above the threshold, including overlapping ones."""
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
    """Return the indices of non-overlapping spans in text order, selected greedily by probability.

    With `multi_label`, spans of exactly the same words do not count as overlapping.
    """
    order = np.lexsort((-p, stop, start))
    start, stop, p = start[order], stop[order], p[order]
    isolated = np.ones(len(order) + 1, dtype=bool)
    isolated[1:-1] = start[1:] >= np.maximum.accumulate(stop)[:-1]
    edges = np.flatnonzero(isolated)
    mask = np.ones(len(order), dtype=bool)
    spans, probabilities = list(zip(start.tolist(), stop.tolist(), strict=True)), p.tolist()
    for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if end - begin == 1:
            continue
        accepted: list[tuple[int, int]] = []
        for i in sorted(range(begin, end), key=lambda i: -probabilities[i]):
            span = spans[i]
            overlapping = [rival for rival in accepted if rival[0] < span[1] and span[0] < rival[1]]
            mask[i] = not overlapping or (multi_label and overlapping == [span])
            if not overlapping:
                accepted.append(span)
    return order[mask]


def _range_means(rows: Floats, start: Ints, stop: Ints) -> Floats:
    """Return the means of the non-empty row ranges [start[i], stop[i])."""
    lengths = stop - start
    begins = np.cumsum(lengths) - lengths
    indices = np.repeat(start - begins, lengths) + np.arange(lengths.sum())
    sums = np.add.reduceat(rows[indices], begins, axis=0) if len(indices) else np.zeros((0, rows.shape[1]))
    means: Floats = sums / lengths[:, None]
    return means
