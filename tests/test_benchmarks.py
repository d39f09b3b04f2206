"""Benchmarks: noise keeps labels, recipes and trials train as described, learning curves are complete."""

from __future__ import annotations

import argparse
import importlib
import random
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from reviews_parsing import AspectParser, data
from reviews_parsing.schema import Review, Taxonomy
from reviews_parsing.training import fit as fitting
from reviews_parsing.training.augmentation import rewrite
from reviews_parsing.training.fit import Recipe

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
# Benchmarks are scripts that import each other by name.
sys.path.append(str(BENCHMARKS))
TRIALS = importlib.import_module("trials")


@pytest.fixture(scope="module")
def robustness() -> ModuleType:
    return importlib.import_module("robustness")


def test_noise_keeps_the_labels(robustness: ModuleType) -> None:
    reviews = data.read_splits("corpus")["test"]
    for name, noise in robustness.NOISES.items():
        noisy_reviews = [rewrite(review, noise(review, random.Random(3))) for review in reviews]
        assert sum(a.text != b.text for a, b in zip(reviews, noisy_reviews, strict=True)) > 20, name
        for clean, noisy in zip(reviews, noisy_reviews, strict=True):
            assert [a.entity_group for a in noisy.aspects] == [a.entity_group for a in clean.aspects], name
            for aspect in noisy.aspects:
                if aspect.span:
                    assert noisy.text[slice(*aspect.span)] == aspect.word != ""


def test_joined_reviews_have_all_labels(robustness: ModuleType) -> None:
    reviews = data.read_splits("corpus")["test"]
    texts = robustness.join(reviews)
    explicit = [aspect.word for review in reviews for aspect in review.aspects if aspect.span]
    assert [text.text[slice(*a.span)] for text in texts for a in text.aspects] == explicit
    assert all(len(text.text.split()) >= robustness.LONG_WORDS for text in texts[:-1])


def test_a_recipe_is_changed_by_name_and_scored_on_unseen_reviews() -> None:
    recipes = importlib.import_module("recipes")
    changed = recipes.change(Recipe(), ["epochs=3", "freeze_embeddings=false", "learning_rate=1e-4"])
    assert changed == Recipe(epochs=3, freeze_embeddings=False, learning_rate=1e-4)
    with pytest.raises(ValueError, match="no 'speed'"):
        recipes.change(Recipe(), ["speed=9"])
    reviews = data.read_splits("corpus")["test"]
    for splits in ({"all": reviews}, {"train": reviews[:200], "validation": reviews[200:]}):
        parts = [{review.id for review in part} for part in recipes.development(splits, seed=4)]
        assert all(parts)
        assert sum(map(len, parts)) == len(set.union(*parts)) == len(reviews)


def train_weights(trial: str | None, reviews: list[Review], folder: Path) -> dict[str, Any]:
    """Return the weights after an epoch, with or without a trial."""
    recipe = Recipe(epochs=1, batch_size=2, noisy_share=0.5)
    with TRIALS.trial(trial) if trial else nullcontext():
        # Trials patch the module, so `fit` must be looked up inside, as `recipes` does.
        result = fitting.fit(reviews, reviews[:2], Taxonomy.of(reviews), recipe, folder)
    weights: dict[str, Any] = load_file(result.checkpoint / "model.safetensors")
    return weights


@pytest.fixture(scope="module")
def reviews() -> list[Review]:
    """Twelve reviews, one of them with two categories of one span."""
    sample = [review for review in data.read_splits("corpus")["train"] if review.aspects][:12]
    target = next(aspect for review in sample for aspect in review.aspects if aspect.span)
    category = next(
        a.entity_group for review in sample for a in review.aspects if a.entity_group != target.entity_group
    )
    return [
        replace(review, aspects=(*review.aspects, replace(target, entity_group=category)))
        if target in review.aspects
        else review
        for review in sample
    ]


@pytest.fixture(scope="module")
def plain_weights(reviews: list[Review], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return train_weights(None, reviews, tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize("name", TRIALS.TRIALS)
def test_each_trial_changes_the_weights(
    name: str, reviews: list[Review], plain_weights: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    corpus = {"train": data.read_splits("corpus")["test"][:6]}
    monkeypatch.setattr(TRIALS.data, "read_splits", lambda path: corpus)
    trial_weights = train_weights(name, reviews, tmp_path)
    assert trial_weights.keys() == plain_weights.keys()
    assert all(bool(weights.isfinite().all()) for weights in trial_weights.values())
    assert any(not weights.equal(plain_weights[name]) for name, weights in trial_weights.items())


def test_a_trial_has_no_lasting_effect(reviews: list[Review], plain_weights: dict[str, Any], tmp_path: Path) -> None:
    weights_after = train_weights(None, reviews, tmp_path)
    assert all(weights.equal(plain_weights[name]) for name, weights in weights_after.items())


def test_reviews_for_reports_are_parsed_reviews(tmp_path: Path) -> None:
    reports = importlib.import_module("reports")
    assert reports.write(tmp_path / "parsed", reports.variants(50), 120) > 0
    rows = pq.read_table(tmp_path / "parsed").to_pylist()
    assert len(rows) == 120
    for row in rows:
        for aspect in row["aspects"]:
            if aspect["word"] is not None:
                assert row["text"][aspect["start"] : aspect["end"]] == aspect["word"]
        opinion = row["aspects"][-1]["opinion"]
        assert row["text"][opinion["start"] : opinion["end"]] == opinion["word"]
    assert {row["stars"] for row in rows} == {1, 2, 3, 4, 5}


def test_both_precisions_are_trained_and_compared(capsys: pytest.CaptureFixture[str]) -> None:
    gpu = importlib.import_module("gpu")
    options = argparse.Namespace(seconds=280.0, epochs=1, seeds=1, reviews=6)
    report = gpu.measure(options)
    assert [(t["precision"], t["seed"]) for t in report["trainings"]] == [("mixed", 0), ("fp32", 0)]
    assert report["speedup"] > 0
    assert report["difference"] == report["trainings"][0]["f1"] - report["trainings"][1]["f1"]
    gpu.show(report)
    assert "mixed precision is" in capsys.readouterr().out
    short = gpu.measure(argparse.Namespace(seconds=0.0, epochs=1, seeds=1, reviews=6))
    assert len(short["trainings"]) == 1
    assert short["speedup"] is None


def test_an_unknown_trial_is_refused() -> None:
    with pytest.raises(ValueError, match="no trial 'luck'"):
        TRIALS.trial("luck=1")


def test_learning_curves_share_their_start_and_continue(parser: AspectParser, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace training by a constant parser, and record the labelled reviews of each point."""
    suggestions = importlib.import_module("suggestions")
    labelled_ids: list[set[str]] = []

    def train_parser(labelled: list[Review], *_: object) -> tuple[AspectParser, float]:
        labelled_ids.append({review.id for review in labelled})
        return parser, 0.0

    monkeypatch.setattr(suggestions, "train_parser", train_parser)
    corpus = data.read_splits("corpus")
    splits = {"train": corpus["train"][:40], "validation": corpus["validation"][:5], "test": corpus["test"][:5]}
    points: list[dict[str, Any]] = []
    suggestions.measure_curve(splits, Recipe(seed=2), suggestions.Sizes(10, 8, 2), points, points.append)
    assert [(p["arm"], p["reviews"]) for p in points] == [("start", 10)] + [
        (arm, size) for arm in suggestions.ARMS for size in (18, 26)
    ]
    start, *steps = labelled_ids
    assert [len(ids) for ids in labelled_ids] == [10, 18, 26, 18, 26]
    assert all(start < ids for ids in steps)
    assert steps[0] < steps[1]
    assert steps[0] != steps[2]
    first_points = list(points)
    suggestions.measure_curve(splits, Recipe(seed=2), suggestions.Sizes(10, 8, 2), points, points.append)
    assert points == first_points
    assert len(labelled_ids) == 5
    assert suggestions.table(points, "span_category").row_count == 3
