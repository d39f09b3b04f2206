"""What was found, in a few sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date

from reviews_parsing.insights.drawing import percent, points
from reviews_parsing.insights.statistics import matters
from reviews_parsing.insights.tables import Change, Comparison, Contrast, Insights, Word

ENOUGH = 10
"""A category that fewer reviews mention is not called the most praised or blamed."""
VERBS = {"mentions": "mention", "praise": "praise", "blame": "blame"}


def findings(insights: Insights) -> list[str]:
    """The findings that come first, the most general first; of changes and differences only those that matter."""
    return list(_sentences(insights))


def _sentences(insights: Insights) -> Iterator[str]:
    if not insights.categories:
        return
    most = [f"{c.category} ({percent(c.mentions.value)})" for c in insights.categories[:3]]
    yield f"Reviews speak most of {_listed(most)}."
    often = [c for c in insights.categories if c.reviews >= ENOUGH and c.praising + c.blaming]
    if len(often) > 1:
        best = max(often, key=lambda c: c.praise.value)
        worst = max(often, key=lambda c: c.blame.value)
        yield (
            f"{best.category} is praised most: by {percent(best.praise.value)} of the reviews that mention it. "
            f"{worst.category} is blamed most: by {percent(worst.blame.value)}."
        )
    if praised := _top(insights.words, "positive"):
        yield f"The words most praised are {_listed(praised)}."
    if blamed := _top(insights.words, "negative"):
        yield f"The words most blamed are {_listed(blamed)}."
    yield from (change_sentence(change, insights.grain) for change in told(insights.changes)[:3])
    for comparison in insights.comparisons:
        yield from (contrast_sentence(comparison, contrast) for contrast in significant(comparison)[:2])


def told(changes: Iterable[Change]) -> list[Change]:
    """The changes that are large enough to speak of, the surest first."""
    return [change for change in changes if matters(change.adjusted, change.after.value - change.before.value)]


def change_sentence(change: Change, grain: str | None) -> str:
    """Since when, from how much to how much."""
    before, after = change.before.value, change.after.value
    way = "more" if after > before else "fewer"
    whom = "reviews" if change.measure == "mentions" else "of the reviews that mention it"
    verb = VERBS[change.measure]
    since = period_name(change.since, grain)
    return f"Since {since}, {way} {whom} {verb} {change.category}: {percent(after)}, before {percent(before)}."


def contrast_sentence(comparison: Comparison, contrast: Contrast) -> str:
    """How a group differs from the rest, with the interval in percentage points."""
    whom = "reviews" if contrast.measure == "mentions" else "reviews that mention it"
    ends = [points(contrast.difference.low), points(contrast.difference.high)]
    return (
        f"Where {comparison.column} is {contrast.value}, {percent(contrast.share.value)} of the {whom} "
        f"{VERBS[contrast.measure]} {contrast.category}, elsewhere {percent(contrast.rest)} "
        f"(a difference of {' to '.join(dict.fromkeys(ends))} points)."
    )


def significant(comparison: Comparison) -> list[Contrast]:
    """The differences that are significant and large enough to speak of, the largest first; not of what is pooled."""
    pooled = {group.value for group in comparison.groups if group.pooled}
    sure = [c for c in comparison.contrasts if matters(c.adjusted, c.difference.value) and c.value not in pooled]
    return sorted(sure, key=lambda contrast: -abs(contrast.difference.value))


def period_name(start: date, grain: str | None) -> str:
    """A period as people write it."""
    names = {
        "year": f"{start.year}",
        "quarter": f"{start.year} Q{(start.month + 2) // 3}",
        "month": f"{start:%b %Y}",
        "week": f"the week of {_day(start)}",
    }
    return names.get(grain or "", _day(start))


def day_name(day: date | None) -> str:
    """A day as people write it."""
    return _day(day) if day else ""


def _day(day: date) -> str:
    return f"{day.day} {day:%b %Y}"


def _top(words: Iterable[Word], side: str) -> list[str]:
    named = sorted((w for w in words if getattr(w, side)), key=lambda w: (-getattr(w, side), w.word))
    return [f"{w.word} ({getattr(w, side):,})" for w in named[:4]]


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
