"""More labelled reviews for the training split, and only for that: what is measured stays what it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from reviews_parsing.data.duplicates import pairs
from reviews_parsing.schema import Review

TRAIN = "train"


@dataclass(frozen=True, slots=True)
class Added:
    """The splits with more in training: reviews that were `new`, and that `replaced` the labels of the same text.

    `left_out` are the ids of those that a held-out review repeats, or nearly: it would be measured by what it taught.
    """

    splits: dict[str, list[Review]]
    new: int
    replaced: int
    left_out: list[str]

    def __str__(self) -> str:
        line = f"training split: {self.new} reviews added, {self.replaced} replaced by new labels of the same text"
        if self.left_out:
            some = ", ".join(self.left_out[:3]) + (", ..." if len(self.left_out) > 3 else "")
            line += f"; {len(self.left_out)} left out, they repeat validation or test reviews: {some}"
        return line


def add(splits: Mapping[str, Sequence[Review]], more: Sequence[Review]) -> Added:
    """`more` into the split "train"; of those with the same text the last one counts."""
    latest = list({review.text: review for review in more}.values())
    held = [review.text for name in splits if name != TRAIN for review in splits[name]]
    texts = [*held, *(review.text for review in latest)]
    groups = ["held out"] * len(held) + ["added"] * len(latest)
    repeated: set[int] = set()
    for pair in pairs(texts, groups):
        # A twin of what is left out has not been compared with what is held out itself.
        if pair.later >= len(held) and (
            pair.earlier < len(held) or (pair.earlier in repeated and pair.similarity == 1)
        ):
            repeated.add(pair.later)
    by_text = {review.text: review for number, review in enumerate(latest, len(held)) if number not in repeated}
    # The old id stays, so that no two reviews come to share one.
    train = [replace(by_text.get(old.text, old), id=old.id) for old in splits[TRAIN]]
    there = {old.text for old in splits[TRAIN]}
    new = [review for text, review in by_text.items() if text not in there]
    return Added(
        {**{name: list(reviews) for name, reviews in splits.items()}, TRAIN: train + new},
        len(new),
        len(by_text) - len(new),
        [latest[number - len(held)].id for number in sorted(repeated)],
    )
