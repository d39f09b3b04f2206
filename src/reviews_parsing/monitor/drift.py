"""Whether a window of traffic is like the profile: one test for each number, corrected for there being many.

Kolmogorov-Smirnov for amounts, Fisher's exact test for shares, Holm's correction (1979): of windows of reviews like the
profile's, at most `alarm` are called other by any test. As with enough reviews everything is significant, a number must
also have moved by at least `effect`: the largest difference of the distribution functions, which is the least share of
reviews that are other than they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reviews_parsing.errors import DataError
from reviews_parsing.monitor.numbers import CATEGORY, POLARITY, Numbers

ALARM, EFFECT = 0.01, 0.1
# Fewer reviews, of which most numbers know nothing, tell nothing.
LEAST = 30


@dataclass(frozen=True, slots=True)
class Change:
    """One number in `reviews` reviews of the window: its mean in the profile and here, how far its distribution moved
    (`distance`, in [0, 1]), how probable that is by chance (`p_value`, corrected), and whether that is a drift.
    """

    number: str
    reviews: int
    expected: float
    seen: float
    distance: float
    p_value: float
    drifted: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """All numbers, what changed most first."""

    reviews: int
    profile_reviews: int
    alarm: float
    effect: float
    changes: tuple[Change, ...]

    @property
    def drifted(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.drifted)


def compare(
    names: Sequence[str],
    profile: Numbers,
    window: Numbers,
    alarm: float = ALARM,
    effect: float = EFFECT,
) -> Comparison:
    """Hold `window` [n, names] against `profile` [m, names]; nan where a review has no such number.

    Raises DataError where either has fewer than LEAST reviews.
    """
    for what, rows in (("the window", window), ("the profile", profile)):
        if len(rows) < LEAST:
            raise DataError(f"{what} holds {len(rows)} reviews; {LEAST} are the fewest that tell anything")
    tested = []
    for name, before, after in zip(names, profile.T, window.T, strict=True):
        old, new = before[~np.isnan(before)], after[~np.isnan(after)]
        if len(old) >= LEAST and len(new) >= LEAST:
            tested.append((name, old, new, *_test(name, old, new)))
    changes = [
        Change(name, len(new), float(old.mean()), float(new.mean()), distance, p, p < alarm and distance >= effect)
        for (name, old, new, distance, _), p in zip(tested, _holm([row[-1] for row in tested]), strict=True)
    ]
    changes.sort(key=lambda change: (not change.drifted, -change.distance))
    return Comparison(len(window), len(profile), alarm, effect, tuple(changes))


def is_share(name: str) -> bool:
    """Whether a number says of each review only whether it has something."""
    return name.startswith((CATEGORY, POLARITY))


def _test(name: str, old: Numbers, new: Numbers) -> tuple[float, float]:
    """How far the distribution moved, and the p-value of that."""
    try:
        from scipy.stats import fisher_exact, ks_2samp
    except ModuleNotFoundError as error:
        raise DataError(f"monitoring is not installed ({error}); pip install 'reviews-parsing[monitor]'") from error
    if is_share(name):
        counts = [[int(its.sum()), len(its) - int(its.sum())] for its in (old, new)]
        return abs(float(old.mean()) - float(new.mean())), float(fisher_exact(counts).pvalue)
    found = ks_2samp(old, new, method="asymp")
    return float(found.statistic), float(found.pvalue)


def _holm(p_values: Sequence[float]) -> list[float]:
    """Each corrected for all: the largest of those up to it, each times how many are left."""
    order = np.argsort(p_values)
    steps = np.array(p_values)[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return [float(p) for p in corrected]
