"""Aspects are linked to the opinion with the best score in the same or an adjacent sentence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviews_parsing.tagging import Spans, link_opinions
from reviews_parsing.tagging.opinion_linking import BUCKETS_A_SIDE, NO_OPINION, distance_buckets

WIDTH = 2


def to_spans(rows: list[tuple[int, int, int]]) -> Spans:
    columns = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    zeros = np.zeros(len(rows))
    return Spans(columns[0], columns[1], columns[2], zeros.astype(np.int64), zeros, zeros[:, None])


@given(st.integers(1, 3).flatmap(lambda n: st.lists(st.integers(0, 5), min_size=n, max_size=n)), st.data())
def test_the_link_has_the_best_score_in_the_text_without_overlap(lengths: list[int], draws: st.DataObject) -> None:
    first = np.cumsum([0, *lengths])
    rng = np.random.default_rng(draws.draw(st.integers(0, 99)))
    logits = rng.normal(size=(first[-1], 2 * WIDTH))
    bias = draws.draw(st.sampled_from([None, rng.normal(size=2 * BUCKETS_A_SIDE)]))
    sentences = [np.sort(rng.integers(0, 4, length)) for length in lengths]
    words = [(text, word) for text, length in enumerate(lengths) for word in range(length)]
    opinions = [(text, word, word + 1) for text, word in words if draws.draw(st.booleans())]
    aspects = [(text, word) for text, word in words if draws.draw(st.booleans())]
    texts = np.array([text for text, _ in aspects], np.int64)
    starts = np.array([first[text] + word for text, word in aspects], np.int64)
    links = link_opinions(
        logits, to_spans(opinions), texts, starts, starts + 1, first, bias, lambda text: sentences[text]
    )
    for (text, word), link in zip(aspects, links.tolist(), strict=True):
        scores = {
            number: float(logits[first[text] + word, :WIDTH] @ logits[first[text] + start, WIDTH:])
            + (0 if bias is None else float(bias[distance_buckets(np.array([start - word]))[0]]))
            for number, (opinion_text, start, _) in enumerate(opinions)
            if opinion_text == text
            and start != word
            and abs(int(sentences[text][start]) - int(sentences[text][word])) <= 1
        }
        best = max(scores, key=lambda number: scores[number], default=NO_OPINION)
        assert link == (best if scores and scores[best] > 0 else NO_OPINION)


def test_without_sentences_and_bias_distance_does_not_matter() -> None:
    logits = np.zeros((300, 2))
    logits[0], logits[299] = (1, 0), (0, 1)
    word, first = np.array([0]), np.array([0, 300])
    arguments = (logits, to_spans([(0, 299, 300)]), np.array([0]), word, word + 1, first)
    assert link_opinions(*arguments).tolist() == [0]
    sentences = np.repeat(np.arange(3), 100)
    assert link_opinions(*arguments, None, lambda _: sentences).tolist() == [NO_OPINION]


def test_buckets_double_in_width_on_both_sides() -> None:
    middle = BUCKETS_A_SIDE
    distances = np.array([1, 2, 3, 4, 5, 8, 9, 10_000, -1, -2, -3, -4, -5, -10_000])
    expected = [0, 1, 2, 2, 3, 3, 4, middle - 1, -1, -2, -3, -3, -4, -middle]
    assert (distance_buckets(distances) - middle).tolist() == expected


def test_training_and_parsing_use_the_same_buckets() -> None:
    torch = pytest.importorskip("torch")
    from reviews_parsing.training.backbone import _buckets

    distances = np.arange(-400, 401)
    assert _buckets(torch.from_numpy(distances)).tolist() == distance_buckets(distances).tolist()
