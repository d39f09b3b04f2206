"""What the benchmarks do to reviews before they measure."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path
from types import ModuleType

import pytest

from reviews_parsing import data
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
