"""Shared fixtures: a clean environment, and a home whose champion is the pretrained model."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from tokenizers import Tokenizer

import stores
from reviews_parsing import data
from reviews_parsing.parser import AspectParser

if TYPE_CHECKING:
    from reviews_parsing.training.fit import Recipe

PROJECT = Path(__file__).parent.parent
PACKAGE = PROJECT / "src" / "reviews_parsing"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run README's test, which is slow and a single file, early: the last file to finish would run alone."""
    items.sort(key=lambda item: item.path != PROJECT / "tests" / "test_readme.py")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees or touches the user's own folders, servers or hubs."""
    for name in [n for n in os.environ if n.startswith(("MLFLOW_", "REVIEWS_PARSING_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("REVIEWS_PARSING_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """Return the tokenizer of the embedded backbone."""
    from reviews_parsing.training.backbone import EMBEDDED, resolve_backbone

    found = Tokenizer.from_file(str(Path(resolve_backbone(EMBEDDED)) / "tokenizer.json"))
    found.no_truncation()
    found.no_padding()
    return found


@pytest.fixture(scope="session")
def champion_home(request: pytest.FixtureRequest) -> Path:
    """Return a read-only home whose champion is the pretrained model, registered as version 1."""
    state = hashlib.sha256((PACKAGE / "pretrained" / "SHA256SUMS").read_bytes())
    for room in ("registry", "pipelines"):
        for path in sorted((PACKAGE / room).rglob("*.py")):
            state.update(path.read_bytes())
    homes = Path(request.config.cache.mkdir("champion"))
    home = homes / state.hexdigest()[:16]
    with FileLock(homes / "lock"):
        if not (home / "done").is_file():
            from reviews_parsing import pipelines

            for other in homes.iterdir():
                if other.is_dir():
                    shutil.rmtree(other)
            home.mkdir()
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("REVIEWS_PARSING_HOME", str(home))
                patch.delenv("MLFLOW_TRACKING_URI", raising=False)
                pipelines.promote(version=pipelines.publish().version)
            (home / "done").touch()
    return home


@pytest.fixture
def default_ports(request: pytest.FixtureRequest) -> Iterator[None]:
    """Reserve the default ports of the commands for one test."""
    with FileLock(Path(request.config.cache.mkdir("ports")) / "lock"):
        yield


@pytest.fixture(scope="session")
def champion_folder(champion_home: Path) -> Path:
    """Return the model folder of the default model."""
    return next(champion_home.glob("models/*/*/parser.json")).parent


@pytest.fixture(scope="session")
def parser(champion_folder: Path) -> AspectParser:
    """Return the default model."""
    return AspectParser(champion_folder)


@pytest.fixture
def with_champion(champion_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the environment of a user who has the default champion; a copy, so that the test may change it."""
    home = tmp_path / "home"
    copy_home(champion_home, home)
    monkeypatch.setenv("REVIEWS_PARSING_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def few_reviews(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a folder of a few reviews of the corpus: enough to train a bad model from."""
    folder = tmp_path_factory.mktemp("few")
    for name, count in (("train", 150), ("validation", 60), ("test", 100)):
        data.write(data.read_splits("corpus")[name][:count], folder / f"{name}.jsonl")
    return str(folder)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """Return a recipe that takes seconds: two layers of the embedded backbone, one epoch."""
    from transformers import AutoModel
    from transformers.utils import logging

    from reviews_parsing.training.backbone import EMBEDDED, load_tokenizer, resolve_backbone
    from reviews_parsing.training.fit import Recipe

    folder = tmp_path_factory.mktemp("backbone")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    AutoModel.from_pretrained(resolve_backbone(EMBEDDED), num_hidden_layers=2).save_pretrained(folder)
    load_tokenizer(EMBEDDED).save_pretrained(folder)
    return Recipe(backbone=str(folder), epochs=1, window=64, margin=16)


@pytest.fixture(scope="session")
def trained_home(tmp_path_factory: pytest.TempPathFactory, few_reviews: str, tiny: Recipe) -> Path:
    """Return a read-only home whose champion is version 1, trained in three epochs on a few reviews (F1 about 0.4)."""
    from reviews_parsing import pipelines

    home = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REVIEWS_PARSING_HOME", str(home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        run = pipelines.train(few_reviews, replace(tiny, epochs=3, learning_rate=1e-3))
        pipelines.promote(version=run.version)
    return home


@pytest.fixture
def with_trained(trained_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the environment of a user who trained the champion; a copy, so that the test may change it."""
    home = tmp_path / "home"
    copy_home(trained_home, home)
    monkeypatch.setenv("REVIEWS_PARSING_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    with stores.amazon() as address:
        yield address


@pytest.fixture(scope="session")
def gs_server() -> Iterator[str]:
    with stores.google() as address:
        yield address


@pytest.fixture(params=["s3", "gs"])
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> stores.Store:
    """Return an empty bucket `reviews` of each type of store, and the environment with access to it."""
    address = request.getfixturevalue(f"{request.param}_server")
    return {"s3": stores.in_amazon, "gs": stores.in_google}[request.param](address, monkeypatch)


def copy_home(source: Path, target: Path) -> None:
    """Copy a home and replace the absolute paths of artifacts in its store."""
    shutil.copytree(source, target)
    places = {
        "experiments": ["artifact_location"],
        "runs": ["artifact_uri"],
        "logged_models": ["artifact_location"],
        "model_versions": ["source", "storage_location"],
    }
    with closing(sqlite3.connect(target / "mlflow.db")) as store, store:
        for table, columns in places.items():
            for column in columns:
                store.execute(f"UPDATE {table} SET {column} = REPLACE({column}, ?, ?)", (str(source), str(target)))
