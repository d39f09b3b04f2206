"""Words' tags as a linear chain: what follows what, and how probable each tag and each continuation is then.

A sequence of tags weighs exp(the sum of its words' logits and of its transitions), and is as probable as its share of
the weight of all valid ones: a conditional random field (Lafferty, McCallum and Pereira, 2001).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int64]
# A tag weighs at least so much of the weightiest of its word, so that a few words never multiply to zero.
LEAST, FEW = 1e-30, 4


class Marginals(NamedTuple):
    """Of n words, by each of k tags: shape [n, k].

    `probabilities` that it is the word's; `goes_on`, that the next word continues its span, given that it is; 0 for O,
    and at the end of a text.
    """

    probabilities: Floats
    goes_on: Floats


def inside(tags: int) -> Ints:
    """The tag that continues each of `tags` tags (I-X for B-X and I-X; O for O)."""
    numbers = np.arange(tags)
    return numbers + numbers % 2


def may_follow(tags: int) -> npt.NDArray[np.bool_]:
    """Whether tag j may come after tag i in IOB2: shape [tags, tags]. A text begins as after O."""
    i, j = np.indices((tags, tags))
    allowed: npt.NDArray[np.bool_] = (j == 0) | (j % 2 == 1) | (inside(tags)[i] == j)
    return allowed


class Chain:
    """`transitions[i, j]` is added to the logits where tag j comes after i: shape [tags, tags]."""

    def __init__(self, transitions: Floats) -> None:
        allowed = may_follow(len(transitions))
        self._steps = np.exp(np.where(allowed, transitions - transitions[allowed].max(), -np.inf))

    def marginals(self, logits: Floats, first: Ints) -> Marginals:
        """Of texts whose words have `logits` of shape [n, tags]; `first` is as in `decode`."""
        if not len(logits):
            return Marginals(np.zeros(logits.shape), np.zeros(logits.shape))
        own = _weights(logits)
        forward, backward = self._messages(own, first)
        on, then = inside(len(self._steps)), _next(backward, first)
        goes_on = then[:, on] * self._steps[np.arange(len(on)), on] / self._reach(then)
        goes_on[:, 0] = 0
        return Marginals(_shares(forward * backward / own), goes_on)

    def log_likelihood(self, logits: Floats, tags: Ints, first: Ints) -> float:
        """The logarithm of the probability of all `tags`, shape [n], one for each word; they must be valid."""
        if not len(logits):
            return 0.0
        own, words = _weights(logits), np.arange(len(logits))
        forward, backward = self._messages(own, first)
        begins = first[:-1][np.diff(first) > 0]
        follows = np.setdiff1d(words, begins)
        then, before = backward[follows], tags[follows - 1]
        steps = then[np.arange(len(follows)), tags[follows]] * self._steps[before, tags[follows]]
        shares = steps / self._reach(then)[np.arange(len(follows)), before]
        began = _shares(forward * backward / own)[begins, tags[begins]]
        return float(np.log(np.maximum(np.concatenate([began, shares]), LEAST)).sum())

    def _messages(self, own: Floats, first: Ints) -> tuple[Floats, Floats]:
        """What the words up to each say of its tag, itself included, and what those from it on say: shape [n, tags].

        The forward-backward algorithm, both ways at once and all texts abreast; each row adds up to 1.
        """
        rows, abreast = _abreast(first)
        met = own[rows]
        both = np.stack([self._steps, self._steps.T])
        found = np.empty_like(met)
        found[:, : abreast[0]] = met[:, : abreast[0]]
        found[0, : abreast[0]] *= self._steps[0]
        begin = 0
        for step, count in enumerate(abreast[1:], start=1):
            now = slice(begin + abreast[step - 1], begin + abreast[step - 1] + count)
            np.matmul(found[:, begin : begin + count], both, out=found[:, now])
            found[:, now] *= met[:, now]
            if step % FEW == 0:
                found[:, now] /= found[:, now].sum(axis=-1, keepdims=True)
            begin = now.start
        ways = np.empty_like(met)
        for way in (0, 1):
            ways[way, rows[way]] = found[way]
        return _shares(ways[0]), _shares(ways[1])

    def _reach(self, then: Floats) -> Floats:
        """By tag of a word what all tags of the next weigh, of which `then` is what is said from it on."""
        weighed: Floats = np.maximum(then @ self._steps.T, np.finfo(float).tiny)
        return weighed


def _weights(logits: Floats) -> Floats:
    """Of each tag, the weightiest of a word being 1."""
    weights: Floats = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.maximum(weights, LEAST)


def _shares(weights: Floats) -> Floats:
    shares: Floats = weights / weights.sum(axis=1, keepdims=True)
    return shares


def _next(rows: Floats, first: Ints) -> Floats:
    """The row of the next word of the same text; zeros for the last."""
    then: Floats = np.vstack([rows[1:], np.zeros((1, rows.shape[1]))])
    then[first[1:] - 1] = 0
    return then


def _abreast(first: Ints) -> tuple[Ints, list[int]]:
    """The words of all texts by how far they stand from the first of their text, and from the last: shape [2, n].

    Longer texts come first. Beside it, how many texts have a word so far: for each distance.
    """
    lengths = np.diff(first)
    order = np.argsort(-lengths, kind="stable")
    lengths = lengths[order]
    abreast = np.searchsorted(-lengths, -np.arange(lengths[0]), side="left")
    step = np.repeat(np.arange(lengths[0]), abreast)
    text = order[np.arange(first[-1]) - np.repeat(np.cumsum(abreast) - abreast, abreast)]
    return np.stack([first[text] + step, first[text + 1] - 1 - step]), abreast.tolist()
