"""Training run: from labelled reviews to an evaluated model folder with its card, profile, metrics and plots."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from reviews_parsing import data
from reviews_parsing.errors import DataError
from reviews_parsing.model_folder import CARD_FILE, PROFILE_FILE
from reviews_parsing.monitor import Profile
from reviews_parsing.parser import AspectParser
from reviews_parsing.schema import Review, Taxonomy
from reviews_parsing.training.compression import compress
from reviews_parsing.training.distillation import distill, select_new_texts
from reviews_parsing.training.evaluate import Evaluation, calibration_line, evaluate
from reviews_parsing.training.export import ExportResult, export
from reviews_parsing.training.fit import FitResult, Progress, Recipe, fit
from reviews_parsing.training.run_log import RunLog, log_dataset, log_evaluation_metrics, log_plots

SPLITS = ("train", "validation", "test")
# Shares of a source without splits; a large source needs a smaller share for validation.
FRACTIONS = {"validation": 0.1, "test": 0.1}
LARGE_SOURCE_REVIEWS, LARGE_VALIDATION_FRACTION = 1000, 0.05
CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: token-classification
tags: [aspect-based-sentiment-analysis, reviews, onnx]
---
# reviews-parsing-ner-aspects

Reads a public review and returns its aspects: spans of the text, each with a category, a polarity and a probability.

- **Languages**: {languages}
- **Categories**: {categories}
- **Categories of implicit aspects** ("Yum!"): {implicit}
- **Polarities**: {polarities}
- **Opinion expressions**: {opinions}
- **Precision of the weights**: {precision}

## Intended use
Finding out what many reviews talk about and how their writers feel about it: counts, trends, examples to read.
Not for decisions about a single person (an employee named in a review, a reviewer), and not as the only reader of a
text on which something serious depends.

## Data
{data}

## Training
{recipe}

## Results on the test split
Exact match. `aggregated` is the micro average of span and category, `span` compares spans alone, `with_polarity` also
polarities. Aspects without a span (`implicit`) and all aspects (`tasd`) need the correct span, category and polarity;
`quad` also needs the correct opinion expression.

| | precision | recall | F1 | support |
|---|---|---|---|---|
{rows}

Expected calibration error: {calibration}.

## Limits
- It knows the categories above and the language and domain of its training data; elsewhere its answers are guesses.
- It errs most on irony, hearsay and judgements that span several sentences.
- Probabilities are calibrated on the validation split: on other kinds of text they are overconfident.
"""


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """Input of a training: `extension` describes reviews added to the training split, `texts` have no labels."""

    source: str
    splits: Mapping[str, list[Review]]
    recipe: Recipe
    taxonomy: Taxonomy
    digest: str
    extension: data.TrainingExtension | None = None
    texts: Sequence[str] = ()

    @property
    def key(self) -> str:
        """Hash of data and recipe, the name of the folder for resumption."""
        texts = hashlib.sha256("\0".join(self.texts).encode()).hexdigest() if self.texts else ""
        state = json.dumps([self.digest, texts, asdict(self.recipe)])
        return hashlib.sha256(state.encode()).hexdigest()[:16]

    @property
    def name(self) -> str:
        """Name of the run: source, number of added reviews, backbone and seed."""
        added = f" + {self.extension.added_count}" if self.extension else ""
        teachers = f" + {len(self.texts)} unlabelled" if self.texts else ""
        backbone = Path(self.recipe.backbone).name
        layers = f", {self.recipe.layers} layers" if self.recipe.layers else ""
        width = f", {self.recipe.feed_forward} feed-forward units" if self.recipe.feed_forward else ""
        return f"{Path(self.source).name}{added}{teachers}, {backbone}{layers}{width}, seed {self.recipe.seed}"

    @property
    def facts(self) -> dict[str, object]:
        """Source, digest and sizes of the data, for the log and the card."""
        facts: dict[str, object] = {"source": self.source, "digest": self.digest}
        facts |= {f"{name}_reviews": len(reviews) for name, reviews in self.splits.items()}
        if self.extension:
            facts |= {
                "added": self.extension.added_count,
                "replaced": self.extension.relabelled_count,
                "left_out": len(self.extension.excluded_ids),
            }
        return facts


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """Evaluations on the held-out splits, precision of the weights, seconds of fitting."""

    validation: Evaluation
    test: Evaluation
    precision: str
    seconds: float


def prepare(
    source: str,
    recipe: Recipe,
    mapping: Mapping[str, str | None] | None = None,
    data_format: str | None = None,
    extra_files: Sequence[str] = (),
    texts: Sequence[str] = (),
    fields: data.Fields = data.Fields(),
) -> TrainingJob:
    """Read `source` and complete its splits, see `complete_splits`.

    Set the number of epochs in the recipe. Reviews of `extra_files` are added to the training split; `texts` that are
    also in `source` are omitted. `fields` name the fields of text and labels in `source`, or in `extra_files` if
    `source` is the shipped corpus, whose fields are known. Raises DataError if a source cannot be read or is too small.
    """
    names_extra = source == "corpus" and bool(extra_files)
    source_fields, extra_fields = (data.Fields(), fields) if names_extra else (fields, data.Fields())
    source_splits = data.read_splits(source, mapping, data_format, source_fields)
    data.check_labelled(source, [review for reviews in source_splits.values() for review in reviews])
    splits = complete_splits(source_splits, recipe.seed)
    additions = [review for file in extra_files for review in _read_addition(file, mapping, extra_fields)]
    extension = data.extend_training_split(splits, additions) if extra_files else None
    splits = extension.splits if extension else splits
    new_texts = select_new_texts(texts, (review.text for reviews in splits.values() for review in reviews))
    taxonomy = Taxonomy.of(splits["train"])
    recipe = replace(recipe, epochs=recipe.count_epochs(len(splits["train"])))
    return TrainingJob(source, splits, recipe, taxonomy, data.compute_digest(splits), extension, new_texts)


def _read_addition(file: str, mapping: Mapping[str, str | None] | None, fields: data.Fields) -> list[Review]:
    """Read reviews for the training split. Raises DataError if they have no labels or those of another tool."""
    data.check_own_format(file)
    reviews = data.read(file, mapping, fields=fields)
    # A correction states that a text holds no aspect; anywhere else a file without labels is a misread one.
    if not all("revision" in review.meta for review in reviews):
        data.check_labelled(file, reviews)
    return reviews


def execute(
    job: TrainingJob,
    folder: Path,
    foundation: Path | None,
    log: RunLog,
    *,
    teacher: Path | None = None,
    resume: bool = False,
    progress: Progress = lambda share, metrics: None,
    say: Callable[[str], None] = lambda line: None,
) -> TrainingResult:
    """Fit, export, calibrate and evaluate a model in `folder`, and write everything to `log`.

    Training starts from the checkpoint `foundation`; a smaller model imitates the checkpoint `teacher`. `progress`
    receives the share done, and the metrics of each epoch. Raises DataError or ModelError.
    """
    splits, recipe, taxonomy = job.splits, job.recipe, job.taxonomy
    held_out = [*splits["validation"], *splits["test"]]
    categories = {a.entity_group for review in held_out for a in review.aspects if a.span}
    unseen = sorted(categories - set(taxonomy.categories))
    log.parameters({**asdict(recipe), **{f"data_{key}": value for key, value in job.facts.items()}})
    log.parameters({"categories": ",".join(taxonomy.categories), "unseen_categories": ",".join(unseen)})
    for name, context in zip(SPLITS, ("training", "validation", "test"), strict=True):
        log_dataset(log, job.source, {name: splits[name]}, context)
    log.description(f"Training on {job.source}, not finished yet.")
    begin = time.monotonic()
    labelled = (splits["train"], splits["validation"])
    options: Any = {"foundation": foundation, "resume": resume, "progress": progress}
    if job.texts:
        log.parameters({"unlabelled_texts": len(job.texts)})
    if recipe.is_compressed:
        fitted = compress(*labelled, job.texts, taxonomy, recipe, folder, teacher=teacher, say=say, **options)
    elif job.texts:
        fitted = distill(*labelled, job.texts, taxonomy, recipe, folder, say=say, **options)
    else:
        fitted = fit(*labelled, taxonomy, recipe, folder, **options)
    seconds = time.monotonic() - begin
    exported = export(fitted.checkpoint, taxonomy, recipe, *labelled, folder / "parser")
    parser = AspectParser(exported.folder)
    validation, test = evaluate(parser, splits["validation"]), evaluate(parser, splits["test"])
    card = model_card(job, test, exported.precision, parser.config.languages)
    for target in (exported.folder, fitted.checkpoint):
        (target / CARD_FILE).write_text(card, encoding="utf-8")
    Profile.of(parser, splits["train"], held_out).write(exported.folder)
    _log(log, fitted, exported, validation, test)
    log.description(card.split("\n---\n", 1)[1].strip())
    data.write(splits["test"], folder / "test.jsonl")
    log.file(folder / "test.jsonl", "data")
    log.file(exported.folder / PROFILE_FILE, "data")
    log.folder(fitted.checkpoint, "checkpoint")
    log.model(exported.folder, example=splits["test"][0].text)
    return TrainingResult(validation, test, exported.precision, seconds)


def complete_splits(splits: Mapping[str, Sequence[Review]], seed: int) -> dict[str, list[Review]]:
    """Return the splits train, validation and test.

    A source without splits is split 80/10/10 by review, or 85/5/10 if it is large; a missing validation or test split
    is taken from the training reviews. Raises DataError if a split would be empty.
    """
    complete = {name: list(reviews) for name, reviews in splits.items()}
    pool = complete.pop("all", None) or complete.pop("train", [])
    missing = [name for name in ("validation", "test") if not complete.get(name)]
    if missing:
        large = {"validation": LARGE_VALIDATION_FRACTION} if len(pool) >= LARGE_SOURCE_REVIEWS else {}
        fractions = {name: (FRACTIONS | large)[name] for name in missing}
        complete |= data.split(pool, seed=seed, fractions={"train": 1 - sum(fractions.values()), **fractions})
    else:
        complete["train"] = pool
    for name in SPLITS:
        if not complete.get(name):
            raise DataError(f"the {name} split is empty; give more labelled reviews, or a folder with a {name} file")
    return {name: complete[name] for name in SPLITS}


def model_card(job: TrainingJob, test: Evaluation, precision: str, languages: Sequence[str] = ()) -> str:
    """Return the model card: Markdown with the front matter of model hubs."""
    taxonomy, metrics = job.taxonomy, test.metrics()
    scores = {**test.scores, "implicit": test.implicit, "tasd": test.tasd, "quad": test.quad}
    rows = (
        f"{name} | {s.precision:.3f} | {s.recall:.3f} | {s.f1:.3f} | {s.support}" for name, s in scores.items() if s
    )
    return CARD.format(
        languages=", ".join(languages) or "those of the training data",
        categories=", ".join(taxonomy.categories),
        implicit=", ".join(taxonomy.implicit) or "none",
        polarities=", ".join(taxonomy.polarities) or "none",
        opinions="with each aspect" if taxonomy.opinions else "none",
        precision=precision,
        data=", ".join(f"{key} {value}" for key, value in job.facts.items()),
        recipe=", ".join(f"{key} {value}" for key, value in asdict(job.recipe).items()),
        rows="\n".join(f"| {row} |" for row in rows),
        calibration=calibration_line(metrics),
    )


def _log(log: RunLog, fitted: FitResult, exported: ExportResult, validation: Evaluation, test: Evaluation) -> None:
    """Log metrics, plots and the table of mistakes."""
    from reviews_parsing.training import plots

    for entry in fitted.history:
        step = round(entry["epoch"])
        # Names of version 0.1.0, kept until 0.3.0, as those with `eval_` and `test_` below.
        log.metrics({k: v for k, v in entry.items() if k != "epoch"}, step=step)
        epoch = {k.removeprefix("eval_"): v for k, v in entry.items() if k.startswith("eval_")}
        log.split_metrics("validation", epoch, step=step)
        log.split_metrics("training", {k: v for k, v in entry.items() if k in ("loss", "learning_rate")}, step=step)
    last = round(fitted.history[-1]["epoch"])
    log.metrics({f"eval_{name}": value for name, value in validation.metrics().items()}, step=last)
    log.split_metrics("validation", validation.metrics(), step=last)
    log_evaluation_metrics(log, test)
    log.metrics({"train_seconds": fitted.seconds, "train_reviews_per_second": fitted.reviews_per_second})
    for precision, result in (("fp32", exported.fp32), ("int8", exported.int8)):
        speed = len(result.counts) / result.seconds
        log.metrics({f"export_{precision}_f1": result.f1, f"export_{precision}_reviews_per_second": speed})
    log.parameters({"precision": exported.precision})
    log.figure(plots.learning_curves(fitted.history), "learning_curves.png")
    log_plots(log, test)
