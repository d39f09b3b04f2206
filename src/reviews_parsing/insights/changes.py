"""Change points in mentions, praise and blame of categories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, groupby
from math import erfc, sqrt

from reviews_parsing.insights.results import Change, Period
from reviews_parsing.insights.statistics import MIN_EXPECTED, SIGNIFICANCE_LEVEL, adjusted, wilson


def find_changes(periods: Sequence[Period]) -> tuple[Change, ...]:
    """Return the significant changes, sorted by p-value. `periods` are sorted by category, then time."""
    changes = []
    for category, group in groupby(periods, key=lambda period: period.category):
        series = list(group)
        for measure, counts in (
            ("mentions", [(p.reviews, p.total) for p in series]),
            ("praise", [(p.praising, p.reviews) for p in series]),
            ("blame", [(p.blaming, p.reviews) for p in series]),
        ):
            changes.append(_change(category, measure, series, counts))
    corrected = adjusted([change.p for change in changes])
    significant = [
        replace(change, adjusted=p) for change, p in zip(changes, corrected, strict=True) if p < SIGNIFICANCE_LEVEL
    ]
    return tuple(sorted(significant, key=lambda change: (change.adjusted, change.p)))


def _change(category: str, measure: str, series: Sequence[Period], counts: Sequence[tuple[int, int]]) -> Change:
    """Return the best split of a series of (hits, total); p is 1 if no split leaves enough reviews on both sides."""
    splits = list(_splits(counts))
    if not splits:
        return Change(category, measure, series[0].start, wilson(0, 0), wilson(0, 0), 1.0, 1.0)
    statistic, position, before, after = max(splits)
    p = min(1.0, erfc(sqrt(statistic / 2)) * len(splits))
    return Change(category, measure, series[position].start, wilson(*before), wilson(*after), p, p)


def _splits(counts: Sequence[tuple[int, int]]) -> Iterator[tuple[float, int, tuple[int, int], tuple[int, int]]]:
    """Yield (chi-squared, first period after, (hits, total) before, (hits, total) after) of each split."""
    sums = list(accumulate(counts, lambda a, b: (a[0] + b[0], a[1] + b[1])))
    hits, total = sums[-1] if sums else (0, 0)
    rarer = min(hits, total - hits)
    for position, (hits_before, total_before) in enumerate(sums[:-1], start=1):
        hits_after, total_after = hits - hits_before, total - total_before
        if rarer * min(total_before, total_after) >= MIN_EXPECTED * total > 0:
            cross = hits_before * (total_after - hits_after) - hits_after * (total_before - hits_before)
            statistic = cross * cross * total / (total_before * total_after * hits * (total - hits))
            yield statistic, position, (hits_before, total_before), (hits_after, total_after)
