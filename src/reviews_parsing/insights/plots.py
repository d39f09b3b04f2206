"""Plots of what was found, each a figure that belongs to no window and no global state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reviews_parsing.insights import plots_groups, plots_time
from reviews_parsing.insights.drawing import BLAME, GRID, INK, MUTED, NEUTRAL, PRAISE, canvas, percent, plain
from reviews_parsing.insights.tables import Insights

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 15
"""As many categories are drawn, the most mentioned; tables hold all."""


def figures(insights: Insights) -> dict[str, Figure]:
    """Every plot that the tables give rise to, by name: `mentions`, `polarity`, `time_mentions`, `time_polarity`,
    `compare_COLUMN_MEASURE`. Plots of nothing are left out.

    The colours are blue and orange of Okabe and Ito's palette, which colour-blind readers tell apart.
    """
    found: dict[str, Figure] = {}
    if insights.categories:
        found["mentions"] = mentions(insights)
    if any(c.positive + c.neutral + c.negative for c in insights.categories):
        found["polarity"] = polarity(insights)
    if len({period.start for period in insights.periods}) > 1:
        found["time_mentions"] = plots_time.mentions(insights)
        found["time_polarity"] = plots_time.polarity(insights)
    for comparison in insights.comparisons:
        for measure in dict.fromkeys(contrast.measure for contrast in comparison.contrasts):
            found[f"compare_{comparison.column}_{measure}"] = plots_groups.heat(insights, comparison, measure)
    return found


def mentions(insights: Insights) -> Figure:
    """The share of reviews that speak of each category, with its interval."""
    shown = insights.categories[:MOST][::-1]
    figure, axes = canvas(5.4, 0.9 + 0.36 * len(shown))
    for row, category in enumerate(shown):
        share = category.mentions
        axes.barh(row, share.value, height=0.62, color=MUTED, alpha=0.45, linewidth=0)
        axes.plot([share.low, share.high], [row, row], color=INK, linewidth=1.2, solid_capstyle="butt")
        axes.text(share.high + 0.012, row, f"{percent(share.value)}", va="center", color=INK)
    axes.set_yticks(range(len(shown)), [plain(c.category) for c in shown])
    axes.set_xlim(0, min(1.12, max(c.mentions.high for c in shown) * 1.12))
    axes.xaxis.set_major_formatter(lambda value, _: percent(value))
    axes.set_xlabel("of all reviews")
    axes.xaxis.grid(True, color=GRID, linewidth=0.8)
    axes.tick_params(axis="y", length=0)
    return figure


def polarity(insights: Insights) -> Figure:
    """Aspects of each category by polarity: blame to the left, praise to the right, neutral between them."""
    shown = [c for c in insights.categories[:MOST] if c.positive + c.neutral + c.negative][::-1]
    figure, axes = canvas(5.4, 0.9 + 0.36 * len(shown))
    reach = 0.0
    for row, its in enumerate(shown):
        total = its.positive + its.neutral + its.negative
        middle, right, left = its.neutral / total, its.positive / total, its.negative / total
        axes.barh(row, -left, left=-middle / 2, height=0.62, color=BLAME, linewidth=0)
        axes.barh(row, middle, left=-middle / 2, height=0.62, color=NEUTRAL, linewidth=0)
        axes.barh(row, right, left=middle / 2, height=0.62, color=PRAISE, linewidth=0)
        axes.text(-middle / 2 - left - 0.015, row, percent(left), va="center", ha="right", color=INK)
        axes.text(middle / 2 + right + 0.015, row, percent(right), va="center", color=INK)
        reach = max(reach, middle / 2 + left, middle / 2 + right)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(shown)), [plain(c.category) for c in shown])
    # Room for a share in words beyond the longest bar.
    edge = 1.4 * reach + 0.03
    axes.set_xlim(-edge, edge)
    axes.set_xticks([0], ["← negative · neutral · positive →"])
    axes.tick_params(axis="x", colors=MUTED)
    return figure
