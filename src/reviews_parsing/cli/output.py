"""What commands print: tables and coloured text for people, one JSON document for programs."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from reviews_parsing.schema import Aspect, ParsedReview

if TYPE_CHECKING:
    from reviews_parsing.batch import Report
    from reviews_parsing.corrections import CorrectionRevision
    from reviews_parsing.pipelines import Verdict
    from reviews_parsing.registry import Version
    from reviews_parsing.training.evaluate import Mistake
    from reviews_parsing.training.metrics import Scores

POLARITY_STYLES = {"positive": "green", "negative": "red", "neutral": "yellow", "conflict": "magenta"}

# How often a log of a long run says how far it is.
LINE_SECONDS = 30

# In a pipe there is no window to fit into: rows stay on one line.
out = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 160)


def print_json(document: object) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2) + "\n")


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table; columns whose cells are all numbers stand to the right."""
    grid = Table(
        title=title or None, title_justify="left", title_style="bold", header_style="bold", box=None, pad_edge=False
    )
    for number, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[number], int | float) for row in rows)
        grid.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(f"{cell:.3f}" if isinstance(cell, float) else Text(str(cell)) for cell in row))
    out.print(grid)


def scores_table(title: str, metrics: Mapping[str, float]) -> None:
    """Precision, recall, F1 and support by category, from `Evaluation.metrics()`."""
    names = [key.removesuffix("_support") for key in metrics if key.endswith("_support")]
    figures = ("precision", "recall", "f1", "support")
    rows = [[name, *(metrics[f"{name}_{f}"] for f in figures[:3]), int(metrics[f"{name}_support"])] for name in names]
    table(title, ["", *figures], rows)


def thresholds(title: str, by_score: Mapping[str, Mapping[float, Scores]]) -> None:
    """Precision and recall of each category by the least probability."""
    least = list(next(iter(by_score.values())))
    columns = [f"{figure} {at:g}" for at in least for figure in ("P", "R")]
    rows = [
        [name, *(figure for at in least for figure in (its[at].precision, its[at].recall))]
        for name, its in by_score.items()
    ]
    table(title, ["", *columns], rows)


def mistakes(title: str, found: Sequence[Mistake]) -> None:
    """What was wrong, what is right, and where."""
    rows = [[m.kind, f"{m.probability:.2f}", m.gold, m.predicted, m.context.replace("\n", " ")] for m in found]
    table(title, ["mistake", "probability", "labelled", "answered", "in"], rows)


def show(parsed: ParsedReview) -> None:
    """A review with its spans coloured by polarity, and a small table of them."""
    text = Text()
    at = 0
    for aspect in sorted((a for a in parsed.aspects if a.span), key=lambda a: a.span or (0, 0)):
        start, end = aspect.span or (0, 0)
        style = POLARITY_STYLES.get(aspect.polarity or "", "cyan")
        # The words of several aspects are there once.
        text.append(parsed.text[at:start])
        text.append(parsed.text[max(at, start) : end], f"bold {style} underline")
        text.append(f" {aspect.entity_group}", f"dim {style}")
        at = max(at, end)
    text.append(parsed.text[at:])
    out.print(text)
    if parsed.aspects:
        out.print()
        columns = ["aspect", "category", "probability", "polarity", "probability", "because of"]
        table("", columns, [_row(a) for a in parsed.aspects])
    else:
        out.print(Text("no aspects", "dim"))


def _row(aspect: Aspect) -> list[object]:
    polarity = [aspect.polarity or "", f"{aspect.polarity_score:.2f}" if aspect.polarity_score is not None else ""]
    opinion = aspect.opinion.word if aspect.opinion else ""
    return [aspect.word or "(implicit)", aspect.entity_group, f"{aspect.score or 0:.2f}", *polarity, opinion]


@contextmanager
def progress_bar(what: str, lines: bool = False) -> Iterator[Any]:
    """A bar on stderr; yields `update(share, note="")`. In a pipe nothing, or with `lines` one every LINE_SECONDS."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}"),
    )
    began = said = time.monotonic()
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=False) as progress:
        task = progress.add_task(what, total=1.0, note="")

        def update(share: float | None, note: str | None = None) -> None:
            nonlocal said
            fields: dict[str, Any] = {} if note is None else {"note": note}
            progress.update(task, completed=share, **fields)
            now = time.monotonic()
            if lines and not err.is_terminal and share and now - said >= LINE_SECONDS:
                said = now
                left = timedelta(seconds=round((now - began) * (1 - share) / share))
                err.print(", ".join(filter(None, (f"{what} {share:.1%}", note, f"{left} left"))), soft_wrap=True)

        yield update


def report_form(found: Report, target: str) -> dict[str, Any]:
    """What a batch of files held, as JSON."""
    counts = [{"category": c, "polarity": p, "aspects": n} for (c, p), n in found.counts.items()]
    return {"output": target, **asdict(found), "counts": counts}


def report(found: Report, target: str) -> None:
    """What a batch of files held: a table of categories by polarity."""
    polarities = sorted({polarity or "no polarity" for _, polarity in found.counts})
    totals: dict[str, Counter[str]] = {}
    for (category, polarity), count in found.counts.items():
        totals.setdefault(category, Counter())[polarity or "no polarity"] += count
    rows = [[category, its.total(), *(its[p] for p in polarities)] for category, its in totals.items()]
    rows.sort(key=lambda row: -totals[str(row[0])].total())
    table("", ["category", "aspects", *polarities], rows)
    rate = (found.parsed - found.before) / found.seconds if found.seconds else 0
    empty = f" ({found.empty:,} without a text)" if found.empty else ""
    figures = f"{found.rows:,} reviews{empty}, {found.aspects:,} aspects, {rate:,.0f} reviews a second"
    out.print(f"\n{figures} -> {target}", markup=False)
    if found.foreign:
        languages = ", ".join(f"{language} {count:,}" for language, count in found.foreign.items())
        out.print(
            f"{sum(found.foreign.values()):,} reviews in a language that the model does not read ({languages}): their "
            "scores are at most 0.5",
            markup=False,
        )


def written(reviews: int, target: Path, lost: Mapping[str, int]) -> None:
    """How many reviews went where, and what of them did not."""
    out.print(f"{reviews:,} reviews -> {target}")
    if lost:
        out.print("this format has no place for " + ", ".join(f"{n} {kind}" for kind, n in lost.items()))


def corrections(found: Sequence[CorrectionRevision]) -> None:
    """Corrections with how many of the model's aspects were right, how many wrong, and how many it had missed."""
    rows = []
    for saved in found:
        its = saved.correction
        said, answered = (
            {(a.entity_group, a.span, a.polarity) for a in aspects} for aspects in (its.aspects, its.predicted_aspects)
        )
        counts = [len(said & answered), len(answered - said), len(said - answered)]
        who = [f"{its.corrected_at:%Y-%m-%d %H:%M}", its.author or "", its.version or "", saved.number]
        rows.append([*who, *counts, shorten(its.text, 60, placeholder=" ...")])
    columns = ["saved (UTC)", "author", "version", "revision", "right", "wrong", "missed", "text"]
    table("", columns, rows)


def layouts(lines: Sequence[str]) -> None:
    """Print on stderr how the inputs are read, one line for each layout."""
    for line in lines:
        err.print(Text(line, "dim"), soft_wrap=True)


def rejects(found: Report) -> None:
    """On stderr, how many rows could not be parsed, and where they are."""
    if found.rejected:
        where = f"-> {found.rejects}" if found.rejects else f"({found.reject}); --rejects FILE keeps them"
        err.print(Text(f"{found.rejected:,} rows could not be parsed {where}", "yellow"), soft_wrap=True)


def verdict_form(found: Verdict, dry_run: bool = False) -> dict[str, Any]:
    """The gate's verdict as JSON; `passes` is what it says, `promoted` whether that was done."""
    return {
        "version": found.version,
        "champion": found.champion_version,
        "passes": found.promoted,
        "promoted": found.promoted and not dry_run,
        "reason": found.reason,
        "difference": found.difference._asdict() if found.difference else None,
        "challenger_metrics": found.challenger.metrics(),
        "champion_metrics": found.champion.metrics() if found.champion else None,
    }


def verdict(found: Verdict, dry_run: bool = False) -> None:
    """The gate's verdict as a table of both models."""
    ours, theirs = found.challenger.scores, found.champion.scores if found.champion else {}
    rows: list[list[object]] = []
    for name, its in ours.items():
        row: list[object] = [name, its.support, its.f1]
        rows.append([*row, theirs[name].f1, its.f1 - theirs[name].f1] if name in theirs else row)
    columns = ["F1, exact match", "support", f"version {found.version}"]
    if theirs:
        columns += [f"version {found.champion_version}", "difference"]
        rows = [row if len(row) == len(columns) else [*row, "", ""] for row in rows]
    table("", columns, rows)
    if found.difference:
        mean, low, high = (100 * d for d in found.difference)
        out.print(f"\ndifference {mean:+.1f} points, 95 % interval {low:+.1f} to {high:+.1f} (paired bootstrap)")
    style = "green" if found.promoted else "red"
    passed = "may become champion" if dry_run else "is champion"
    said = passed if found.promoted else "is not promoted"
    out.print(Text(f"version {found.version} {said}: {found.reason}", style))


def versions(found: Sequence[Version]) -> None:
    """Registered versions, newest first."""
    rows = [
        [
            version.version,
            ", ".join(version.aliases),
            *(version.tags.get(f"test_{key}", "") for key in ("aggregated_f1", "span_f1", "with_polarity_f1")),
            datetime.fromtimestamp(version.created / 1000).strftime("%Y-%m-%d %H:%M"),
            version.run_id,
            version.tags.get("gate", ""),
        ]
        for version in found
    ]
    columns = ["version", "alias", "F1", "span F1", "with polarity", "created", "run", "gate"]
    table("", columns, rows) if rows else out.print("no versions yet; train one: reviews-parsing train")
