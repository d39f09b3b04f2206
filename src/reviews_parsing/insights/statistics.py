"""Shares with confidence intervals and tests of their differences."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import sqrt

from reviews_parsing.insights.results import Share

SIGNIFICANCE_LEVEL = 0.05
"""Level of tests, after correction for multiple testing."""
MIN_DIFFERENCE = 0.01
"""Smallest difference of shares that sentences report: in millions of reviews, every difference is significant."""
MIN_EXPECTED = 5
"""Expected count of a cell below which chi-squared is replaced by an exact test (Cochran)."""
RESAMPLES = 4999


@lru_cache(maxsize=100_000)
def wilson(hits: int, total: int) -> Share:
    """Return the share of hits with Wilson's score interval (1927), by SciPy. No reviews give 0, from 0 to 1."""
    from scipy.stats._result_classes import BinomTestResult

    if total == 0:
        return Share(0.0, 0.0, 1.0)
    share = hits / total
    # `binomtest` computes a p-value first, which takes a hundred times as long as the interval.
    result = BinomTestResult(k=hits, n=total, alternative="two-sided", statistic=share, pvalue=1.0)
    interval = result.proportion_ci(method="wilson")
    return Share(share, min(share, float(interval.low)), max(share, float(interval.high)))


def newcombe(hits: int, total: int, other_hits: int, other_total: int) -> Share:
    """Return the difference of two shares with Newcombe's interval (1998, method 10)."""
    first, second = wilson(hits, total), wilson(other_hits, other_total)
    difference = first.value - second.value
    below = sqrt((first.value - first.low) ** 2 + (second.high - second.value) ** 2)
    above = sqrt((first.high - first.value) ** 2 + (second.value - second.low) ** 2)
    return Share(difference, max(-1.0, difference - below), min(1.0, difference + above))


def independence(table: Sequence[tuple[int, int]]) -> tuple[str, float, float, float]:
    """Test whether all groups have the same share of hits: (test, statistic, p, Cramer's V).

    Each row is (hits, misses) of a group. The test is chi-squared without correction. If a cell expects fewer than 5,
    two groups are tested by Fisher's exact test, and more groups by a permutation test with fixed margins. p is 1
    if there are fewer than two groups or only hits or only misses.
    """
    import numpy as np
    from scipy import stats

    counts = np.array([row for row in table if sum(row)], dtype=np.int64)
    if len(counts) < 2 or not counts.sum(axis=0).all():
        return "none", 0.0, 1.0, 0.0
    result = stats.chi2_contingency(counts, correction=False)
    effect = sqrt(result.statistic / counts.sum())
    if result.expected_freq.min() >= MIN_EXPECTED:
        return "chi-squared", float(result.statistic), float(result.pvalue), effect
    if len(counts) == 2:
        exact = float(stats.fisher_exact(counts).pvalue)
        return "Fisher's exact", float(result.statistic), exact, effect
    tables = stats.random_table(counts.sum(axis=1), counts.sum(axis=0), seed=0).rvs(RESAMPLES)
    distances = ((tables - result.expected_freq) ** 2 / result.expected_freq).sum(axis=(1, 2))
    extreme = int((distances >= result.statistic * (1 - 1e-12)).sum())
    return "permutation", float(result.statistic), (extreme + 1) / (RESAMPLES + 1), effect


def is_reportable(p: float, difference: float) -> bool:
    """Return whether a difference of shares is significant and at least a percentage point."""
    return p < SIGNIFICANCE_LEVEL and abs(difference) >= MIN_DIFFERENCE


def adjusted(values: Sequence[float]) -> list[float]:
    """Return p-values corrected for the false discovery rate (Benjamini and Hochberg, 1995)."""
    if not values:
        return []
    from scipy import stats

    return [float(value) for value in stats.false_discovery_control(values)]
