"""What is learnt from the shipped corpus is passed on by name, is learnt once, and holds nothing that is held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from reviews_parsing import data, registry
from reviews_parsing.schema import Aspect, Review, Taxonomy
from reviews_parsing.training import foundation as founding
from reviews_parsing.training.backbone import build_tagger, inherit
from reviews_parsing.training.fit import Recipe
from reviews_parsing.training.foundation import foundation

OLD = Taxonomy(("FOOD", "STAFF"), ("negative", "positive"), ("FOOD", "STAFF"), opinions=True)
NEW = Taxonomy(("BATH", "FOOD", "ROOM"), ("neutral", "positive"), ("FOOD", "ROOM"), opinions=True)
# (row of NEW, row of OLD) that are about the same: O, B-FOOD, I-FOOD; positive; FOOD and positive.
SAME = {
    "classifier": [(0, 0), (3, 1), (4, 2)],
    "polarity_classifier": [(1, 1)],
    "implicit_classifier": [(1, 1)],
    "opinion_classifier": [(i, i) for i in range(3)],
}


def weights(tagger: Any) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in tagger.named_parameters()}


def test_what_has_the_same_name_is_passed_on_and_nothing_else(small_backbone: str, tmp_path: Path) -> None:
    elder = build_tagger(small_backbone, OLD)
    with torch.no_grad():
        for weight in elder.parameters():
            weight.normal_()
    elder.save_pretrained(tmp_path)
    tagger = build_tagger(small_backbone, NEW)
    before, theirs = weights(tagger), weights(elder)
    inherit(tagger, tmp_path)
    after = weights(tagger)
    for name in after:
        part = name.split(".")[0]
        if part in SAME:
            expected = before[name]
            for row, old_row in SAME[part]:
                expected[row] = theirs[name][old_row]
            assert after[name].equal(expected), name
        elif part == "tag_chain":
            for row, old_row in SAME["classifier"]:
                for column, old_column in SAME["classifier"]:
                    assert after[name][row, column] == theirs[name][old_row, old_column]
            assert after[name][:3, 1:3].eq(0).all()
        else:
            assert after[name].equal(theirs[name]), name


def test_a_tagger_without_the_other_heads_inherits_what_it_has(small_backbone: str, tmp_path: Path) -> None:
    elder = build_tagger(small_backbone, OLD)
    elder.save_pretrained(tmp_path)
    tagger = build_tagger(small_backbone, Taxonomy(("POOL",)))
    inherit(tagger, tmp_path)
    theirs = weights(elder)
    after = weights(tagger)
    assert after["classifier.weight"][0].equal(theirs["classifier.weight"][0])
    assert after["bert.encoder.layer.0.output.dense.weight"].equal(theirs["bert.encoder.layer.0.output.dense.weight"])


@pytest.fixture
def little_corpus(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Review]]:
    """The shipped corpus, cut to what takes no time."""
    little = {name: reviews[:24] for name, reviews in data.read_splits("corpus").items()}
    read = data.read_splits
    monkeypatch.setattr(data, "read_splits", lambda source, *how: little if source == "corpus" else read(source, *how))
    return little


def test_it_is_learnt_once_and_without_what_is_held_out(
    small_backbone: str, little_corpus: dict[str, list[Review]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    learnt: list[list[Review]] = []
    fit = founding.fit

    def watched(train: Sequence[Review], *given: Any, **named: Any) -> Any:
        learnt.append(list(train))
        return fit(train, *given, **named)

    monkeypatch.setattr(founding, "fit", watched)
    recipe = Recipe(backbone=small_backbone, foundation_epochs=1)
    splits = {"train": [Review("a", "Dull pool.")], "test": [Review("b", "Calm pool.")]}
    heard: list[float] = []
    first = foundation(splits, recipe, tmp_path / "kept", tmp_path / "a", progress=lambda share, _: heard.append(share))
    assert heard[-1] == 1
    assert first.parent.parent == tmp_path / "kept"
    # Neither the seed nor how the data itself is learnt makes another foundation.
    again = foundation(splits, replace(recipe, seed=5, epochs=2), tmp_path / "kept", tmp_path / "b")
    assert (again, len(learnt)) == (first, 1)
    assert learnt[0] == little_corpus["train"]

    held_out = {"train": [], "validation": little_corpus["train"][:1], "test": little_corpus["train"][5:6]}
    other = foundation(held_out, recipe, tmp_path / "kept", tmp_path / "c")
    assert other != first
    assert learnt[1] == [*little_corpus["train"][1:5], *little_corpus["train"][6:]]


def test_other_data_is_learnt_after_the_corpus_and_the_corpus_by_itself(
    small_backbone: str, little_corpus: dict[str, list[Review]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = [
        Review(str(n), f"The pool number {n} was lovely.", (Aspect("POOL", "pool", 4, 8, "positive"),))
        for n in range(20)
    ]
    data.write(own, tmp_path / "own.jsonl")
    home = tmp_path / "home"
    recipe = Recipe(backbone=small_backbone, epochs=1, foundation_epochs=2)
    heard: list[tuple[float, dict[str, float]]] = []
    registry.train(str(tmp_path / "own.jsonl"), recipe, progress=lambda share, metrics: heard.append((share, metrics)))
    assert [share for share, _ in heard] == sorted(share for share, _ in heard)
    assert ["foundation" in metrics for _, metrics in heard if metrics] == [True, True, False]
    assert len(list((home / "foundations").iterdir())) == 1
    heard.clear()
    registry.train(str(tmp_path / "own.jsonl"), recipe, progress=lambda share, metrics: heard.append((share, metrics)))
    assert ["foundation" in metrics for _, metrics in heard if metrics] == [False]
    monkeypatch.setenv("REVIEWS_PARSING_HOME", str(tmp_path / "other"))
    registry.train("corpus", recipe)
    assert not (tmp_path / "other" / "foundations").exists()
