"""Distillation: soft labels are averaged and filtered, and a student learns them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from reviews_parsing import data, pipelines, registry
from reviews_parsing.parser import AspectParser
from reviews_parsing.schema import Aspect, Opinion, Review, Taxonomy
from reviews_parsing.tagging import LinearChainCRF, WordTokenizer
from reviews_parsing.training import distillation
from reviews_parsing.training.backbone import WEIGHTS, average_weights, build_tagger, load_tokenizer
from reviews_parsing.training.crf import crf_layer
from reviews_parsing.training.distillation import distill, predict_soft_labels, select_new_texts
from reviews_parsing.training.export import write_fp32
from reviews_parsing.training.features import IGNORE, collate, featurize, soft_features
from reviews_parsing.training.fit import Recipe

TEXTS = ["The pool was lovely, the gym was dull.", "Great!\nThe pool was cold.", "", "Nothing much happened."]
TAXONOMY = Taxonomy(("GYM", "POOL"), ("negative", "positive"), ("POOL",), opinions=True)


def build_teacher(backbone: str, folder: Path, seed: int) -> AspectParser:
    torch.manual_seed(seed)
    tagger = build_tagger(backbone, TAXONOMY)
    with torch.no_grad():
        tagger.tag_chain.transitions.normal_()
        tagger.classifier.bias.normal_(0, 3)
    tagger.save_pretrained(folder / "checkpoint")
    load_tokenizer(backbone).save_pretrained(folder / "checkpoint")
    write_fp32(folder / "checkpoint", TAXONOMY, Recipe(backbone=backbone), folder / "parser")
    return AspectParser(folder / "parser", threads=1)


@pytest.fixture(scope="module")
def teachers(small_backbone: str, tmp_path_factory: pytest.TempPathFactory) -> list[AspectParser]:
    return [build_teacher(small_backbone, tmp_path_factory.mktemp("teacher"), seed) for seed in (0, 1)]


def test_soft_labels_are_the_mean_of_the_teachers(teachers: list[AspectParser]) -> None:
    soft = predict_soft_labels(teachers, TEXTS, min_probability=0.0)
    singles = [predict_soft_labels([teacher], TEXTS, min_probability=0.0) for teacher in teachers]
    for review in soft:
        parts = [next(s for s in single if s.text == review.text) for single in singles]
        for name in ("tags", "polarities", "opinions", "implicit"):
            mean = np.mean([getattr(part, name).astype(np.float32) for part in parts], axis=0)
            assert getattr(review, name) == pytest.approx(mean, abs=2e-3), name
        agree = parts[0].tags.argmax(axis=1) == parts[1].tags.argmax(axis=1)
        assert not (review.certain & ~agree).any()
        assert review.tags.sum(axis=1) == pytest.approx(1, abs=5e-3)


def test_texts_without_enough_certain_words_are_omitted(teachers: list[AspectParser]) -> None:
    soft = predict_soft_labels(teachers[:1], TEXTS, min_probability=0.0)
    assert [review.text for review in soft] == [t for t in TEXTS if t]
    assert predict_soft_labels(teachers, TEXTS, min_probability=1.01) == []


def test_links_that_teachers_disagree_on_are_omitted(teachers: list[AspectParser]) -> None:
    for review in predict_soft_labels(teachers, TEXTS[:1], min_probability=0.0):
        parts = [
            single.links
            for teacher in teachers
            for single in predict_soft_labels([teacher], [review.text], min_probability=0.0)
        ]
        for word, opinion in review.links.items():
            assert {part[word] for part in parts if word in part} == {opinion}


def test_soft_features_are_on_the_first_tokens_of_words(teachers: list[AspectParser], small_backbone: str) -> None:
    tokenizer = WordTokenizer(load_tokenizer(small_backbone).backend_tokenizer)
    soft = predict_soft_labels(teachers[:1], TEXTS, min_probability=0.0)
    features = soft_features(soft, tokenizer, TAXONOMY, 128, 12)
    hard = featurize([Review(str(n), s.text) for n, s in enumerate(soft)], tokenizer, TAXONOMY, 128, 12)
    assert [f["input_ids"] for f in features] == [f["input_ids"] for f in hard]
    batch = collate([*features, *hard], 0)
    rows = len(features)
    assert batch["soft_words"][:rows].eq(2).equal(batch["labels"][rows:].ge(0))
    assert not batch["soft_words"][rows:].any()
    assert batch["labels"][:rows].eq(IGNORE).all()
    assert batch["line_starts"][:rows].clamp(min=0).equal(batch["line_starts"][rows:].clamp(min=0))
    inside = batch["soft_words"] == 2
    assert batch["soft_tags"].sum(dim=-1)[inside].numpy() == pytest.approx(1, abs=5e-3)
    assert not batch["soft_tags"][~inside].any()


def test_the_gradient_of_the_soft_loss_is_the_error_of_the_marginals_at_certain_words() -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    layer = crf_layer(7)
    layer.transitions.data.normal_()
    words = torch.from_numpy(rng.random((4, 9)) > 0.3)
    words[3] = False
    starts = torch.from_numpy((rng.random((4, 9)) > 0.7).astype(np.int64))
    certain = torch.from_numpy(rng.random((4, 9)) > 0.4)
    logits = (2 * torch.randn(4, 9, 7)).requires_grad_()
    targets = torch.randn(4, 9, 7).softmax(dim=-1)
    layer.soft(logits, targets, certain, words, starts).backward()
    assert layer.transitions.grad is None
    crf = LinearChainCRF(layer.transitions.detach().numpy())
    certain_count = float((certain & words).sum())
    expected = np.zeros((4, 9, 7))
    for row in range(3):
        columns = words[row].nonzero().ravel().tolist()
        lines = [0, *(i for i, column in enumerate(columns) if i and starts[row, column]), len(columns)]
        marginals = crf.marginals(logits[row, columns].detach().numpy(), np.array(lines)).probabilities
        errors = (marginals - targets[row, columns].numpy()) * certain[row, columns].numpy()[:, None]
        expected[row, columns] = errors / certain_count
    assert logits.grad is not None
    assert logits.grad.numpy() == pytest.approx(expected, abs=1e-6)


def test_a_student_approaches_its_teacher(teachers: list[AspectParser], small_backbone: str, tmp_path: Path) -> None:
    tokenizer = WordTokenizer(load_tokenizer(small_backbone).backend_tokenizer)
    soft = predict_soft_labels(teachers[:1], TEXTS[:2], min_probability=0.0)
    batch = collate(soft_features(soft, tokenizer, TAXONOMY, 128, 12), 0)
    torch.manual_seed(5)
    student = build_tagger(small_backbone, TAXONOMY)
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-2)
    losses = []
    for _ in range(120):
        loss = student(**batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    student.save_pretrained(tmp_path / "checkpoint")
    load_tokenizer(small_backbone).save_pretrained(tmp_path / "checkpoint")
    write_fp32(tmp_path / "checkpoint", TAXONOMY, Recipe(backbone=small_backbone), tmp_path / "parser")
    student_labels = predict_soft_labels([AspectParser(tmp_path / "parser")], TEXTS[:2], min_probability=0.0)
    assert losses[-1] < losses[0]
    for label, student_label in zip(soft, student_labels, strict=True):
        assert student_label.tags == pytest.approx(label.tags, abs=0.2)


def test_new_texts_are_distinct_and_not_excluded() -> None:
    assert select_new_texts(["a", "b", "a", " ", "c"], ["b"]) == ["a", "c"]


def test_weights_are_averaged(small_backbone: str, tmp_path: Path) -> None:
    for name, seed in (("first", 0), ("second", 1)):
        build_teacher(small_backbone, tmp_path / name, seed)
    first, second = (load_file(tmp_path / name / "checkpoint" / WEIGHTS) for name in ("first", "second"))
    average_weights(tmp_path / "first" / "checkpoint", tmp_path / "second" / "checkpoint")
    means = load_file(tmp_path / "second" / "checkpoint" / WEIGHTS)
    assert means.keys() == first.keys()
    assert any(not torch.equal(first[name], second[name]) for name in first)
    for name, weight in means.items():
        torch.testing.assert_close(weight, (first[name] + second[name]) / 2)


@pytest.mark.parametrize("polarity", [None, "positive"], ids=["categories", "categories and polarities"])
def test_labels_may_lack_polarities_and_opinions(
    small_backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, polarity: str | None
) -> None:
    monkeypatch.setattr(distillation, "MIN_CERTAIN_SHARE", 0.0)
    reviews = [Review("", f"The pool {n} was lovely.", (Aspect("POOL", "pool", 4, 8, polarity),)) for n in "ab"]
    recipe = Recipe(backbone=small_backbone, epochs=3, learning_rate=1e-2, polish_epochs=1, teachers=1)
    texts = [f"We liked the pool on day {n}." for n in range(3)]
    result = distill(reviews, reviews, texts, Taxonomy.of(reviews), recipe, tmp_path)
    assert (result.checkpoint / WEIGHTS).is_file()


def test_training_with_unlabelled_reviews_registers_a_version(small_backbone: str, tmp_path: Path) -> None:
    reviews = []
    for n in range(30):
        text = f"The pool number {n} was lovely."
        judged = Opinion("lovely", len(text) - 7, len(text) - 1)
        reviews.append(Review(str(n), text, (Aspect("POOL", "pool", 4, 8, "positive", judged),)))
    data.write(reviews, tmp_path / "own.jsonl")
    lines: list[str] = []
    shares: list[float] = []
    recipe = Recipe(backbone=small_backbone, epochs=1, polish_epochs=1, teachers=2)
    texts = [reviews[0].text, *(f"We liked the pool on day {n}." for n in range(20))]
    run = pipelines.train(
        str(tmp_path / "own.jsonl"),
        recipe,
        texts=texts,
        say=lines.append,
        progress=lambda share, _: shares.append(share),
    )
    assert "20 of 21 texts without labels are new" in lines
    assert sum(line.startswith("teacher ") for line in lines) == 2
    assert any(line.startswith("learning from ") for line in lines)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert run.version == "1"
    with registry.tracking() as client:
        assert client.get_run(run.run_id).data.params["unlabelled_texts"] == "20"
