"""`reviews-parsing monitor`: drift of live traffic from the training data."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reviews_parsing.cli import output
from reviews_parsing.cli.options import AsJson

if TYPE_CHECKING:
    from reviews_parsing.monitor import DriftResult, TrafficWindow

EXIT_DRIFTED = 3


def monitor(
    traffic: Annotated[Path | None, typer.Argument(help="Traffic folder. Default: REVIEWS_PARSING_TRAFFIC.")] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="Folder, models:/NAME@ALIAS or models:/NAME/N. Default: the champion."),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Duration before now, such as 90m, 24h or 7d. Default: all traffic.")
    ] = None,
    alarm: Annotated[
        float, typer.Option(min=0, max=1, help="False alarm rate: share of windows without drift reported as drift.")
    ] = 0.01,
    effect: Annotated[
        float, typer.Option(min=0, max=1, help="Minimum effect: share of reviews that must have changed.")
    ] = 0.1,
    report: Annotated[Path | None, typer.Option("-o", "--output", help="Report to write (HTML).")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare live traffic with the training data. Exit status: 0 no drift, 3 drift, 1 no comparison possible.

    Features of a sample of the reviews are compared: lengths, tokens, languages, categories, polarities, scores, and
    the position in the embedding space. No text is stored.

    Examples:

        REVIEWS_PARSING_TRAFFIC=traffic reviews-parsing serve

        reviews-parsing monitor traffic --since 24h

        reviews-parsing monitor traffic --since 7d --model models:/reviews-parsing-ner-aspects/3 -o drift.html
    """
    from reviews_parsing import registry
    from reviews_parsing.monitor import Profile, detect_drift, read_traffic, write_report
    from reviews_parsing.settings import Settings

    folder = traffic or Settings().traffic
    if folder is None:
        raise typer.BadParameter("give the traffic folder, or set REVIEWS_PARSING_TRAFFIC")
    location, version = registry.locate(model)
    source = model or f"version {version}"
    profile = Profile.read(location)
    window = read_traffic(folder, profile, _parse_duration(since))
    names = profile.extractor.names
    result = detect_drift(names, profile.features, window.features, alarm, effect)
    if report:
        with output.progress_bar("writing the report") as update:
            update(None)
            write_report(report, names, profile.features, window.features, result)
            update(1.0)
    if as_json:
        output.print_json(_to_json(source, window, result, report))
    else:
        _print(source, window, result, report)
    if result.drifted:
        raise typer.Exit(EXIT_DRIFTED)


def _parse_duration(text: str | None) -> timedelta | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    if match is None:
        raise typer.BadParameter(f"--since: {text!r} is not a duration; write 90m, 24h or 7d")
    return timedelta(**{units[match[2]]: float(match[1])})


def _print(source: str, window: TrafficWindow, result: DriftResult, report: Path | None) -> None:
    rows = [
        [
            feature.feature,
            f"{feature.expected:.3g}",
            f"{feature.observed:.3g}",
            f"{feature.distance:.0%}",
            f"{feature.p_value:.1g}",
            "drifted" if feature.drifted else "",
        ]
        for feature in result.drifted or result.features[:5]
    ]
    times = f"{window.begin:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M} UTC"
    reference = f"{result.profile_reviews:,} of {source}"
    output.out.print(f"{result.reviews:,} reviews, {times}, compared with {reference}\n", markup=False)
    output.table("", ["feature", "expected", "observed", "reviews that differ", "p-value", ""], rows)
    output.out.print()
    if foreign := result.foreign:
        output.out.print(
            f"{foreign.count:,} of {foreign.reviews:,} reviews in a language that the model does not read "
            f"({foreign.observed:.1%}; {foreign.expected:.1%} expected)"
        )
    if result.drifted:
        count = f"{len(result.drifted)} of {len(result.features)} features drifted"
        output.out.print(f"[red]{count}[/]: the traffic differs from the training data")
    else:
        output.out.print(f"[green]no drift[/] in {len(result.features)} features; those above moved most")
    if report:
        output.out.print(f"all features: {report}", markup=False)


def _to_json(source: str, window: TrafficWindow, result: DriftResult, report: Path | None) -> dict[str, Any]:
    """Return the public JSON form; its keys are older than the names of the dataclasses."""
    changes = []
    for feature in result.features:
        fields = asdict(feature)
        changes.append({"number": fields.pop("feature"), "seen": fields.pop("observed"), **fields})
    foreign = result.foreign
    return {
        "model": source,
        "versions": window.versions,
        "begin": window.begin.isoformat(),
        "end": window.end.isoformat(),
        "drifted": bool(result.drifted),
        "reviews": result.reviews,
        "profile_reviews": result.profile_reviews,
        "foreign": {"reviews": foreign.count, "of": foreign.reviews, "expected": foreign.expected} if foreign else None,
        "alarm": result.false_alarm_rate,
        "effect": result.min_effect,
        "changes": changes,
        "report": str(report) if report else None,
    }
