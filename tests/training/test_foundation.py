"""A foundation passes on what has the same name, whole or compact; one that does not fit is refused in a line."""

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


def test_a_compact_checkpoint_passes_on_the_same_but_for_its_embeddings(small_backbone: str, tmp_path: Path) -> None:
    elder = build_tagger(small_backbone, OLD)
    with torch.no_grad():
        for weight in elder.parameters():
            weight.normal_()
    elder.save_pretrained(tmp_path / "whole")
    write_compact(tmp_path / "whole", tmp_path / "compact")
    whole, compact = build_tagger(small_backbone, OLD), build_tagger(small_backbone, OLD)
    own = weights(compact)
    inherit(whole, tmp_path / "whole")
    inherit(compact, tmp_path / "compact")
    theirs = weights(whole)
    for name, weight in weights(compact).items():
        expected = own[name] if ".embeddings." in name else theirs[name].half().float()
        assert weight.equal(expected), name
    size = [(tmp_path / form / "model.safetensors").stat().st_size for form in ("whole", "compact")]
    assert size[1] < size[0] / 2


def test_what_is_no_checkpoint_or_of_another_backbone_is_refused(small_backbone: str, tmp_path: Path) -> None:
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
def test_a_foundation_that_does_not_exist_is_one_line(
    small_backbone: str, own_reviews: str, foundation: str, complaint: str
) -> None:
    with pytest.raises(ModelError, match=complaint):
        pipelines.train(own_reviews, Recipe(backbone=small_backbone, epochs=1, foundation=foundation))


def test_the_default_is_pretrained_for_the_embedded_backbone_alone() -> None:
    assert Recipe().foundation_name == "pretrained"
    assert Recipe(backbone="./mine").foundation_name == "none"
    assert Recipe(backbone=EMBEDDED, foundation="none").foundation_name == "none"


def test_held_out_texts_that_the_pretrained_checkpoint_has_learnt_are_told(tmp_path: Path) -> None:
    learnt = data.read_splits("corpus")["train"][:40]
    data.write(learnt, tmp_path / "known.jsonl")
    lines: list[str] = []
    pipelines.train(str(tmp_path / "known.jsonl"), Recipe(epochs=1, window=64), say=lines.append)
    assert sum("the pretrained checkpoint was trained on" in line for line in lines) == 2
