"""Output of the commands: tables and coloured text for people, one JSON document for programs."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from reviews_parsing.batch import Report
    from reviews_parsing.corrections import CorrectionRevision
    from reviews_parsing.pipelines import ReferenceSet, Verdict
    from reviews_parsing.schema import Aspect, ParsedReview

POLARITY_STYLES = {"positive": "green", "negative": "red", "neutral": "yellow", "conflict": "magenta"}
# Polarity is never shown by colour alone; the page has the same signs.
POLARITY_SIGNS = {"positive": "+", "negative": "\N{MINUS SIGN}", "neutral": "=", "conflict": "\N{PLUS-MINUS SIGN}"}
OTHER_SIGN = "\N{BULLET}"
# Control characters and bidirectional overrides in a review could rewrite the terminal or hide words.
_UNPRINTABLE = {
    code: "\N{REPLACEMENT CHARACTER}"
    for code in (*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    if chr(code) not in "\n\t"
}

# Interval between progress lines in the log of a long run.
LINE_SECONDS = 30

# In a pipe there is no window to fit into: rows stay on one line.
out = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 160)


def print_json(document: object) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2) + "\n")


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; columns of numbers are aligned to the right."""
    grid = Table(
        title=title or None, title_justify="left", title_style="bold", header_style="bold", box=None, pad_edge=False
    )
    for number, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[number], int | float) for row in rows)
        grid.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(f"{cell:.3f}" if isinstance(cell, float) else Text(_printable(str(cell))) for cell in row))
    out.print(grid)


def scores_table(title: str, metrics: Mapping[str, float]) -> None:
    """Print precision, recall, F1 and support by category, from `Evaluation.metrics()`."""
    names = [key.removesuffix("_support") for key in metrics if key.endswith("_support")]
    figures = ("precision", "recall", "f1", "support")
    rows = [[name, *(metrics[f"{name}_{f}"] for f in figures[:3]), int(metrics[f"{name}_support"])] for name in names]
    table(title, ["", *figures], rows)


def show(parsed: ParsedReview) -> None:
    """Print a review with its spans marked by category and the sign and colour of the polarity, and a table of them.

    Implicit aspects follow the text in brackets.
    """
    text = Text()
    position = 0
    for aspect in sorted(parsed.aspects, key=lambda aspect: aspect.span or (len(parsed.text), 0)):
        style = POLARITY_STYLES.get(aspect.polarity or "", "cyan")
        label = " ".join(filter(None, (aspect.entity_group, _sign(aspect))))
        if aspect.span is None:
            text.append(_printable(parsed.text[position:]))
            position = len(parsed.text)
            text.append(f" [{label}]", f"dim {style}")
            continue
        start, end = aspect.span
        # The words of overlapping aspects are printed once.
        text.append(_printable(parsed.text[position:start]))
        text.append(_printable(parsed.text[max(position, start) : end]), f"bold {style} underline")
        text.append(f" {label}", f"dim {style}")
        position = max(position, end)
    text.append(_printable(parsed.text[position:]))
    out.print(text)
    if parsed.aspects:
        out.print()
        columns = ["aspect", "category", "probability", "polarity", "probability", "because of"]
        table("", columns, [_row(a) for a in parsed.aspects])
    else:
        out.print(Text("no aspects", "dim"))


def _row(aspect: Aspect) -> list[object]:
    polarity = " ".join(filter(None, (_sign(aspect), aspect.polarity)))
    scores = ["" if score is None else f"{score:.2f}" for score in (aspect.score, aspect.polarity_score)]
    opinion = aspect.opinion.word if aspect.opinion else ""
    return [aspect.word or "(implicit)", aspect.entity_group, scores[0], polarity, scores[1], opinion]


def _sign(aspect: Aspect) -> str:
    return POLARITY_SIGNS.get(aspect.polarity, OTHER_SIGN) if aspect.polarity else ""


def _printable(text: str) -> str:
    """Replace control characters, one for one."""
    return text.translate(_UNPRINTABLE)


@contextmanager
def progress_bar(title: str, lines: bool = False) -> Iterator[Any]:
    """Show a progress bar on stderr; yield `update(share, note="")`.

    If stderr is not a terminal, print nothing, or with `lines` one line every LINE_SECONDS.
    """
    # Imported on use, so that help is printed sooner.
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}"),
    )
    began = last_line_at = time.monotonic()
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=False) as progress:
        task = progress.add_task(title, total=1.0, note="")

        def update(share: float | None, note: str | None = None) -> None:
            nonlocal last_line_at
            fields: dict[str, Any] = {} if note is None else {"note": note}
            progress.update(task, completed=share, **fields)
            now = time.monotonic()
            if lines and not err.is_terminal and share and now - last_line_at >= LINE_SECONDS:
                last_line_at = now
                parts = (f"{title} {share:.1%}", note, _time_left(now - began, share))
                err.print(", ".join(filter(None, parts)), soft_wrap=True)

        yield update


def _time_left(seconds: float, share: float) -> str:
    """Return the time left, of which `share` took `seconds`."""
    return f"{timedelta(seconds=round(seconds * (1 - share) / share))} left"


def print_line(line: str) -> None:
    """Print a line about progress on stderr."""
    err.print(line, markup=False, soft_wrap=True)


def epoch_progress(update: Any) -> Callable[[float, dict[str, float]], None]:
    """Return a callback that shows the epochs of a training in the progress bar `update`, or as lines in a pipe.

    The time left is estimated from the share done since the first call: a resumed training begins in the middle.
    """
    start: tuple[float, float] | None = None

    def progress(share: float, metrics: dict[str, float]) -> None:
        nonlocal start
        update(share)
        began, done = start = start or (time.monotonic(), share)
        if metrics:
            line = f"epoch {metrics['epoch']:.0f}/{metrics['epochs']:.0f}  loss {metrics.get('loss', 0):.3f}  "
            line += f"validation F1 {metrics['eval_aggregated_f1']:.3f}"
            if err.is_terminal:
                update(share, line)
            else:
                finished = (share - done) / (1 - done) if done < 1 else 1.0
                left = f"  {_time_left(time.monotonic() - began, finished)}" if 0 < finished < 1 else ""
                err.print(f"{line}{left}")

    return progress


def report_form(result: Report, target: str) -> dict[str, Any]:
    """Return the statistics of a batch run as JSON."""
    counts = [{"category": c, "polarity": p, "aspects": n} for (c, p), n in result.counts.items()]
    return {"output": target, **asdict(result), "counts": counts}


def report(result: Report, target: str) -> None:
    """Print the statistics of a batch run: a table of categories by polarity, then totals."""
    polarities = sorted({polarity or "no polarity" for _, polarity in result.counts})
    totals: dict[str, Counter[str]] = {}
    for (category, polarity), count in result.counts.items():
        totals.setdefault(category, Counter())[polarity or "no polarity"] += count
    rows = [[category, counts.total(), *(counts[p] for p in polarities)] for category, counts in totals.items()]
    rows.sort(key=lambda row: -totals[str(row[0])].total())
    table("", ["category", "aspects", *polarities], rows)
    rate = (result.parsed - result.before) / result.seconds if result.seconds else 0
    empty = f" ({result.empty:,} without a text)" if result.empty else ""
    figures = f"{result.rows:,} reviews{empty}, {result.aspects:,} aspects, {rate:,.0f} reviews a second"
    out.print(f"\n{figures} -> {target}", markup=False)
    if result.foreign:
        languages = ", ".join(f"{language} {count:,}" for language, count in result.foreign.items())
        out.print(
            f"{sum(result.foreign.values()):,} reviews in a language that the model does not read ({languages}): their "
            "scores are at most 0.5",
            markup=False,
        )


def stored_reviews(reviews: int, target: Path, lost: Mapping[str, int]) -> None:
    """Print the number of reviews written to `target`, and the fields that its format cannot store."""
    out.print(f"{reviews:,} reviews -> {target}")
    if lost:
        out.print("this format has no place for " + ", ".join(f"{n} {kind}" for kind, n in lost.items()))


def corrections(revisions: Sequence[CorrectionRevision]) -> None:
    """Print corrections with the numbers of right, wrong and missed aspects of the prediction."""
    rows = []
    for revision in revisions:
        correction = revision.correction
        corrected, predicted = (
            {(a.entity_group, a.span, a.polarity) for a in aspects}
            for aspects in (correction.aspects, correction.predicted_aspects)
        )
        origin = [f"{correction.corrected_at:%Y-%m-%d %H:%M}", correction.author or "", correction.version or ""]
        counts = [len(corrected & predicted), len(predicted - corrected), len(corrected - predicted)]
        text = shorten(correction.text, 60, placeholder=" ...")
        rows.append([*origin, revision.number, *counts, revision.status, revision.id, text])
    columns = ["saved (UTC)", "author", "version", "revision", "right", "wrong", "missed", "status", "id", "text"]
    table("", columns, rows)


def layouts(lines: Sequence[str]) -> None:
    """Print on stderr how the inputs are read, one line for each layout."""
    for line in lines:
        err.print(Text(line, "dim"), soft_wrap=True)


def rejects(result: Report) -> None:
    """Print on stderr the number of texts in a wrong encoding, and of rejected rows with the path of their file."""
    if result.mojibake_warning:
        print_line(f"warning: {result.mojibake_warning}")
    if result.rejected:
        location = f"-> {result.rejects}" if result.rejects else f"({result.reject}); --rejects FILE keeps them"
        err.print(Text(f"{result.rejected:,} rows could not be parsed {location}", "yellow"), soft_wrap=True)


def verdict_form(verdict: Verdict, dry_run: bool = False) -> dict[str, Any]:
    """Return the verdict of the gate as JSON; `passes` is the decision, `promoted` whether it was carried out."""
    return {
        "version": verdict.version,
        "champion": verdict.champion_version,
        "passes": verdict.promoted,
        "promoted": verdict.promoted and not dry_run,
        "reason": verdict.reason,
        "refusals": list(verdict.refusals),
        "notes": list(verdict.notes),
        "difference": verdict.difference._asdict() if verdict.difference else None,
        "comparisons": [
            {
                "set": comparison.name,
                "reviews": comparison.reviews,
                "spans": comparison.support,
                "categories": list(comparison.categories),
                "f1": comparison.challenger.f1,
                "champion_f1": comparison.champion.f1 if comparison.champion else None,
                "difference": comparison.difference._asdict() if comparison.difference else None,
                "refusals": list(comparison.refusals),
            }
            for comparison in verdict.comparisons
        ],
        "challenger_metrics": verdict.challenger.metrics() if verdict.challenger else None,
        "champion_metrics": verdict.champion.metrics() if verdict.champion else None,
    }


def verdict(verdict: Verdict, dry_run: bool = False) -> None:
    """Print the verdict of the gate: both models by category on the first set, all sets, the decision."""
    challenger = verdict.challenger.scores if verdict.challenger else {}
    champion = verdict.champion.scores if verdict.champion else {}
    rows: list[list[object]] = []
    for name, scores in challenger.items():
        row: list[object] = [name, scores.support, scores.f1]
        rows.append([*row, champion[name].f1, scores.f1 - champion[name].f1] if name in champion else row)
    columns = ["F1, exact match", "support", f"version {verdict.version}"]
    if champion:
        columns += [f"version {verdict.champion_version}", "difference"]
        rows = [row if len(row) == len(columns) else [*row, "", ""] for row in rows]
    if rows:
        table(verdict.comparisons[0].name, columns, rows)
        out.print()
    if champion:
        columns = ["evaluation set", "spans", "difference", "95 % interval (paired bootstrap)"]
        points = [
            (c, [100 * figure for figure in c.difference]) for c in verdict.comparisons if c.difference is not None
        ]
        sets = [
            [c.name, c.support, f"{mean:+.1f} points", f"{low:+.1f} to {high:+.1f}"] for c, (mean, low, high) in points
        ]
        table("", columns, sets)
        out.print()
    for note in verdict.notes:
        out.print(Text(f"note: {note}", "yellow"))
    style = "green" if verdict.promoted else "red"
    passed = "may become champion" if dry_run else "is champion"
    decision = passed if verdict.promoted else "is not promoted"
    out.print(Text(f"version {verdict.version} {decision}: {verdict.reason}", style), soft_wrap=True)


def reference_sets(sets: Sequence[ReferenceSet]) -> None:
    """Print the registered reference sets."""
    rows = [
        [reference.name, reference.reviews, reference.spans, ", ".join(reference.categories), reference.run_id]
        for reference in sets
    ]
    table("", ["reference set", "reviews", "spans", "categories", "run"], rows)
