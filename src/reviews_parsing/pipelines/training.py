"""Train and register: read the splits, fit, evaluate, log the run, register the version."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reviews_parsing import pretrained
from reviews_parsing.data import Fields, read_splits
from reviews_parsing.errors import ModelError
from reviews_parsing.io.filesystems import first_line
from reviews_parsing.pipelines.training_texts import (
    TrainingTexts,
    digest_texts,
    find_training_texts,
    log_training_texts,
)
from reviews_parsing.registry.runs import fetch_file, run
from reviews_parsing.registry.signatures import require_signer
from reviews_parsing.registry.versions import register
from reviews_parsing.settings import Settings
from reviews_parsing.training.backbone import EMBEDDED
from reviews_parsing.training.fit import NO_FOUNDATION, Progress, Recipe
from reviews_parsing.training.run import TrainingResult, execute, prepare

if TYPE_CHECKING:
    from reviews_parsing.schema import Review

HUB_TIMEOUT_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """A finished run: its id in the tracking store, its registered version, and its result."""

    run_id: str
    version: str
    result: TrainingResult


def train(
    source: str,
    recipe: Recipe,
    *,
    mapping: Mapping[str, str | None] | None = None,
    data_format: str | None = None,
    fields: Fields = Fields(),
    extra_files: Sequence[str] = (),
    texts: Sequence[str] = (),
    resume: bool = False,
    progress: Progress = lambda share, metrics: None,
    say: Callable[[str], None] = lambda line: None,
    model_name: str | None = None,
    on_run: Callable[[str], None] = lambda run_id: None,
) -> TrainedRun:
    """Train on `source` ("corpus", a file, a folder, a hub dataset), log one run and register it as a version.

    `fields` name the fields of text and labels in files of other tools. The reviews in `extra_files` are added to the
    training split; `texts` are unlabelled reviews to learn from. `say` is called with lines about both, `on_run` with
    the id of the run before training begins. With `resume`, the same call continues an interrupted training in the
    same run. Raises DataError, ModelError or TrackingError.
    """
    require_signer()
    # The teacher of a smaller model is a finished one, any other is a backbone.
    if recipe.teacher and not recipe.is_compressed and _is_finished(recipe.teacher):
        raise ModelError(f"{recipe.teacher} is a finished model, which teaches a smaller one: give --student layers=N")
    backbones = {recipe.backbone} if recipe.is_compressed else {recipe.backbone, recipe.teacher or recipe.backbone}
    for backbone in backbones:
        _require_backbone(backbone)
    job = prepare(source, recipe, mapping, data_format, extra_files, texts, fields)
    if job.extension:
        say(str(job.extension))
    if texts:
        say(f"{len(job.texts):,} of {len(texts):,} texts without labels are new")
    folder = Settings().home / "training" / job.key
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    with run(folder / "run_id", name=job.name) as log:
        on_run(log.run_id)
        foundation = find_checkpoint(recipe.foundation_name, recipe.backbone, folder)
        teacher = None
        if recipe.is_compressed and recipe.teacher:
            teacher = find_checkpoint(recipe.teacher, recipe.backbone, folder / "given-teacher", "teacher")
        if foundation and source != "corpus":
            _warn_of_leakage(job.splits, recipe, say)
        labelled = (review.text for review in job.splits["train"])
        log_training_texts(log, digest_texts([*labelled, *job.texts], _foundation_texts(recipe)))
        options: dict[str, Any] = {"teacher": teacher, "resume": resume, "progress": progress, "say": say}
        result = execute(job, folder, foundation, log, **options)
    version = register(log.run_id, model_name)
    shutil.rmtree(folder)
    return TrainedRun(log.run_id, version, result)


def _is_finished(name: str) -> bool:
    """Return whether a name is that of a trained model, not of a backbone."""
    return name == pretrained.NAME or name.startswith("runs:/")


def find_checkpoint(name: str, backbone: str, folder: Path, role: str = "foundation") -> Path | None:
    """Return the checkpoint `name`: pretrained, none (None), runs:/ID, which is fetched to `folder`, or a folder.

    Raises ModelError if it does not exist or does not fit the backbone.
    """
    if name == NO_FOUNDATION:
        return None
    if name == pretrained.NAME:
        if backbone != EMBEDDED:
            raise ModelError(f"the pretrained checkpoint is of {EMBEDDED}, not of {backbone}; use --foundation none")
        return pretrained.checkpoint()
    if match := re.fullmatch(r"runs:/(\w+)", name):
        return fetch_file(match[1], "checkpoint", folder)
    if not Path(name).is_dir():
        raise ModelError(f"{role} {name} is not a folder; give pretrained, none, a checkpoint folder or runs:/ID")
    return Path(name)


def _require_backbone(name: str) -> None:
    """Ask the hub for a backbone that is not on this machine. Raises ModelError if it has none.

    The libraries that load it would retry for a minute, with a line for each attempt.
    """
    from huggingface_hub import HfApi, constants, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if name == EMBEDDED or Path(name).is_dir() or constants.HF_HUB_OFFLINE:
        return
    try:
        if try_to_load_from_cache(name, "config.json") is None:
            HfApi().model_info(name, timeout=HUB_TIMEOUT_SECONDS)
    except HFValidationError:
        return  # a path, which loading reports
    except Exception as error:  # besides its own classes, those of its transport
        raise ModelError(
            f"backbone {name} cannot be loaded from the hub ({first_line(error)}); give {EMBEDDED}, a local folder or "
            "the name of a model on a hub that can be reached"
        ) from error


def _foundation_texts(recipe: Recipe) -> TrainingTexts | None:
    """Return the digests of the texts behind the foundation, None if they are unknown."""
    name = recipe.foundation_name
    return TrainingTexts(frozenset()) if name == NO_FOUNDATION else find_training_texts(name)


def _warn_of_leakage(splits: Mapping[str, Sequence[Review]], recipe: Recipe, say: Callable[[str], None]) -> None:
    """Warn if the pretrained checkpoint was trained on held-out texts, whose figures would be too good."""
    if recipe.foundation_name != pretrained.NAME:
        return
    trained_texts = {review.text for review in read_splits("corpus")["train"]}
    for name in ("validation", "test"):
        if count := sum(review.text in trained_texts for review in splits[name]):
            say(
                f"warning: the pretrained checkpoint was trained on {count} of the {len(splits[name])} {name} reviews, "
                "whose figures will be too good; split them otherwise, or use --foundation none"
            )
