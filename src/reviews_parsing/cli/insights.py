"""The command `reviews-parsing insights`."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reviews_parsing.cli import output

if TYPE_CHECKING:
    from reviews_parsing.insights import Insights


ALERT_STATUS = 3
"""Exit status if an alert fires."""
MAX_FINDINGS, MAX_DIFFERENCES, MAX_MERGES = 12, 8, 4


def insights(
    parsed: Annotated[
        list[str],
        typer.Argument(help="Output of parse: files (Parquet, JSONL, CSV), folders, globs, s3:// and gs:// URLs."),
    ],
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="Columns to compare by, separated by commas; month, week, year, weekday are of the date. "
            "Default: a column of places, such as business."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", "--output", help="File of the report, one HTML page.")] = None,
    tables: Annotated[
        Path | None, typer.Option(help="Folder of the tables, as CSV, Parquet, one XLSX and one JSON.")
    ] = None,
    pictures: Annotated[Path | None, typer.Option(help="Folder of the plots, as PNG and SVG.")] = None,
    compare: Annotated[
        str | None,
        typer.Option(
            help="Compare the last day, week, month, quarter or year with the one before, or two ranges: "
            "2024-01-01..2024-03-31,2024-04-01..2024-06-30."
        ),
    ] = None,
    digest: Annotated[
        Path | None, typer.Option(help="Folder of a digest for mail: what changed since the last digest there.")
    ] = None,
    alert: Annotated[
        list[str] | None,
        typer.Option(
            help="Exit with 3 if it fires: change, or a threshold such as 'blame:SERVICE>20%' or 'stars<3.8'."
        ),
    ] = None,
    topics: Annotated[Path | None, typer.Option(help="Topic file (TOML) that merges, splits, renames, hides.")] = None,
    rating: Annotated[
        str | None, typer.Option(help="Column of ratings. Default: by a usual name, such as stars.")
    ] = None,
    time: Annotated[str | None, typer.Option(help="Column of the date. Default: by type, or by a usual name.")] = None,
    date_format: Annotated[
        str | None, typer.Option(help="Format of the date, such as %d/%m/%Y. Default: inferred from all values.")
    ] = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"], help="Day of relative dates (a month ago). Default: when the files were modified."
        ),
    ] = None,
    min_score: Annotated[float, typer.Option(min=0, max=1, help="Omit aspects with a lower score.")] = 0.0,
    language: Annotated[str, typer.Option(help="Language of the reviews, to merge forms of a word.")] = "en",
    serve: Annotated[
        int | None,
        typer.Option(
            metavar="PORT", min=0, max=65535, help="Serve the report with all sentences at this port of 127.0.0.1."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print only one JSON document on stdout.")] = False,
) -> None:
    """Summarise parsed reviews: ranked findings, impact on ratings, praise and blame by category and topic.

    Examples:

        reviews-parsing insights parsed.parquet

        reviews-parsing insights parsed.parquet --by business,month -o report.html

        reviews-parsing insights "parsed/*.parquet" --tables figures --min-score 0.8

        reviews-parsing insights s3://bucket/parsed/ -o report.html

        reviews-parsing insights parsed/ --serve 8350

        reviews-parsing insights parsed.parquet --compare month --digest digest --alert change
    """
    from reviews_parsing import insights as room

    columns = [name.strip() for names in by or () for name in names.split(",") if name.strip()]
    changes, thresholds = room.parse_alerts(alert or ())
    room.check_targets(out, tables, pictures, digest)
    options = room.AnalysisOptions(
        by=None if by is None else tuple(dict.fromkeys(columns)),
        time=time,
        min_score=min_score,
        language=language,
        rating=rating,
        date_format=date_format,
        as_of=as_of,
        topics=topics,
        compare=compare,
        with_evidence=out is not None,
    )
    with ExitStack() as stack:
        with output.progress_bar("reading") as update:
            result, reviews = stack.enter_context(room.open_analysis(parsed, options, update))
            summary = room.make_digest(result, digest)
            fired = room.alerts(result, summary, changes, thresholds)
            update(0.95, "writing")
            if out is not None:
                room.write_report(result, out)
            if tables is not None:
                room.write_tables(result, tables)
                room.write_workbook(result, tables / "tables.xlsx")
                room.write_json(result, tables / "insights.json")
            if pictures is not None:
                room.write_pictures(result, pictures)
            if digest is not None:
                room.write_digest(summary, digest)
            update(1.0, "")
        if as_json:
            output.print_json({**room.to_json(result), "alerts": fired})
        else:
            _print(result)
            for line in fired:
                output.out.print(f"alert: {line}", markup=False)
            if out is not None and (missing := room.missing_sentences(result)):
                output.out.print(missing, markup=False)
            for target in (out, tables, pictures, digest):
                if target is not None:
                    output.out.print(f"-> {target}", markup=False)
        if serve is not None:
            server = stack.enter_context(room.report_server(result, reviews, serve))
            output.err.print(f"http://127.0.0.1:{server.server_port}/ (stop with Ctrl+C)", markup=False)
            with suppress(KeyboardInterrupt):
                server.serve_forever()
    if fired:
        raise typer.Exit(ALERT_STATUS)


def _print(insights: Insights) -> None:
    """Print a row for each category, and the findings."""
    from reviews_parsing.insights.findings import impact_sentence, overview, range_sentence, reportable_differences
    from reviews_parsing.insights.similar import merge_lines

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
    lines = [*(finding.text for finding in insights.findings[:MAX_FINDINGS]), *overview(insights)]
    if (hidden_findings := len(insights.findings) - MAX_FINDINGS) > 0:
        lines.insert(MAX_FINDINGS, f"... and {hidden_findings} more findings, which --json and the report list.")
    if insights.rating is not None:
        lines.append(impact_sentence(insights.rating))
    if (compared := insights.compared) is not None:
        lines.append(
            f"{compared.first} to {compared.last} ({compared.reviews:,} reviews) against {compared.first_before} to"
            f" {compared.last_before} ({compared.reviews_before:,}):"
        )
        differences = reportable_differences(compared)[:MAX_DIFFERENCES]
        lines += [f"- {range_sentence(insights, d)}" for d in differences] or ["- no share differs significantly."]
    if merges := merge_lines(insights.similar_topics):
        shown = "; ".join(merges[:MAX_MERGES])
        lines.append(f"Topics that may mean the same, as lines for [merge] in a topic file: {shown}.")
    incomparable = (comparison.note for comparison in insights.comparisons if comparison.note)
    for line in (*lines, *insights.notes, *incomparable):
        output.out.print(line, markup=False)
    output.out.print(f"\n{insights.reviews:,} reviews, {insights.aspects:,} aspects", markup=False)
