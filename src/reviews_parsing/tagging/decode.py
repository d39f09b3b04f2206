"""From an encoder's logits to spans with probabilities, for many texts at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reviews_parsing.tagging.chain import Floats, Ints, Marginals

# A logit of what is certainly not there.
FAINTEST = -30.0
LEAST = 1e-12


@dataclass(frozen=True, slots=True)
class Spans:
    """k spans, in the order of the texts and within each text: words [start, stop) of text number `text`.

    Of several with the same words the one that was decoded comes first. `logit` is that of a span's probability;
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


def decode(words: Marginals, polarity_logits: Floats, first: Ints, also_from: float = 1.5) -> Spans:
    """Spans in texts of `words`, n in all, with `polarity_logits` of shape [n, p]; p may be 0.

    `first[i]` is the number of text i's first word, and `first[-1]` is n. The probability of a span is that of its
    first word's tag, of going on to each of its words, and of not going on after the last. The same words are a span
    of further categories where those are at least as probable as `also_from`; no probability is over 1.
    """
    n = len(words.probabilities)
    if n == 0:
        none = np.zeros(0, np.int64)
        return Spans(none, none, none, none, np.zeros(0), np.zeros((0, polarity_logits.shape[1])))
    tags = best_tags(words.probabilities, first)
    start = np.flatnonzero(tags % 2)
    others = np.append(np.flatnonzero(~_inside(tags)), n)
    stop = others[np.searchsorted(others, start, side="right")]
    best = (tags[start] - 1) // 2
    p = _by_category(words, start, stop)
    # What was decoded comes first, and is an answer however probable it is.
    rank = p.copy()
    rank[np.arange(len(start)), best] = 2.0
    order = (-rank).argsort(axis=1, kind="stable")
    span, place = np.nonzero(np.take_along_axis(rank, order, axis=1) >= also_from)
    category = order[span, place]
    chosen = np.clip(p[span, category], 1e-9, 1 - 1e-9)
    means = _sums(polarity_logits.astype(np.float64), start, stop) / (stop - start)[:, None]
    text = (np.searchsorted(first, start, side="right") - 1)[span]
    start, stop = start[span] - first[text], stop[span] - first[text]
    return Spans(text, start, stop, category, np.log(chosen / (1 - chosen)), means[span])


def strongest(logits: Floats, first: Ints) -> Floats:
    """The maximum over each text's words of `logits` of shape [n, k]: shape [texts, k].

    `first` is as in `decode`. A text without words has FAINTEST everywhere, which is also the least that is returned.
    """
    found = np.full((len(first) - 1, logits.shape[1]), FAINTEST)
    some = np.flatnonzero(np.diff(first))
    if len(some):
        found[some] = np.maximum(np.maximum.reduceat(logits, first[some]), FAINTEST)
    return found


def best_tags(probabilities: Floats, first: Ints) -> Ints:
    """The most probable IOB2-valid tags of texts whose words have `probabilities` of shape [n, 2c + 1].

    Viterbi decoding under the constraint that I-X follows B-X or I-X; where each word's own best tag is valid already,
    that sequence is the answer. `first` is as in `decode`.
    """
    tags: Ints = probabilities.argmax(axis=1)
    before = np.roll(tags, 1)
    before[first[:-1][np.diff(first) > 0]] = 0
    invalid = np.flatnonzero(_inside(tags) & (before != tags) & (before != tags - 1))
    for text in np.unique(np.searchsorted(first, invalid, side="right") - 1):
        words = slice(first[text], first[text + 1])
        tags[words] = _viterbi(np.log(probabilities[words] + LEAST))
    return tags


def _inside(tags: Ints) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = (tags > 0) & (tags % 2 == 0)
    return found


def _viterbi(log: Floats) -> list[int]:
    """The likeliest valid sequence under log probabilities of shape [n, 2c + 1]."""
    n, k = log.shape
    is_inside = np.arange(2, k, 2)
    score = log[0].copy()
    score[is_inside] = -np.inf
    back = np.empty((n, k), dtype=np.int64)
    for word in range(1, n):
        best = int(score.argmax())
        reach = np.full(k, score[best])
        back[word] = best
        begin, stay = score[is_inside - 1], score[is_inside]
        reach[is_inside] = np.maximum(begin, stay)
        back[word, is_inside] = np.where(begin >= stay, is_inside - 1, is_inside)
        score = reach + log[word]
    tags = [int(score.argmax())]
    for word in range(n - 1, 0, -1):
        tags.append(int(back[word, tags[-1]]))
    return tags[::-1]


def _by_category(words: Marginals, start: Ints, stop: Ints) -> Floats:
    """How probable words [start[i], stop[i]) are as a span of each of c categories: shape [k, c]."""
    lengths = stop - start
    ends = np.cumsum(lengths)
    begins = ends - lengths
    its = np.repeat(start - begins, lengths) + np.arange(lengths.sum())
    goes_on = words.goes_on[its, 2::2]
    goes_on[begins] = words.goes_on[start, 1::2]
    log_on = np.log(np.maximum(goes_on, LEAST))
    log_p = np.log(np.maximum(words.probabilities[start, 1::2], LEAST))
    log_p += _sums(log_on, begins, ends) - log_on[ends - 1]
    found: Floats = np.exp(log_p + np.log1p(-np.minimum(goes_on[ends - 1], 1 - LEAST)))
    return found


def _sums(rows: Floats, start: Ints, stop: Ints) -> Floats:
    """Sums of rows [start[i], stop[i]) for each i; every range holds a row, and none overlaps another."""
    if not len(start) or not rows.shape[1]:
        return np.zeros((len(start), rows.shape[1]))
    edges = np.stack([start, stop], axis=1).ravel()
    padded = np.vstack([rows, np.zeros((1, rows.shape[1]))])
    return np.add.reduceat(padded, edges, axis=0)[::2]
