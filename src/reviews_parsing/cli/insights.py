"""The command `reviews-parsing insights`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reviews_parsing.cli import output

if TYPE_CHECKING:
    from reviews_parsing.insights import Insights


def insights(
    parsed: Annotated[
        list[str],
        typer.Argument(help="Output of parse: files (Parquet, JSONL, CSV), folders, globs, s3:// and gs:// URLs."),
    ],
    by: Annotated[
        list[str] | None,
        typer.Option(help="Columns to compare by, separated by commas; month, week, year, weekday are of the date."),
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", "--output", help="File of the report, one HTML page.")] = None,
    tables: Annotated[Path | None, typer.Option(help="Folder of the tables, as CSV and Parquet.")] = None,
    time: Annotated[str | None, typer.Option(help="Column of the date. Default: by type, or by a usual name.")] = None,
    min_score: Annotated[float, typer.Option(min=0, max=1, help="Omit aspects with a lower score.")] = 0.0,
    language: Annotated[str, typer.Option(help="Language of the reviews, to merge forms of a word.")] = "en",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document and nothing else on stdout.")
    ] = False,
) -> None:
    """Summarise parsed reviews: praise and blame by category, changes over time, words, and differences of groups.

    Examples:

        reviews-parsing insights parsed.parquet

        reviews-parsing insights parsed.parquet --by business,month -o report.html

        reviews-parsing insights "parsed/*.parquet" --tables figures --min-score 0.8

        reviews-parsing insights s3://bucket/parsed/ -o report.html
    """
    from reviews_parsing import insights as room

    columns = [name.strip() for names in by or () for name in names.split(",") if name.strip()]
    room.check_targets(out, tables)
    with output.progress_bar("reading") as update:
        result = room.analyse(parsed, columns, time=time, min_score=min_score, language=language, progress=update)
        update(0.95, "writing")
        if out is not None:
            room.write_report(result, out)
        if tables is not None:
            room.write_tables(result, tables)
        update(1.0, "")
    if as_json:
        output.print_json(room.to_json(result))
    else:
        _print(result)
        for target in (out, tables):
            if target is not None:
                output.out.print(f"-> {target}", markup=False)


def _print(insights: Insights) -> None:
    """Print a row for each category, and the findings."""
    from reviews_parsing.insights import findings

    rows = []
    for category in insights.categories:
        words = [word for word in insights.words if word.category == category.category]
        praised = sorted((w for w in words if w.positive), key=lambda w: -w.positive)[:3]
        blamed = sorted((w for w in words if w.negative), key=lambda w: -w.negative)[:3]
        shares = [f"{100 * share.value:.0f} %" for share in (category.mentions, category.praise, category.blame)]
        rows.append([category.category, *shares, *(", ".join(w.word for w in side) for side in (praised, blamed))])
    if rows:
        output.table("", ["category", "mention it", "praise it", "blame it", "praised", "blamed"], rows)
        output.out.print()
    for line in (*findings(insights), *insights.notes):
        output.out.print(line, markup=False)
    output.out.print(f"\n{insights.reviews:,} reviews, {insights.aspects:,} aspects", markup=False)
