"""One training run, from labelled reviews to a model folder and everything that is to be known of it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from reviews_parsing import data
from reviews_parsing.errors import DataError
from reviews_parsing.model_folder import PROFILE_FILE
from reviews_parsing.monitor import Profile
from reviews_parsing.parser import AspectParser
from reviews_parsing.schema import Review, Taxonomy
from reviews_parsing.training.card import model_card
from reviews_parsing.training.distillation import unlabelled
from reviews_parsing.training.evaluate import Evaluation, evaluate
from reviews_parsing.training.fit import Fitted, Progress, Recipe, fit
from reviews_parsing.training.teaching import learn_from_teachers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from reviews_parsing.training.export import Exported

SPLITS = ("train", "validation", "test")
# Of a source without splits of its own. Of many reviews, fewer do to stop and calibrate by; the others teach.
FRACTIONS = {"validation": 0.1, "test": 0.1}
MANY, FRACTION_OF_MANY = 1000, 0.05
WORST = 50


class RunLog(Protocol):
    """Where a run writes what it learns; the registry has the one that writes to MLflow."""

    def parameters(self, values: Mapping[str, object]) -> None: ...
    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None: ...
    def figure(self, figure: Figure, name: str) -> None: ...
    def table(self, rows: Sequence[Mapping[str, object]], name: str) -> None: ...
    def file(self, path: Path, place: str) -> None: ...
    def folder(self, path: Path, place: str) -> None: ...
    def model(self, folder: Path, example: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be trained on what.

    `key` tells jobs apart, `added` what came to the training split of the source, `texts` are those without labels.
    """

    source: str
    splits: Mapping[str, list[Review]]
    recipe: Recipe
    taxonomy: Taxonomy
    digest: str
    added: data.TrainingExtension | None = None
    texts: Sequence[str] = ()

    @property
    def key(self) -> str:
        texts = hashlib.sha256("\0".join(self.texts).encode()).hexdigest() if self.texts else ""
        state = json.dumps([self.digest, texts, asdict(self.recipe)])
        return hashlib.sha256(state.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of a job: the results on both held-out splits, the precision that was kept, seconds of fitting."""

    validation: Evaluation
    test: Evaluation
    precision: str
    seconds: float


def prepare(
    source: str,
    recipe: Recipe,
    mapping: Mapping[str, str | None] | None = None,
    data_format: str | None = None,
    more: Sequence[str] = (),
    texts: Sequence[str] = (),
) -> Job:
    """Read `source` and settle its splits.

    A source without its own splits is split 80/10/10 by review with the recipe's seed, and 85/5/10 if it is
    large; one that lacks validation or test gives them up from its training reviews. What the files `more` hold goes
    to the training split. Of `texts`, which have no labels, those are left out that `source` has labels for. Raises
    DataError.
    """
    splits = complete_splits(data.read_splits(source, mapping, data_format), recipe.seed)
    additions = [review for file in more for review in data.read(file, mapping)]
    added = data.extend_training_split(splits, additions) if more else None
    splits = added.splits if added else splits
    labelled = (review.text for reviews in splits.values() for review in reviews)
    fresh = unlabelled(texts, labelled)
    return Job(source, splits, recipe, Taxonomy.of(splits["train"]), data.compute_digest(splits), added, fresh)


def execute(
    job: Job,
    folder: Path,
    foundation: Path | None,
    log: RunLog,
    *,
    resume: bool = False,
    progress: Progress = lambda share, metrics: None,
    say: Callable[[str], None] = lambda line: None,
) -> Trained:
    """Fit, export, calibrate and evaluate in `folder`, writing everything to `log`. Raises DataError or ModelError.

    Training begins with the checkpoint `foundation`. `progress` is told the share done, and the metrics of each epoch.
    """
    from reviews_parsing.training.export import export

    splits, recipe, taxonomy = job.splits, job.recipe, job.taxonomy
    facts = {"source": job.source, "digest": job.digest} | {f"{n}_reviews": len(r) for n, r in splits.items()}
    if job.added:
        facts |= {
            "added": job.added.added_count,
            "replaced": job.added.relabelled_count,
            "left_out": len(job.added.excluded_ids),
        }
    held_out = [a for name in ("validation", "test") for r in splits[name] for a in r.aspects if a.span]
    unseen = {a.entity_group for a in held_out} - set(taxonomy.categories)
    log.parameters({**asdict(recipe), **{f"data_{key}": value for key, value in facts.items()}})
    log.parameters({"categories": ",".join(taxonomy.categories), "unseen_categories": ",".join(sorted(unseen))})
    begin = time.monotonic()
    labelled = (splits["train"], splits["validation"])
    if job.texts:
        log.parameters({"unlabelled_texts": len(job.texts)})
        fitted = learn_from_teachers(
            *labelled,
            job.texts,
            taxonomy,
            recipe,
            folder,
            foundation=foundation,
            resume=resume,
            progress=progress,
            say=say,
        )
    else:
        fitted = fit(*labelled, taxonomy, recipe, folder, foundation=foundation, resume=resume, progress=progress)
    seconds = time.monotonic() - begin
    exported = export(fitted.checkpoint, taxonomy, recipe, splits["train"], splits["validation"], folder / "parser")
    parser = AspectParser(exported.folder)
    validation, test = evaluate(parser, splits["validation"]), evaluate(parser, splits["test"])
    card = model_card(taxonomy, recipe, facts, test, exported.precision)
    for place in (exported.folder, fitted.checkpoint):
        (place / "README.md").write_text(card, encoding="utf-8")
    Profile.of(parser, splits["train"], [*splits["validation"], *splits["test"]]).write(exported.folder)
    _log(log, fitted, exported, validation, test)
    data.write(splits["test"], folder / "test.jsonl")
    log.file(folder / "test.jsonl", "data")
    log.file(exported.folder / PROFILE_FILE, "data")
    log.folder(fitted.checkpoint, "checkpoint")
    log.model(exported.folder, example=splits["test"][0].text)
    return Trained(validation, test, exported.precision, seconds)


def complete_splits(splits: Mapping[str, Sequence[Review]], seed: int) -> dict[str, list[Review]]:
    """Splits with train, validation and test, whatever the source had. Raises DataError where there is too little."""
    given = {name: list(reviews) for name, reviews in splits.items()}
    pool = given.pop("all", None) or given.pop("train", [])
    lacking = [name for name in ("validation", "test") if not given.get(name)]
    if lacking:
        fractions = FRACTIONS | ({"validation": FRACTION_OF_MANY} if len(pool) >= MANY else {})
        wanted = {name: fractions[name] for name in lacking}
        given |= data.split(pool, seed=seed, fractions={"train": 1 - sum(wanted.values()), **wanted})
    else:
        given["train"] = pool
    for name in SPLITS:
        if not given.get(name):
            raise DataError(f"the {name} split is empty; give more labelled reviews, or a folder with a {name} file")
    return {name: given[name] for name in SPLITS}


def _log(
    log: RunLog,
    fitted: Fitted,
    exported: Exported,
    validation: Evaluation,
    test: Evaluation,
) -> None:
    """Metrics, pictures and the table of mistakes."""
    from reviews_parsing.training import plots

    for entry in fitted.history:
        log.metrics({k: v for k, v in entry.items() if k != "epoch"}, step=round(entry["epoch"]))
    last = round(fitted.history[-1]["epoch"])
    log.metrics({f"eval_{name}": value for name, value in validation.metrics().items()}, step=last)
    log.metrics({f"test_{name}": value for name, value in test.metrics().items()})
    log.metrics({"train_seconds": fitted.seconds, "train_reviews_per_second": fitted.reviews_per_second})
    for precision, result in (("fp32", exported.fp32), ("int8", exported.int8)):
        speed = len(result.counts) / result.seconds
        log.metrics({f"export_{precision}_f1": result.f1, f"export_{precision}_reviews_per_second": speed})
    log.parameters({"precision": exported.precision})
    log.figure(plots.learning_curves(fitted.history), "learning_curves.png")
    show(log, test)


def show(log: RunLog, evaluation: Evaluation) -> None:
    """Pictures and the table of mistakes of an evaluation."""
    from reviews_parsing.training import plots

    log.figure(plots.category_f1(evaluation), "category_f1.png")
    log.figure(plots.confusion(evaluation), "confusion.png")
    log.figure(plots.reliability_diagram(evaluation), "reliability.png")
    log.table([asdict(mistake) for mistake in evaluation.mistakes[:WORST]], "worst_mistakes.json")
