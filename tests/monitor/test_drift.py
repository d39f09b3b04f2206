"""What is like the profile is left alone, what is not is flagged, however many reviews there are."""

from __future__ import annotations

import numpy as np
import pytest

from reviews_parsing import AspectParser, DataError, data
from reviews_parsing.monitor import Comparison, Profile, compare, measure

from .others import another_domain, another_language

WINDOW = 150
DRAWS, FALSE_ALARMS = 60, 4


def drifted(found: Comparison) -> list[str]:
    return [change.number for change in found.drifted]


def held_against(profile: Profile, parser: AspectParser, texts: list[str]) -> Comparison:
    numbers = measure(parser, profile.gauge, texts)
    return compare(profile.gauge.names, profile.numbers, numbers)


def test_another_domain_is_flagged(profile: Profile, parser: AspectParser) -> None:
    found = drifted(held_against(profile, parser, another_domain(WINDOW)))
    assert {"category FOOD", "embedding_distance"} <= set(found)


def test_another_language_is_flagged(profile: Profile, parser: AspectParser) -> None:
    found = drifted(held_against(profile, parser, another_language(WINDOW)))
    assert {"tokens_per_word", "foreign_characters", "embedding_distance"} <= set(found)


def test_capitals_are_flagged(profile: Profile, parser: AspectParser) -> None:
    texts = [review.text.upper() for review in data.read_splits("corpus")["test"][:WINDOW]]
    found = held_against(profile, parser, texts)
    assert drifted(found)[0] == "capitals"
    assert found.drifted[0].distance > 0.9


def test_reviews_of_the_same_kind_are_not(profile: Profile) -> None:
    """At most one window in a hundred is promised: more than FALSE_ALARMS of DRAWS would be one chance in 3,000."""
    random = np.random.default_rng(3)
    flagged = 0
    for _ in range(DRAWS):
        order = random.permutation(len(profile.numbers))
        window, others = profile.numbers[order[:WINDOW]], profile.numbers[order[WINDOW:]]
        flagged += bool(compare(profile.gauge.names, others, window).drifted)
    assert flagged <= FALSE_ALARMS


def test_a_small_change_is_none_however_sure() -> None:
    random = np.random.default_rng(0)
    old, new = (random.normal(mean, 1, (100_000, 1)).astype(np.float32) for mean in (0, 0.1))
    (change,) = compare(["words"], old, new).changes
    assert (change.p_value < 1e-50, change.drifted) == (True, False)
    assert 0.03 < change.distance < 0.05
    assert drifted(compare(["words"], old, new, effect=0.03)) == ["words"]


def test_of_many_numbers_each_has_to_be_surer() -> None:
    random = np.random.default_rng(1)
    old = random.random((200, 40)).astype(np.float32)
    new = random.random((200, 40)).astype(np.float32)
    new[:, 0] = new[:, 0] * 0.8
    names = [f"n{i}" for i in range(40)]
    alone = compare(names[:1], old[:, :1], new[:, :1]).changes[0]
    (among,) = [change for change in compare(names, old, new).changes if change.number == "n0"]
    assert among.distance == alone.distance
    assert among.p_value == pytest.approx(40 * alone.p_value)


def test_shares_are_compared_as_shares() -> None:
    def reviews(share: float) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        return (np.arange(200) < 200 * share).astype(np.float32)[:, None]

    (change,) = compare(["category FOOD"], reviews(0.6), reviews(0.3)).changes
    assert (round(change.expected, 3), round(change.seen, 3), change.drifted) == (0.6, 0.3, True)
    assert change.distance == pytest.approx(0.3)


def test_what_reviews_lack_is_left_out() -> None:
    random = np.random.default_rng(2)
    old, new = (random.normal(0, 1, (100, 2)).astype(np.float32) for _ in range(2))
    new[:, 1] = np.nan
    found = compare(["words", "score"], old, new)
    assert [(change.number, change.reviews) for change in found.changes] == [("words", 100)]


def test_a_handful_of_reviews_tells_nothing() -> None:
    rows = np.zeros((100, 1), np.float32)
    with pytest.raises(DataError, match="the window holds 29 reviews; 30 are the fewest that tell anything"):
        compare(["words"], rows, rows[:29])
    with pytest.raises(DataError, match="the profile holds 29 reviews"):
        compare(["words"], rows[:29], rows)
