"""Publish a model folder: evaluate it, log that as a run with its parameters, and register it as a version."""

from __future__ import annotations

import importlib.util
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reviews_parsing import data, pretrained
from reviews_parsing.errors import DataError
from reviews_parsing.model_folder import PROFILE_FILE, TRAINING_FILE
from reviews_parsing.parser import AspectParser
from reviews_parsing.registry import locate, register
from reviews_parsing.registry.runs import run
from reviews_parsing.training.evaluate import Evaluation, evaluate


@dataclass(frozen=True, slots=True)
class Published:
    """A registered model folder: its run, its version, and the evaluation that was logged."""

    run_id: str
    version: str
    evaluation: Evaluation


def publish(source: str = pretrained.NAME, labelled: str = "corpus", split: str = "test") -> Published:
    """Register the model at `source` (as `registry.locate` names it), evaluated now on a split of `labelled` reviews.

    The run has the parameters in the folder's `training.json`, the digest of the data, and all metrics; its test split
    is what the gate evaluates on. Raises DataError if there is no such split, ModelError or TrackingError.
    """
    folder, _ = locate(source)
    parser = AspectParser(folder)
    splits = data.read_splits(labelled)
    reviews = splits.get(split) or splits.get("all")
    if not reviews:
        raise DataError(f"{labelled} has no split '{split}'; it has {', '.join(splits)}")
    result = evaluate(parser, reviews)
    with run() as log, tempfile.TemporaryDirectory() as scratch:
        log.parameters({"model": source, "precision": parser.config.precision, **_training(folder)})
        log.parameters({"data_source": labelled, "data_digest": data.compute_digest({split: reviews})})
        log.parameters({"categories": ",".join(parser.taxonomy.categories)})
        log.metrics({f"test_{name}": value for name, value in result.metrics().items()})
        if importlib.util.find_spec("matplotlib"):
            from reviews_parsing.training.run import log_plots

            log_plots(log, result)
        test = Path(scratch) / "test.jsonl"
        data.write(reviews, test)
        log.file(test, "data")
        if (folder / PROFILE_FILE).is_file():
            log.file(folder / PROFILE_FILE, "data")
        log.model(folder, example=reviews[0].text)
    return Published(log.run_id, register(log.run_id), result)


def _training(folder: Path) -> dict[str, Any]:
    """Return the parameters that the model was trained with, one level deep; {} if the folder does not tell."""
    file = folder / TRAINING_FILE
    if not file.is_file():
        return {}
    facts = json.loads(file.read_text(encoding="utf-8"))
    return {
        f"{part}_{name}": value
        for part, values in facts.items()
        if isinstance(values, dict)
        for name, value in values.items()
    }
