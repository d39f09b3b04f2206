"""Plots of groups held against each other: shares by group and category, coloured by how far they are off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reviews_parsing.insights.drawing import (
    BLAME,
    GRID,
    INK,
    LESS,
    MORE,
    MUTED,
    PRAISE,
    SIZE,
    blank,
    dress,
    percent,
    plain,
)
from reviews_parsing.insights.statistics import matters
from reviews_parsing.insights.tables import Comparison, Insights

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 8
"""As many categories are drawn, the most mentioned."""
FEWEST = 5
"""A share of fewer reviews is not drawn."""
COLOURS = {"mentions": (MORE, LESS), "praise": (PRAISE, BLAME), "blame": (BLAME, PRAISE)}
"""What is above the rest, and what is below."""


def heat(insights: Insights, comparison: Comparison, measure: str) -> Figure:
    """A group a row, a category a column; bold with an asterisk where the difference from the rest matters."""
    from matplotlib.patches import Rectangle

    names = [category.category for category in insights.categories[:MOST]]
    found = {(c.value, c.category): c for c in comparison.contrasts if c.measure == measure}
    groups = comparison.groups
    figure = blank(2.3 + 0.78 * len(names), 0.9 + 0.33 * len(groups))
    axes = figure.add_subplot()
    dress(axes)
    for row, group in enumerate(groups):
        for column, name in enumerate(names):
            its = found.get((group.value, name))
            if its is None or its.reviews < FEWEST:
                axes.text(column, row, "·", ha="center", va="center", color=MUTED, fontsize=SIZE - 1)
                continue
            above, below = COLOURS[measure]
            off = its.difference.value
            shade = min(1.0, abs(off) / 0.5) * 0.8
            axes.add_patch(
                Rectangle(
                    (column - 0.47, row - 0.44),
                    0.94,
                    0.88,
                    facecolor=above if off > 0 else below,
                    alpha=shade,
                    linewidth=0,
                )
            )
            sure = matters(its.adjusted, off)
            weight = "bold" if sure else "normal"
            label = percent(its.share.value) + (" *" if sure else "")
            axes.text(column, row, label, ha="center", va="center", color=INK, fontsize=SIZE - 1, fontweight=weight)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_yticks(range(len(groups)), [f"{plain(g.value, 24)}  ({g.reviews:,})" for g in groups])
    axes.set_xticks(
        range(len(names)), [plain(name, 12) for name in names], rotation=28, ha="left", rotation_mode="anchor"
    )
    axes.xaxis.tick_top()
    axes.tick_params(labelsize=SIZE - 1)
    axes.hlines([row + 0.5 for row in range(len(groups) - 1)], -0.5, len(names) - 0.5, color=GRID, linewidth=0.6)
    return figure
