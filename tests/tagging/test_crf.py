"""A chain's probabilities are those of a sum over every sequence, and what is learnt is what is read."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reviews_parsing.tagging import LinearChainCRF, allowed_transitions, decode, sigmoid, softmax, tags_to_spans
from reviews_parsing.training.crf import crf_layer

TAGS = 5
Sequences = dict[tuple[int, ...], float]


def texts(most: int, size: float) -> st.SearchStrategy[np.ndarray]:
    return st.integers(0, most).flatmap(lambda n: arrays(np.float64, (n, TAGS), elements=st.floats(-size, size)))


several = st.lists(texts(5, 8), min_size=1, max_size=4)
transitions = arrays(np.float64, (TAGS, TAGS), elements=st.floats(-3, 3))


def every(logits: np.ndarray, steps: np.ndarray) -> Sequences:
    """The probability of every valid sequence of tags."""
    allowed = allowed_transitions(TAGS)
    weight = {}
    for tags in product(range(TAGS), repeat=len(logits)):
        path = list(pairwise((0, *tags)))
        if all(allowed[pair] for pair in path):
            weight[tags] = np.exp(sum(logits[i, tag] for i, tag in enumerate(tags)) + sum(steps[pair] for pair in path))
    total = sum(weight.values())
    return {tags: its / total for tags, its in weight.items()}


def together(drawn: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate(drawn), np.cumsum([0, *map(len, drawn)])


def test_what_allowed_transitions_is_iob2() -> None:
    assert np.flatnonzero(~allowed_transitions(5).ravel()).tolist() == [2, 4, 9, 14, 17, 22]


@given(several, transitions, st.floats(0.001, 1), st.booleans())
def test_probabilities_are_sums_over_sequences(
    drawn: list[np.ndarray], steps: np.ndarray, least: float, also: bool
) -> None:
    words, first = together(drawn)
    read = LinearChainCRF(steps).marginals(words, first)
    found = decode(read, np.zeros((len(words), 0)), first, least, also)
    spans = list(zip(found.text, found.start, found.stop, found.category, sigmoid(found.logit), strict=True))
    for number, logits in enumerate(drawn):
        sequences = every(logits, steps)
        for word in range(len(logits)):
            expected = [sum(p for tags, p in sequences.items() if tags[word] == tag) for tag in range(TAGS)]
            assert read.probabilities[first[number] + word] == pytest.approx(expected, abs=1e-9)
        for text, *span, probability in spans:
            if text == number:
                expected_p = sum(p for tags, p in sequences.items() if tuple(span) in tags_to_spans(tags))
                assert probability == pytest.approx(expected_p, abs=1e-8)


@given(several, transitions, st.data())
def test_the_likelihood_is_that_of_whole_sequences(
    drawn: list[np.ndarray], steps: np.ndarray, data: st.DataObject
) -> None:
    words, first = together(drawn)
    tags, expected = [], 0.0
    for logits in drawn:
        sequences = every(logits, steps)
        chosen = data.draw(st.sampled_from(sorted(sequences)))
        tags += chosen
        expected += np.log(sequences[chosen])
    found = LinearChainCRF(steps).log_likelihood(words, np.array(tags, np.int64), first)
    assert found == pytest.approx(expected, abs=1e-6)


@given(st.lists(texts(40, 500), min_size=1, max_size=5), transitions)
def test_whatever_comes_in_a_text_is_read_as_if_it_were_alone(drawn: list[np.ndarray], steps: np.ndarray) -> None:
    words, first = together(drawn)
    read = LinearChainCRF(steps).marginals(words, first)
    assert np.allclose(read.probabilities.sum(axis=1), 1)
    assert ((read.continuation >= 0) & (read.continuation <= 1 + 1e-9)).all()
    for number, logits in enumerate(drawn):
        alone = LinearChainCRF(steps).marginals(logits, np.array([0, len(logits)]))
        own = slice(first[number], first[number + 1])
        assert np.allclose(alone.probabilities, read.probabilities[own])
        assert np.allclose(alone.continuation, read.continuation[own])


def test_a_word_by_itself_has_the_probabilities_of_its_logits() -> None:
    logits = np.array([[1.0, 2.0, -50.0, 0.5, -50.0]])
    read = LinearChainCRF(np.zeros((TAGS, TAGS))).marginals(logits, np.array([0, 1]))
    assert np.allclose(read.probabilities, softmax(logits))


@given(several, transitions, st.data())
def test_the_loss_is_that_of_the_whole_sequence(
    drawn: list[np.ndarray], steps: np.ndarray, data: st.DataObject
) -> None:

    drawn = [logits for logits in drawn if len(logits)]
    gold, expected = [], 0.0
    for logits in drawn:
        sequences = every(logits, steps)
        gold.append(data.draw(st.sampled_from(sorted(sequences))))
        expected -= np.log(sequences[gold[-1]])
    # Between words stand tokens that are none.
    longest = max((2 * len(logits) for logits in drawn), default=1)
    labels = np.full((len(drawn), longest), -100)
    padded = np.full((len(drawn), longest, TAGS), 7.0)
    for row, (logits, tags) in enumerate(zip(drawn, gold, strict=True)):
        labels[row, 1 : 2 * len(tags) : 2] = tags
        padded[row, 1 : 2 * len(tags) : 2] = logits
    module = crf_layer(TAGS).double()
    module.transitions.data = torch.from_numpy(steps)
    loss = module(torch.from_numpy(padded), torch.from_numpy(labels)) if drawn else torch.zeros(())
    words = max(1, sum(map(len, drawn)))
    assert loss.item() == pytest.approx(expected / words, rel=1e-6, abs=1e-9)


def test_a_window_that_begins_amid_a_span_is_no_catastrophe() -> None:

    labels = torch.tensor([[2, 0], [-100, -100]])
    loss = crf_layer(TAGS)(torch.zeros(2, 2, TAGS), labels)
    assert 0 < loss.item() < 10
