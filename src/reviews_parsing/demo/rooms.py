"""Functions of other rooms that the page uses, gathered here so that changes in those rooms reach one file.

All of them read user files or draw plots: they run in the worker process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from reviews_parsing import batch
from reviews_parsing.batch.columns import ASPECTS
from reviews_parsing.errors import DataError
from reviews_parsing.schema import ParsedReview
from reviews_parsing.serving.batches import batches as split_into_batches
from reviews_parsing.tagging import words as find_words

__all__ = [
    "ASPECTS_COLUMN",
    "FileColumns",
    "ParseReport",
    "draw_report",
    "find_words",
    "parse_file",
    "read_rows",
    "scan_columns",
    "split_into_batches",
]

ASPECTS_COLUMN = ASPECTS
CAPTIONS = {
    "mentions": "Share of reviews that mention each category",
    "polarity": "Polarity of each category",
    "time_mentions": "Mentions over time",
    "time_polarity": "Polarity over time",
}


class TextParser(Protocol):
    """A parser of a stream of texts."""

    def parse_iter(
        self, texts: Iterable[str], min_score: float = 0.0, spans_only: bool = False
    ) -> Iterator[ParsedReview]:
        """Yield the parsed reviews in the order of the texts."""


@dataclass(frozen=True, slots=True)
class FileColumns:
    """Columns of a file, those that hold texts, and the probable text column if one is clear."""

    names: list[str]
    text_names: list[str]
    text_guess: str | None


@dataclass(frozen=True, slots=True)
class ParseReport:
    """Statistics of a parsed file; `rejects` is the file of rows that could not be parsed."""

    rows: int
    parsed: int
    aspects: int
    seconds: float
    counts: list[tuple[str, str | None, int]]
    rejects: Path | None


def scan_columns(path: str) -> FileColumns:
    """Return the columns of a file. Raises DataError if it cannot be read or has no column of texts."""
    preview = batch.preview_file(path)
    if not preview.text_columns:
        raise DataError(f"{path} has no column of strings, only {', '.join(preview.columns)}: add one with the texts")
    # A file with predicted aspects, such as one from `data suggest`, has its texts in `text`.
    guess = preview.text_column or ("text" if "text" in preview.text_columns else None)
    return FileColumns(preview.columns, preview.text_columns, guess)


def parse_file(
    parser: TextParser, path: str, target: Path, column: str, progress: Callable[[int, int], None]
) -> ParseReport:
    """Parse the texts in `column` into the Parquet file `target`; `progress` gets the rows done and the rows in all.

    Raises DataError if the file cannot be read or the result not be written.
    """

    def on_progress(finished: int, total: int, rows: int) -> None:
        progress(finished, total)

    report = batch.parse_files(parser, [path], target, text_column=column, progress=on_progress)
    counts = [(category, polarity, n) for (category, polarity), n in report.counts.items()]
    rejects = Path(report.rejects) if report.rejects else None
    return ParseReport(report.rows, report.parsed, report.aspects, report.seconds, counts, rejects)


def read_rows(path: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file. Raises DataError if the file or a row cannot be read."""
    return batch.read_rows([path])


def draw_report(
    parsed: Path, report: Path, group_by: Sequence[str], progress: Callable[[float, str], None]
) -> list[tuple[str, str]]:
    """Write the insights report of a parsed file and return its plots as (caption, SVG).

    Style attributes are named `data-style`: the content security policy of the page forbids to parse them. `progress`
    gets the share that is done and the current step. Raises DataError if there is nothing to draw.
    """
    from reviews_parsing import insights
    from reviews_parsing.insights.svg import inline

    results = insights.analyse([parsed], group_by, progress=progress)
    progress(0.9, "writing the report")
    insights.write_report(results, report)
    progress(0.95, "drawing plots")
    return [
        (
            CAPTIONS.get(name, name.replace("_", " ").capitalize()),
            str(inline(figure, f"plot-{name}")).replace(' style="', ' data-style="'),
        )
        for name, figure in insights.figures(results).items()
    ]
