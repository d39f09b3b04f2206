"""Train -> promote -> a worse challenger is refused -> force -> rollback, on the local store and on a real server."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from ports import free_port
from reviews_parsing import AspectParser, ModelError, PromotionRefused, TrackingError, data, pipelines, registry
from reviews_parsing.registry.runs import run as open_run
from reviews_parsing.settings import Settings
from reviews_parsing.training.export import write_fp32
from reviews_parsing.training.fit import Recipe

from .conftest import OBJECT_STORE
from .servers import answers, until

TEXT = "The noodles were fantastic, but our waiter was rude."


def tracking(monkeypatch: pytest.MonkeyPatch, uri: str, home: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("REVIEWS_PARSING_HOME", str(home))


def test_a_worse_challenger_is_refused_unless_forced_and_rollback_undoes_it(
    with_champion: Path, few_reviews: str, tiny: Recipe
) -> None:
    run = pipelines.train(few_reviews, tiny)
    verdict = pipelines.promote(run_id=run.run_id)
    assert not verdict.promoted
    assert "gate_sets" in registry.versions()[0].tags
    assert verdict.difference is not None
    assert verdict.difference.high < 0
    with pytest.raises(PromotionRefused, match=r"version 2 is worse than version 1 .* 95 % interval"):
        pipelines.require(verdict)
    assert registry.champion() == "1"

    forced = pipelines.promote(version="2", force=True, reason="a test of force")
    assert pipelines.require(forced).promoted
    assert registry.champion() == "2"
    newest = registry.versions()[0]
    assert newest.aliases == ("champion",)
    assert "a test of force" in newest.tags["gate"]
    assert newest.tags["gate_interval_95"].startswith("-")

    assert registry.rollback() == ("2", "1")
    assert registry.champion() == "1"
    with pytest.raises(ModelError, match="no champion before"):
        registry.rollback()


def test_the_run_holds_everything(with_trained: Path, tmp_path: Path) -> None:
    with registry.tracking() as client:
        run = client.get_run(registry.versions()[0].run_id)
        experiment = client.get_experiment(run.info.experiment_id)
        version = client.get_model_version(Settings().model_name, registry.versions()[0].version)
        reliability = json.loads(
            Path(client.download_artifacts(run.info.run_id, "reliability.json", str(tmp_path))).read_text()
        )
        files = {f.path for f in client.list_artifacts(run.info.run_id)}
        plots = {f.path for f in client.list_artifacts(run.info.run_id, "plots")}
        history = client.get_metric_history(run.info.run_id, "eval_FOOD_f1")
        table = json.loads(
            Path(client.download_artifacts(run.info.run_id, "worst_mistakes.json", str(tmp_path))).read_text()
        )
    for split in ("eval", "test"):
        for name in ("FOOD", "STAFF", "aggregated", "span", "with_polarity"):
            assert {f"{split}_{name}_{figure}" for figure in ("precision", "recall", "f1", "support")} <= set(
                run.data.metrics
            )
    assert {"loss", "eval_loss", "test_span_ece", "train_seconds", "train_reviews_per_second"} <= set(run.data.metrics)
    assert {"export_fp32_f1", "export_int8_f1", "export_int8_reviews_per_second"} <= set(run.data.metrics)
    assert len(history) > 1
    assert {"learning_rate", "data_digest", "data_train_reviews", "data_test_reviews", "precision", "seed"} <= set(
        run.data.params
    )
    assert {"version.torch", "version.onnxruntime", "version.reviews-parsing"} <= set(run.data.tags)
    assert {"checkpoint", "data", "plots", "worst_mistakes.json"} <= files
    assert {f"plots/{n}.png" for n in ("learning_curves", "category_f1", "confusion", "reliability")} <= plots
    assert len(table["data"]) == 50
    # What MLflow's pages show first: runs, with a name, a description, their data and metrics in groups.
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert re.fullmatch(r"few\d+, backbone\d+, seed 13", run.info.run_name)
    assert run.data.tags["mlflow.note.content"].startswith("# reviews-parsing-ner-aspects")
    assert version.description == run.data.tags["mlflow.note.content"]
    assert run.data.metrics["test/FOOD/f1"] == run.data.metrics["test_FOOD_f1"]
    assert {"test/span/ece_chance", "validation/aggregated/f1", "training/loss", "validation/loss"} <= set(
        run.data.metrics
    )
    contexts = [
        (data_input.tags[0].value, json.loads(data_input.dataset.profile)) for data_input in run.inputs.dataset_inputs
    ]
    assert [(context, profile["num_rows"]) for context, profile in sorted(contexts)] == [
        ("test", 100),
        ("training", 150),
        ("validation", 60),
    ]
    assert reliability["columns"] == ["answer", "probability", "correct", "answers"]
    assert sum(row[3] for row in reliability["data"] if row[0] == "span") > 50


def test_the_registered_version_is_complete(champion_folder: Path) -> None:
    files = {path.name for path in champion_folder.iterdir()}
    assert files == {"model.onnx", "tokenizer.json", "parser.json", "README.md", "profile.parquet", "training.json"}
    card = (champion_folder / "README.md").read_text()
    for section in ("## Intended use", "## Data", "## Results on the test split", "## Limits"):
        assert section in card


@pytest.mark.filterwarnings("ignore")
def test_pyfunc_answers_as_the_parser_does(with_champion: Path) -> None:
    with registry.tracking():
        model = mlflow.pyfunc.load_model(Settings().champion_uri)
    (expected,) = AspectParser.load(Settings().champion_uri).parse([TEXT])
    assert model.predict([TEXT, "Nice view."])[0] == expected.to_json()
    assert model.metadata.signature is not None
    assert model.metadata.saved_input_example_info is not None
    assert model.predict([TEXT], params={"min_score": 1.0}) == [[]]
    assert model.predict(pd.DataFrame({"text": [TEXT]})) == [expected.to_json()]
    assert model.predict(pd.DataFrame({"text": [TEXT], "stars": [5]})) == [expected.to_json()]
    for table in ({"id": ["1"], "text": [TEXT]}, {"review": [TEXT]}):
        with pytest.raises(ValueError, match=f"the column '{next(iter(table))}' of the table is not 'text'"):
            model.predict(pd.DataFrame(table))


def test_the_checkpoint_is_a_token_classification_pipeline(with_trained: Path, tmp_path: Path) -> None:
    from transformers import pipeline
    from transformers.utils import logging

    logging.set_verbosity_error()
    with registry.tracking() as client:
        folder = client.download_artifacts(registry.versions()[0].run_id, "checkpoint", str(tmp_path))
    tagger = pipeline("token-classification", folder)
    # The registered one may be int8, which moves what is close to something else.
    taxonomy = AspectParser.load(Settings().champion_uri).taxonomy
    # One window for each text, as the pipeline reads it.
    write_fp32(Path(folder), taxonomy, Recipe(window=512), tmp_path / "fp32")
    parser = AspectParser(tmp_path / "fp32")
    texts = [review.text for review in data.read_splits("corpus")["validation"] if review.text.isascii()]
    prepared = parser.prepare(texts)
    words = [(number, start) for number, its in enumerate(prepared.tokenized) for start, _ in its.bounds]
    # It has an answer for each token, the parser for the first of each word.
    tokens = {(n, its["start"]): its["entity"] for n, answer in enumerate(tagger(texts)) for its in answer}
    theirs = [tokens.get(word, "O") for word in words]
    assert sum(name != "O" for name in theirs) > 50
    logits = parser.encode(prepared).tags
    of_theirs = logits[range(len(words)), [tagger.model.config.label2id[name] for name in theirs]]
    # The strongest, or as good as.
    assert of_theirs == pytest.approx(logits.max(axis=1), abs=1e-3)


def test_mlflow_models_serve_answers_as_the_parser_does(with_champion: Path, tmp_path: Path) -> None:
    port = free_port()
    with registry.tracking():
        uri = registry.tracking_uri()
    # MLflow starts uvicorn by its name.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    options = ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "models", "serve", "-m", Settings().champion_uri, *options],
            env={**os.environ, "MLFLOW_TRACKING_URI": uri, "PATH": path},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/ping"), "the model server")
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            json.dumps({"inputs": [TEXT, "Nice view."]}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            predictions = json.load(answer)["predictions"]
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)
    assert predictions == [p.to_json() for p in AspectParser.load(Settings().champion_uri).parse([TEXT, "Nice view."])]


def test_the_reference_script_makes_a_run_champion(with_champion: Path) -> None:
    script = Path(__file__).parents[2] / "scripts" / "alias_new_mlflow_model_as_champion.py"
    run_id = registry.versions()[0].run_id
    options = [f"--run_id={run_id}", "--model_name=reviews-parsing-ner-aspects"]
    done = subprocess.run([sys.executable, str(script), *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "version 1 is champion" in done.stdout
    missing = subprocess.run(
        [sys.executable, str(script), *options, "--env=nowhere"], capture_output=True, text=True, check=False
    )
    assert missing.returncode == 1
    assert ".env.nowhere does not exist" in missing.stderr


def test_the_same_seed_gives_the_same_metrics(few_reviews: str, tiny: Recipe) -> None:
    first, second = (pipelines.train(few_reviews, tiny).result.test.metrics() for _ in range(2))
    for figures in (first, second):
        for clock in ("seconds", "reviews_per_second"):
            del figures[clock]
    assert first == second


def test_data_without_polarity_trains_without_it(tmp_path: Path, tiny: Recipe) -> None:
    for name, reviews in data.read_splits("corpus").items():
        data.write(reviews[:60], tmp_path / f"{name}.conll")
    run = pipelines.train(str(tmp_path), tiny)
    assert "with_polarity_f1" not in run.result.test.metrics()
    parser = AspectParser.load(f"models:/{Settings().model_name}/{run.version}")
    assert parser.taxonomy.polarities == ()
    assert all(a.polarity is None for a in parser.parse([TEXT])[0].aspects)


def test_a_hub_that_is_not_there_is_said_in_one_line(with_trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(TrackingError, match="the hub did not take somebody/reviews") as caught:
        pipelines.push_to_hub(registry.versions()[0].run_id, "somebody/reviews")
    assert "\n" not in str(caught.value)


def test_a_run_that_was_killed_goes_on(few_reviews: str, tiny: Recipe, tmp_path: Path) -> None:
    environment = {**os.environ, "REVIEWS_PARSING_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "reviews_parsing.cli", "train", few_reviews]
    command += ["--backbone", tiny.backbone, "--epochs", "3", "--json"]
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as killed:
        assert killed.stderr is not None
        for line in killed.stderr:
            if line.startswith("epoch 2/"):
                killed.send_signal(signal.SIGKILL)
    assert run_statuses(tmp_path) == ["RUNNING"]
    subprocess.run([*command[:3], "models"], env=environment, capture_output=True, check=True)
    assert run_statuses(tmp_path) == ["KILLED"]
    done = subprocess.run([*command, "--resume"], env=environment, capture_output=True, text=True, check=True)
    epochs = [line.split()[1] for line in done.stderr.splitlines() if line.startswith("epoch")]
    # The second epoch may not have been saved yet when the kill came; the first was.
    assert epochs in (["2/3", "3/3"], ["3/3"])
    assert json.loads(done.stdout)["run_id"]
    assert run_statuses(tmp_path) == ["FINISHED"]
    assert not list((tmp_path / "training").iterdir())


def run_statuses(home: Path) -> list[str]:
    with closing(sqlite3.connect(home / "mlflow.db")) as store:
        return [status for (status,) in store.execute("SELECT status FROM runs")]


def test_the_status_of_a_run_tells_how_it_ended(tmp_path: Path) -> None:
    for error in (None, KeyboardInterrupt, ModelError):
        with pytest.raises(error) if error else nullcontext(), open_run(name="a test") as log:
            log.description("What is tested.")
            if error:
                raise error
    assert sorted(run_statuses(tmp_path / "home")) == ["FAILED", "FINISHED", "KILLED"]


def test_the_life_cycle_on_a_server_with_postgresql_and_s3(
    mlflow_server: str, few_reviews: str, tiny: Recipe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tracking(monkeypatch, mlflow_server, tmp_path / "home")
    assert registry.versions() == []
    first = pipelines.promote(run_id=pipelines.train(few_reviews, tiny).run_id)
    assert (first.version, first.champion_version, registry.champion()) == ("1", None, "1")
    second = pipelines.promote(run_id=pipelines.train(few_reviews, replace(tiny, epochs=2, seed=5)).run_id)
    assert second.difference is not None
    if not second.promoted:
        pipelines.promote(version="2", force=True, reason="a test")
    assert registry.rollback() == ("2", "1")
    parser = AspectParser.load("models:/reviews-parsing-ner-aspects@champion")
    assert parser.version == "1"
    parser.parse([TEXT])
    assert not (tmp_path / "home" / "mlflow.db").exists()


def test_artifacts_come_through_the_server_whatever_its_object_store_is_called(
    mlflow_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """MLflow would hand out download addresses of the store, which no client outside its network can reach."""
    tracking(monkeypatch, mlflow_server, tmp_path / "home")
    monkeypatch.setenv("REVIEWS_PARSING_MODEL_NAME", "behind-an-object-store")
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo(OBJECT_STORE, 80)
    data.write(data.read_splits("corpus")["test"][:20], tmp_path / "labelled.jsonl")
    published = pipelines.publish(labelled=str(tmp_path / "labelled.jsonl"))
    uri = f"models:/behind-an-object-store/{published.version}"
    folder, _ = registry.fetch(uri)
    assert AspectParser(folder).parse([TEXT])[0].aspects
    # The server does hand out such addresses.
    shutil.rmtree(tmp_path / "home" / "models")
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "true")
    monkeypatch.setenv("REVIEWS_PARSING_FETCH_TIMEOUT", "8")
    begin = time.monotonic()
    with pytest.raises(TrackingError, match=f"version {published.version} of .*|{OBJECT_STORE}") as caught:
        registry.fetch(uri)
    assert time.monotonic() - begin < 20
    assert "\n" not in str(caught.value)


def test_what_does_not_exist_is_said_in_one_line(with_champion: Path) -> None:
    for uri, words in (
        ("models:/reviews-parsing-ner-aspects/99", "99"),
        ("models:/reviews-parsing-ner-aspects@nobody", "has no nobody"),
        ("models:/no-such-model@champion", "has no champion"),
        ("models:/nonsense", "names no model"),
        ("runs:/0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdef not found"),
        ("runs:/0123456789abcdef0123456789abcdef/ner_aspect", "0123456789abcdef0123456789abcdef not found"),
        *((f"runs:{nonsense}", "names no run") for nonsense in ("", "/", "abc", "/..", "/../ner_aspect", "/abc/other")),
    ):
        with pytest.raises(ModelError, match=words) as caught:
            AspectParser.load(uri)
        assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tracking(monkeypatch, "http://user:secret@127.0.0.1:1", tmp_path)
    with pytest.raises(TrackingError, match="cannot be used") as caught:
        registry.champion()
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
