"""Log of a run, and what training and evaluation log in the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from reviews_parsing import data
from reviews_parsing.schema import Review
from reviews_parsing.training.evaluate import Evaluation, reliability_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOGGED_MISTAKES = 50


class RunLog(Protocol):
    """Log of a run; `registry.runs` implements it for MLflow."""

    def parameters(self, values: Mapping[str, object]) -> None:
        """Log parameters."""

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics."""

    def split_metrics(self, split: str, values: Mapping[str, float], step: int | None = None) -> None:
        """Log the metrics of a split."""

    def dataset(self, name: str, source: str, digest: str, facts: Mapping[str, int], context: str) -> None:
        """Log reviews that the run used, and what for."""

    def description(self, markdown: str) -> None:
        """Set the description of the run."""

    def figure(self, figure: Figure, name: str) -> None:
        """Log a figure as an image."""

    def table(self, rows: Sequence[Mapping[str, object]], name: str) -> None:
        """Log rows as a table."""

    def file(self, path: Path, artifact_path: str) -> None:
        """Log a file under `artifact_path`."""

    def folder(self, path: Path, artifact_path: str) -> None:
        """Log a folder under `artifact_path`."""

    def model(self, folder: Path, example: str) -> None:
        """Log a model folder with an example text."""


def log_evaluation_metrics(log: RunLog, test: Evaluation) -> None:
    """Log the metrics of an evaluation as `test/FOOD/f1`, and by their former names."""
    log.metrics({f"test_{name}": value for name, value in test.metrics().items()})
    log.split_metrics("test", test.metrics())


def log_dataset(log: RunLog, source: str, split: Mapping[str, Sequence[Review]], context: str) -> None:
    """Log the reviews of a split as a dataset of the run."""
    [reviews] = split.values()
    spans = sum(aspect.span is not None for review in reviews for aspect in review.aspects)
    facts = {"num_rows": len(reviews), "labelled_spans": spans}
    log.dataset(Path(source).name, source, data.compute_digest(split), facts, context)


def log_plots(log: RunLog, evaluation: Evaluation) -> None:
    """Log the plots of an evaluation, the table behind the reliability diagram, and the most confident mistakes."""
    from reviews_parsing.training import plots

    log.figure(plots.category_f1(evaluation), "category_f1.png")
    log.figure(plots.confusion(evaluation), "confusion.png")
    log.figure(plots.reliability_diagram(evaluation), "reliability.png")
    log.table(reliability_table(evaluation), "reliability.json")
    log.table([asdict(mistake) for mistake in evaluation.mistakes[:LOGGED_MISTAKES]], "worst_mistakes.json")
