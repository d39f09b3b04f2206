"""Publish models: register a model folder with an evaluation, upload a checkpoint to a model hub."""

from __future__ import annotations

import importlib.util
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reviews_parsing import data, pretrained
from reviews_parsing.errors import TrackingError
from reviews_parsing.io.filesystems import first_line
from reviews_parsing.model_folder import PROFILE_FILE, TRAINING_FILE
from reviews_parsing.parser import AspectParser
from reviews_parsing.pipelines.evaluation import read_split
from reviews_parsing.pipelines.training_texts import find_training_texts, log_training_texts
from reviews_parsing.registry import locate, register
from reviews_parsing.registry.runs import fetch_file, run
from reviews_parsing.registry.signatures import require_signer
from reviews_parsing.training.evaluate import Evaluation, evaluate
from reviews_parsing.training.run_log import log_dataset, log_evaluation_metrics, log_plots


@dataclass(frozen=True, slots=True)
class Published:
    """A registered model folder: its run, its version, and the logged evaluation."""

    run_id: str
    version: str
    evaluation: Evaluation


def publish(
    source: str = pretrained.NAME, labelled: str = "corpus", split: str = "test", model_name: str | None = None
) -> Published:
    """Register the model at `source` (as in `registry.locate`) after an evaluation on a split of `labelled` reviews.

    The run has the parameters in the folder's `training.json`, the digest of the data, all metrics, and the split,
    which the gate evaluates on. Trust is not checked: to register a model is to trust it. Raises DataError if there is
    no such split, ModelError or TrackingError.
    """
    require_signer()
    folder, _ = locate(source, check_trust=False)
    parser = AspectParser(folder)
    reviews = read_split(labelled, split)
    result = evaluate(parser, reviews)
    texts = find_training_texts(source)
    name = f"{Path(source).name} on {Path(labelled).name} {split}"
    with run(name=name) as log, tempfile.TemporaryDirectory() as scratch:
        log.parameters({"model": source, "precision": parser.config.precision, **_training_parameters(folder)})
        log.parameters({"data_source": labelled, "data_digest": data.compute_digest({split: reviews})})
        log.parameters({"categories": ",".join(parser.taxonomy.categories)})
        log_dataset(log, labelled, {split: reviews}, "test")
        log.description(f"Model {source}, registered after an evaluation on {labelled} ({split} split).")
        log_evaluation_metrics(log, result)
        if importlib.util.find_spec("matplotlib"):
            log_plots(log, result)
        test = Path(scratch) / "test.jsonl"
        data.write(reviews, test)
        log.file(test, "data")
        if (folder / PROFILE_FILE).is_file():
            log.file(folder / PROFILE_FILE, "data")
        if texts:
            log_training_texts(log, texts)
        log.model(folder, example=reviews[0].text)
    return Published(log.run_id, register(log.run_id, model_name), result)


def push_to_hub(run_id: str, repository: str) -> str:
    """Upload the checkpoint and the model card of a run to `repository` (NAME or OWNER/NAME); return its address.

    Raises TrackingError if the hub cannot be reached or denies access.
    """
    from huggingface_hub import HfApi

    hub = HfApi()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = fetch_file(run_id, "checkpoint", Path(folder))
        try:
            url = hub.create_repo(repository, exist_ok=True)
            hub.upload_folder(repo_id=url.repo_id, folder_path=checkpoint, commit_message=f"run {run_id}")
        except Exception as error:  # besides its own classes, those of its transport
            raise TrackingError(
                f"run {run_id} is logged, but the hub did not take {repository} ({first_line(error)}); "
                "log in with `hf auth login` or set HF_TOKEN"
            ) from error
    return str(url)


def _training_parameters(folder: Path) -> dict[str, Any]:
    """Return the recipe and the training data in `training.json` as parameters; {} if the folder has none."""
    file = folder / TRAINING_FILE
    if not file.is_file():
        return {}
    facts = json.loads(file.read_text(encoding="utf-8"))
    prefixes = {"recipe": "recipe_", "data": "training_data_"}
    return {prefix + name: value for part, prefix in prefixes.items() for name, value in facts.get(part, {}).items()}
