"""Compression: a smaller student starts from its teacher's layers and learns to imitate it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import typer
from onnx import numpy_helper
from safetensors.torch import load_file

from reviews_parsing import data, pipelines, registry
from reviews_parsing.cli import training as cli
from reviews_parsing.engines import ENGINES, load
from reviews_parsing.errors import ModelError
from reviews_parsing.model_folder import MODEL_FILE
from reviews_parsing.parser import AspectParser
from reviews_parsing.registry.runs import fetch_file
from reviews_parsing.schema import Aspect, Review, Taxonomy
from reviews_parsing.training.backbone import WEIGHTS, build_tagger, count_layers, inherit, load_tokenizer
from reviews_parsing.training.compression import Augmentation, Words, build_student, compress, imitate, narrow
from reviews_parsing.training.export import write_fp32
from reviews_parsing.training.fit import Recipe
from reviews_parsing.training.quantize import SMALL_TABLE_LEVELS, quantize, round_rows

TAXONOMY = Taxonomy(("GYM", "POOL"), ("negative", "positive"), ("POOL",), opinions=True)
TEXTS = ["The pool was lovely. The gym was dull.", "Great!\nThe pool was cold.", "", "Nothing much happened."]


REVIEWS = [Review(str(n), f"The pool {n} was lovely.", (Aspect("POOL", "pool", 4, 8, "positive"),)) for n in range(8)]


@pytest.fixture(scope="module")
def deep_backbone(small_backbone: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write the small backbone with five layers that are wide enough for quantization."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("deep")
    sizes = {"num_hidden_layers": 5, "hidden_size": 64, "intermediate_size": 96}
    config = BertConfig.from_pretrained(small_backbone, **sizes)
    torch.manual_seed(3)
    BertModel(config).save_pretrained(folder)
    load_tokenizer(small_backbone).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def teacher(deep_backbone: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a teacher with distinct answers."""
    folder = tmp_path_factory.mktemp("teacher")
    torch.manual_seed(4)
    tagger = build_tagger(deep_backbone, TAXONOMY)
    with torch.no_grad():
        tagger.classifier.weight.normal_(0, 0.3)
        tagger.tag_chain.transitions.normal_()
    tagger.save_pretrained(folder)
    load_tokenizer(deep_backbone).save_pretrained(folder)
    return folder


def recipe(backbone: str, **options: object) -> Recipe:
    return Recipe(backbone=backbone, epochs=1, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("count", "chosen"), [(1, [4]), (2, [1, 4]), (3, [1, 2, 4]), (5, [0, 1, 2, 3, 4])])
def test_a_student_starts_from_layers_at_equal_distances(
    deep_backbone: str, teacher: Path, count: int, chosen: list[int]
) -> None:
    guide, student = build_tagger(str(teacher), TAXONOMY), build_tagger(deep_backbone, TAXONOMY, layers=count)
    inherit(student, teacher)
    assert len(student.bert.encoder.layer) == count
    for layer, number in zip(student.bert.encoder.layer, chosen, strict=True):
        for name, weight in layer.named_parameters():
            assert weight.equal(guide.bert.encoder.layer[number].get_parameter(name)), name
    assert student.classifier.weight.equal(guide.classifier.weight)


def test_a_narrowed_layer_keeps_its_units_with_the_largest_weights(deep_backbone: str) -> None:
    tagger = build_tagger(deep_backbone, TAXONOMY)
    layer = tagger.bert.encoder.layer[2]
    with torch.no_grad():  # what the first 32 units contribute is now next to nothing
        layer.output.dense.weight[:, :32] *= 1e-6
    states = torch.randn(2, 5, 64)
    before = layer(states)
    narrow(tagger, 64)
    after = layer(states)
    assert layer.intermediate.dense.weight.shape == (64, 64)
    torch.testing.assert_close(*(s[0] if isinstance(s, tuple) else s for s in (after, before)), atol=1e-4, rtol=1e-4)
    assert tagger.config.intermediate_size == 64
    with pytest.raises(ModelError, match="has 64 units, not 65; choose fewer"):
        narrow(tagger, 65)
    tagger.bert.encoder.layer = torch.nn.ModuleList()
    with pytest.raises(ModelError, match="only backbones with the layers of BERT can be narrowed"):
        narrow(tagger, 32)


def test_a_student_has_no_more_layers_than_its_backbone(small_backbone: str) -> None:
    with pytest.raises(ModelError, match="has 1 layers, not 3; choose fewer"):
        build_tagger(small_backbone, TAXONOMY, layers=3)


def test_a_student_approaches_its_teacher(deep_backbone: str, teacher: Path, tmp_path: Path) -> None:
    def distance(tagger: Any) -> float:
        with torch.no_grad():
            return float((tagger(**inputs)["tag_logits"] - target).abs().mean())

    options = recipe(deep_backbone, layers=2, feed_forward=64, student_texts=240, student_rate=2e-3)
    result = imitate(TEXTS, REVIEWS, TAXONOMY, options, tmp_path, teacher)
    assert len(result.history) == 80
    inputs = dict(load_tokenizer(deep_backbone)(TEXTS[0], return_tensors="pt"))
    inputs.pop("token_type_ids", None)
    guide = build_tagger(str(teacher), TAXONOMY).eval()
    target = guide(**inputs)["tag_logits"].detach()
    first = build_student(teacher, TAXONOMY, options).eval()
    last = build_tagger(str(tmp_path / "checkpoint"), TAXONOMY).eval()
    assert distance(last) < 0.75 * distance(first)
    table = last.get_input_embeddings().weight
    assert table.equal(first.get_input_embeddings().weight)
    assert len(table[5].unique()) <= 2 * SMALL_TABLE_LEVELS + 1


def test_a_teacher_with_other_labels_is_refused(deep_backbone: str, teacher: Path, tmp_path: Path) -> None:
    other = Taxonomy(("BAR", "POOL"), ("negative", "positive"), ("POOL",), opinions=True)
    with pytest.raises(ModelError, match="the teacher has other categories or polarities than the data"):
        imitate(TEXTS, REVIEWS, other, recipe(deep_backbone, layers=2), tmp_path, teacher)
    with pytest.raises(ModelError, match="is not a checkpoint of a tagger"):
        imitate(TEXTS, REVIEWS, TAXONOMY, recipe(deep_backbone, layers=2), tmp_path, Path(deep_backbone))


def test_altered_windows_are_made_of_known_words(deep_backbone: str) -> None:
    tokenizer = load_tokenizer(deep_backbone)
    rng = np.random.default_rng(0)
    names = ["pool", "gym", "bar", "room", "staff", ".", "lovely", "dull"]
    ids = tokenizer.convert_tokens_to_ids(names)
    draw = random.Random(0)
    windows: list[Words] = [[(draw.choice(ids),) for _ in range(draw.randint(1, 30))] for _ in range(39)]
    windows.append([tuple(ids)] * 4)
    augmentation = Augmentation(windows, rng.normal(size=(len(tokenizer), 8)), tokenizer, seed=1)
    altered = [augmentation(window) for _ in range(5) for window in windows]
    changed = sum(before != after for before, after in zip(windows * 5, altered, strict=True))
    assert 0.3 * len(altered) < changed < 0.8 * len(altered)
    longest = max(sum(map(len, window)) for window in windows)
    assert all(1 <= sum(map(len, window)) <= longest for window in altered)
    again = Augmentation(windows, rng.normal(size=(len(tokenizer), 8)), tokenizer, seed=2)
    assert [again(window) for window in windows] != altered[: len(windows)]


@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "auto"])
def test_a_table_in_four_bits_returns_the_values_that_the_student_learnt_with(
    deep_backbone: str, teacher: Path, tmp_path: Path, engine: str
) -> None:
    student = build_student(teacher, TAXONOMY, recipe(deep_backbone, layers=2))
    student.save_pretrained(tmp_path / "checkpoint")
    load_tokenizer(deep_backbone).save_pretrained(tmp_path / "checkpoint")
    write_fp32(tmp_path / "checkpoint", TAXONOMY, recipe(deep_backbone), tmp_path / "parser")
    source, target = tmp_path / "parser" / MODEL_FILE, tmp_path / "int8.onnx"
    texts = [load_tokenizer(deep_backbone)(text)["input_ids"] for text in TEXTS]
    quantize(source, target, texts)
    model = onnx.load(target)
    onnx.checker.check_model(model)
    vocabulary = len(load_tokenizer(deep_backbone))
    tables = [numpy_helper.to_array(t) for t in model.graph.initializer if t.dims[:1] == [vocabulary]]
    assert sorted((table.dtype, table.shape[1]) for table in tables) == [(np.uint8, 32), (np.float32, 1)]
    ids = np.array([texts[0]])
    exact, rounded = (load(model, engine).run(ids, np.ones_like(ids)) for model in (source, target))
    for one, other in zip(exact, rounded, strict=True):
        assert np.abs(one - other).mean() < 0.05 * max(np.abs(one).mean(), 0.1)


def test_rounding_to_four_bits_is_idempotent() -> None:
    table = np.random.default_rng(0).normal(size=(50, 64)).astype(np.float32)
    levels, scale = round_rows(table, SMALL_TABLE_LEVELS)
    again, same_scale = round_rows((levels * scale).astype(np.float32), SMALL_TABLE_LEVELS)
    assert np.array_equal(levels, again)
    assert same_scale == pytest.approx(scale)
    assert np.abs(levels * scale - table).max() <= scale.max() / 2 + 1e-6


def own_reviews(path: Path) -> str:
    reviews = [Review(str(n), f"The pool {n} was lovely.", (Aspect("POOL", "pool", 4, 8),)) for n in range(30)]
    data.write(reviews, path)
    return str(path)


def test_a_smaller_model_is_registered_and_parses(deep_backbone: str, tmp_path: Path) -> None:
    source = own_reviews(tmp_path / "own.jsonl")
    lines: list[str] = []
    shares: list[float] = []
    options = recipe(deep_backbone, layers=2, feed_forward=64, student_texts=50)
    run = pipelines.train(source, options, say=lines.append, progress=lambda share, _: shares.append(share))
    checkpoint = fetch_file(run.run_id, "checkpoint", tmp_path)
    assert count_layers(load_file(checkpoint / WEIGHTS)) == 2
    assert json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))["intermediate_size"] == 64
    assert any(line.startswith("teacher: ") for line in lines)
    assert any(line.startswith("student: learning 50 texts") for line in lines)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    with registry.tracking() as client:
        assert "2 layers, 64 feed-forward units" in client.get_run(run.run_id).info.run_name
    folder, _ = registry.locate(f"runs:/{run.run_id}")
    assert AspectParser(folder).parse(["The pool was lovely."])[0].text == "The pool was lovely."
    # The model of that run teaches a smaller one, without being trained again.
    lines.clear()
    with_teacher = recipe(deep_backbone, layers=1, student_texts=50, teacher=f"runs:/{run.run_id}")
    with pytest.raises(ModelError, match="has another backbone"):
        pipelines.train(source, with_teacher, say=lines.append)
    assert not any(line.startswith("teacher: ") for line in lines)


def test_an_interrupted_compression_continues(deep_backbone: str, teacher: Path, tmp_path: Path) -> None:
    options = recipe(deep_backbone, layers=2, student_texts=40)
    shares: list[float] = []

    def interrupt(share: float, _: dict[str, float]) -> None:
        if share > 0.5:
            raise KeyboardInterrupt
        shares.append(share)

    arguments = (REVIEWS, REVIEWS, TEXTS, TAXONOMY, options, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        compress(*arguments, teacher=teacher, progress=interrupt)
    continued: list[float] = []
    result = compress(*arguments, teacher=teacher, resume=True, progress=lambda share, _: continued.append(share))
    assert continued[0] > max(shares) / 2
    assert [entry["epoch"] for entry in result.history] == list(range(1, len(result.history) + 1))
    assert count_layers(load_file(result.checkpoint / WEIGHTS)) == 2


@pytest.mark.parametrize("sizes", [{"layers": 9}, {"feed_forward": 97}])
def test_sizes_are_refused_before_a_teacher_is_trained(
    deep_backbone: str, tmp_path: Path, sizes: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("reviews_parsing.training.compression.fit")
    with pytest.raises(ModelError, match="choose fewer"):
        compress(REVIEWS, REVIEWS, TEXTS, TAXONOMY, recipe(deep_backbone, **sizes), tmp_path)


@pytest.mark.parametrize("name", ["pretrained", "runs:/0123"])
def test_a_finished_teacher_needs_a_student(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match="which teaches a smaller one: give --student layers=N"):
        pipelines.train(own_reviews(tmp_path / "own.jsonl"), Recipe(teacher=name))


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("layers=3", {"layers": 3}),
        ("feed-forward=768", {"feed_forward": 768}),
        ("layers=3,feed-forward=768", {"layers": 3, "feed_forward": 768}),
        ("layers=3, texts=2000", {"layers": 3, "student_texts": 2000}),
        (None, {}),
    ],
)
def test_sizes_of_a_student(text: str | None, sizes: dict[str, int]) -> None:
    assert cli._parse_student(text) == sizes


@pytest.mark.parametrize(
    "text", ["", "3", "layers", "layers=0", "layers=x", "layers=3,layers=2", "width=3", "texts=9", "layers=³"]
)
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="layers=N, feed-forward=N or both"):
        cli._parse_student(text)
