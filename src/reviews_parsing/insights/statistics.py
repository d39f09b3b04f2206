"""Shares with confidence intervals, and tests of differences of shares and of means."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import sqrt
from typing import TYPE_CHECKING

from reviews_parsing.insights.results import Share

if TYPE_CHECKING:
    import numpy as np

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


def two_share_p(hits: np.ndarray, total: np.ndarray, other_hits: np.ndarray, other_total: np.ndarray) -> np.ndarray:
    """Return p-values of no difference between shares, element by element.

    Chi-squared where every cell expects at least 5, otherwise Fisher's exact test (twice the smaller tail).
    """
    import numpy as np
    from scipy import stats

    with np.errstate(divide="ignore", invalid="ignore"):
        all_hits, all_total = hits + other_hits, total + other_total
        misses = all_total - all_hits
        cross = (hits * (other_total - other_hits) - other_hits * (total - hits)).astype(float)
        chi2 = cross * cross * all_total / (total.astype(float) * other_total * all_hits * misses)
        expected = np.minimum(all_hits, misses) * np.minimum(total, other_total) / all_total
    p = np.ones(hits.shape)
    valid = (total > 0) & (other_total > 0) & (all_hits > 0) & (misses > 0)
    asymptotic = valid & (expected >= MIN_EXPECTED)
    p[asymptotic] = stats.chi2.sf(chi2[asymptotic], 1)
    # The exact test takes longer and is needed only where chi-squared is not small anyway.
    exact = valid & ~asymptotic & (chi2 > 2)
    if exact.any():
        parameters = all_total[exact], all_hits[exact], total[exact]
        tails = stats.hypergeom.cdf(hits[exact], *parameters), stats.hypergeom.sf(hits[exact] - 1, *parameters)
        p[exact] = np.minimum(1.0, 2 * np.minimum(*tails))
    return p


def welch_p(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return p-values of Welch's t-test from (number, sum, sum of squares) of shape [3, tests]."""
    import numpy as np
    from scipy import stats

    with np.errstate(divide="ignore", invalid="ignore"):
        means = [part[1] / part[0] for part in (first, second)]
        variances = [
            np.maximum(part[2] / part[0] - m * m, 0) * part[0] / (part[0] - 1)
            for part, m in zip((first, second), means, strict=True)
        ]
        errors = [variance / part[0] for variance, part in zip(variances, (first, second), strict=True)]
        deviation = np.sqrt(errors[0] + errors[1])
        freedom = (errors[0] + errors[1]) ** 2 / (errors[0] ** 2 / (first[0] - 1) + errors[1] ** 2 / (second[0] - 1))
        p = 2 * stats.t.sf(np.abs(means[0] - means[1]) / deviation, freedom)
    return np.where(np.isfinite(p), p, 1.0)


def best_splits(hits: np.ndarray, total: np.ndarray, min_reviews: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the most significant change point of each series: p-values, and the first period after it.

    `hits` and `total` have shape [series, periods]. p is corrected for the number of splits with `min_reviews` on both
    sides (Bonferroni, or the bound of Miller and Siegmund, 1982, if smaller). Without a split, the period is 0.
    """
    import numpy as np
    from scipy import stats

    before_hits, total_before = hits.cumsum(axis=1)[:, :-1], total.cumsum(axis=1)[:, :-1]
    after_hits, total_after = hits.sum(axis=1)[:, None] - before_hits, total.sum(axis=1)[:, None] - total_before
    if total_before.shape[1] == 0:
        return np.ones(len(hits)), np.zeros(len(hits), int)
    eligible = (total_before >= min_reviews) & (total_after >= min_reviews)
    p = np.where(eligible, two_share_p(after_hits, total_after, before_hits, total_before), 1.0)
    position = p.argmin(axis=1)
    best = p[np.arange(len(p)), position]
    splits = eligible.sum(axis=1)
    bonferroni = np.minimum(1.0, best * splits)
    share = np.where(eligible, total_before / np.maximum(total_before + total_after, 1), np.nan)
    with np.errstate(all="ignore"):
        low, high = np.nanmin(np.nan_to_num(share, nan=0.5), axis=1), np.nanmax(np.nan_to_num(share, nan=0.5), axis=1)
        b = stats.norm.isf(np.maximum(best, 1e-300) / 2)
        density = stats.norm.pdf(b)
        bound = density * (b - 1 / b) * np.log(high * (1 - low) / (low * (1 - high))) + 4 * density / b
    bound = np.where((b > 2) & np.isfinite(bound), np.maximum(bound, best), 1.0)
    return np.where(splits > 0, np.minimum(bonferroni, bound), 1.0), np.where(splits > 0, position + 1, 0)


def weighted_fdr(families: Sequence[tuple[np.ndarray, float]]) -> list[np.ndarray]:
    """Return p-values adjusted together for the false discovery rate, each family with its share of the level.

    Benjamini and Hochberg's procedure on p-values divided by weights that average 1 (Genovese, Roeder and Wasserman,
    2006): a family with a large share and few tests loses little power to families with thousands of tests.
    """
    import numpy as np
    from scipy import stats

    number = sum(len(p) for p, _ in families)
    shares = sum(share for p, share in families if len(p))
    if not number:
        return [p for p, _ in families]
    weighted = [np.minimum(1.0, p * len(p) * shares / (share * number)) for p, share in families]
    corrected = stats.false_discovery_control(np.concatenate(weighted))
    return np.split(corrected, np.cumsum([len(p) for p in weighted])[:-1])
