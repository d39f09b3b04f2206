"""Since when people speak of a category more or less, or feel otherwise about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, groupby
from math import erfc, sqrt

from reviews_parsing.insights.statistics import LEAST_EXPECTED, SIGNIFICANT, adjusted, wilson
from reviews_parsing.insights.tables import Change, Period


def find(periods: Sequence[Period]) -> tuple[Change, ...]:
    """The changes that are significant, the surest first. `periods` are sorted by category, then time."""
    found = []
    for category, its in groupby(periods, key=lambda period: period.category):
        line = list(its)
        for measure, pairs in (
            ("mentions", [(p.reviews, p.total) for p in line]),
            ("praise", [(p.praising, p.reviews) for p in line]),
            ("blame", [(p.blaming, p.reviews) for p in line]),
        ):
            found.append(_change(category, measure, line, pairs))
    corrected = adjusted([change.p for change in found])
    sure = [replace(change, adjusted=p) for change, p in zip(found, corrected, strict=True) if p < SIGNIFICANT]
    return tuple(sorted(sure, key=lambda change: (change.adjusted, change.p)))


def _change(category: str, measure: str, line: Sequence[Period], pairs: Sequence[tuple[int, int]]) -> Change:
    """The best parting of one line of (hits, of); its p is 1 where no parting leaves enough on both sides."""
    splits = list(_splits(pairs))
    if not splits:
        return Change(category, measure, line[0].start, wilson(0, 0), wilson(0, 0), 1.0, 1.0)
    distance, at, before, after = max(splits)
    p = min(1.0, erfc(sqrt(distance / 2)) * len(splits))
    return Change(category, measure, line[at].start, wilson(*before), wilson(*after), p, p)


def _splits(pairs: Sequence[tuple[int, int]]) -> Iterator[tuple[float, int, tuple[int, int], tuple[int, int]]]:
    """(chi-squared, first period after, (hits, of) before, and after) of each parting with enough on both sides."""
    sums = list(accumulate(pairs, lambda a, b: (a[0] + b[0], a[1] + b[1])))
    hits, of = sums[-1] if sums else (0, 0)
    least = min(hits, of - hits)
    for at, (before, before_of) in enumerate(sums[:-1], start=1):
        after, after_of = hits - before, of - before_of
        if least * min(before_of, after_of) >= LEAST_EXPECTED * of > 0:
            cross = before * (after_of - after) - after * (before_of - before)
            distance = cross * cross * of / (before_of * after_of * hits * (of - hits))
            yield distance, at, (before, before_of), (after, after_of)
