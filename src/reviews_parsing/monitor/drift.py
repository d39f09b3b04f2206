"""Drift detection: one two-sample test per feature, with a correction for multiple testing.

Amounts are tested by Kolmogorov-Smirnov, binary features by Fisher's exact test, with Holm's correction (1979). Of
windows from the distribution of the profile, at most `false_alarm_rate` have any feature reported as drifted. With
many reviews every difference is significant, so a drifted feature must also have moved by `min_effect`: the largest
difference of the distribution functions, a lower bound of the share of reviews that changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reviews_parsing.errors import DataError
from reviews_parsing.monitor.features import FOREIGN, Features, is_binary

FALSE_ALARM_RATE, MIN_EFFECT = 0.01, 0.1
MIN_REVIEWS = 30
"""Fewer reviews, or fewer values of a feature, are not tested."""


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """Test result of a feature.

    `reviews` of the window have the feature; `expected` and `observed` are its means in the profile and the window.
    `distance` in [0, 1] is the effect, `p_value` is corrected.
    """

    feature: str
    reviews: int
    expected: float
    observed: float
    distance: float
    p_value: float
    drifted: bool

    @property
    def count(self) -> int:
        """Number of reviews that have a binary feature."""
        return round(self.observed * self.reviews)


@dataclass(frozen=True, slots=True)
class DriftResult:
    """Test results of all features: drifted ones first, then by distance."""

    reviews: int
    profile_reviews: int
    false_alarm_rate: float
    min_effect: float
    features: tuple[FeatureDrift, ...]

    @property
    def drifted(self) -> tuple[FeatureDrift, ...]:
        """Features with drift."""
        return tuple(feature for feature in self.features if feature.drifted)

    @property
    def foreign(self) -> FeatureDrift | None:
        """Texts in a language that the model does not read, None if the model identifies no languages."""
        return next((feature for feature in self.features if feature.feature == FOREIGN), None)


def detect_drift(
    names: Sequence[str],
    profile: Features,
    window: Features,
    false_alarm_rate: float = FALSE_ALARM_RATE,
    min_effect: float = MIN_EFFECT,
) -> DriftResult:
    """Compare `window` [n, features] with `profile` [m, features].

    Raises DataError if either has fewer than MIN_REVIEWS reviews.
    """
    for label, rows in (("the window", window), ("the profile", profile)):
        if len(rows) < MIN_REVIEWS:
            raise DataError(f"{label} holds {len(rows)} reviews; at least {MIN_REVIEWS} are needed for a comparison")
    samples = []
    for name, profile_column, window_column in zip(names, profile.T, window.T, strict=True):
        reference = profile_column[~np.isnan(profile_column)]
        current = window_column[~np.isnan(window_column)]
        if len(reference) >= MIN_REVIEWS and len(current) >= MIN_REVIEWS:
            samples.append((name, reference, current))
    tests = [_test(*sample) for sample in samples]
    p_values = _correct_holm([p_value for _, p_value in tests])
    results = [
        FeatureDrift(
            name,
            len(current),
            float(reference.mean()),
            float(current.mean()),
            distance,
            p_value,
            p_value < false_alarm_rate and distance >= min_effect,
        )
        for (name, reference, current), (distance, _), p_value in zip(samples, tests, p_values, strict=True)
    ]
    results.sort(key=lambda result: (not result.drifted, -result.distance))
    return DriftResult(len(window), len(profile), false_alarm_rate, min_effect, tuple(results))


def _test(name: str, reference: Features, current: Features) -> tuple[float, float]:
    """Return the distance of the distributions and the uncorrected p-value."""
    try:
        from scipy.stats import fisher_exact, ks_2samp
    except ModuleNotFoundError as error:
        raise DataError(f"monitoring is not installed ({error}); pip install 'reviews-parsing[monitor]'") from error
    if is_binary(name):
        counts = [[int(rows.sum()), len(rows) - int(rows.sum())] for rows in (reference, current)]
        return abs(float(reference.mean()) - float(current.mean())), float(fisher_exact(counts).pvalue)
    result = ks_2samp(reference, current, method="asymp")
    return float(result.statistic), float(result.pvalue)


def _correct_holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's step-down correction of the p-values."""
    order = np.argsort(p_values)
    steps = np.array(p_values)[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return [float(p) for p in corrected]
