"""Splits of labelled reviews: split at random, add reviews to the training split, compute the digest of a dataset."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from reviews_parsing.data.duplicates import find_duplicates
from reviews_parsing.errors import DataError
from reviews_parsing.schema import Review

TRAIN = "train"
FRACTIONS = {TRAIN: 0.8, "validation": 0.1, "test": 0.1}


@dataclass(frozen=True, slots=True)
class TrainingExtension:
    """Splits after reviews were added to the training split, and the numbers of added and of relabelled reviews.

    `excluded_ids` are the ids of reviews that were not added because a held-out review repeats them.
    """

    splits: dict[str, list[Review]]
    added_count: int
    relabelled_count: int
    excluded_ids: list[str]

    def __str__(self) -> str:
        counts = f"{self.added_count} reviews added, {self.relabelled_count} replaced by new labels of the same text"
        line = f"training split: {counts}"
        if self.excluded_ids:
            ids = ", ".join(self.excluded_ids[:3]) + (", ..." if len(self.excluded_ids) > 3 else "")
            line += f"; {len(self.excluded_ids)} left out, they repeat validation or test reviews: {ids}"
        return line


def split(
    reviews: Sequence[Review], seed: int = 0, fractions: Mapping[str, float] = FRACTIONS
) -> dict[str, list[Review]]:
    """Split reviews at random into parts of about these fractions; each part keeps the input order.

    Sentences of one review (`meta["review"]`) stay together. The parts depend on the reviews and the seed, not on the
    order of the reviews. Raises DataError if the fractions do not sum to 1.
    """
    if not fractions or min(fractions.values()) < 0 or abs(sum(fractions.values()) - 1) > 1e-6:
        raise DataError(f"fractions {dict(fractions)} do not sum to 1: give the share of each split")
    group_sizes = Counter(map(_group, reviews))
    limits = _cumulative_sizes(fractions, len(reviews))
    part_of_group: dict[str, str] = {}
    assigned_count = 0
    for group in sorted(group_sizes, key=lambda group: _random_key(seed, group)):
        # The midpoint decides, so that a large group does not always overfill the earlier part.
        midpoint = assigned_count + group_sizes[group] / 2
        part_of_group[group] = next(name for name, limit in limits if midpoint < limit)
        assigned_count += group_sizes[group]
    parts: dict[str, list[Review]] = {name: [] for name in fractions}
    for review in reviews:
        parts[part_of_group[_group(review)]].append(review)
    return parts


def extend_training_split(splits: Mapping[str, Sequence[Review]], reviews: Sequence[Review]) -> TrainingExtension:
    """Add reviews to the split "train". Of several reviews with one text the last one counts.

    A text that is in the training split gets the new labels. Reviews that duplicate or nearly duplicate a held-out
    review are excluded, so that training does not leak into the evaluation.
    """
    latest_reviews = list({review.text: review for review in reviews}.values())
    held_out_texts = [review.text for name in splits if name != TRAIN for review in splits[name]]
    texts = [*held_out_texts, *(review.text for review in latest_reviews)]
    groups = ["held out"] * len(held_out_texts) + ["added"] * len(latest_reviews)
    excluded_indices: set[int] = set()
    for pair in find_duplicates(texts, groups):
        # A duplicate of an excluded review was not compared with the held-out reviews itself.
        if pair.later >= len(held_out_texts) and (
            pair.earlier < len(held_out_texts) or (pair.earlier in excluded_indices and pair.similarity == 1)
        ):
            excluded_indices.add(pair.later)
    numbered_reviews = enumerate(latest_reviews, len(held_out_texts))
    by_text = {review.text: review for number, review in numbered_reviews if number not in excluded_indices}
    # A relabelled review keeps its id, so that ids stay unique.
    train = [replace(by_text.get(review.text, review), id=review.id) for review in splits[TRAIN]]
    train_texts = {review.text for review in splits[TRAIN]}
    added_reviews = [review for text, review in by_text.items() if text not in train_texts]
    return TrainingExtension(
        {**{name: list(members) for name, members in splits.items()}, TRAIN: train + added_reviews},
        len(added_reviews),
        len(by_text) - len(added_reviews),
        [latest_reviews[number - len(held_out_texts)].id for number in sorted(excluded_indices)],
    )


def compute_digest(splits: Mapping[str, Sequence[Review]]) -> str:
    """Return the SHA-256 of the content of all splits, in hexadecimal; it is the same on every machine."""
    sha = hashlib.sha256()
    for name in sorted(splits):
        sha.update(json.dumps([name, len(splits[name])]).encode())
        for review in splits[name]:
            fields = [review.id, review.text, [a.to_json() for a in review.aspects], dict(review.meta)]
            sha.update(json.dumps(fields, sort_keys=True, default=str).encode() + b"\n")
    return sha.hexdigest()


def _group(review: Review) -> str:
    return str(review.meta.get("review", review.id))


def _random_key(seed: int, group: str) -> bytes:
    """Return a pseudo-random sort key that does not depend on library versions."""
    return hashlib.sha256(f"{seed}:{group}".encode("utf-8", "replace")).digest()


def _cumulative_sizes(fractions: Mapping[str, float], count: int) -> list[tuple[str, float]]:
    """Return (part, number of reviews up to its end) for each non-empty part; the last one takes the rounding rest."""
    totals = zip(fractions.items(), accumulate(fractions.values()), strict=True)
    limits = [(name, float(round(total * count))) for (name, fraction), total in totals if fraction]
    return [*limits[:-1], (limits[-1][0], float("inf"))]
