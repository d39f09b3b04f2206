"""Decoding gives the spans that are probable, and none that share a word."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reviews_parsing.tagging import LinearChainCRF, Marginals, decode, max_over_words, sigmoid
from reviews_parsing.tagging.decode import MIN_LOGIT

logits = st.integers(0, 6).flatmap(lambda n: arrays(np.float64, (n, 5), elements=st.floats(-20, 20)))


texts = st.lists(logits, min_size=1, max_size=4)


PLAIN = LinearChainCRF(np.zeros((5, 5)))


def together(texts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The words of all texts, and the number of each text's first word."""
    return np.concatenate(texts), np.cumsum([0, *map(len, texts)])


Spans = list[tuple[int, int, int, int, float]]


def every_span(read: Marginals, first: np.ndarray) -> Spans:
    """(text, start, stop, category, probability) of every span there could be."""
    found = []
    for text, (begin, end) in enumerate(pairwise(first.tolist())):
        for start, category in product(range(begin, end), (0, 1)):
            so_far, continuation = (
                read.probabilities[start, 2 * category + 1],
                read.continuation[start, 2 * category + 1],
            )
            for stop in range(start + 1, end + 1):
                found.append((text, start - begin, stop - begin, category, so_far * (1 - continuation)))
                so_far = so_far * continuation
                continuation = read.continuation[min(stop, end - 1), 2 * category + 2]
    return found


def found_in(words: np.ndarray, first: np.ndarray, least: float, multi_label: bool) -> Spans:
    found = decode(PLAIN.marginals(words, first), np.zeros((len(words), 0)), first, least, multi_label)
    return list(zip(found.text, found.start, found.stop, found.category, sigmoid(found.logit), strict=True))


@given(texts, st.floats(0.001, 1), st.booleans())
def test_what_is_probable_is_an_answer_unless_it_shares_a_word_with_what_is_more_so(
    drawn: list[np.ndarray], least: float, multi_label: bool
) -> None:
    words, first = together(drawn)
    expected: Spans = []
    for span in sorted(every_span(PLAIN.marginals(words, first), first), key=lambda its: -its[4]):
        touched = [its for its in expected if its[0] == span[0] and its[1] < span[2] and span[1] < its[2]]
        if span[4] >= least and (not touched or (multi_label and all(its[:3] == span[:3] for its in touched))):
            expected.append(span)
    expected.sort(key=lambda its: (*its[:3], -its[4]))
    found = found_in(words, first, least, multi_label)
    assert [its[:4] for its in found] == [its[:4] for its in expected]
    assert [its[4] for its in found] == pytest.approx([its[4] for its in expected], abs=1e-8)


@given(texts, st.floats(0.001, 1), st.floats(0.001, 1), st.booleans())
def test_who_asks_for_more_probable_spans_gets_some_of_the_same(
    drawn: list[np.ndarray], one: float, other: float, multi_label: bool
) -> None:
    words, first = together(drawn)
    more, fewer = (found_in(words, first, least, multi_label) for least in sorted((one, other)))
    assert fewer == [its for its in more if its in fewer]


@given(texts)
def test_spans_are_ordered_disjoint_and_finite(drawn: list[np.ndarray]) -> None:
    words, first = together(drawn)
    found = decode(PLAIN.marginals(words, first), np.zeros((len(words), 3)), first)
    assert np.isfinite(found.logit).all()
    places = list(zip(found.text, found.start, found.stop, strict=True))
    assert all(a[0] < b[0] or (a[0] == b[0] and a[2] <= b[1]) for a, b in pairwise(places))


@given(texts)
def test_a_text_is_decoded_as_if_it_were_alone(drawn: list[np.ndarray]) -> None:
    # Of spans that are equally probable, the last bit decides: here none are.
    drawn = [text + 1e-3 * np.sin(np.arange(1.0, text.size + 1)).reshape(text.shape) for text in drawn]
    words, first = together(drawn)
    found = decode(PLAIN.marginals(words, first), words[:, :2], first)
    alone = [
        decode(PLAIN.marginals(text, its), text[:, :2], its) for text in drawn for its in [np.array([0, len(text)])]
    ]
    for name in ("start", "stop", "category"):
        assert getattr(found, name).tolist() == [x for one in alone for x in getattr(one, name).tolist()]
    assert np.allclose(found.logit, np.concatenate([one.logit for one in alone]))
    assert np.allclose(found.polarity_logits, np.concatenate([one.polarity_logits for one in alone]))


@given(texts)
def test_a_text_is_as_strong_as_its_strongest_word(drawn: list[np.ndarray]) -> None:
    words, first = together(drawn)
    expected = [text.max(axis=0, initial=MIN_LOGIT) for text in drawn]
    assert max_over_words(words, first).tolist() == [row.tolist() for row in expected]


def test_an_i_without_its_b_joins_the_likelier_reading() -> None:
    # Words: O, then I-0 far above all else: B-0 is the only valid way to say so.
    strong = np.array([[9.0, 0, 0, 0, 0], [0, 4.0, 8.0, 0, 0], [9.0, 0, 0, 0, 0]])
    assert [its[:4] for its in found_in(strong, np.array([0, 3]), 0.5, multi_label=False)] == [(0, 1, 2, 0)]


def test_polarity_is_the_mean_over_the_words_of_the_span() -> None:
    tags = np.array([[0.0, 9, 0, 0, 0], [0.0, 0, 9, 0, 0], [9.0, 0, 0, 0, 0]])
    polarity = np.array([[2.0, 0.0], [4.0, 2.0], [-50.0, 50.0]])
    assert decode(PLAIN.marginals(tags, np.array([0, 3])), polarity, np.array([0, 3])).polarity_logits.tolist() == [
        [3.0, 1.0]
    ]
