import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviews_parsing import data
from reviews_parsing.errors import DataError
from reviews_parsing.schema import Aspect, Review

from .strategies import lists, properties, reviews

grouped = st.lists(st.integers(0, 30), max_size=60).map(
    lambda groups: [Review(f"s{i}", "Tea", (), {"review": f"r{group}"}) for i, group in enumerate(groups)]
)


@properties
@given(grouped, st.integers())
def test_parts_are_disjoint_complete_and_never_divide_a_review(sentences: list[Review], seed: int) -> None:
    parts = data.split(sentences, seed)
    assert sorted(r.id for part in parts.values() for r in part) == sorted(r.id for r in sentences)
    groups = [{review.meta["review"] for review in part} for part in parts.values()]
    assert sum(map(len, groups)) == len(set().union(*groups))


@properties
@given(grouped, st.randoms(use_true_random=False))
def test_parts_depend_on_the_seed_and_not_on_the_order(sentences: list[Review], shuffle: random.Random) -> None:
    shuffled = list(sentences)
    shuffle.shuffle(shuffled)
    first, second = data.split(sentences, 7), data.split(shuffled, 7)
    assert {k: {r.id for r in v} for k, v in first.items()} == {k: {r.id for r in v} for k, v in second.items()}


def test_parts_have_the_requested_sizes_and_the_input_order() -> None:
    given_reviews = [Review(str(i), "Tea") for i in range(200)]
    parts = data.split(given_reviews, seed=1, fractions={"train": 0.7, "validation": 0.2, "test": 0.1})
    assert {name: len(part) for name, part in parts.items()} == {"train": 140, "validation": 40, "test": 20}
    assert [int(r.id) for r in parts["train"]] == sorted(int(r.id) for r in parts["train"])
    assert parts != data.split(given_reviews, seed=2, fractions={"train": 0.7, "validation": 0.2, "test": 0.1})
    assert data.split(given_reviews, 1, {"train": 1.0, "test": 0.0})["test"] == []


@pytest.mark.parametrize("fractions", [{}, {"train": 0.5}, {"train": 1.5, "test": -0.5}])
def test_invalid_fractions_are_errors(fractions: dict[str, float]) -> None:
    with pytest.raises(DataError, match="do not sum to 1"):
        data.split([Review("a", "Tea")], 0, fractions)


@properties
@given(lists(reviews()))
def test_the_digest_depends_on_the_content_alone(given_reviews: list[Review]) -> None:
    digest = data.compute_digest({"train": given_reviews, "test": []})
    assert digest == data.compute_digest({"test": [], "train": [Review.from_json(r.to_json()) for r in given_reviews]})
    first, *rest = given_reviews
    changed = Review(first.id, first.text, (*first.aspects, Aspect("NEW")), first.meta)
    assert digest != data.compute_digest({"train": [changed, *rest], "test": []})
    assert digest != data.compute_digest({"train": rest, "test": [first]})


def test_the_digest_is_the_same_on_every_machine() -> None:
    splits = {"all": [Review("a", "Thé 🍵", (Aspect("BEVERAGE", "Thé", 0, 3, "positive"),), {"b": 1, "a": 2})]}
    assert data.compute_digest(splits) == "bfafe291cecfd964193e9247bff90c8901998026d7a8c17d698bc422d3da7f46"
