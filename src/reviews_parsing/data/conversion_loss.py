"""Conversion loss: the differences between reviews and the same reviews decoded from the written file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from reviews_parsing.schema import Aspect, Review

_ASPECT_FIELDS: dict[str, Callable[[Aspect], Any]] = {
    "categories": lambda aspect: aspect.entity_group,
    "words": lambda aspect: aspect.word,
    "polarities": lambda aspect: aspect.polarity,
    "opinions": lambda aspect: aspect.opinion,
    "scores": lambda aspect: (aspect.score, aspect.polarity_score),
}


def count_losses(originals: Sequence[Review], decoded_reviews: Sequence[Review]) -> Counter[str]:
    """Count what a format did not preserve, by kind; empty for a lossless format.

    Kinds: ids, texts, categories, words, polarities, opinions, scores, implicit aspects, overlapping aspects, aspects
    that cover no token, span edges, and `meta KEY`. The order of a review's aspects is ignored.
    """
    losses: Counter[str] = Counter()
    for original, decoded in zip(originals, decoded_reviews, strict=True):
        losses["ids"] += original.id != decoded.id
        losses["texts"] += original.text != decoded.text
        _count_aspect_losses(original.aspects, decoded.aspects, losses)
        for key, value in original.meta.items():
            losses[f"meta {key}"] += key not in decoded.meta or decoded.meta[key] != value
    return +losses


def _count_aspect_losses(originals: Sequence[Aspect], decoded_aspects: Sequence[Aspect], losses: Counter[str]) -> None:
    """Match the aspects greedily, closest first; an aspect without a match is lost entirely."""
    unmatched, candidates = list(originals), list(decoded_aspects)
    for is_match in _MATCHERS:
        pending, unmatched = unmatched, []
        for original in pending:
            decoded = next((candidate for candidate in candidates if is_match(original, candidate)), None)
            if decoded is None:
                unmatched.append(original)
                continue
            candidates.remove(decoded)
            is_moved = original.span != decoded.span
            losses["span edges"] += is_moved
            for kind, field in _ASPECT_FIELDS.items():
                # A moved span has another word; count it once.
                losses[kind] += field(original) != field(decoded) and not (kind == "words" and is_moved)
    for original in unmatched:
        if original.span is None:
            losses["implicit aspects"] += 1
        elif any(_overlap(original, aspect) for aspect in originals if aspect is not original):
            losses["overlapping aspects"] += 1
        else:
            losses["aspects that cover no token"] += 1


def _overlap(a: Aspect, b: Aspect) -> bool:
    """Return True if the spans are equal or share a character."""
    if a.span is None or b.span is None:
        return False
    return a.span == b.span or max(a.span[0], b.span[0]) < min(a.span[1], b.span[1])


_MATCHERS: tuple[Callable[[Aspect, Aspect], bool], ...] = (
    lambda a, b: a == b,
    lambda a, b: (a.span, a.entity_group, a.polarity) == (b.span, b.entity_group, b.polarity),
    lambda a, b: (a.span, a.entity_group) == (b.span, b.entity_group),
    lambda a, b: a.entity_group == b.entity_group and _overlap(a, b),
    lambda a, b: a.span is not None and a.span == b.span,
)
