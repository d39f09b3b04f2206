"""Drift detection: similar reviews pass, different ones are flagged, at any number of reviews."""

from __future__ import annotations

import numpy as np
import pytest

from reviews_parsing import AspectParser, DataError, data
from reviews_parsing.monitor import DriftResult, Profile, detect_drift

from .texts import german_reviews, product_reviews

WINDOW = 150
DRAWS, MAX_FALSE_ALARMS = 60, 4


def drifted(result: DriftResult) -> list[str]:
    return [feature.feature for feature in result.drifted]


def detect(profile: Profile, parser: AspectParser, texts: list[str]) -> DriftResult:
    return detect_drift(profile.extractor.names, profile.features, profile.extractor.extract(parser, texts))


def test_another_domain_is_flagged(profile: Profile, parser: AspectParser) -> None:
    features = drifted(detect(profile, parser, product_reviews(WINDOW)))
    assert {"category FOOD", "embedding_distance"} <= set(features)


def test_another_language_is_flagged(profile: Profile, parser: AspectParser) -> None:
    result = detect(profile, parser, german_reviews(WINDOW))
    assert {"tokens_per_word", "foreign_characters", "foreign", "embedding_distance"} <= set(drifted(result))
    assert result.foreign is not None
    assert (result.foreign.expected, result.foreign.count > 0.9 * WINDOW) == (0, True)


def test_capitals_are_flagged(profile: Profile, parser: AspectParser) -> None:
    texts = [review.text.upper() for review in data.read_splits("corpus")["test"][:WINDOW]]
    result = detect(profile, parser, texts)
    assert drifted(result)[0] == "capitals"
    assert result.drifted[0].distance > 0.9


def test_false_alarms_are_bounded(profile: Profile) -> None:
    """The promise is one window in a hundred; more than MAX_FALSE_ALARMS of DRAWS has a probability of 1 in 3,000."""
    random = np.random.default_rng(3)
    false_alarms = 0
    for _ in range(DRAWS):
        order = random.permutation(len(profile.features))
        window, reference = profile.features[order[:WINDOW]], profile.features[order[WINDOW:]]
        false_alarms += bool(detect_drift(profile.extractor.names, reference, window).drifted)
    assert false_alarms <= MAX_FALSE_ALARMS


def test_a_small_effect_is_no_drift_however_significant() -> None:
    random = np.random.default_rng(0)
    profile, window = (random.normal(mean, 1, (100_000, 1)).astype(np.float32) for mean in (0, 0.1))
    (result,) = detect_drift(["words"], profile, window).features
    assert (result.p_value < 1e-50, result.drifted) == (True, False)
    assert 0.03 < result.distance < 0.05
    assert drifted(detect_drift(["words"], profile, window, min_effect=0.03)) == ["words"]


def test_p_values_are_corrected_for_the_number_of_features() -> None:
    random = np.random.default_rng(1)
    profile = random.random((200, 40)).astype(np.float32)
    window = random.random((200, 40)).astype(np.float32)
    window[:, 0] = window[:, 0] * 0.8
    names = [f"n{i}" for i in range(40)]
    single = detect_drift(names[:1], profile[:, :1], window[:, :1]).features[0]
    (corrected,) = [feature for feature in detect_drift(names, profile, window).features if feature.feature == "n0"]
    assert corrected.distance == single.distance
    assert corrected.p_value == pytest.approx(40 * single.p_value)


def test_binary_features_are_compared_by_their_shares() -> None:
    def reviews(share: float) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        return (np.arange(200) < 200 * share).astype(np.float32)[:, None]

    (result,) = detect_drift(["category FOOD"], reviews(0.6), reviews(0.3)).features
    assert (round(result.expected, 3), round(result.observed, 3), result.drifted) == (0.6, 0.3, True)
    assert result.distance == pytest.approx(0.3)


def test_features_without_values_are_not_tested() -> None:
    random = np.random.default_rng(2)
    profile, window = (random.normal(0, 1, (100, 2)).astype(np.float32) for _ in range(2))
    window[:, 1] = np.nan
    result = detect_drift(["words", "score"], profile, window)
    assert [(feature.feature, feature.reviews) for feature in result.features] == [("words", 100)]


def test_too_few_reviews_are_an_error() -> None:
    rows = np.zeros((100, 1), np.float32)
    with pytest.raises(DataError, match="the window holds 29 reviews; at least 30 are needed"):
        detect_drift(["words"], rows, rows[:29])
    with pytest.raises(DataError, match="the profile holds 29 reviews"):
        detect_drift(["words"], rows[:29], rows)
