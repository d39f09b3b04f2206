"""The metrics are the field's: they agree with nervaluate, and with arithmetic that can be done by hand."""

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
    found = []
    for number, row in enumerate(rows):
        for start, stop, category in tags_to_spans(row):
            found.append(Entity((number, start, stop), TAXONOMY.categories[category]))
    return found


@given(st.lists(st.tuples(tag_rows, tag_rows), min_size=1, max_size=6))
def test_precision_recall_f1_and_support_are_those_of_nervaluate(pairs: list[tuple[list[int], list[int]]]) -> None:
    gold = [left[: min(len(left), len(right))] for left, right in pairs]
    given_ = [right[: len(left)] for left, (_, right) in zip(gold, pairs, strict=True)]
    names = [[[TAXONOMY.tags[tag] for tag in row] for row in rows] for rows in (gold, given_)]
    ours = score(entities(gold), entities(given_))
    theirs = Evaluator(*names, tags=list(TAXONOMY.categories), loader="list").evaluate()
    by_category = {name: result["strict"] for name, result in theirs["entities"].items()}
    for category, result in {**by_category, "aggregated": theirs["overall"]["strict"]}.items():
        assert ours[category].precision == pytest.approx(result.precision)
        assert ours[category].recall == pytest.approx(result.recall)
        assert ours[category].f1 == pytest.approx(result.f1)
        assert ours[category].support == result.possible


def test_a_right_span_with_a_wrong_category_or_polarity_counts_where_it_should() -> None:
    gold = [Entity((0, 0, 3), "FOOD", "positive"), Entity((0, 5, 9), "STAFF", "negative")]
    given_ = [Entity((0, 0, 3), "FOOD", "negative"), Entity((0, 5, 9), "FOOD", "negative")]
    found = flatten(score(gold, given_))
    assert (found["span_f1"], found["aggregated_f1"], found["with_polarity_f1"]) == (1.0, 0.5, 0.0)
    assert (found["FOOD_precision"], found["FOOD_recall"], found["STAFF_support"]) == (0.5, 1.0, 1)


def test_data_without_polarity_has_no_polarity_score() -> None:
    assert "with_polarity" not in score([Entity((0, 0, 1), "FOOD")], [])


def test_calibration_error_is_the_weighted_gap() -> None:
    assert expected_calibration_error([0.95, 0.95, 0.15, 0.15], [True, False, False, False]) == pytest.approx(0.3)
    assert expected_calibration_error([], []) == 0


def test_few_answers_are_off_by_chance() -> None:
    few, many = (calibration_error_by_chance(np.linspace(0.05, 0.95, n).tolist()) for n in (100, 10_000))
    assert 0.05 < few[0] < few[1] < 0.2
    assert many[0] < many[1] < 0.02
    assert calibration_error_by_chance([]) == (0, 0)


def test_the_bootstrap_tells_a_clear_difference_from_none() -> None:
    rng = np.random.default_rng(1)
    gold = rng.integers(1, 4, 200)
    good, bad = np.minimum(gold, rng.integers(1, 4, 200)), np.zeros(200, int)
    strong, weak = (np.stack([right, gold, gold], axis=1) for right in (good, bad))
    clear, none = paired_bootstrap(strong, weak, samples=500), paired_bootstrap(strong, strong, samples=500)
    assert clear.low > 0.3
    assert none == (0, 0, 0)
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
