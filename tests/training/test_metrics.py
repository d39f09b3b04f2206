"""Metrics agree with nervaluate and with examples computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nervaluate import Evaluator

from reviews_parsing.errors import DataError
from reviews_parsing.schema import Aspect, Review, Taxonomy
from reviews_parsing.tagging import tags_to_spans
from reviews_parsing.training.metrics import (
    Entity,
    agreement,
    calibration_error_by_chance,
    expected_calibration_error,
    flatten,
    paired_bootstrap,
    score,
)

TAXONOMY = Taxonomy(("DRINK", "FOOD", "PRICE"))
tag_rows = st.lists(st.integers(0, 6), min_size=1, max_size=12)


def entities(rows: list[list[int]]) -> list[Entity]:
    return [
        Entity((number, start, stop), TAXONOMY.categories[category])
        for number, row in enumerate(rows)
        for start, stop, category in tags_to_spans(row)
    ]


@given(st.lists(st.tuples(tag_rows, tag_rows), min_size=1, max_size=6))
def test_precision_recall_f1_and_support_are_those_of_nervaluate(pairs: list[tuple[list[int], list[int]]]) -> None:
    gold = [gold_row[: min(len(gold_row), len(predicted_row))] for gold_row, predicted_row in pairs]
    predicted = [predicted_row[: len(row)] for row, (_, predicted_row) in zip(gold, pairs, strict=True)]
    names = [[[TAXONOMY.tags[tag] for tag in row] for row in rows] for rows in (gold, predicted)]
    scores = score(entities(gold), entities(predicted))
    reference = Evaluator(*names, tags=list(TAXONOMY.categories), loader="list").evaluate()
    by_category = {name: result["strict"] for name, result in reference["entities"].items()}
    for category, result in {**by_category, "aggregated": reference["overall"]["strict"]}.items():
        assert scores[category].precision == pytest.approx(result.precision)
        assert scores[category].recall == pytest.approx(result.recall)
        assert scores[category].f1 == pytest.approx(result.f1)
        assert scores[category].support == result.possible


def test_wrong_categories_and_polarities_lower_the_scores_that_require_them() -> None:
    gold = [Entity((0, 0, 3), "FOOD", "positive"), Entity((0, 5, 9), "STAFF", "negative")]
    predicted = [Entity((0, 0, 3), "FOOD", "negative"), Entity((0, 5, 9), "FOOD", "negative")]
    scores = flatten(score(gold, predicted))
    assert (scores["span_f1"], scores["aggregated_f1"], scores["with_polarity_f1"]) == (1.0, 0.5, 0.0)
    assert (scores["FOOD_precision"], scores["FOOD_recall"], scores["STAFF_support"]) == (0.5, 1.0, 1)


def test_data_without_polarity_has_no_polarity_score() -> None:
    assert "with_polarity" not in score([Entity((0, 0, 1), "FOOD")], [])


def test_calibration_error_is_the_weighted_gap() -> None:
    assert expected_calibration_error([0.95, 0.95, 0.15, 0.15], [True, False, False, False]) == pytest.approx(0.3)
    assert expected_calibration_error([], []) == 0


def test_the_calibration_error_by_chance_falls_with_the_number_of_answers() -> None:
    small, large = (calibration_error_by_chance(np.linspace(0.05, 0.95, n).tolist()) for n in (100, 10_000))
    assert 0.05 < small[0] < small[1] < 0.2
    assert large[0] < large[1] < 0.02
    assert calibration_error_by_chance([]) == (0, 0)


def test_the_bootstrap_interval_excludes_zero_for_a_clear_difference_alone() -> None:
    rng = np.random.default_rng(1)
    gold = rng.integers(1, 4, 200)
    good, bad = np.minimum(gold, rng.integers(1, 4, 200)), np.zeros(200, int)
    strong, weak = (np.stack([correct, gold, gold], axis=1) for correct in (good, bad))
    assert paired_bootstrap(strong, weak, samples=500).low > 0.3
    assert paired_bootstrap(strong, strong, samples=500) == (0, 0, 0)
    assert paired_bootstrap(weak, strong, samples=500).high < -0.3


def test_agreement_compares_the_reviews_that_both_labelled() -> None:
    first = [Review("a", "good food", (Aspect("FOOD", "food", 5, 9),)), Review("b", "x")]
    second = [Review("a", "good food", (Aspect("FOOD", "good food", 0, 9),))]
    shared, scores = agreement(first, second)
    assert (shared, scores["span"].f1) == (1, 0.0)
    with pytest.raises(DataError, match="another text"):
        agreement(first, [Review("a", "bad food")])
    with pytest.raises(DataError, match="share no review"):
        agreement(first, [Review("z", "bad food")])
