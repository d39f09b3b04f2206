"""Intervals and tests equal published values and other implementations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from reviews_parsing.insights.statistics import adjusted, independence, newcombe, wilson

PAIRS = st.integers(1, 200).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of)))


@given(PAIRS)
def test_wilson_as_another_implementation_has_it(pair: tuple[int, int]) -> None:
    assert wilson(*pair)[1:] == pytest.approx(proportion_confint(*pair, method="wilson"), abs=1e-9)


@given(PAIRS, PAIRS)
def test_newcombe_as_another_implementation_has_it(one: tuple[int, int], other: tuple[int, int]) -> None:
    expected = confint_proportions_2indep(*one, *other, method="newcomb", compare="diff")
    assert newcombe(*one, *other)[1:] == pytest.approx(expected, abs=1e-9)


def test_newcombe_as_published() -> None:
    # Newcombe (1998), table II, method 10: 56/70 against 48/80.
    assert newcombe(56, 70, 48, 80) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_nothing_may_be_anything() -> None:
    assert wilson(0, 0) == (0, 0, 1)


def test_few_expected_are_tested_exactly() -> None:
    assert independence([(30, 10), (10, 30)])[0] == "chi-squared"
    test, _, p, _ = independence([(3, 1), (1, 3)])
    assert test == "Fisher's exact"
    assert p == pytest.approx(0.4857, abs=1e-4)  # the lady tasting tea, both sides
    test, _, p, _ = independence([(4, 0), (0, 4), (4, 1)])
    assert test == "permutation"
    assert 0 < p < 0.05
    assert independence([(4, 0), (9, 0)]) == ("none", 0.0, 1.0, 0.0)


def test_effects_reach_from_nothing_to_all() -> None:
    assert independence([(50, 0), (0, 50)])[3] == pytest.approx(1)
    assert independence([(25, 25), (25, 25)])[3] == 0


def test_p_values_are_adjusted_together() -> None:
    assert adjusted([0.01, 0.02, 0.03, 0.5]) == pytest.approx([0.04, 0.04, 0.04, 0.5])
    assert adjusted([]) == []
