"""`reviews-parsing parse`: aspects of a text or of the reviews in files."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from reviews_parsing.cli import output
from reviews_parsing.cli.options import AsJson, Model, load_parser
from reviews_parsing.errors import DataError

_LAYOUT, _LIMITS, _RAY = "How files are read", "Limits", "Ray"
_RATE_SECONDS = 1.0
_PATH = re.compile(r"(?:\.{0,2}/|~/|[A-Za-z]:[\\/])[^\s/]")
"""Beginning of a path."""


class BatchEngine(StrEnum):
    """Executor of the parts of a folder."""

    local = "local"
    ray = "ray"


def parse(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="A text; or files (delimited text, JSON, Parquet, .xlsx, plain text; also compressed), folders, "
            "globs, s3:// or gs:// URLs, or - for stdin."
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", help="Parquet, JSONL or CSV, by extension; or a folder/ for Parquet in parts; or a URL."
        ),
    ] = None,
    text_column: Annotated[str | None, typer.Option(help="Column of the text. Default: by its name.")] = None,
    min_score: Annotated[float, typer.Option(min=0, max=1, help="Minimum score of an aspect.")] = 0.0,
    spans_only: Annotated[
        bool, typer.Option("--spans-only", help='Omit implicit aspects, which have no text span ("Yum!").')
    ] = False,
    delimiter: Annotated[
        str | None,
        typer.Option(
            help="One character, tab, or none for a single column. Default: detected from the content.",
            rich_help_panel=_LAYOUT,
        ),
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option(
            help="Encoding of text files. Default: UTF-8, UTF-16 or Windows-1252, detected from the content.",
            rich_help_panel=_LAYOUT,
        ),
    ] = None,
    header: Annotated[
        bool | None,
        typer.Option(
            "--header/--no-header",
            help="Whether the first row names the columns. Default: detected from the content.",
            rich_help_panel=_LAYOUT,
        ),
    ] = None,
    skip_lines: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Lines above the header or the first row. Default: detected from the content.",
            rich_help_panel=_LAYOUT,
        ),
    ] = None,
    records: Annotated[
        str | None,
        typer.Option(
            help="List of reviews nested in JSON (place.reviews), or sheet of a workbook.", rich_help_panel=_LAYOUT
        ),
    ] = None,
    languages: Annotated[
        bool,
        typer.Option(
            "--languages/--no-languages",
            help="Add the columns language (ISO 639) and foreign (not read by the model).",
        ),
    ] = True,
    rejects: Annotated[
        str | None,
        typer.Option(help="JSONL for rows that cannot be parsed. Default: OUTPUT.rejects.jsonl; in a folder, there."),
    ] = None,
    max_rejects: Annotated[
        float,
        typer.Option(
            min=0,
            max=100,
            help="Percentage of rejected rows above which the exit status is 1; it is also 1 if more rows are rejected "
            "than parsed. 100 accepts any number.",
            rich_help_panel=_LIMITS,
        ),
    ] = 5.0,
    max_cell: Annotated[
        int | None,
        typer.Option(
            min=1, help="Bytes of a row of text, or of a value in Parquet. Default: 2 MiB.", rich_help_panel=_LIMITS
        ),
    ] = None,
    max_columns: Annotated[
        int | None, typer.Option(min=1, help="Columns of a file. Default: 2000.", rich_help_panel=_LIMITS)
    ] = None,
    max_unpacked: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Bytes of a compressed file after unpacking. Default: 100 times its size, at least 256 MiB.",
            rich_help_panel=_LIMITS,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted run into a folder; no review is parsed twice.")
    ] = False,
    part_rows: Annotated[int, typer.Option(min=1, help="Maximum rows of a part of a folder.")] = 4096,
    engine: Annotated[
        BatchEngine, typer.Option(help="Executor of the parts of a folder: this process, or Ray.", rich_help_panel=_RAY)
    ] = BatchEngine.local,
    address: Annotated[
        str | None,
        typer.Option(
            help="Ray cluster; auto for this machine's. Default: a new one for this run, here.", rich_help_panel=_RAY
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Maximum Ray workers, one core each. Default: all cores of the cluster.", rich_help_panel=_RAY
        ),
    ] = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Find the aspects of a text, or of every review in files.

    The layout of a file is found from its content and printed in one line; options set it. Rows that cannot be parsed
    go to a file of rejects, with the reason.

    Examples:

        reviews-parsing parse "Great coffee, sad croissants."

        reviews-parsing parse reviews.csv -o parsed.parquet --text-column comment

        reviews-parsing parse export.txt --delimiter ";" --encoding windows-1252 --no-header -o parsed.csv

        reviews-parsing parse places.json --records reviews -o parsed.jsonl

        reviews-parsing parse reviews/ "more/*.jsonl.gz" -o parsed/ --resume

        reviews-parsing parse s3://bucket/reviews/ -o s3://bucket/parsed/ --engine ray --address auto

        cat reviews.jsonl | reviews-parsing parse - --min-score 0.8 > parsed.jsonl
    """
    if _is_text(inputs):
        _parse_text(inputs[0], min_score, spans_only, model, as_json)
        return
    if engine is BatchEngine.local and (address or workers):
        raise DataError("--address and --workers are Ray's: give --engine ray too")
    from reviews_parsing.batch import Limits, Ray, ReadOptions, parse_files
    from reviews_parsing.io.termination import exit_on_sigterm

    exit_on_sigterm()
    defaults = Limits()
    limits = Limits(max_unpacked, max_columns or defaults.max_columns, max_cell or defaults.max_cell)
    rows: list[dict[str, Any]] = []
    with output.progress_bar("parsing", lines=True) as update:
        report = parse_files(
            load_parser(model),
            inputs,
            out,
            text_column=text_column,
            min_score=min_score,
            spans_only=spans_only,
            languages=languages,
            reading=ReadOptions(delimiter, encoding, header, skip_lines, records, limits),
            rejects_file=rejects,
            resume=resume,
            part_rows=part_rows,
            executor=Ray(address, workers) if engine is BatchEngine.ray else None,
            progress=_progress(update),
            on_rows=None if out else rows.extend if as_json else _print_lines,
            on_layouts=output.layouts,
        )
    if out is None and as_json:
        output.print_json(rows)
    elif as_json:
        output.print_json(output.report_form(report, str(out)))
    elif out is not None:
        output.report(report, out)
    if max_rejects < 100:
        report.require_few_rejects(max_rejects / 100)
    output.rejects(report)


def _parse_text(text: str, min_score: float, spans_only: bool, model: str | None, as_json: bool) -> None:
    (review,) = load_parser(model).parse([text], min_score, spans_only)
    if review.foreign:
        output.print_line(
            f"the text is in a language that the model does not read ({review.language}): scores are at most 0.5"
        )
    if as_json:
        output.print_json(review.to_json())
    elif sys.stdout.isatty():
        output.show(review)
    else:
        _print_line(review.to_json())


def _progress(update: Callable[[float | None, str], None]) -> Callable[[int, int, int], None]:
    """Return a callback for `parse_files` that shows the share of the rows that are done, and the rate."""
    start: tuple[float, int] | None = None

    def progress(finished: int, total: int, count: int) -> None:
        nonlocal start
        now = time.monotonic()
        start = start or (now, count)
        seconds, rows = now - start[0], count - start[1]
        rate = f", {rows / seconds:,.0f} a second" if seconds > _RATE_SECONDS else ""
        update(finished / total if total else None, f"{count:,} reviews{rate}")

    return progress


def _is_text(inputs: list[str]) -> bool:
    """Return True if the only argument is neither a file nor looks like the name of one."""
    from reviews_parsing.io import formats
    from reviews_parsing.io.filesystems import is_url

    if len(inputs) != 1 or inputs[0] == "-":
        return False
    (name,) = inputs
    if is_url(name) or name.endswith("/") or _PATH.match(name) or _exists(name):
        return False
    if not re.search(r"\s", name) and Path(name).parent != Path() and _exists(str(Path(name).parent)):
        return False
    ending, compression = formats.split_endings(name)
    if compression or formats.format_of_ending(ending):
        return False
    return re.search(r"\s", name) is not None or "*" not in name


def _exists(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):  # longer than a file name may be, or with a NUL
        return False


def _print_lines(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        _print_line(row)


def _print_line(form: Any) -> None:
    sys.stdout.write(json.dumps(form, ensure_ascii=False) + "\n")
