"""`reviews-parsing parse`: a text, or whatever files."""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from reviews_parsing.cli import output
from reviews_parsing.cli.options import AsJson, Model, load_parser
from reviews_parsing.errors import DataError

_URL = re.compile("(s3|gs)://")
# What a name of a file ends in, a folder, or a star of a glob.
_FILE = re.compile(r"\.(csv|tsv|jsonl|ndjson|json|parquet|txt|gz|zst)$|/$|\*", re.IGNORECASE)


class Engine(StrEnum):
    """What the parts of a folder are parsed by."""

    local = "local"
    ray = "ray"


def parse(
    what: Annotated[
        list[str],
        typer.Argument(
            help="A text; or files (CSV, TSV, JSONL, Parquet, .gz, .zst), folders, globs, s3:// or gs:// URLs, or - "
            "for stdin."
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", help="Parquet, JSONL or CSV, by extension; or a folder/ for Parquet in parts; or a URL."
        ),
    ] = None,
    text_column: Annotated[str | None, typer.Option(help="Column of the text. Default: guessed by name.")] = None,
    min_score: Annotated[float, typer.Option(min=0, max=1, help="Leave out aspects less probable than this.")] = 0.0,
    spans_only: Annotated[
        bool, typer.Option("--spans-only", help='Leave out what is said of no word in particular ("Yum!").')
    ] = False,
    rejects: Annotated[
        str | None,
        typer.Option(help="JSONL for rows that cannot be parsed. Default: OUTPUT.rejects.jsonl; in a folder, there."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a folder where a run was killed; never a review twice.")
    ] = False,
    part_rows: Annotated[int, typer.Option(min=1, help="Rows of a part of a folder, at most.")] = 4096,
    engine: Annotated[Engine, typer.Option(help="Who parses a folder's parts: this process, or Ray's workers.")] = (
        Engine.local
    ),
    address: Annotated[
        str | None, typer.Option(help="Ray cluster, or auto for this machine's. Default: one for this run, here.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Ray workers at most, a core each. Default: all cores of the cluster.")
    ] = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Find the aspects of a text, or of every review in files.

    Rows that cannot be parsed go to a file of rejects, with the reason, and stop nothing.

    Examples:

        reviews-parsing parse "Great coffee, sad croissants."

        reviews-parsing parse reviews.csv -o parsed.parquet --text-column comment

        reviews-parsing parse reviews/ "more/*.jsonl.gz" -o parsed/ --resume

        reviews-parsing parse s3://bucket/reviews/ -o s3://bucket/parsed/ --engine ray --address auto

        cat reviews.jsonl | reviews-parsing parse - --min-score 0.8 > parsed.jsonl
    """
    if _is_text(what):
        parsed = load_parser(model).parse(what, min_score, spans_only)[0]
        if as_json:
            output.print_json(parsed.to_json())
        elif not sys.stdout.isatty():
            _print_line(parsed.to_json())
        else:
            output.show(parsed)
        return
    if engine is Engine.local and (address or workers):
        raise DataError("--address and --workers are Ray's: give --engine ray too")
    from reviews_parsing.batch import Ray, parse_files

    # Whoever stops us politely finds nothing half-written, as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    rows: list[dict[str, Any]] = []

    def on_rows(some: list[dict[str, Any]]) -> None:
        if as_json:
            rows.extend(some)
        else:
            for row in some:
                _print_line(row)

    with output.progress_bar("parsing", lines=True) as update:
        report = parse_files(
            load_parser(model),
            what,
            out,
            text_column=text_column,
            min_score=min_score,
            spans_only=spans_only,
            rejects_file=rejects,
            resume=resume,
            part_rows=part_rows,
            executor=Ray(address, workers) if engine is Engine.ray else None,
            progress=_rate(update),
            on_rows=None if out else on_rows,
        )
    if out is None and as_json:
        output.print_json(rows)
    elif as_json:
        output.print_json(output.report_form(report, str(out)))
    elif out is not None:
        output.report(report, out)
    output.rejects(report)


def _rate(update: Any) -> Any:
    """A function for `parse_files` that says how fast it goes, from where it began."""
    first: list[tuple[float, int]] = []

    def progress(done: int, total: int, count: int) -> None:
        now = time.monotonic()
        first.append((now, count)) if not first else None
        seconds, rows = now - first[0][0], count - first[0][1]
        speed = f", {rows / seconds:,.0f} a second" if seconds > 1 else ""
        update(done / total if total else None, f"{count:,} reviews{speed}")

    return progress


def _is_text(what: list[str]) -> bool:
    """One argument that is no file and does not look like the name of one."""
    if len(what) != 1 or what[0] == "-":
        return False
    if _URL.match(what[0]) or _is_there(what[0]):
        return False
    return " " in what[0] or not _FILE.search(what[0])


def _is_there(name: str) -> bool:
    try:
        return Path(name).exists()
    except OSError:  # longer than a file name may be
        return False


def _print_line(form: Any) -> None:
    sys.stdout.write(json.dumps(form, ensure_ascii=False) + "\n")
