"""Additions to the training split: held-out splits do not change and do not leak into training."""

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


def test_new_texts_are_added_and_existing_ones_are_relabelled() -> None:
    better = Review("x", "The soup was bland.", (Aspect("FOOD", "soup", 4, 8, "negative"),))
    extension = data.extend_training_split(
        SPLITS, [Review("y", "Fine tea."), Review("w", "The soup was bland."), better]
    )
    assert extension.splits["train"] == [
        Review("a", better.text, better.aspects),
        SPLITS["train"][1],
        Review("y", "Fine tea."),
    ]
    assert (extension.added_count, extension.relabelled_count, extension.excluded_ids) == (1, 1, [])
    assert "1 reviews added, 1 replaced" in str(extension)


def test_reviews_that_repeat_a_held_out_review_are_excluded_and_reported() -> None:
    near_duplicate = Review("x", "our waiter forgot the bread twice and never said sorry for it")
    duplicate = Review("w", near_duplicate.text.upper())
    different = Review("z", "Cheap, but not cheerful.")
    extension = data.extend_training_split(
        SPLITS, [near_duplicate, duplicate, Review("y", "CHEAP and cheerful!"), different]
    )
    assert extension.excluded_ids == ["x", "w", "y"]
    assert extension.splits == {**SPLITS, "train": [*SPLITS["train"], different]}
    assert str(extension).endswith("; 3 left out, they repeat validation or test reviews: x, w, y")


@properties
@given(given_reviews=lists(reviews()), additions=lists(reviews()))
def test_held_out_splits_never_change_and_every_text_is_counted(
    given_reviews: list[Review], additions: list[Review]
) -> None:
    splits = {"train": given_reviews[:1], "validation": given_reviews[1:2], "test": given_reviews[2:]}
    extension = data.extend_training_split(splits, additions)
    assert (extension.splits["validation"], extension.splits["test"]) == (splits["validation"], splits["test"])
    assert len(extension.splits["train"]) == 1 + extension.added_count
    assert extension.added_count + extension.relabelled_count + len(extension.excluded_ids) == len(
        {review.text for review in additions}
    )
