"""Decoding gives valid spans whatever the logits say, and the best ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reviews_parsing.tagging import Chain, decode, sigmoid, softmax, strongest, tags_to_spans
from reviews_parsing.tagging.decode import FAINTEST, best_tags

logits = st.integers(0, 6).flatmap(lambda n: arrays(np.float64, (n, 5), elements=st.floats(-20, 20)))


several = st.lists(logits, min_size=1, max_size=4)


PLAIN = Chain(np.zeros((5, 5)))


def is_valid(tags: Sequence[int]) -> bool:
    """I-X only after B-X or I-X."""
    return all(tag == 0 or tag % 2 or (i and tags[i - 1] in (tag, tag - 1)) for i, tag in enumerate(tags))


def together(texts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The words of all texts, and the number of each text's first word."""
    return np.concatenate(texts), np.cumsum([0, *map(len, texts)])


@given(several)
def test_the_answer_is_the_most_probable_valid_sequence_of_each_text(drawn: list[np.ndarray]) -> None:
    words, first = together(drawn)
    if not len(words):
        return
    probabilities = softmax(words)
    tags = best_tags(probabilities, first).tolist()
    for start, stop in pairwise(first):
        found, own = tags[start:stop], probabilities[start:stop]
        assert is_valid(found)

        def log_probability(tags: Sequence[int], own: np.ndarray = own) -> float:
            return float(np.log(own[np.arange(len(tags)), list(tags)] + 1e-12).sum())

        if 0 < len(found) <= 4:
            best = max(log_probability(tags) for tags in product(range(5), repeat=len(found)) if is_valid(tags))
            assert np.isclose(log_probability(found), best, atol=1e-6)


@given(several)
def test_spans_are_those_of_the_tags_ordered_disjoint_and_probable(drawn: list[np.ndarray]) -> None:
    words, first = together(drawn)
    read = PLAIN.marginals(words, first)
    found = decode(read, np.zeros((len(words), 3)), first)
    assert np.isfinite(found.logit).all()
    spans = list(zip(found.text, found.start, found.stop, found.category, strict=True))
    tags = best_tags(read.probabilities, first).tolist() if len(words) else []
    assert spans == [
        (text, *span) for text, (start, stop) in enumerate(pairwise(first)) for span in tags_to_spans(tags[start:stop])
    ]


@given(several, st.floats(0.001, 1))
def test_words_are_a_span_of_every_category_that_is_probable(drawn: list[np.ndarray], also_from: float) -> None:
    words, first = together(drawn)
    read, polarities = PLAIN.marginals(words, first), words[:, :3]
    plain, all_of_them, found = (decode(read, polarities, first, least) for least in (1.5, 0.0, also_from))
    of_words: dict[tuple[int, int, int], list[tuple[int, float, list[float]]]] = {}
    for *place, category, logit, means in zip(
        all_of_them.text,
        all_of_them.start,
        all_of_them.stop,
        all_of_them.category,
        all_of_them.logit,
        all_of_them.polarity_logits.tolist(),
        strict=True,
    ):
        of_words.setdefault((place[0], place[1], place[2]), []).append((category, sigmoid(logit), means))
    # Two categories: each span is there with both, the decoded one first, and no more probable than one thing is.
    assert [its[0][0] for its in of_words.values()] == plain.category.tolist()
    for its in of_words.values():
        assert sorted(category for category, _, _ in its) == [0, 1]
        assert sum(p for _, p, _ in its) <= 1 + 1e-6
        assert its[0][2] == its[1][2]
    expected = [
        (*place, category)
        for place, its in of_words.items()
        for rank, (category, p, _) in enumerate(its)
        if rank == 0 or p >= also_from
    ]
    assert list(zip(found.text, found.start, found.stop, found.category, strict=True)) == expected


@given(several)
def test_a_text_is_decoded_as_if_it_were_alone(drawn: list[np.ndarray]) -> None:
    words, first = together(drawn)
    found = decode(PLAIN.marginals(words, first), words[:, :2], first)
    alone = [
        decode(PLAIN.marginals(text, its), text[:, :2], its) for text in drawn for its in [np.array([0, len(text)])]
    ]
    for name in ("start", "stop", "category"):
        assert getattr(found, name).tolist() == [x for one in alone for x in getattr(one, name).tolist()]
    assert np.allclose(found.logit, np.concatenate([one.logit for one in alone]))
    assert np.allclose(found.polarity_logits, np.concatenate([one.polarity_logits for one in alone]))


@given(several)
def test_a_text_is_as_strong_as_its_strongest_word(drawn: list[np.ndarray]) -> None:
    words, first = together(drawn)
    expected = [text.max(axis=0, initial=FAINTEST) for text in drawn]
    assert strongest(words, first).tolist() == [row.tolist() for row in expected]


def test_an_i_without_its_b_joins_the_likelier_reading() -> None:
    # Words: O, then I-0 far above all else: B-0 is the only valid way to say so.
    strong = np.array([[9.0, 0, 0, 0, 0], [0, 4.0, 8.0, 0, 0], [9.0, 0, 0, 0, 0]])
    assert tags_to_spans(best_tags(softmax(strong), np.array([0, 3])).tolist()) == [(1, 2, 0)]


def test_polarity_is_the_mean_over_the_words_of_the_span() -> None:
    tags = np.array([[0.0, 9, 0, 0, 0], [0.0, 0, 9, 0, 0], [9.0, 0, 0, 0, 0]])
    polarity = np.array([[2.0, 0.0], [4.0, 2.0], [-50.0, 50.0]])
    assert decode(PLAIN.marginals(tags, np.array([0, 3])), polarity, np.array([0, 3])).polarity_logits.tolist() == [
        [3.0, 1.0]
    ]
