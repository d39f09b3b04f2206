"""From an encoder's logits to spans with probabilities."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from reviews_parsing.tagging.iob import WordSpan, tags_to_spans

Floats = npt.NDArray[np.floating[Any]]


class ScoredSpan(NamedTuple):
    """A span of words with the logit of its probability, and the mean of its words' polarity logits, shape [p]."""

    span: WordSpan
    logit: float
    polarity_logits: Floats


def softmax(logits: Floats) -> npt.NDArray[np.float64]:
    """Softmax over the last axis, in float64."""
    exp = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)  # type: ignore[no-any-return]


def sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def best_tags(probabilities: Floats) -> list[int]:
    """The most probable IOB2-valid sequence of tags for words with `probabilities` of shape [n, 2c + 1].

    Viterbi decoding under the constraint that I-X follows B-X or I-X; where each word's own best tag is valid already,
    that sequence is the answer.
    """
    n, k = probabilities.shape
    argmax = probabilities.argmax(axis=1)
    inside = (argmax > 0) & (argmax % 2 == 0)
    before = np.concatenate(([0], argmax[:-1]))
    if not (inside & (before != argmax) & (before != argmax - 1)).any():
        return argmax.tolist()  # type: ignore[no-any-return]
    log = np.log(probabilities + 1e-12)
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


def decode(tag_logits: Floats, polarity_logits: Floats) -> list[ScoredSpan]:
    """Spans of words with `tag_logits` of shape [n, 2c + 1] and `polarity_logits` of shape [n, p] (p may be 0).

    The probability of a span is the product of its words' tag probabilities and of the next word not continuing it.
    """
    if len(tag_logits) == 0:
        return []
    probabilities = softmax(tag_logits)
    found = []
    for span in tags_to_spans(best_tags(probabilities)):
        start, stop, category = span
        p = probabilities[start, 2 * category + 1] * probabilities[start + 1 : stop, 2 * category + 2].prod()
        if stop < len(probabilities):
            p *= 1 - probabilities[stop, 2 * category + 2]
        p = min(max(float(p), 1e-9), 1 - 1e-9)
        found.append(ScoredSpan(span, float(np.log(p / (1 - p))), polarity_logits[start:stop].mean(axis=0)))
    return found
