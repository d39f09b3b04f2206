"""Digest: a summary for mail of what changed since the last digest, and alerts for scheduled jobs."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reviews_parsing.errors import DataError
from reviews_parsing.insights.counts import MEASURES
from reviews_parsing.insights.files import make_folder, write_bytes
from reviews_parsing.insights.findings import overview, range_sentence, reportable_differences
from reviews_parsing.insights.report import TEMPLATES
from reviews_parsing.insights.results import Finding, Insights
from reviews_parsing.insights.text import VERBS, day_name, percent, points

STATE, HTML, TEXT = "digest.json", "digest.html", "digest.txt"
"""Files of a digest folder: the figures that the next digest compares with, and the summary in two forms."""
MAX_LINES = 10
CHANGE_ALERT = "change"
ALERT_FORMS = "change, or a threshold such as 'blame:SERVICE>20%' or 'stars<3.8'"
_THRESHOLD = re.compile(r"(?:(mentions|praise|blame):(.+?)|stars) *([<>]) *(\d+(?:[.,]\d+)?) *(%?)")


@dataclass(frozen=True, slots=True)
class Threshold:
    """An alert if a measure is above or below a limit. Shares are of all reviews, in [0, 1]."""

    rule: str
    measure: str
    category: str
    above: bool
    limit: float


@dataclass(frozen=True, slots=True)
class Digest:
    """A summary: (heading, lines) of each section, and the findings that the last digest did not have."""

    title: str
    sections: tuple[tuple[str, tuple[str, ...]], ...]
    new: tuple[Finding, ...]
    state: dict[str, Any]


def parse_alerts(rules: Sequence[str]) -> tuple[bool, tuple[Threshold, ...]]:
    """Return whether changes are alerts, and the thresholds. Raises DataError if a rule is neither."""
    thresholds = []
    for rule in rules:
        if rule == CHANGE_ALERT:
            continue
        match = _THRESHOLD.fullmatch(rule.strip())
        if match is None:
            raise DataError(f"'{rule}' is not an alert: give {ALERT_FORMS}")
        measure, category, comparison, number, unit = match.groups()
        limit = float(number.replace(",", ".")) / (100 if unit else 1)
        if measure and limit > 1:
            raise DataError(f"'{rule}': a share is at most 100%: write {limit:g}%")
        if not measure and unit:
            raise DataError(f"'{rule}': stars have no %: write stars{comparison}{number}")
        if not measure and limit > 5:
            raise DataError(f"'{rule}': stars are at most 5: write stars{comparison}3.8, for example")
        thresholds.append(Threshold(rule.strip(), measure or "stars", category or "", comparison == ">", limit))
    return CHANGE_ALERT in rules, tuple(thresholds)


def make_digest(insights: Insights, folder: Path | None) -> Digest:
    """Return the digest of an analysis against the last one in `folder`, or against nothing.

    Raises DataError if the state of the last digest is damaged.
    """
    last = _read_state(folder)
    state = _state(insights)
    last_ids = set(last["findings"]) if last else set()
    new = tuple(f for f in insights.findings if finding_key(f) not in last_ids)
    current = {finding_key(f) for f in insights.findings}
    sections: list[tuple[str, Sequence[str]]] = []
    if last is None:
        sections.append(("Findings", [_line(f) for f in new]))
    else:
        sections.append(("New since the last digest", [_line(f) for f in new] or ["Nothing new is significant."]))
        gone = [text for key, text in last["findings"].items() if key not in current]
        sections.append(("No longer significant", gone))
        sections.append(("Figures", _figure_lines(state, last)))
        old = [_line(f) for f in insights.findings if finding_key(f) in last_ids]
        sections.append(("Unchanged findings", old))
    if insights.compared is not None:
        c = insights.compared
        current_days = f"{day_name(c.first)} to {day_name(c.last)}"
        heading = f"{current_days} against {day_name(c.first_before)} to {day_name(c.last_before)}"
        lines = [range_sentence(insights, d) for d in reportable_differences(c)]
        sections.append((heading, lines or ["No share differs by more than chance would explain."]))
    sections.append(("Overview", overview(insights)))
    sections.append(("Notes", insights.notes))
    limited = tuple((heading, _limit(lines)) for heading, lines in sections if lines)
    period = f", {day_name(insights.first)} to {day_name(insights.last)}" if insights.first else ""
    number = f"{insights.reviews:,} review{'s' if insights.reviews != 1 else ''}"
    return Digest(f"Digest of {number}{period}", limited, new, state)


def write_digest(digest: Digest, folder: Path) -> None:
    """Write the digest as HTML and text, and then its state, into a folder, which is made if necessary.

    Raises DataError if a file cannot be written.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    make_folder(folder)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("digest.html").render(digest=digest)
    write_bytes(folder / HTML, page.encode("utf-8", "replace"))
    text = [digest.title, "=" * len(digest.title)]
    for heading, lines in digest.sections:
        text += ["", heading, "-" * len(heading), *(f"- {line}" for line in lines)]
    write_bytes(folder / TEXT, ("\n".join(text) + "\n").encode("utf-8", "replace"))
    # The state is written last: if anything fails before, the next digest repeats what this one would have said.
    write_bytes(folder / STATE, (json.dumps(digest.state, ensure_ascii=True, indent=1) + "\n").encode())


def alerts(insights: Insights, digest: Digest, changes: bool, thresholds: Sequence[Threshold]) -> list[str]:
    """Return a line for each alert that fires.

    A change is an alert if it is for the worse and the last digest did not have it. Thresholds apply to the current
    range of a comparison, and to all reviews without one. Raises DataError if a threshold names an unknown category, or
    stars without a column of ratings.
    """
    lines = []
    if changes:
        lines += [_line(f) for f in digest.new if f.direction == "worse" and f.since is not None]
        if insights.compared is not None:
            worse = {("blame", True), ("praise", False)}
            lines += [
                range_sentence(insights, d)
                for d in reportable_differences(insights.compared)
                if (d.measure, d.difference.value > 0) in worse
            ]
    for threshold in thresholds:
        value = _value(insights, threshold)
        if value > threshold.limit if threshold.above else value < threshold.limit:
            text = f"{value:.2f}" if threshold.measure == "stars" else f"{100 * value:.1f} %"
            lines.append(f"{threshold.rule}: it is {text}.")
    return lines


def finding_key(finding: Finding) -> str:
    """Return a key that stays the same when new reviews move the date of a change or the strongest measure."""
    kind = "rating" if finding.kind.startswith("rating") else "change" if finding.since else "level"
    group = f"{finding.column}={finding.group}" if finding.column else ""
    return "|".join((kind, finding.category or "", finding.topic or "", group, finding.direction))


def _value(insights: Insights, threshold: Threshold) -> float:
    if threshold.measure == "stars":
        if insights.rating is None:
            raise DataError(f"'{threshold.rule}' needs a column of ratings: name it with --rating COLUMN")
        return insights.rating.mean
    category = next((c for c in insights.categories if c.category == threshold.category), None)
    if category is None:
        names = ", ".join(c.category for c in insights.categories) or "none"
        raise DataError(f"'{threshold.rule}': no review mentions '{threshold.category}'; the categories are {names}")
    if insights.compared is not None:
        differences = (
            d
            for d in insights.compared.differences
            if (d.column, d.topic, d.category, d.measure) == (None, None, threshold.category, threshold.measure)
        )
        return next((d.share.value for d in differences), 0.0)
    counts = {"mentions": category.reviews, "praise": category.praising, "blame": category.blaming}
    return counts[threshold.measure] / insights.reviews


def _state(insights: Insights) -> dict[str, Any]:
    """Return the figures that the next digest compares with."""
    total = insights.reviews
    return {
        "version": 1,
        "reviews": total,
        "last": insights.last.isoformat() if insights.last else None,
        "stars": round(insights.rating.mean, 4) if insights.rating else None,
        "categories": {
            c.category: {
                "mentions": round(c.reviews / total, 6),
                "praise": round(c.praising / total, 6),
                "blame": round(c.blaming / total, 6),
            }
            for c in insights.categories
        },
        "findings": {finding_key(f): f.text for f in insights.findings},
    }


def _read_state(folder: Path | None) -> dict[str, Any] | None:
    path = folder / STATE if folder is not None else None
    if path is None or not path.exists():
        return None
    try:
        state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if state["version"] != 1 or not isinstance(state["findings"], dict):
            raise ValueError
        # Looking up what the next digest reads raises an error if it is missing.
        dict.fromkeys((state["reviews"], state["stars"]))
        [[shares[measure] for measure in MEASURES] for shares in state["categories"].values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{path} is not the state of a digest: delete it to begin anew") from None
    return state


def _figure_lines(state: dict[str, Any], last: dict[str, Any]) -> list[str]:
    """Return lines on the figures that differ from the last digest, shares by a percentage point or more."""
    lines = []
    if state["reviews"] != last["reviews"]:
        lines.append(f"Reviews: {state['reviews']:,}, in the last digest {last['reviews']:,}.")
    if state["stars"] is not None and last["stars"] is not None and abs(state["stars"] - last["stars"]) >= 0.005:
        lines.append(f"Mean stars: {state['stars']:.2f}, in the last digest {last['stars']:.2f}.")
    for category, shares in state["categories"].items():
        last_shares = last["categories"].get(category, dict.fromkeys(MEASURES, 0.0))
        for measure in MEASURES:
            difference = shares[measure] - last_shares[measure]
            if abs(difference) >= 0.01:
                lines.append(
                    f"{percent(shares[measure])} of all reviews {VERBS[measure]} {category}, in the last digest"
                    f" {percent(last_shares[measure])} ({points(difference)} points)."
                )
    return lines


def _line(finding: Finding) -> str:
    p = "p < 0.001" if finding.p < 0.001 else f"p = {finding.p:.3f}"
    return f"{finding.text} ({p})"


def _limit(lines: Sequence[str]) -> tuple[str, ...]:
    hidden_lines = len(lines) - MAX_LINES
    return (*lines[:MAX_LINES], *([f"... and {hidden_lines:,} more."] if hidden_lines > 0 else []))
