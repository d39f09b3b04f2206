"""Data augmentation: noisy versions of labelled reviews, without punctuation or with typos; labels keep their words."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from reviews_parsing.schema import Opinion, Review
from reviews_parsing.tagging import words

# Share of noisy versions without punctuation; share of words with a typo in the other noisy versions.
NO_PUNCTUATION_SHARE, TYPO_SHARE = 0.6, 0.1
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def add_noise(review: Review, rng: random.Random) -> Review:
    """Return the review without punctuation, or with typos in some of its words."""
    characters = list(review.text)
    if rng.random() < NO_PUNCTUATION_SHARE:
        return rewrite(review, [c if c.isalnum() or c.isspace() else "" for c in characters])
    for start, end in words(review.text):
        if end - start > 2 and review.text[start:end].isalpha() and rng.random() < TYPO_SHARE:
            _add_typo(characters, rng.randrange(start, end - 1), rng)
    return rewrite(review, characters)


def _add_typo(characters: list[str], i: int, rng: random.Random) -> None:
    match rng.randrange(4):
        case 0:
            characters[i] *= rng.randint(2, 4)
        case 1:
            characters[i] = ""
        case 2:
            characters[i] = rng.choice(LETTERS)
        case _:
            characters[i], characters[i + 1] = characters[i + 1], characters[i]


def rewrite(review: Review, replacements: Sequence[str]) -> Review:
    """Return the review with `replacements[i]` for its i-th code point; aspects without words left are dropped."""
    text, ends = "".join(replacements), [0, *accumulate(map(len, replacements))]

    def locate(start: int, end: int) -> tuple[str, int, int] | None:
        """Return (word, start, end) in the new text, without surrounding white space; None if nothing remains."""
        span = text[ends[start] : ends[end]]
        word = span.strip()
        begin = ends[start] + len(span) - len(span.lstrip())
        return (word, begin, begin + len(word)) if word else None

    aspects = []
    for aspect in review.aspects:
        opinion = aspect.opinion and locate(aspect.opinion.start, aspect.opinion.end)
        moved = replace(aspect, opinion=Opinion(*opinion) if opinion else None)
        if aspect.span:
            target = locate(*aspect.span)
            if not target:
                continue
            moved = replace(moved, word=target[0], start=target[1], end=target[2])
        aspects.append(moved)
    return Review(review.id, text, tuple(aspects))
