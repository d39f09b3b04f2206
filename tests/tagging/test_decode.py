"""Decoding returns probable spans that do not overlap."""

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

word_logits = st.integers(0, 6).flatmap(lambda n: arrays(np.float64, (n, 5), elements=st.floats(-20, 20)))
text_lists = st.lists(word_logits, min_size=1, max_size=4)
CRF = LinearChainCRF(np.zeros((5, 5)))
# (text, start, stop, category, probability)
Rows = list[tuple[int, int, int, int, float]]


def join(texts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the words of all texts, and the index of each text's first word."""
    return np.concatenate(texts), np.cumsum([0, *map(len, texts)])


def enumerate_spans(marginals: Marginals, first: np.ndarray) -> Rows:
    """Return all possible spans."""
    rows = []
    for text, (begin, end) in enumerate(pairwise(first.tolist())):
        for start, category in product(range(begin, end), (0, 1)):
            prefix, continuation = (
                marginals.probabilities[start, 2 * category + 1],
                marginals.continuation[start, 2 * category + 1],
            )
            for stop in range(start + 1, end + 1):
                rows.append((text, start - begin, stop - begin, category, prefix * (1 - continuation)))
                prefix = prefix * continuation
                continuation = marginals.continuation[min(stop, end - 1), 2 * category + 2]
    return rows


def decode_rows(words: np.ndarray, first: np.ndarray, threshold: float, multi_label: bool) -> Rows:
    spans = decode(CRF.marginals(words, first), np.zeros((len(words), 0)), first, threshold, multi_label)
    return list(zip(spans.text, spans.start, spans.stop, spans.category, sigmoid(spans.logit), strict=True))


@given(text_lists, st.floats(0.001, 1), st.booleans())
def test_spans_are_selected_greedily_by_probability(
    texts: list[np.ndarray], threshold: float, multi_label: bool
) -> None:
    words, first = join(texts)
    expected: Rows = []
    for span in sorted(enumerate_spans(CRF.marginals(words, first), first), key=lambda row: -row[4]):
        overlapping = [row for row in expected if row[0] == span[0] and row[1] < span[2] and span[1] < row[2]]
        is_free = not overlapping or (multi_label and all(row[:3] == span[:3] for row in overlapping))
        if span[4] >= threshold and is_free:
            expected.append(span)
    expected.sort(key=lambda row: (*row[:3], -row[4]))
    rows = decode_rows(words, first, threshold, multi_label)
    assert [row[:4] for row in rows] == [row[:4] for row in expected]
    assert [row[4] for row in rows] == pytest.approx([row[4] for row in expected], abs=1e-8)


@given(text_lists, st.floats(0.001, 1), st.floats(0.001, 1), st.booleans())
def test_a_higher_threshold_returns_a_subset(
    texts: list[np.ndarray], first_threshold: float, second_threshold: float, multi_label: bool
) -> None:
    words, first = join(texts)
    thresholds = sorted((first_threshold, second_threshold))
    superset, subset = (decode_rows(words, first, threshold, multi_label) for threshold in thresholds)
    assert subset == [row for row in superset if row in subset]


@given(text_lists)
def test_spans_are_ordered_disjoint_and_finite(texts: list[np.ndarray]) -> None:
    words, first = join(texts)
    spans = decode(CRF.marginals(words, first), np.zeros((len(words), 3)), first)
    assert np.isfinite(spans.logit).all()
    rows = list(zip(spans.text, spans.start, spans.stop, strict=True))
    assert all(a[0] < b[0] or (a[0] == b[0] and a[2] <= b[1]) for a, b in pairwise(rows))


@given(text_lists)
def test_decoding_does_not_depend_on_the_other_texts(texts: list[np.ndarray]) -> None:
    # Avoids ties, in which the last bit decides.
    texts = [text + 1e-3 * np.sin(np.arange(1.0, text.size + 1)).reshape(text.shape) for text in texts]
    words, first = join(texts)
    spans = decode(CRF.marginals(words, first), words[:, :2], first)
    singles = []
    for text in texts:
        bounds = np.array([0, len(text)])
        singles.append(decode(CRF.marginals(text, bounds), text[:, :2], bounds))
    for name in ("start", "stop", "category"):
        assert getattr(spans, name).tolist() == [x for single in singles for x in getattr(single, name).tolist()]
    assert np.allclose(spans.logit, np.concatenate([single.logit for single in singles]))
    assert np.allclose(spans.polarity_logits, np.concatenate([single.polarity_logits for single in singles]))


@given(text_lists)
def test_max_over_words_is_the_maximum_of_each_text(texts: list[np.ndarray]) -> None:
    words, first = join(texts)
    expected = [text.max(axis=0, initial=MIN_LOGIT) for text in texts]
    assert max_over_words(words, first).tolist() == [row.tolist() for row in expected]


def test_an_i_tag_without_a_b_tag_becomes_a_b_tag() -> None:
    # I-0 is by far the most probable tag of the second word, but only B-0 is valid after O.
    logits = np.array([[9.0, 0, 0, 0, 0], [0, 4.0, 8.0, 0, 0], [9.0, 0, 0, 0, 0]])
    assert [row[:4] for row in decode_rows(logits, np.array([0, 3]), 0.5, multi_label=False)] == [(0, 1, 2, 0)]


def test_polarity_is_the_mean_over_the_words_of_the_span() -> None:
    tags = np.array([[0.0, 9, 0, 0, 0], [0.0, 0, 9, 0, 0], [9.0, 0, 0, 0, 0]])
    polarity = np.array([[2.0, 0.0], [4.0, 2.0], [-50.0, 50.0]])
    spans = decode(CRF.marginals(tags, np.array([0, 3])), polarity, np.array([0, 3]))
    assert spans.polarity_logits.tolist() == [[3.0, 1.0]]
