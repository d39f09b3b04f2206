"""Each aspect finds the opinion that fits it best, among those of its own text."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reviews_parsing.tagging import Spans, linked
from reviews_parsing.tagging.link import NONE

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
    words = [(text, word) for text, length in enumerate(lengths) for word in range(length)]
    opinions = [(text, word, word + 1) for text, word in words if drawn.draw(st.booleans())]
    aspects = [(text, word) for text, word in words if drawn.draw(st.booleans())]
    texts = np.array([text for text, _ in aspects], np.int64)
    at = np.array([first[text] + word for text, word in aspects], np.int64)
    found = linked(logits, spans(opinions), texts, at, at + 1, first)
    for (text, word), answer in zip(aspects, found.tolist(), strict=True):
        fit = {
            number: float(logits[first[text] + word, :WIDTH] @ logits[first[text] + start, WIDTH:])
            for number, (other, start, _) in enumerate(opinions)
            if other == text and start != word
        }
        best = max(fit, key=lambda number: fit[number], default=NONE)
        assert answer == (best if fit and fit[best] > 0 else NONE)
