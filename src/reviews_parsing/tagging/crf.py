"""Linear-chain CRF over IOB2 tags: tag marginals, continuation probabilities and log-likelihood.

The weight of a tag sequence is exp(sum of its words' logits and of its transitions), its probability the share of that
weight among all valid sequences (Lafferty, McCallum and Pereira, 2001, Conditional Random Fields).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int64]
# Lower bound of a tag's weight relative to the strongest tag of its word, and the number of words after which messages
# are normalised: a product of four such weights does not underflow.
MIN_WEIGHT, NORMALISE_EVERY = 1e-30, 4


class Marginals(NamedTuple):
    """Marginals of n words and k tags, both of shape [n, k].

    `probabilities` are those of each word's tag. `continuation` is the probability that the next word continues the
    span of this tag, given this tag; 0 for O and at the end of a sequence.
    """

    probabilities: Floats
    continuation: Floats


def inside_tags(tag_count: int) -> Ints:
    """Return the tag that continues each tag: I-X for B-X and I-X, O for O."""
    tags = np.arange(tag_count)
    return tags + tags % 2


def allowed_transitions(tag_count: int) -> npt.NDArray[np.bool_]:
    """Return a mask of shape [tags, tags] of the IOB2 transitions from tag i to tag j; a sequence starts after O."""
    i, j = np.indices((tag_count, tag_count))
    allowed: npt.NDArray[np.bool_] = (j == 0) | (j % 2 == 1) | (inside_tags(tag_count)[i] == j)
    return allowed


class LinearChainCRF:
    """Inference with `transitions` of shape [tags, tags]; `transitions[i, j]` is the logit of tag j after tag i."""

    def __init__(self, transitions: Floats) -> None:
        allowed = allowed_transitions(len(transitions))
        self._steps = np.exp(np.where(allowed, transitions - transitions[allowed].max(), -np.inf))

    def marginals(self, logits: Floats, first: Ints) -> Marginals:
        """Return the marginals of sequences whose words have `logits` of shape [n, tags].

        `first[i]` is the index of the first word of sequence i, and `first[-1]` is n.
        """
        if not len(logits):
            return Marginals(np.zeros(logits.shape), np.zeros(logits.shape))
        emissions = _emission_weights(logits)
        forward, backward = self._messages(emissions, first)
        inside, following = inside_tags(len(self._steps)), _shift_to_previous(backward, first)
        continuation = following[:, inside] * self._steps[np.arange(len(inside)), inside] / self._total(following)
        continuation[:, 0] = 0
        return Marginals(_normalise(forward * backward / emissions), continuation)

    def log_likelihood(self, logits: Floats, tags: Ints, first: Ints) -> float:
        """Return the log-probability of the valid `tags` [n] of n words with `logits` [n, tags]; `first` as above."""
        if not len(logits):
            return 0.0
        emissions, words = _emission_weights(logits), np.arange(len(logits))
        forward, backward = self._messages(emissions, first)
        starts = first[:-1][np.diff(first) > 0]
        later_words = np.setdiff1d(words, starts)
        following, previous_tags = backward[later_words], tags[later_words - 1]
        rows = np.arange(len(later_words))
        steps = following[rows, tags[later_words]] * self._steps[previous_tags, tags[later_words]]
        step_probabilities = steps / self._total(following)[rows, previous_tags]
        start_probabilities = _normalise(forward * backward / emissions)[starts, tags[starts]]
        probabilities = np.concatenate([start_probabilities, step_probabilities])
        return float(np.log(np.maximum(probabilities, MIN_WEIGHT)).sum())

    def _messages(self, emissions: Floats, first: Ints) -> tuple[Floats, Floats]:
        """Return the normalised forward and backward messages [n, tags], each including the emission of its word.

        Runs the forward-backward algorithm in both directions at once, with all sequences in step.
        """
        rows, active = _time_steps(first)
        stepwise_emissions = emissions[rows]
        both_steps = np.stack([self._steps, self._steps.T])
        messages = np.empty_like(stepwise_emissions)
        messages[:, : active[0]] = stepwise_emissions[:, : active[0]]
        messages[0, : active[0]] *= self._steps[0]
        begin = 0
        for step, count in enumerate(active[1:], start=1):
            current = slice(begin + active[step - 1], begin + active[step - 1] + count)
            np.matmul(messages[:, begin : begin + count], both_steps, out=messages[:, current])
            messages[:, current] *= stepwise_emissions[:, current]
            if step % NORMALISE_EVERY == 0:
                messages[:, current] /= messages[:, current].sum(axis=-1, keepdims=True)
            begin = current.start
        directions = np.empty_like(stepwise_emissions)
        for direction in (0, 1):
            directions[direction, rows[direction]] = messages[direction]
        return _normalise(directions[0]), _normalise(directions[1])

    def _total(self, following: Floats) -> Floats:
        """Return for each tag of a word the total weight of the next word's tags, given their backward messages."""
        total: Floats = np.maximum(following @ self._steps.T, np.finfo(float).tiny)
        return total


def _emission_weights(logits: Floats) -> Floats:
    """Return exp(logits), scaled so that the strongest tag of each word has weight 1."""
    weights: Floats = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.maximum(weights, MIN_WEIGHT)


def _normalise(weights: Floats) -> Floats:
    probabilities: Floats = weights / weights.sum(axis=1, keepdims=True)
    return probabilities


def _shift_to_previous(rows: Floats, first: Ints) -> Floats:
    """Return for each word the row of the next word in its sequence, zeros for the last word."""
    shifted: Floats = np.vstack([rows[1:], np.zeros((1, rows.shape[1]))])
    shifted[first[1:] - 1] = 0
    return shifted


def _time_steps(first: Ints) -> tuple[Ints, list[int]]:
    """Return word indices by time step, shape [2, n] (forwards and backwards), and the number of sequences per step.

    Longer sequences come first, so that the active sequences of a step are a prefix.
    """
    lengths = np.diff(first)
    order = np.argsort(-lengths, kind="stable")
    lengths = lengths[order]
    active = np.searchsorted(-lengths, -np.arange(lengths[0]), side="left")
    step = np.repeat(np.arange(lengths[0]), active)
    sequence = order[np.arange(first[-1]) - np.repeat(np.cumsum(active) - active, active)]
    return np.stack([first[sequence] + step, first[sequence + 1] - 1 - step]), active.tolist()
