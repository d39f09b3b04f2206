"""What the benchmarks do to reviews before they measure."""

from __future__ import annotations

import importlib.util
import random
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from safetensors.torch import load_file

from reviews_parsing import AspectParser, data
from reviews_parsing.schema import Review, Taxonomy
from reviews_parsing.training import fit as fitting
from reviews_parsing.training.augmentation import rewrite
from reviews_parsing.training.fit import Recipe

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
        found = [rewrite(review, disturbance(review, random.Random(3))) for review in reviews]
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


def test_a_recipe_is_changed_by_name_and_scored_on_reviews_that_it_has_not_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
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


TRIALS = load("trials")


def learnt(wish: str | None, reviews: list[Review], folder: Path) -> dict[str, Any]:
    """The weights after an epoch, with a trial or without."""
    recipe = Recipe(epochs=1, batch_size=2, noisy_share=0.5)
    with TRIALS.trial(wish) if wish else nullcontext():
        # Looked up while the trial is on, as `recipes` does.
        fitted = fitting.fit(reviews, reviews[:2], Taxonomy.of(reviews), recipe, folder)
    weights: dict[str, Any] = load_file(fitted.checkpoint / "model.safetensors")
    return weights


@pytest.fixture(scope="module")
def few() -> list[Review]:
    """Some reviews, and one that says two things of one span."""
    its = [review for review in data.read_splits("corpus")["train"] if review.aspects][:12]
    one = next(aspect for review in its for aspect in review.aspects if aspect.span)
    also = next(a for review in its for a in review.aspects if a.entity_group != one.entity_group)
    return [
        replace(review, aspects=(*review.aspects, replace(one, entity_group=also.entity_group)))
        if one in review.aspects
        else review
        for review in its
    ]


@pytest.fixture(scope="module")
def plainly(few: list[Review], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return learnt(None, few, tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize("name", TRIALS.TRIALS)
def test_each_trial_learns_something_else(
    name: str, few: list[Review], plainly: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    beside = {"train": data.read_splits("corpus")["test"][:6]}
    monkeypatch.setattr(TRIALS.data, "read_splits", lambda path: beside)
    found = learnt(name, few, tmp_path)
    assert found.keys() == plainly.keys()
    assert all(bool(weights.isfinite().all()) for weights in found.values())
    assert any(not weights.equal(plainly[its]) for its, weights in found.items())


def test_a_trial_leaves_nothing_behind(few: list[Review], plainly: dict[str, Any], tmp_path: Path) -> None:
    again = learnt(None, few, tmp_path)
    assert all(weights.equal(plainly[its]) for its, weights in again.items())


def test_an_unknown_trial_is_refused() -> None:
    with pytest.raises(ValueError, match="no trial 'luck'"):
        TRIALS.trial("luck=1")


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
