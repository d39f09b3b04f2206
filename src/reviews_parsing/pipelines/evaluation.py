"""Evaluate a model on labelled reviews, optionally against another one, and log the result as a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reviews_parsing.data import Fields, check_labelled, compute_digest, read_splits
from reviews_parsing.errors import DataError
from reviews_parsing.registry.runs import run
from reviews_parsing.training.evaluate import Evaluation, evaluate
from reviews_parsing.training.metrics import Difference, paired_bootstrap
from reviews_parsing.training.run_log import log_dataset, log_plots

if TYPE_CHECKING:
    from reviews_parsing.parser import AspectParser
    from reviews_parsing.schema import Review, Taxonomy


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """The evaluation of a model, and of the model `against` if there is one; `difference` is that of their F1."""

    model: str
    source: str
    reviews: Sequence[Review]
    result: Evaluation
    against: str | None = None
    against_result: Evaluation | None = None
    difference: Difference | None = None

    def count_unknown(self, taxonomy: Taxonomy, mapping: Mapping[str, str | None] | None = None) -> Counter[str]:
        """Return the number of labels by categories that no answer can have."""
        known = {(mapping or {}).get(name, name) for name in (*taxonomy.categories, *taxonomy.implicit)}
        names = (aspect.entity_group for review in self.reviews for aspect in review.aspects)
        return Counter(name for name in names if name not in known)

    def to_json(self, max_mistakes: int, run_id: str | None = None) -> dict[str, Any]:
        """Return the report as a document for programs."""
        metrics = self.result.metrics()
        document: dict[str, Any] = {
            "model": self.model,
            "data": self.source,
            "reviews": len(self.reviews),
            "f1": self.result.f1s,
            **{name: metrics.get(name) for name in ("tasd_f1", "implicit_f1", "quad_f1")},
            "ece": metrics["span_ece"],
            "polarity_ece": metrics.get("polarity_ece"),
            "by_polarity": {name: asdict(scores) for name, scores in self.result.by_polarity.items()},
            "by_words": {name: asdict(scores) for name, scores in self.result.by_words.items()},
            "by_score": {
                name: {str(threshold): asdict(scores) for threshold, scores in rows.items()}
                for name, rows in self.result.by_score.items()
            },
            "mistakes": [asdict(mistake) for mistake in self.result.mistakes[:max_mistakes]],
            "metrics": metrics,
            "run_id": run_id,
        }
        if self.against_result and self.difference:
            document["against"] = {
                "model": self.against,
                "f1": self.against_result.f1s,
                "difference": self.difference._asdict(),
            }
        return document


def evaluate_model(
    parser: AspectParser,
    source: str,
    *,
    split: str = "test",
    mapping: Mapping[str, str | None] | None = None,
    data_format: str | None = None,
    fields: Fields = Fields(),
    model: str | None = None,
    against_parser: AspectParser | None = None,
    against: str | None = None,
) -> EvaluationReport:
    """Evaluate `parser` on a split of `source`, or on all of it if it has no splits.

    `mapping` renames or drops categories of the labels and of the answers, `fields` name the fields of text and labels
    in files of other tools. `model` and `against` are the names of the
    models in the report. Raises DataError.
    """
    reviews = read_split(source, split, mapping, data_format, fields)
    result = evaluate(parser, reviews, mapping)
    rival = evaluate(against_parser, reviews, mapping) if against_parser else None
    difference = paired_bootstrap(result.counts, rival.counts) if rival else None
    return EvaluationReport(model or f"version {parser.version}", source, reviews, result, against, rival, difference)


def read_split(
    source: str,
    split: str,
    mapping: Mapping[str, str | None] | None = None,
    data_format: str | None = None,
    fields: Fields = Fields(),
) -> list[Review]:
    """Return the reviews of a split of `source`, or all of them if it has no splits. Raises DataError."""
    splits = read_splits(source, mapping, data_format, fields)
    reviews = splits.get("all") or splits.get(split)
    if not reviews:
        raise DataError(f"{source} has no split '{split}'; it has {', '.join(splits)}")
    check_labelled(source, reviews)
    return reviews


def log_evaluation(report: EvaluationReport) -> str:
    """Log a report as a run and return the run's id. Raises TrackingError."""
    name = f"{Path(report.model).name} on {Path(report.source).name}"
    with run(name=name) as log:
        digest = compute_digest({"evaluated": report.reviews})
        log.parameters({"model": report.model, "data_source": report.source, "data_digest": digest})
        log_dataset(log, report.source, {"evaluated": report.reviews}, "test")
        log.description(f"Evaluation of {report.model} on {len(report.reviews):,} labelled reviews of {report.source}.")
        # Names of version 0.1.0, kept until 0.3.0.
        log.metrics(report.result.metrics())
        log.split_metrics("test", report.result.metrics())
        log_plots(log, report.result)
    return log.run_id
