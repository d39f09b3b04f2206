"""Rough versions of a review: other letters, the same labels."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from reviews_parsing import data
from reviews_parsing.schema import Aspect, Review, Taxonomy
from reviews_parsing.training.augmentation import add_noise, rewritten
from reviews_parsing.training.features import draw_versions, with_noisy_versions


def test_labels_stay_on_their_words() -> None:
    for review in data.read_splits("corpus")["test"]:
        found = add_noise(review, random.Random(review.id))
        assert [(a.entity_group, a.polarity) for a in found.aspects] == [
            (a.entity_group, a.polarity) for a in review.aspects
        ]
        assert all(found.text[slice(*a.span)] == a.word for a in found.aspects if a.span)


@given(st.text(max_size=20), st.data())
def test_any_piece_may_become_any_text(text: str, drawn: st.DataObject) -> None:
    pieces = drawn.draw(st.lists(st.text(max_size=3), min_size=len(text), max_size=len(text)))
    start = drawn.draw(st.integers(0, len(text)))
    end = drawn.draw(st.integers(start, len(text)))
    review = Review("a", text, (Aspect("FOOD", text[start:end], start, end), Aspect("PRICE")))
    found = rewritten(review, pieces)
    assert found.text == "".join(pieces)
    *explicit, implicit = found.aspects
    assert implicit == Aspect("PRICE")
    expected = "".join(pieces[start:end]).strip()
    assert [(a.word, found.text[slice(*(a.span or ()))]) for a in explicit] == [(expected, expected)] * bool(expected)


def test_about_a_share_of_what_is_learnt_is_rough(tokenizer: Tokenizer) -> None:
    reviews = data.read_splits("corpus")["validation"]
    features = with_noisy_versions(reviews, tokenizer, Taxonomy.of(reviews), 128, 16, seed=1)
    assert len(features) >= len(reviews)
    clean = {tuple(feature["input_ids"]) for feature in features}

    def share(wanted: float) -> float:
        return sum(tuple(feature["input_ids"]) not in clean for feature in draw_versions(features, wanted)) / len(
            features
        )

    assert share(0) == 0
    assert 0.2 < share(0.4) < 0.6
    assert all(len(feature["labels"]) == len(feature["input_ids"]) for feature in draw_versions(features, 1))
