"""Decoding gives valid spans whatever the logits say, and the best ones."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reviews_parsing.tagging import decode, softmax, tags_to_spans
from reviews_parsing.tagging.decode import best_tags

logits = st.integers(0, 6).flatmap(lambda n: arrays(np.float64, (n, 5), elements=st.floats(-20, 20)))


def is_valid(tags: tuple[int, ...] | list[int]) -> bool:
    """I-X only after B-X or I-X."""
    return all(tag == 0 or tag % 2 or (i and tags[i - 1] in (tag, tag - 1)) for i, tag in enumerate(tags))


@given(logits)
def test_the_answer_is_the_most_probable_valid_sequence(drawn: np.ndarray) -> None:
    if not len(drawn):
        return
    probabilities = softmax(drawn)
    found = best_tags(probabilities)
    assert is_valid(found)

    def log_probability(tags: tuple[int, ...] | list[int]) -> float:
        return float(np.log(probabilities[np.arange(len(tags)), list(tags)] + 1e-12).sum())

    if len(drawn) <= 4:
        best = max(log_probability(tags) for tags in product(range(5), repeat=len(drawn)) if is_valid(tags))
        assert np.isclose(log_probability(found), best, atol=1e-6)


@given(logits)
def test_spans_are_ordered_disjoint_and_probable(drawn: np.ndarray) -> None:
    found = decode(drawn, np.zeros((len(drawn), 3)))
    spans = [scored.span for scored in found]
    assert all(before.stop <= after.start for before, after in pairwise(spans))
    assert all(0 <= span.start < span.stop <= len(drawn) for span in spans)
    assert all(np.isfinite(scored.logit) for scored in found)


def test_an_i_without_its_b_joins_the_likelier_reading() -> None:
    # Words: O, then I-0 far above all else: B-0 is the only valid way to say so.
    strong = np.array([[9.0, 0, 0, 0, 0], [0, 4.0, 8.0, 0, 0], [9.0, 0, 0, 0, 0]])
    assert tags_to_spans(best_tags(softmax(strong))) == [(1, 2, 0)]


def test_the_probability_counts_both_ends() -> None:
    ends = np.array([[0.0, 8, 0, 0, 0], [8.0, 0, 0, 0, 0]])
    unsure = np.array([[0.0, 8, 0, 0, 0], [8.0, 0, 7.5, 0, 0]])
    none = np.zeros((2, 0))
    assert decode(ends, none)[0].logit > decode(unsure, none)[0].logit


def test_polarity_is_the_mean_over_the_words_of_the_span() -> None:
    tags = np.array([[0.0, 9, 0, 0, 0], [0.0, 0, 9, 0, 0], [9.0, 0, 0, 0, 0]])
    polarity = np.array([[2.0, 0.0], [4.0, 2.0], [-50.0, 50.0]])
    assert decode(tags, polarity)[0].polarity_logits.tolist() == [3.0, 1.0]
