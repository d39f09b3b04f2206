"""Statistics of labelled reviews: counts and shares per split."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from reviews_parsing.schema import Review
from reviews_parsing.tagging import words

NEUTRAL = "neutral"
_SENTENCE_END = re.compile(r"[.!?…。！？]+[\"'”’)\]]*(?=\s|$)|\n+|$")


@dataclass(frozen=True, slots=True)
class SplitStatistics:
    """Statistics of one split. Punctuation does not count as words; `sentences` is an estimate; shares are in [0, 1].

    `by_category` and `by_polarity` count aspects, under "" those without a polarity. `mixed_share` is the share of
    reviews with aspects of different polarities, `neutral_share` that of neutral aspects among those with a polarity.
    """

    reviews: int
    sentences: int
    words: int
    words_mean: float
    words_median: float
    words_max: int
    aspects: int
    explicit: int
    implicit: int
    with_opinion: int
    by_category: dict[str, int]
    by_polarity: dict[str, int]
    neutral_share: float
    mixed_share: float
    no_aspect_share: float

    def to_json(self) -> dict[str, Any]:
        """Return the statistics as JSON values."""
        return asdict(self)


def compute_statistics(splits: Mapping[str, Sequence[Review]]) -> dict[str, SplitStatistics]:
    """Return the statistics of each split, and those of all reviews under "all"."""
    statistics = {name: _compute(reviews) for name, reviews in splits.items()}
    if set(statistics) == {"all"}:
        return statistics
    return {**statistics, "all": _compute([review for reviews in splits.values() for review in reviews])}


def _compute(reviews: Sequence[Review]) -> SplitStatistics:
    lengths = [sum(review.text[start].isalnum() for start, _ in words(review.text)) for review in reviews]
    aspects = [aspect for review in reviews for aspect in review.aspects]
    explicit = sum(aspect.span is not None for aspect in aspects)
    polarities = Counter(aspect.polarity or "" for aspect in aspects)
    mixed = sum(len({aspect.polarity for aspect in review.aspects if aspect.polarity}) > 1 for review in reviews)
    return SplitStatistics(
        reviews=len(reviews),
        sentences=sum(bool(part.strip()) for review in reviews for part in _SENTENCE_END.split(review.text)),
        words=sum(lengths),
        words_mean=round(sum(lengths) / max(len(lengths), 1), 2),
        words_median=float(median(lengths)) if lengths else 0.0,
        words_max=max(lengths, default=0),
        aspects=len(aspects),
        explicit=explicit,
        implicit=len(aspects) - explicit,
        with_opinion=sum(aspect.opinion is not None for aspect in aspects),
        by_category=dict(sorted(Counter(aspect.entity_group for aspect in aspects).items())),
        by_polarity=dict(sorted(polarities.items())),
        neutral_share=_share(polarities[NEUTRAL], len(aspects) - polarities[""]),
        mixed_share=_share(mixed, len(reviews)),
        no_aspect_share=_share(sum(not review.aspects for review in reviews), len(reviews)),
    )


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
