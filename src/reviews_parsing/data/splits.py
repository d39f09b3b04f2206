"""Train, validation and test from one list of reviews; and the fingerprint of what was used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from reviews_parsing.errors import DataError
from reviews_parsing.schema import Review

FRACTIONS = {"train": 0.8, "validation": 0.1, "test": 0.1}


def split(
    reviews: Sequence[Review], seed: int = 0, fractions: Mapping[str, float] = FRACTIONS
) -> dict[str, list[Review]]:
    """The reviews in parts of about those fractions, which must sum to 1, each part in the order given.

    Sentences of one review (`meta["review"]`) stay together. The same reviews and seed give the same parts, in whatever
    order they come. Raises DataError where the fractions are none.
    """
    if not fractions or min(fractions.values()) < 0 or abs(sum(fractions.values()) - 1) > 1e-6:
        raise DataError(f"fractions {dict(fractions)} do not sum to 1: give the share of each split")
    groups: dict[str, int] = {}
    for review in reviews:
        groups[_group(review)] = groups.get(_group(review), 0) + 1
    part_of: dict[str, str] = {}
    limits = _limits(fractions, len(reviews))
    done = 0
    for group in sorted(groups, key=lambda group: _draw(seed, group)):
        # A group goes where its middle lies, so that a large one does not always overfill the part before it.
        middle = done + groups[group] / 2
        part_of[group] = next(name for name, limit in limits if middle < limit)
        done += groups[group]
    parts: dict[str, list[Review]] = {name: [] for name in fractions}
    for review in reviews:
        parts[part_of[_group(review)]].append(review)
    return parts


def digest(splits: Mapping[str, Sequence[Review]]) -> str:
    """SHA-256, in hexadecimal, of all that the splits say; the same for the same content on every machine."""
    sha = hashlib.sha256()
    for name in sorted(splits):
        sha.update(json.dumps([name, len(splits[name])]).encode())
        for review in splits[name]:
            form = [review.id, review.text, [a.to_json() for a in review.aspects], dict(review.meta)]
            sha.update(json.dumps(form, sort_keys=True, default=str).encode() + b"\n")
    return sha.hexdigest()


def _group(review: Review) -> str:
    return str(review.meta.get("review", review.id))


def _draw(seed: int, group: str) -> bytes:
    """The place of a group in a shuffled order that no library version can change."""
    return hashlib.sha256(f"{seed}:{group}".encode("utf-8", "replace")).digest()


def _limits(fractions: Mapping[str, float], count: int) -> list[tuple[str, float]]:
    """(part, number of reviews in it and the parts before it); the last part takes what rounding left."""
    limits, total = [], 0.0
    for name, fraction in fractions.items():
        total += fraction
        if fraction:
            limits.append((name, float(round(total * count))))
    limits[-1] = (limits[-1][0], float("inf"))
    return limits
