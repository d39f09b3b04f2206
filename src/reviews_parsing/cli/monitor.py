"""`reviews-parsing monitor`: what a server saw beside what its model was trained on."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reviews_parsing.cli import output

if TYPE_CHECKING:
    from reviews_parsing.monitor import Comparison, Window

DRIFTED = 3


def monitor(
    traffic: Annotated[
        Path | None, typer.Argument(help="Folder of the traffic. Default: REVIEWS_PARSING_TRAFFIC.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="Folder, models:/NAME@ALIAS or models:/NAME/N. Default: the champion."),
    ] = None,
    since: Annotated[str | None, typer.Option(help="Only the last 90m, 24h or 7d. Default: all there is.")] = None,
    alarm: Annotated[
        float, typer.Option(min=0, max=1, help="Share of windows without any drift that may be called drifted.")
    ] = 0.01,
    effect: Annotated[
        float, typer.Option(min=0, max=1, help="Smaller changes are none: the least share of reviews that differ.")
    ] = 0.1,
    report: Annotated[Path | None, typer.Option("-o", "--output", help="Write a page (HTML) of all numbers.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document and nothing else on stdout.")
    ] = False,
) -> None:
    """Compare what a server saw with what its model was trained on. Exit status: 0 alike, 3 drifted, 1 could not tell.

    Only numbers are compared, of a sample of the reviews: lengths, tokens, categories, polarities, probabilities, and
    where the texts lie in the model's own space. No text is kept.

    Examples:

        REVIEWS_PARSING_TRAFFIC=traffic reviews-parsing serve

        reviews-parsing monitor traffic --since 24h

        reviews-parsing monitor traffic --since 7d --model models:/reviews-parsing-ner-aspects/3 -o drift.html
    """
    from reviews_parsing import registry
    from reviews_parsing.monitor import Profile, compare, read, write_report
    from reviews_parsing.settings import Settings

    settings = Settings()
    folder = traffic or settings.traffic
    if folder is None:
        raise typer.BadParameter("give the folder of the traffic, or set REVIEWS_PARSING_TRAFFIC")
    location, version = registry.locate(model)
    source = model or f"version {version}"
    profile = Profile.read(location)
    window = read(folder, profile, _lately(since))
    found = compare(profile.gauge.names, profile.numbers, window.numbers, alarm, effect)
    if report:
        with output.progress_bar("writing the page") as update:
            update(None)
            write_report(report, profile.gauge.names, profile.numbers, window.numbers, found)
            update(1.0)
    if as_json:
        output.print_json(_form(source, window, found, report))
    else:
        _show(source, window, found, report)
    if found.drifted:
        raise typer.Exit(DRIFTED)


def _lately(text: str | None) -> timedelta | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    if match is None:
        raise typer.BadParameter(f"--since: {text!r} is no duration; write 90m, 24h or 7d")
    return timedelta(**{unit[match[2]]: float(match[1])})


def _show(source: str, window: Window, found: Comparison, report: Path | None) -> None:
    rows = [
        [
            change.number,
            f"{change.expected:.3g}",
            f"{change.seen:.3g}",
            f"{change.distance:.0%}",
            f"{change.p_value:.1g}",
            "drifted" if change.drifted else "",
        ]
        for change in found.drifted or found.changes[:5]
    ]
    times = f"{window.begin:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M} UTC"
    output.out.print(
        f"{found.reviews:,} reviews, {times}, beside {found.profile_reviews:,} of {source}\n", markup=False
    )
    output.table("", ["number", "expected", "seen", "reviews that differ", "by chance", ""], rows)
    output.out.print()
    if found.drifted:
        count = f"{len(found.drifted)} of {len(found.changes)} numbers drifted"
        output.out.print(f"[red]{count}[/]: this is other traffic than the model was trained for")
    else:
        output.out.print(f"[green]no drift[/] in {len(found.changes)} numbers; those above moved most")
    if report:
        output.out.print(f"all of them: {report}", markup=False)


def _form(source: str, window: Window, found: Comparison, report: Path | None) -> dict[str, Any]:
    return {
        "model": source,
        "versions": window.versions,
        "begin": window.begin.isoformat(),
        "end": window.end.isoformat(),
        "drifted": bool(found.drifted),
        **asdict(found),
        "report": str(report) if report else None,
    }
