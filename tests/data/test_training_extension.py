"""More reviews for training: what is held out is neither touched nor taught."""

from __future__ import annotations

from hypothesis import given

from reviews_parsing import data
from reviews_parsing.schema import Aspect, Review

from .strategies import lists, properties, reviews

SPLITS = {
    "train": [Review("a", "The soup was bland.", (Aspect("FOOD"),)), Review("b", "A calm room.")],
    "validation": [Review("c", "Our waiter forgot the bread, twice, and never said sorry for it.")],
    "test": [Review("d", "Cheap and cheerful.")],
}


def test_new_texts_are_added_and_known_ones_get_their_new_labels() -> None:
    better = Review("x", "The soup was bland.", (Aspect("FOOD", "soup", 4, 8, "negative"),))
    found = data.add(SPLITS, [Review("y", "Fine tea."), Review("w", "The soup was bland."), better])
    assert found.splits["train"] == [
        Review("a", better.text, better.aspects),
        SPLITS["train"][1],
        Review("y", "Fine tea."),
    ]
    assert (found.new, found.replaced, found.left_out) == (1, 1, [])
    assert "1 reviews added, 1 replaced" in str(found)


def test_what_repeats_a_held_out_review_is_left_out_and_said_so() -> None:
    nearly = Review("x", "our waiter forgot the bread twice and never said sorry for it")
    twin = Review("w", nearly.text.upper())
    other = Review("z", "Cheap, but not cheerful.")
    found = data.add(SPLITS, [nearly, twin, Review("y", "CHEAP and cheerful!"), other])
    assert found.left_out == ["x", "w", "y"]
    assert found.splits == {**SPLITS, "train": [*SPLITS["train"], other]}
    assert str(found).endswith("; 3 left out, they repeat validation or test reviews: x, w, y")


@properties
@given(given_reviews=lists(reviews()), more=lists(reviews()))
def test_held_out_splits_never_change_and_every_added_text_is_accounted_for(
    given_reviews: list[Review], more: list[Review]
) -> None:
    splits = {"train": given_reviews[:1], "validation": given_reviews[1:2], "test": given_reviews[2:]}
    found = data.add(splits, more)
    assert (found.splits["validation"], found.splits["test"]) == (splits["validation"], splits["test"])
    assert len(found.splits["train"]) == 1 + found.new
    assert found.new + found.replaced + len(found.left_out) == len({review.text for review in more})
