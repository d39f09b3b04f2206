"""CRF marginals, likelihood and training loss equal sums over all tag sequences."""

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


def word_logits(max_words: int, size: float) -> st.SearchStrategy[np.ndarray]:
    return st.integers(0, max_words).flatmap(lambda n: arrays(np.float64, (n, TAGS), elements=st.floats(-size, size)))


text_lists = st.lists(word_logits(5, 8), min_size=1, max_size=4)
transitions = arrays(np.float64, (TAGS, TAGS), elements=st.floats(-3, 3))


def enumerate_sequences(logits: np.ndarray, steps: np.ndarray) -> Sequences:
    """Return the probability of each valid tag sequence."""
    allowed = allowed_transitions(TAGS)
    weight = {}
    for tags in product(range(TAGS), repeat=len(logits)):
        path = list(pairwise((0, *tags)))
        if all(allowed[pair] for pair in path):
            weight[tags] = np.exp(sum(logits[i, tag] for i, tag in enumerate(tags)) + sum(steps[pair] for pair in path))
    total = sum(weight.values())
    return {tags: weight[tags] / total for tags in weight}


def join(texts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate(texts), np.cumsum([0, *map(len, texts)])


def test_allowed_transitions_are_those_of_iob2() -> None:
    assert np.flatnonzero(~allowed_transitions(5).ravel()).tolist() == [2, 4, 9, 14, 17, 22]


@given(text_lists, transitions, st.floats(0.001, 1), st.booleans())
def test_probabilities_are_sums_over_sequences(
    texts: list[np.ndarray], steps: np.ndarray, threshold: float, multi_label: bool
) -> None:
    words, first = join(texts)
    marginals = LinearChainCRF(steps).marginals(words, first)
    spans = decode(marginals, np.zeros((len(words), 0)), first, threshold, multi_label)
    rows = list(zip(spans.text, spans.start, spans.stop, spans.category, sigmoid(spans.logit), strict=True))
    for number, logits in enumerate(texts):
        sequences = enumerate_sequences(logits, steps)
        for word in range(len(logits)):
            expected = [sum(p for tags, p in sequences.items() if tags[word] == tag) for tag in range(TAGS)]
            assert marginals.probabilities[first[number] + word] == pytest.approx(expected, abs=1e-9)
        for text, *span, probability in rows:
            if text == number:
                expected_p = sum(p for tags, p in sequences.items() if tuple(span) in tags_to_spans(tags))
                assert probability == pytest.approx(expected_p, abs=1e-8)


@given(text_lists, transitions, st.data())
def test_the_likelihood_is_that_of_whole_sequences(
    texts: list[np.ndarray], steps: np.ndarray, draws: st.DataObject
) -> None:
    words, first = join(texts)
    tags, expected = list[int](), 0.0
    for logits in texts:
        sequences = enumerate_sequences(logits, steps)
        chosen = draws.draw(st.sampled_from(sorted(sequences)))
        tags += chosen
        expected += np.log(sequences[chosen])
    likelihood = LinearChainCRF(steps).log_likelihood(words, np.array(tags, np.int64), first)
    assert likelihood == pytest.approx(expected, abs=1e-6)


@given(st.lists(word_logits(40, 500), min_size=1, max_size=5), transitions)
def test_marginals_do_not_depend_on_the_other_texts(texts: list[np.ndarray], steps: np.ndarray) -> None:
    words, first = join(texts)
    marginals = LinearChainCRF(steps).marginals(words, first)
    assert np.allclose(marginals.probabilities.sum(axis=1), 1)
    assert ((marginals.continuation >= 0) & (marginals.continuation <= 1 + 1e-9)).all()
    for number, logits in enumerate(texts):
        alone = LinearChainCRF(steps).marginals(logits, np.array([0, len(logits)]))
        rows = slice(first[number], first[number + 1])
        assert np.allclose(alone.probabilities, marginals.probabilities[rows])
        assert np.allclose(alone.continuation, marginals.continuation[rows])


def test_the_marginals_of_a_single_word_are_the_softmax_of_its_logits() -> None:
    logits = np.array([[1.0, 2.0, -50.0, 0.5, -50.0]])
    marginals = LinearChainCRF(np.zeros((TAGS, TAGS))).marginals(logits, np.array([0, 1]))
    assert np.allclose(marginals.probabilities, softmax(logits))


@given(text_lists, transitions, st.data())
def test_the_loss_is_that_of_the_whole_sequence(
    texts: list[np.ndarray], steps: np.ndarray, draws: st.DataObject
) -> None:
    texts = [logits for logits in texts if len(logits)]
    gold, expected = [], 0.0
    for logits in texts:
        sequences = enumerate_sequences(logits, steps)
        gold.append(draws.draw(st.sampled_from(sorted(sequences))))
        expected -= np.log(sequences[gold[-1]])
    # Every other token does not begin a word.
    longest = max((2 * len(logits) for logits in texts), default=1)
    labels = np.full((len(texts), longest), -100)
    padded = np.full((len(texts), longest, TAGS), 7.0)
    for row, (logits, tags) in enumerate(zip(texts, gold, strict=True)):
        labels[row, 1 : 2 * len(tags) : 2] = tags
        padded[row, 1 : 2 * len(tags) : 2] = logits
    layer = crf_layer(TAGS).double()
    layer.transitions.data = torch.from_numpy(steps)
    loss = layer(torch.from_numpy(padded), torch.from_numpy(labels)) if texts else torch.zeros(())
    words = max(1, sum(map(len, texts)))
    assert loss.item() == pytest.approx(expected / words, rel=1e-6, abs=1e-9)


def test_the_loss_is_finite_for_a_window_that_begins_inside_a_span() -> None:
    labels = torch.tensor([[2, 0], [-100, -100]])
    loss = crf_layer(TAGS)(torch.zeros(2, 2, TAGS), labels)
    assert 0 < loss.item() < 10
