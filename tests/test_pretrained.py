"""Pretrained model: checksums, F1 as in its card, use without a registry."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reviews_parsing import AspectParser, data, pipelines, pretrained, registry
from reviews_parsing.errors import DataError, ModelError
from reviews_parsing.model_folder import CARD_FILE, MODEL_FILE, PROFILE_FILE, TRAINING_FILE
from reviews_parsing.training.evaluate import evaluate

TEXT = "The ramen was great but the waiter was rude."
FOLDER_BYTES = {"model": 25e6, "fast": 12e6, "checkpoint": 22e6}
# Float operations are rounded differently on other processors.
TOLERANCE = 0.005


def test_every_file_has_its_checksum_and_its_size() -> None:
    lines = (pretrained.FOLDER / pretrained.CHECKSUMS).read_text(encoding="utf-8").splitlines()
    digests = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    files = {
        f"{part}/{file.name}": hashlib.sha256(file.read_bytes()).hexdigest()
        for part in FOLDER_BYTES
        for file in (pretrained.FOLDER / part).iterdir()
    }
    assert digests == files
    for part, limit in FOLDER_BYTES.items():
        assert sum(file.stat().st_size for file in (pretrained.FOLDER / part).iterdir()) <= limit, part


def test_a_damaged_or_missing_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    copy = tmp_path / "pretrained"
    shutil.copytree(pretrained.FOLDER, copy)
    monkeypatch.setattr(pretrained, "FOLDER", copy)
    model = copy / "model" / MODEL_FILE
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(ModelError, match=f"{MODEL_FILE} is damaged; reinstall reviews-parsing"):
        pretrained.model_folder()
    model.unlink()
    with pytest.raises(ModelError, match=f"{MODEL_FILE} is damaged"):
        pretrained.model_folder()
    shutil.rmtree(copy / "model")
    assert not pretrained.is_installed()
    with pytest.raises(ModelError, match="the pretrained model is not installed here"):
        AspectParser.load("pretrained")


@pytest.mark.parametrize("name", pretrained.MODELS)
def test_it_is_as_good_as_its_card_says(name: str) -> None:
    folder = pretrained.model_folder(name)
    result = evaluate(AspectParser(folder), data.read_splits("corpus")["test"])
    recorded = json.loads((folder / TRAINING_FILE).read_text(encoding="utf-8"))["test"]
    metrics = result.metrics()
    for figure in ("span_f1", "aggregated_f1", "with_polarity_f1", "tasd_f1", "quad_f1"):
        assert metrics[figure] == pytest.approx(recorded[f"test_{figure}"], abs=TOLERANCE), figure
    card = (folder / CARD_FILE).read_text(encoding="utf-8")
    for row in ("span", "aggregated", "with_polarity", "tasd", "quad"):
        f1 = float(re.findall(rf"^\| {row} \| [\d.]+ \| [\d.]+ \| ([\d.]+) \|", card, re.MULTILINE)[0])
        assert metrics[f"{row}_f1"] == pytest.approx(f1, abs=TOLERANCE), row


@pytest.mark.parametrize("name", pretrained.MODELS)
def test_the_card_names_the_texts_and_their_licence(name: str) -> None:
    card = (pretrained.model_folder(name) / CARD_FILE).read_text(encoding="utf-8")
    for part in ("## Data", "## Unlabelled text", "## Training", "Apache-2.0", "ROOM", "CLEANLINESS", "FACILITIES"):
        assert part in card
    assert (pretrained.model_folder(name) / PROFILE_FILE).is_file()


@pytest.mark.parametrize(
    "program",
    [
        f"from reviews_parsing.cli import main; sys.argv = ['reviews-parsing', 'parse', '--json', {TEXT!r}]; main()",
        f"from reviews_parsing import AspectParser; AspectParser.load(); p = AspectParser.load().parse([{TEXT!r}])[0]; "
        "import json; print(json.dumps(p.to_json()))",
    ],
)
def test_it_answers_without_a_registry_and_logs_that_once(program: str, tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", f"import sys; {program}"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert {aspect["word"] for aspect in json.loads(process.stdout)} == {"ramen", "waiter"}
    assert process.stderr.count("the pretrained model of this package answers") == 1
    home = Path(os.environ["REVIEWS_PARSING_HOME"])
    assert not list(home.rglob("*.db")), "looking for a champion must not create a store"


def test_a_champion_takes_precedence(with_champion: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "reviews_parsing.cli", "parse", TEXT], capture_output=True, text=True, check=True
    )
    assert "version 1 of reviews-parsing-ner-aspects, the champion, answers" in process.stderr
    assert AspectParser.load().version == "1"
    assert AspectParser.load("pretrained").version == "pretrained"


def test_a_version_without_an_alias_is_no_champion(with_champion: Path) -> None:
    with registry.tracking() as client:
        client.delete_registered_model_alias("reviews-parsing-ner-aspects", "champion")
    assert AspectParser.load().version == "pretrained"
    with pytest.raises(ModelError, match="has no champion yet"):
        AspectParser.load("models:/reviews-parsing-ner-aspects@champion")


def test_it_is_registered_with_parameters_data_and_metrics(tmp_path: Path) -> None:
    published = pipelines.publish()
    assert published.version == "1"
    with registry.tracking() as client:
        run = client.get_run(published.run_id).data
        test = client.download_artifacts(published.run_id, "data/test.jsonl", str(tmp_path))
    assert run.metrics["test_aggregated_f1"] == pytest.approx(published.evaluation.f1)
    assert {"recipe_learning_rate", "recipe_seed", "data_digest", "data_source", "categories"} <= set(run.params)
    assert data.read(test) == data.read_splits("corpus")["test"]
    assert pipelines.promote(version="1").promoted
    assert AspectParser.load().version == "1"


def test_the_fast_model_is_named_by_commands_and_registered() -> None:
    assert AspectParser.load("pretrained-fast").version == "pretrained-fast"
    aspects = AspectParser.load("pretrained-fast").parse([TEXT])[0].aspects
    assert {(aspect.word, aspect.polarity) for aspect in aspects} == {("ramen", "positive"), ("waiter", "negative")}
    published = pipelines.publish("pretrained-fast")
    assert published.version == "1"
    with registry.tracking() as client:
        parameters = client.get_run(published.run_id).data.params
    assert {"recipe_layers", "recipe_feed_forward"} <= set(parameters)


def test_publishing_with_an_unknown_split_is_an_error() -> None:
    with pytest.raises(DataError, match="has no split 'dev'"):
        pipelines.publish(split="dev")
