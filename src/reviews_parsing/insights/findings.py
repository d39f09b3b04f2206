"""Findings as sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date

from reviews_parsing.insights.plots import percent, points
from reviews_parsing.insights.results import Change, Comparison, Contrast, Insights, Word
from reviews_parsing.insights.statistics import is_reportable

MIN_REVIEWS = 10
"""Reviews that must mention a category before it is called the most praised or blamed."""
VERBS = {"mentions": "mention", "praise": "praise", "blame": "blame"}


def findings(insights: Insights) -> list[str]:
    """Return the findings, the most general first; changes and differences only if reportable."""
    return list(_findings(insights))


def _findings(insights: Insights) -> Iterator[str]:
    if not insights.categories:
        return
    frequent = [f"{c.category} ({percent(c.mentions.value)})" for c in insights.categories[:3]]
    yield f"Reviews speak most of {_enumeration(frequent)}."
    candidates = [c for c in insights.categories if c.reviews >= MIN_REVIEWS and c.praising + c.blaming]
    if len(candidates) > 1:
        best = max(candidates, key=lambda c: c.praise.value)
        worst = max(candidates, key=lambda c: c.blame.value)
        yield (
            f"{best.category} is praised most: by {percent(best.praise.value)} of the reviews that mention it. "
            f"{worst.category} is blamed most: by {percent(worst.blame.value)}."
        )
    if praised := _top(insights.words, "positive"):
        yield f"The words most praised are {_enumeration(praised)}."
    if blamed := _top(insights.words, "negative"):
        yield f"The words most blamed are {_enumeration(blamed)}."
    yield from (change_sentence(change, insights.grain) for change in reportable_changes(insights.changes)[:3])
    for comparison in insights.comparisons:
        yield from (contrast_sentence(comparison, contrast) for contrast in reportable_contrasts(comparison)[:2])


def reportable_changes(changes: Iterable[Change]) -> list[Change]:
    """Return the changes of at least a percentage point, in order of their p-values."""
    return [change for change in changes if is_reportable(change.adjusted, change.after.value - change.before.value)]


def change_sentence(change: Change, grain: str | None) -> str:
    """Return the date and the shares before and after a change as a sentence."""
    before, after = change.before.value, change.after.value
    direction = "more" if after > before else "fewer"
    base = "reviews" if change.measure == "mentions" else "of the reviews that mention it"
    since = period_name(change.since, grain)
    return (
        f"Since {since}, {direction} {base} {VERBS[change.measure]} {change.category}: "
        f"{percent(after)}, before {percent(before)}."
    )


def contrast_sentence(comparison: Comparison, contrast: Contrast) -> str:
    """Return the difference between a group and all other reviews as a sentence, with the interval in points."""
    base = "reviews" if contrast.measure == "mentions" else "reviews that mention it"
    ends = [points(contrast.difference.low), points(contrast.difference.high)]
    return (
        f"Where {comparison.column} is {contrast.value}, {percent(contrast.share.value)} of the {base} "
        f"{VERBS[contrast.measure]} {contrast.category}, elsewhere {percent(contrast.rest)} "
        f"(a difference of {' to '.join(dict.fromkeys(ends))} points)."
    )


def reportable_contrasts(comparison: Comparison) -> list[Contrast]:
    """Return the reportable differences of groups that are not pooled, the largest first."""
    pooled = {group.value for group in comparison.groups if group.pooled}
    contrasts = [
        c for c in comparison.contrasts if is_reportable(c.adjusted, c.difference.value) and c.value not in pooled
    ]
    return sorted(contrasts, key=lambda contrast: -abs(contrast.difference.value))


def period_name(start: date, grain: str | None) -> str:
    """Return the name of a period."""
    names = {
        "year": f"{start.year}",
        "quarter": f"{start.year} Q{(start.month + 2) // 3}",
        "month": f"{start:%b %Y}",
        "week": f"the week of {day_name(start)}",
    }
    return names.get(grain or "", day_name(start))


def day_name(day: date | None) -> str:
    """Return a date such as `5 Jan 2024`."""
    return f"{day.day} {day:%b %Y}" if day else ""


def _top(words: Iterable[Word], polarity: str) -> list[str]:
    counts = sorted(((getattr(w, polarity), w.word) for w in words), key=lambda pair: (-pair[0], pair[1]))
    return [f"{word} ({count:,})" for count, word in counts[:4] if count]


def _enumeration(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
