"""Findings and other results as sentences, and the differences that sentences report."""

from __future__ import annotations

from collections.abc import Sequence

from reviews_parsing.insights.results import (
    Change,
    Contrast,
    GroupComparison,
    Insights,
    RangeComparison,
    RangeDifference,
    Rating,
)
from reviews_parsing.insights.statistics import SIGNIFICANCE_LEVEL, is_reportable
from reviews_parsing.insights.text import VERBS, begin_sentence, enumeration, percent, period_name, points

MIN_REVIEWS = 10
"""Reviews that must mention a category called the most praised or blamed."""


def findings(insights: Insights) -> list[str]:
    """Return the overview, then the findings, as sentences."""
    return [*overview(insights), *(finding.text for finding in insights.findings)]


def overview(insights: Insights) -> list[str]:
    """Return sentences on the most mentioned, praised and blamed categories and words."""
    lines: list[str] = []
    if not insights.categories:
        return lines
    frequent = [f"{c.category} ({percent(c.mentions.value)})" for c in insights.categories[:3]]
    lines.append(f"Reviews speak most of {enumeration(frequent)}.")
    candidates = [c for c in insights.categories if c.reviews >= MIN_REVIEWS and c.praising + c.blaming]
    if len(candidates) > 1:
        best = max(candidates, key=lambda c: c.praising)
        worst = max(candidates, key=lambda c: c.blaming)
        total = insights.reviews
        lines.append(
            f"{best.category} is praised most: by {percent(best.praising / total)} of all reviews ({best.praising:,}). "
            f"{worst.category} is blamed most: by {percent(worst.blaming / total)} ({worst.blaming:,})."
        )
    for name, polarity in (("praised", "positive"), ("blamed", "negative")):
        counts = sorted(((getattr(w, polarity), w.word) for w in insights.words), key=lambda pair: (-pair[0], pair[1]))
        if words := [f"{word} ({count:,})" for count, word in counts[:4] if count > 1]:
            lines.append(f"The words most {name} are {enumeration(words)}.")
    return lines


def reportable_changes(changes: Sequence[Change]) -> list[Change]:
    """Return the changes of at least a percentage point, in order of their p-values."""
    return [change for change in changes if is_reportable(change.adjusted, change.after.value - change.before.value)]


def change_sentence(change: Change, grain: str | None) -> str:
    """Return the date and the shares before and after a change as a sentence."""
    share_before, share_after = change.before.value, change.after.value
    direction = "more" if share_after > share_before else "fewer"
    base = "of the reviews that mention it" if change.base == "mentions" and change.measure != "mentions" else "reviews"
    scope = f"{change.column} {change.group}" if change.column else ""
    begin = begin_sentence(scope, period_name(change.since, grain))
    return (
        f"{begin} {direction} {base} {VERBS[change.measure]} {change.category}: "
        f"{percent(share_after)}, before {percent(share_before)}."
    )


def contrast_sentence(comparison: GroupComparison, contrast: Contrast) -> str:
    """Return the difference between a group and all other reviews as a sentence, with the interval in points."""
    base = "reviews" if contrast.measure == "mentions" else "reviews that mention it"
    ends = [points(contrast.difference.low), points(contrast.difference.high)]
    return (
        f"Where {comparison.column} is {contrast.value}, {percent(contrast.share.value)} of the {base} "
        f"{VERBS[contrast.measure]} {contrast.category}, elsewhere {percent(contrast.rest)} "
        f"(a difference of {' to '.join(dict.fromkeys(ends))} points)."
    )


def reportable_contrasts(comparison: GroupComparison) -> list[Contrast]:
    """Return the reportable differences of groups that are not pooled, the largest first."""
    pooled = {group.value for group in comparison.groups if group.pooled}
    contrasts = [
        c for c in comparison.contrasts if is_reportable(c.adjusted, c.difference.value) and c.value not in pooled
    ]
    return sorted(contrasts, key=lambda contrast: -abs(contrast.difference.value))


def impact_sentence(rating: Rating | None) -> str:
    """Return the category whose blame costs most stars as a sentence, or why there is no effect to report."""
    if rating is None:
        return ""
    drivers = [d for d in rating.drivers if d.topic is None and d.adjusted < SIGNIFICANCE_LEVEL]
    costs = [d for d in drivers if d.impact < 0]
    gains = [d for d in drivers if d.impact > 0]
    if not drivers:
        return (
            f"The mean of {rating.rated:,} ratings is {rating.mean:.2f} stars. No category has a significant effect on"
            " the stars."
        )
    parts = [f"The mean of {rating.rated:,} ratings is {rating.mean:.2f} stars."]
    for ranked, verb in ((costs, "costs"), (gains, "brings")):
        if ranked:
            first = ranked[0]
            act = "praise of" if first.polarity == "positive" else "blame of"
            parts.append(
                f"{act.capitalize()} {first.category} {verb} most: {abs(first.effect):.1f} stars in each of the"
                f" {percent(first.share)} of reviews with it, so {abs(first.impact):.2f} stars in the mean."
            )
    return " ".join(parts)


def reportable_differences(compared: RangeComparison) -> list[RangeDifference]:
    """Return the significant differences of at least a point between two ranges, the most significant first.

    Of mentions, praise and blame of the same subject in the same group, the most significant one is returned.
    """
    best: dict[tuple[object, ...], RangeDifference] = {}
    for d in sorted(compared.differences, key=lambda d: (d.adjusted, d.p, d.measure == "mentions")):
        if is_reportable(d.adjusted, d.difference.value):
            best.setdefault((d.column, d.group, d.category, d.topic), d)
    return list(best.values())


def range_sentence(insights: Insights, difference: RangeDifference) -> str:
    """Return a difference between two ranges as a sentence with its counts."""
    d = difference
    names = {topic.id: topic.name for topic in insights.topics}
    name = d.category if d.topic is None else f"“{names.get(d.topic, d.topic)}” ({d.category})"
    scope = f"{d.column} {d.group}: " if d.column else ""
    quantifier = "more" if d.difference.value > 0 else "fewer"
    text = (
        f"{scope}{quantifier} reviews {VERBS[d.measure]} {name}: {percent(d.share.value)} ({d.hits:,} of {d.total:,});"
        f" before, {percent(d.share_before.value)} ({d.hits_before:,} of {d.total_before:,})."
    )
    return text[0].upper() + text[1:]
