"""Models that earlier versions of the package registered load, and answer as they did."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import mlflow
import pytest

from reviews_parsing import AspectParser, registry
from reviews_parsing.settings import MODEL_NAME

# One layer of 32 units, trained by version 0.1.0 on sentences of one form, and its answers of that time (answers.json).
OLD = Path(__file__).parent / "model_of_0_1_0.zip"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    shutil.unpack_archive(OLD, tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def answers(model: Path) -> dict[str, Any]:
    expected: dict[str, Any] = json.loads((model / "answers.json").read_text(encoding="utf-8"))
    return expected


def test_its_stored_code_answers(model: Path, answers: dict[str, Any]) -> None:
    assert mlflow.pyfunc.load_model(str(model)).predict(list(answers)) == list(answers.values())


def test_a_version_without_recorded_checksums_answers(
    model: Path, answers: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REVIEWS_PARSING_HOME", str(tmp_path / "home"))
    with registry.tracking() as client:
        client.create_registered_model(MODEL_NAME)
        version = client.create_model_version(MODEL_NAME, str(model)).version
    parser = AspectParser.load(f"models:/{MODEL_NAME}/{version}")
    assert [review.to_json() for review in parser.parse(list(answers))] == list(answers.values())
