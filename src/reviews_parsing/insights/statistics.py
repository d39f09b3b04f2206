"""Shares with their intervals, and tests of their differences; pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from reviews_parsing.insights.tables import Share

Z = 1.959963984540054
"""The normal quantile of two-sided 95 %."""
SIGNIFICANT = 0.05
"""The level of tests, after correction."""
LEAST_TOLD = 0.01
"""A difference of shares that is smaller is not spoken of: of millions of reviews, any is significant."""
LEAST_EXPECTED = 5
"""Below as many expected reviews in a cell, chi-squared is not trusted (Cochran) and an exact test is done."""
RESAMPLES = 4999


def wilson(hits: int, of: int) -> Share:
    """The share of hits with Wilson's score interval (1927); of nothing, a share of 0 that may be anything."""
    if of == 0:
        return Share(0.0, 0.0, 1.0)
    share, extra = hits / of, Z * Z / of
    middle = (share + extra / 2) / (1 + extra)
    half = Z / (1 + extra) * sqrt(share * (1 - share) / of + extra / (4 * of))
    return Share(share, min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half)))


def newcombe(hits: int, of: int, other_hits: int, other_of: int) -> Share:
    """The difference of two shares with Newcombe's interval (1998, method 10), from both Wilson's."""
    one, other = wilson(hits, of), wilson(other_hits, other_of)
    difference = one.value - other.value
    below = sqrt((one.value - one.low) ** 2 + (other.high - other.value) ** 2)
    above = sqrt((one.high - one.value) ** 2 + (other.value - other.low) ** 2)
    return Share(difference, max(-1.0, difference - below), min(1.0, difference + above))


def independence(table: Sequence[tuple[int, int]]) -> tuple[str, float, float, float]:
    """Whether the share of hits is the same in all groups: (test, statistic, p, Cramer's V).

    Each row is a group's (hits, misses). Chi-squared without correction; where fewer than 5 are expected in a cell,
    Fisher's exact test for two groups, and for more the chi-squared statistic against tables drawn at random with the
    same margins. With nothing to tell apart, p is 1.
    """
    import numpy as np
    from scipy import stats

    counts = np.array([row for row in table if sum(row)], dtype=np.int64)
    if len(counts) < 2 or not counts.sum(axis=0).all():
        return "none", 0.0, 1.0, 0.0
    found = stats.chi2_contingency(counts, correction=False)
    effect = sqrt(found.statistic / counts.sum())
    if found.expected_freq.min() >= LEAST_EXPECTED:
        return "chi-squared", float(found.statistic), float(found.pvalue), effect
    if len(counts) == 2:
        exact = float(stats.fisher_exact(counts).pvalue)
        return "Fisher's exact", float(found.statistic), exact, effect
    drawn = stats.random_table(counts.sum(axis=1), counts.sum(axis=0), seed=0).rvs(RESAMPLES)
    distances = ((drawn - found.expected_freq) ** 2 / found.expected_freq).sum(axis=(1, 2))
    as_far = int((distances >= found.statistic * (1 - 1e-12)).sum())
    return "permutation", float(found.statistic), (as_far + 1) / (RESAMPLES + 1), effect


def matters(p: float, difference: float) -> bool:
    """Whether a difference of shares is significant, and large enough to speak of."""
    return p < SIGNIFICANT and abs(difference) >= LEAST_TOLD


def adjusted(values: Sequence[float]) -> list[float]:
    """p-values adjusted so that of those below a level, at most that share is expected to be false.

    Benjamini and Hochberg's procedure (1995).
    """
    if not values:
        return []
    from scipy import stats

    return [float(value) for value in stats.false_discovery_control(values)]
