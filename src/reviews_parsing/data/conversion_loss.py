"""What a format did not hold: reviews as they were given against reviews as the written file gives them back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from reviews_parsing.schema import Aspect, Review

_FIELDS: dict[str, Callable[[Aspect], Any]] = {
    "categories": lambda aspect: aspect.entity_group,
    "words": lambda aspect: aspect.word,
    "polarities": lambda aspect: aspect.polarity,
    "opinions": lambda aspect: aspect.opinion,
    "scores": lambda aspect: (aspect.score, aspect.polarity_score),
}


def compare(before: Sequence[Review], after: Sequence[Review]) -> Counter[str]:
    """How much of what `before` says `after` does not say, by kind; empty where nothing is lost.

    Kinds: ids, texts, categories, words, polarities, opinions, scores, implicit aspects, overlapping aspects, aspects
    that cover no token, span edges, and `meta KEY`. The order of a review's aspects does not count.
    """
    lost: Counter[str] = Counter()
    for old, new in zip(before, after, strict=True):
        lost["ids"] += old.id != new.id
        lost["texts"] += old.text != new.text
        _compare_aspects(old.aspects, new.aspects, lost)
        for key, value in old.meta.items():
            lost[f"meta {key}"] += key not in new.meta or new.meta[key] != value
    return +lost


def _compare_aspects(before: Sequence[Aspect], after: Sequence[Aspect], lost: Counter[str]) -> None:
    """Pair the aspects, most alike first; what finds no partner is lost whole."""
    left, pool = list(before), list(after)
    for alike in _ALIKE:
        unmatched = []
        for old in left:
            new = next((candidate for candidate in pool if alike(old, candidate)), None)
            if new is None:
                unmatched.append(old)
                continue
            pool.remove(new)
            lost["span edges"] += old.span != new.span
            for kind, field in _FIELDS.items():
                # Where the edges moved, the word did with them.
                lost[kind] += field(old) != field(new) and not (kind == "words" and old.span != new.span)
        left = unmatched
    for old in left:
        if old.span is None:
            lost["implicit aspects"] += 1
        elif any(_touch(old, other) for other in before if other is not old):
            lost["overlapping aspects"] += 1
        else:
            lost["aspects that cover no token"] += 1


def _touch(a: Aspect, b: Aspect) -> bool:
    """Whether the spans share a character, or are one and the same."""
    if a.span is None or b.span is None:
        return False
    return a.span == b.span or max(a.span[0], b.span[0]) < min(a.span[1], b.span[1])


_ALIKE: tuple[Callable[[Aspect, Aspect], bool], ...] = (
    lambda a, b: a == b,
    lambda a, b: (a.span, a.entity_group, a.polarity) == (b.span, b.entity_group, b.polarity),
    lambda a, b: (a.span, a.entity_group) == (b.span, b.entity_group),
    lambda a, b: a.entity_group == b.entity_group and _touch(a, b),
    lambda a, b: a.span is not None and a.span == b.span,
)
