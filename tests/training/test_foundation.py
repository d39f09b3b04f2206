"""Training from a foundation: inherited weights, compact checkpoints, error messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from reviews_parsing import data, pipelines, pretrained, registry
from reviews_parsing.errors import ModelError
from reviews_parsing.schema import Aspect, Review, Taxonomy
from reviews_parsing.training.backbone import EMBEDDED, build_tagger, inherit, write_compact
from reviews_parsing.training.fit import Recipe

OLD = Taxonomy(("FOOD", "STAFF"), ("negative", "positive"), ("FOOD", "STAFF"), opinions=True)
NEW = Taxonomy(("BATH", "FOOD", "ROOM"), ("neutral", "positive"), ("FOOD", "ROOM"), opinions=True)
# Pairs (row of NEW, row of OLD) of the same class: O, B-FOOD, I-FOOD; positive; FOOD and positive.
SHARED_ROWS = {
    "classifier": [(0, 0), (3, 1), (4, 2)],
    "polarity_classifier": [(1, 1)],
    "implicit_classifier": [(1, 1)],
    "opinion_classifier": [(i, i) for i in range(3)],
}


def weights(tagger: Any) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in tagger.named_parameters()}


def random_tagger(backbone: str, folder: Path) -> Any:
    """Write a tagger for OLD with random weights to `folder` and return it."""
    tagger = build_tagger(backbone, OLD)
    with torch.no_grad():
        for weight in tagger.parameters():
            weight.normal_()
    tagger.save_pretrained(folder)
    return tagger


def test_the_encoder_and_rows_of_the_same_name_are_inherited(small_backbone: str, tmp_path: Path) -> None:
    foundation = weights(random_tagger(small_backbone, tmp_path))
    tagger = build_tagger(small_backbone, NEW)
    initial = weights(tagger)
    inherit(tagger, tmp_path)
    inherited = weights(tagger)
    for name in inherited:
        part = name.split(".")[0]
        if part in SHARED_ROWS:
            expected = initial[name]
            for row, old_row in SHARED_ROWS[part]:
                expected[row] = foundation[name][old_row]
            assert inherited[name].equal(expected), name
        elif part == "tag_chain":
            for row, old_row in SHARED_ROWS["classifier"]:
                for column, old_column in SHARED_ROWS["classifier"]:
                    assert inherited[name][row, column] == foundation[name][old_row, old_column]
            assert inherited[name][:3, 1:3].eq(0).all()
        else:
            assert inherited[name].equal(foundation[name]), name


def test_a_tagger_with_fewer_heads_inherits_the_heads_that_it_has(small_backbone: str, tmp_path: Path) -> None:
    foundation = build_tagger(small_backbone, OLD)
    foundation.save_pretrained(tmp_path)
    tagger = build_tagger(small_backbone, Taxonomy(("POOL",)))
    inherit(tagger, tmp_path)
    expected, inherited = weights(foundation), weights(tagger)
    assert inherited["classifier.weight"][0].equal(expected["classifier.weight"][0])
    layer = "bert.encoder.layer.0.output.dense.weight"
    assert inherited[layer].equal(expected[layer])


def test_a_compact_checkpoint_lacks_only_the_embeddings(small_backbone: str, tmp_path: Path) -> None:
    random_tagger(small_backbone, tmp_path / "whole")
    write_compact(tmp_path / "whole", tmp_path / "compact")
    whole, compact = build_tagger(small_backbone, OLD), build_tagger(small_backbone, OLD)
    initial = weights(compact)
    inherit(whole, tmp_path / "whole")
    inherit(compact, tmp_path / "compact")
    inherited = weights(whole)
    for name, weight in weights(compact).items():
        expected = initial[name] if ".embeddings." in name else inherited[name].half().float()
        assert weight.equal(expected), name
    size = [(tmp_path / form / "model.safetensors").stat().st_size for form in ("whole", "compact")]
    assert size[1] < size[0] / 2


def test_other_folders_and_other_backbones_are_refused(small_backbone: str, tmp_path: Path) -> None:
    tagger = build_tagger(small_backbone, OLD)
    with pytest.raises(ModelError, match="is not a checkpoint of a tagger"):
        inherit(tagger, tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="is not a checkpoint of a tagger"):
        inherit(tagger, tmp_path)
    with pytest.raises(ModelError, match="has another backbone"):
        inherit(tagger, pretrained.checkpoint())


@pytest.fixture
def own_reviews(tmp_path: Path) -> str:
    reviews = [
        Review(str(n), f"The pool number {n} was lovely.", (Aspect("POOL", "pool", 4, 8, "positive"),))
        for n in range(20)
    ]
    data.write(reviews, tmp_path / "own.jsonl")
    return str(tmp_path / "own.jsonl")


def test_a_run_and_its_checkpoint_folder_are_foundations(small_backbone: str, own_reviews: str, tmp_path: Path) -> None:
    first = pipelines.train(own_reviews, Recipe(backbone=small_backbone, epochs=1))
    with registry.tracking() as client:
        assert client.get_run(first.run_id).data.params["foundation"] == "None"
        checkpoint = client.download_artifacts(first.run_id, "checkpoint", str(tmp_path))
    for foundation in (f"runs:/{first.run_id}", checkpoint):
        recipe = Recipe(backbone=small_backbone, epochs=1, foundation=foundation)
        pipelines.train(own_reviews, recipe)


@pytest.mark.parametrize(
    ("foundation", "complaint"),
    [
        ("pretrained", "the pretrained checkpoint is of minilm-l6"),
        ("./nowhere", "foundation ./nowhere is not a folder"),
        ("runs:/0123456789abcdef0123456789abcdef", "0123456789abcdef"),
    ],
)
def test_a_foundation_that_does_not_exist_is_refused(
    small_backbone: str, own_reviews: str, foundation: str, complaint: str
) -> None:
    with pytest.raises(ModelError, match=complaint):
        pipelines.train(own_reviews, Recipe(backbone=small_backbone, epochs=1, foundation=foundation))


def test_the_default_is_pretrained_for_the_embedded_backbone_alone() -> None:
    assert Recipe().foundation_name == "pretrained"
    assert Recipe(backbone="./mine").foundation_name == "none"
    assert Recipe(backbone=EMBEDDED, foundation="none").foundation_name == "none"


def test_a_foundation_needs_fewer_epochs_on_many_reviews() -> None:
    assert [Recipe().count_epochs(count) for count in (50, 1500, 4000, 20_000)] == [10, 10, 4, 3]
    assert Recipe(foundation="none").count_epochs(20_000) == 10
    assert Recipe(epochs=7).count_epochs(20_000) == 7


def test_a_warning_names_held_out_texts_that_the_pretrained_checkpoint_was_trained_on(tmp_path: Path) -> None:
    data.write(data.read_splits("corpus")["train"][:40], tmp_path / "known.jsonl")
    lines: list[str] = []
    pipelines.train(str(tmp_path / "known.jsonl"), Recipe(epochs=1, window=64), say=lines.append)
    assert sum("the pretrained checkpoint was trained on" in line for line in lines) == 2
