"""An aspect is link_opinions to the opinion that scores best, near it, in its own text and sentence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviews_parsing.tagging import Spans, link_opinions
from reviews_parsing.tagging.opinion_linking import BUCKETS_A_SIDE, NO_OPINION, distance_buckets

WIDTH = 2


def spans(places: list[tuple[int, int, int]]) -> Spans:
    columns = np.array(places, dtype=np.int64).reshape(-1, 3).T
    none = np.zeros(len(places))
    return Spans(columns[0], columns[1], columns[2], none.astype(np.int64), none, none[:, None])


@given(st.integers(1, 3).flatmap(lambda n: st.lists(st.integers(0, 5), min_size=n, max_size=n)), st.data())
def test_it_is_the_best_fit_of_the_text_that_does_not_overlap(lengths: list[int], drawn: st.DataObject) -> None:
    first = np.cumsum([0, *lengths])
    rng = np.random.default_rng(drawn.draw(st.integers(0, 99)))
    logits = rng.normal(size=(first[-1], 2 * WIDTH))
    bias = drawn.draw(st.sampled_from([None, rng.normal(size=2 * BUCKETS_A_SIDE)]))
    sentences = [np.sort(rng.integers(0, 4, length)) for length in lengths]
    words = [(text, word) for text, length in enumerate(lengths) for word in range(length)]
    opinions = [(text, word, word + 1) for text, word in words if drawn.draw(st.booleans())]
    aspects = [(text, word) for text, word in words if drawn.draw(st.booleans())]
    texts = np.array([text for text, _ in aspects], np.int64)
    at = np.array([first[text] + word for text, word in aspects], np.int64)
    found = link_opinions(logits, spans(opinions), texts, at, at + 1, first, bias, lambda text: sentences[text])
    for (text, word), answer in zip(aspects, found.tolist(), strict=True):
        fit = {
            number: float(logits[first[text] + word, :WIDTH] @ logits[first[text] + start, WIDTH:])
            + (0 if bias is None else float(bias[distance_buckets(np.array([start - word]))[0]]))
            for number, (other, start, _) in enumerate(opinions)
            if other == text and start != word and abs(int(sentences[text][start]) - int(sentences[text][word])) <= 1
        }
        best = max(fit, key=lambda number: fit[number], default=NO_OPINION)
        assert answer == (best if fit and fit[best] > 0 else NO_OPINION)


def test_without_sentences_and_bias_distance_does_not_matter() -> None:
    logits = np.zeros((300, 2))
    logits[0], logits[299] = (1, 0), (0, 1)
    at = np.array([0])
    first = np.array([0, 300])
    assert link_opinions(logits, spans([(0, 299, 300)]), np.array([0]), at, at + 1, first).tolist() == [0]
    apart = np.repeat(np.arange(3), 100)
    assert link_opinions(
        logits, spans([(0, 299, 300)]), np.array([0]), at, at + 1, first, None, lambda _: apart
    ).tolist() == [NO_OPINION]


def test_buckets_double_in_width_and_tell_the_side() -> None:
    middle = BUCKETS_A_SIDE
    distances = np.array([1, 2, 3, 4, 5, 8, 9, 10_000, -1, -2, -3, -4, -5, -10_000])
    expected = [0, 1, 2, 2, 3, 3, 4, middle - 1, -1, -2, -3, -3, -4, -middle]
    assert (distance_buckets(distances) - middle).tolist() == expected


def test_training_and_parsing_use_the_same_buckets() -> None:
    torch = pytest.importorskip("torch")
    from reviews_parsing.training.backbone import _buckets

    distances = np.arange(-400, 401)
    assert _buckets(torch.from_numpy(distances)).tolist() == distance_buckets(distances).tolist()
