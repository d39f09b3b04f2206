"""Data augmentation: noisy versions of labelled reviews, without punctuation or with typos; the labels move along.

A tagger that has learnt some of its training reviews so loses less on real ones.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from reviews_parsing.schema import Opinion, Review
from reviews_parsing.tagging import words

# Share of noisy versions without punctuation; share of words with a typo in the others.
UNPUNCTUATED, TYPOS = 0.6, 0.1
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def add_noise(review: Review, rng: random.Random) -> Review:
    """Return the review without punctuation, or with typos in some of its words."""
    if rng.random() < UNPUNCTUATED:
        return rewritten(review, [its if its.isalnum() or its.isspace() else "" for its in review.text])
    pieces = list(review.text)
    for start, end in words(review.text):
        if end - start > 2 and review.text[start:end].isalpha() and rng.random() < TYPOS:
            _add_typo(pieces, rng.randrange(start, end - 1), rng)
    return rewritten(review, pieces)


def _add_typo(pieces: list[str], at: int, rng: random.Random) -> None:
    match rng.randrange(4):
        case 0:
            pieces[at] *= rng.randint(2, 4)
        case 1:
            pieces[at] = ""
        case 2:
            pieces[at] = rng.choice(LETTERS)
        case _:
            pieces[at], pieces[at + 1] = pieces[at + 1], pieces[at]


def rewritten(review: Review, pieces: Sequence[str]) -> Review:
    """Return the review with `pieces[i]` in place of its i-th code point; aspects whose words are gone are dropped."""
    text, ends = "".join(pieces), [0, *accumulate(map(len, pieces))]
    aspects = []
    for aspect in review.aspects:
        judged = aspect.opinion and _moved(text, ends[aspect.opinion.start], ends[aspect.opinion.end])
        moved = replace(aspect, opinion=Opinion(*judged) if judged else None)
        if aspect.span:
            named = _moved(text, ends[aspect.span[0]], ends[aspect.span[1]])
            if not named:
                continue
            moved = replace(moved, word=named[0], start=named[1], end=named[2])
        aspects.append(moved)
    return Review(review.id, text, tuple(aspects))


def _moved(text: str, start: int, end: int) -> tuple[str, int, int] | None:
    """(word, start, end) of text[start:end] without white space at either end; None where nothing is left."""
    word = text[start:end].strip()
    start += len(text[start:end]) - len(text[start:end].lstrip())
    return (word, start, start + len(word)) if word else None
