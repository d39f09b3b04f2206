"""What the benchmarks do to reviews before they measure."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from reviews_parsing import AspectParser, data
from reviews_parsing.schema import Review
from reviews_parsing.training.fit import Recipe
from reviews_parsing.training.rough import rewritten

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def robustness() -> ModuleType:
    return load("robustness")


def test_labels_move_with_the_text(robustness: ModuleType) -> None:
    reviews = data.read_splits("corpus")["test"]
    for name, disturbance in robustness.DISTURBANCES.items():
        found = [rewritten(review, disturbance(review, random.Random(3))) for review in reviews]
        assert sum(a.text != b.text for a, b in zip(reviews, found, strict=True)) > 20, name
        for before, after in zip(reviews, found, strict=True):
            assert [a.entity_group for a in after.aspects] == [a.entity_group for a in before.aspects], name
            for aspect in after.aspects:
                if aspect.span:
                    assert after.text[slice(*aspect.span)] == aspect.word != ""


def test_joined_reviews_hold_every_label(robustness: ModuleType) -> None:
    reviews = data.read_splits("corpus")["test"]
    texts = robustness.joined(reviews)
    explicit = [aspect.word for review in reviews for aspect in review.aspects if aspect.span]
    assert [text.text[slice(*a.span)] for text in texts for a in text.aspects] == explicit
    assert all(len(text.text.split()) >= robustness.LONG_WORDS for text in texts[:-1])


def test_a_recipe_is_changed_by_name_and_scored_on_reviews_that_it_has_not_seen() -> None:
    recipes = load("recipes")
    changed = recipes.changed(Recipe(), ["epochs=3", "freeze_embeddings=false", "learning_rate=1e-4"])
    assert changed == Recipe(epochs=3, freeze_embeddings=False, learning_rate=1e-4)
    with pytest.raises(ValueError, match="no 'speed'"):
        recipes.changed(Recipe(), ["speed=9"])
    reviews = data.read_splits("corpus")["test"]
    for splits in ({"all": reviews}, {"train": reviews[:200], "validation": reviews[200:]}):
        parts = [{review.id for review in part} for part in recipes.development(splits, seed=4)]
        assert all(parts)
        assert sum(map(len, parts)) == len(set.union(*parts)) == len(reviews)


def test_both_arms_of_suggestions_begin_alike_and_no_point_is_measured_twice(
    parser: AspectParser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One parser stands for all that would be trained: what is looked at is who is labelled when."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    suggestions = load("suggestions")
    taught: list[set[str]] = []

    def trained(labelled: list[Review], *_: object) -> tuple[AspectParser, float]:
        taught.append({review.id for review in labelled})
        return parser, 0.0

    monkeypatch.setattr(suggestions, "trained", trained)
    corpus = data.read_splits("corpus")
    splits = {"train": corpus["train"][:40], "validation": corpus["validation"][:5], "test": corpus["test"][:5]}
    points: list[dict[str, Any]] = []
    suggestions.curve(splits, Recipe(seed=2), suggestions.Sizes(10, 8, 2), points, points.append)
    assert [(p["arm"], p["reviews"]) for p in points] == [("start", 10)] + [
        (arm, size) for arm in suggestions.ARMS for size in (18, 26)
    ]
    start, *more = taught
    assert [len(ids) for ids in taught] == [10, 18, 26, 18, 26]
    assert all(start < ids for ids in more)
    assert more[0] < more[1]
    assert more[0] != more[2]
    before = list(points)
    suggestions.curve(splits, Recipe(seed=2), suggestions.Sizes(10, 8, 2), points, points.append)
    assert points == before
    assert len(taught) == 5
    assert suggestions.table(points, "span_category").row_count == 3
