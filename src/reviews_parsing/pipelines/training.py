"""Train and register: settle the splits and the foundation, fit, evaluate, log the run, register the version."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reviews_parsing import pretrained
from reviews_parsing.data import compute_digest, read_splits
from reviews_parsing.errors import ModelError
from reviews_parsing.registry.runs import fetch_file, run
from reviews_parsing.registry.versions import register
from reviews_parsing.settings import Settings
from reviews_parsing.training.backbone import EMBEDDED
from reviews_parsing.training.fit import NO_FOUNDATION, Progress, Recipe
from reviews_parsing.training.run import TrainingResult, execute, log_plots, prepare

if TYPE_CHECKING:
    from reviews_parsing.schema import Review
    from reviews_parsing.training.evaluate import Evaluation


def train(
    source: str,
    recipe: Recipe,
    *,
    mapping: Mapping[str, str | None] | None = None,
    data_format: str | None = None,
    more: Sequence[str] = (),
    texts: Sequence[str] = (),
    resume: bool = False,
    progress: Progress = lambda share, metrics: None,
    say: Callable[[str], None] = lambda line: None,
) -> TrainedRun:
    """Train on `source` ("corpus", a file, a folder, a hub dataset), log it as one run and register it as a version.

    The training split gets the reviews of the files `more` as well; `texts` are reviews without labels to learn from.
    `say` is called with lines on what became of them. With `resume`, the same call that was killed goes on where it
    was, in the same run. Raises DataError, ModelError or TrackingError.
    """
    job = prepare(source, recipe, mapping, data_format, more, texts)
    if job.extension:
        say(str(job.extension))
    if texts:
        say(f"{len(job.texts):,} of {len(texts):,} texts without labels are new")
    home = Settings().home
    folder = home / "training" / job.key
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    with run(folder / "run_id") as log:
        foundation = foundation_checkpoint(recipe, folder)
        if foundation and source != "corpus":
            _warn_of_known_texts(job.splits, recipe, say)
        result = execute(job, folder, foundation, log, resume=resume, progress=progress, say=say)
    shutil.rmtree(folder)
    return TrainedRun(log.run_id, register(log.run_id), result)


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """A finished run: its id on the tracking store, the version it is registered as, and what came of it."""

    run_id: str
    version: str
    result: TrainingResult


def foundation_checkpoint(recipe: Recipe, folder: Path) -> Path | None:
    """Return the checkpoint that the recipe begins with, fetched to `folder` if it is a run's.

    Raises ModelError if it does not exist or does not fit.
    """
    name = recipe.foundation_name
    if name == NO_FOUNDATION:
        return None
    if name == pretrained.NAME:
        if recipe.backbone != EMBEDDED:
            raise ModelError(
                f"the pretrained checkpoint is of {EMBEDDED}, not of {recipe.backbone}; use --foundation none"
            )
        return pretrained.checkpoint()
    if match := re.fullmatch(r"runs:/(\w+)", name):
        return fetch_file(match[1], "checkpoint", folder)
    if not Path(name).is_dir():
        raise ModelError(f"foundation {name} is not a folder; give pretrained, none, a checkpoint folder or runs:/ID")
    return Path(name)


def _warn_of_known_texts(splits: Mapping[str, Sequence[Review]], recipe: Recipe, say: Callable[[str], None]) -> None:
    """Tell how many held-out texts the pretrained checkpoint was trained on: their figures would be too good."""
    if recipe.foundation_name != pretrained.NAME:
        return
    learnt = {review.text for review in read_splits("corpus")["train"]}
    for name in ("validation", "test"):
        if known := sum(review.text in learnt for review in splits[name]):
            say(
                f"warning: the pretrained checkpoint was trained on {known} of the {len(splits[name])} {name} reviews, "
                "whose figures will be too good; split them otherwise, or use --foundation none"
            )


def log_evaluation(model: str, source: str, reviews: Sequence[Review], result: Evaluation) -> str:
    """Log what `model` made of `reviews` as a run, whose id is returned. Raises TrackingError."""
    with run() as log:
        log.parameters({"model": model, "data_source": source, "data_digest": compute_digest({"evaluated": reviews})})
        log.metrics(result.metrics())
        log_plots(log, result)
    return log.run_id
