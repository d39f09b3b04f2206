"""Noisy versions of reviews keep their labels."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from reviews_parsing import data
from reviews_parsing.schema import Aspect, Review, Taxonomy
from reviews_parsing.tagging import WordTokenizer
from reviews_parsing.training.augmentation import add_noise, rewrite
from reviews_parsing.training.features import draw_versions, with_noisy_versions


def test_labels_stay_on_their_words() -> None:
    for review in data.read_splits("corpus")["test"]:
        noisy = add_noise(review, random.Random(review.id))
        assert [(a.entity_group, a.polarity) for a in noisy.aspects] == [
            (a.entity_group, a.polarity) for a in review.aspects
        ]
        assert all(noisy.text[slice(*a.span)] == a.word for a in noisy.aspects if a.span)


@given(st.text(max_size=20), st.data())
def test_rewriting_accepts_any_replacement(text: str, draws: st.DataObject) -> None:
    pieces = draws.draw(st.lists(st.text(max_size=3), min_size=len(text), max_size=len(text)))
    start = draws.draw(st.integers(0, len(text)))
    end = draws.draw(st.integers(start, len(text)))
    review = Review("a", text, (Aspect("FOOD", text[start:end], start, end), Aspect("PRICE")))
    result = rewrite(review, pieces)
    assert result.text == "".join(pieces)
    *explicit, implicit = result.aspects
    assert implicit == Aspect("PRICE")
    expected = "".join(pieces[start:end]).strip()
    assert [(a.word, result.text[slice(*(a.span or ()))]) for a in explicit] == [(expected, expected)] * bool(expected)


def test_the_share_of_noisy_versions_is_respected(tokenizer: Tokenizer) -> None:
    reviews = data.read_splits("corpus")["validation"]
    features = with_noisy_versions(reviews, WordTokenizer(tokenizer), Taxonomy.of(reviews), 128, 16, seed=1)
    assert len(features) >= len(reviews)
    clean = {tuple(feature["input_ids"]) for feature in features}

    def noisy_share(share: float) -> float:
        drawn_features = draw_versions(features, share)
        return sum(tuple(feature["input_ids"]) not in clean for feature in drawn_features) / len(features)

    assert noisy_share(0) == 0
    assert 0.2 < noisy_share(0.4) < 0.6
    assert all(len(feature["labels"]) == len(feature["input_ids"]) for feature in draw_versions(features, 1))
