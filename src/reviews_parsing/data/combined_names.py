"""Polarities in the names of categories, as unified tags (`B-POS`) and combined labels (`FOOD#positive`) have them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from reviews_parsing.data.polarities import standardise
from reviews_parsing.data.tokens import UNCATEGORISED
from reviews_parsing.schema import Aspect, Review

_COMBINED = re.compile(r"(.+?)[#:|/_. -]+([A-Za-z]+)")
_POLARITY_FIRST = re.compile(r"([A-Za-z]+)[#:|/_. -]+(.+)")


def split_polarities(reviews: Sequence[Review]) -> list[Review]:
    """Return the reviews with category and polarity apart, if each category holds a polarity and no aspect has one.

    A category that is just a polarity becomes ASPECT.
    """
    aspects = [aspect for review in reviews for aspect in review.aspects]
    names = {name: _split(name) for name in {aspect.entity_group for aspect in aspects}}
    if any(polarity is None for _, polarity in names.values()) or any(a.polarity is not None for a in aspects):
        return list(reviews)

    def rename(aspect: Aspect) -> Aspect:
        category, polarity = names[aspect.entity_group]
        return replace(aspect, entity_group=category, polarity=polarity)

    return [replace(review, aspects=tuple(map(rename, review.aspects))) for review in reviews]


def describe_mixed(reviews: Sequence[Review]) -> str:
    """Return a description of the categories that hold a polarity beside others that hold none; '' if none does."""
    counts = Counter(aspect.entity_group for review in reviews for aspect in review.aspects)
    combined = [name for name in counts if _split(name)[1] is not None]
    if not combined:
        return ""
    others = [name for name in counts if name not in combined]
    count = sum(counts[name] for name in combined)
    reason = f"'{others[0]}' holds none" if others else "labels have polarities of their own"
    return f"the polarity in the category of {count} of {counts.total()} labels ('{combined[0]}'), as {reason}"


def _split(name: str) -> tuple[str, str | None]:
    """Return (category, polarity) of a name, with None for a name without a polarity."""
    if polarity := standardise(name):
        return UNCATEGORISED, polarity
    if (match := _COMBINED.fullmatch(name)) and (polarity := standardise(match[2])):
        return match[1], polarity
    if match := _POLARITY_FIRST.fullmatch(name):
        return match[2], standardise(match[1])
    return name, None
