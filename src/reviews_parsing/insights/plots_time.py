"""Plots over time: a small one for each category, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING

from reviews_parsing.insights.drawing import BLAME, GRID, INK, MUTED, PRAISE, SIZE, blank, dress, percent, plain
from reviews_parsing.insights.tables import Insights, Period, Share

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST, ENOUGH = 8, 5
"""As many categories are drawn, the most mentioned; of fewer reviews a period, points are noise: tables hold all."""


MOST_TICKS = 4
TOPS = (0.1, 0.2, 0.5, 1)
"""Where an axis of shares may end."""
Draw = Callable[["Axes", Sequence[Period]], None]
Top = Callable[[Sequence[Period]], float]
FEWEST = 3
"""A share of fewer reviews is not drawn."""


def mentions(insights: Insights) -> Figure:
    """The share of reviews that speak of each category, by period."""

    def draw(axes: Axes, line: Sequence[Period]) -> None:
        _line(axes, line, lambda p: p.mentions, lambda p: p.total, MUTED, "-", "o")

    return _panels(insights, draw, "mention it", top=lambda line: max(p.mentions.high for p in line))


def polarity(insights: Insights) -> Figure:
    """Of the reviews that speak of a category, those that praise it and those that blame it, by period."""

    def draw(axes: Axes, line: Sequence[Period]) -> None:
        _line(axes, line, lambda p: p.praise, lambda p: p.reviews, PRAISE, "-", "o")
        _line(axes, line, lambda p: p.blame, lambda p: p.reviews, BLAME, (0, (4, 2)), "s")

    return _panels(insights, draw, "praise it", "blame it")


def _line(
    axes: Axes,
    line: Sequence[Period],
    share: Callable[[Period], Share],
    of: Callable[[Period], int],
    colour: str,
    style: object,
    marker: str,
) -> None:
    from matplotlib.dates import date2num

    there = [period for period in line if of(period) >= FEWEST]
    starts, shares = [date2num(period.start) for period in there], [share(period) for period in there]
    axes.fill_between(starts, [s.low for s in shares], [s.high for s in shares], color=colour, alpha=0.16, linewidth=0)
    axes.plot(
        starts, [s.value for s in shares], color=colour, linestyle=style, marker=marker, markersize=3, linewidth=1.4
    )


def _panels(
    insights: Insights, draw: Callable[[Axes, Sequence[Period]], None], *labels: str, top: Top | None = None
) -> Figure:
    from matplotlib.dates import date2num

    starts = sorted({period.start for period in insights.periods})
    ticks = starts[:: -(-len(starts) // MOST_TICKS)]
    often = [c.category for c in insights.categories[:MOST] if c.reviews >= ENOUGH * len(starts)]
    names = often or [category.category for category in insights.categories[:2]]
    columns = min(2, len(names))
    rows = -(-len(names) // columns)
    figure = blank(5.8 if columns == 2 else 4.2, 0.6 + 1.5 * rows)
    first = None
    for place, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, place + 1, sharex=first)
        first = first or axes
        dress(axes)
        line = [period for period in insights.periods if period.category == name]
        draw(axes, line)
        axes.set_title(plain(name), loc="left", fontsize=SIZE, color=INK)
        most = next(t for t in TOPS if t >= top(line)) if top else 1
        axes.set_ylim(0, most)
        axes.set_yticks([0, most / 2, most])
        axes.yaxis.set_major_formatter(lambda value, _: percent(value))
        axes.yaxis.grid(True, color=GRID, linewidth=0.8)
        axes.tick_params(axis="x", pad=6)
        axes.tick_params(
            labelsize=SIZE - 1.5,
            labelbottom=place >= len(names) - columns,
            labelleft=top is not None or place % columns == 0,
        )
        axes.set_xticks([date2num(start) for start in ticks], [_tick(start, insights.grain) for start in ticks])
    keys = {"loc": "outside upper right", "ncols": len(labels), "frameon": False}
    figure.legend(figure.axes[0].get_lines(), labels, fontsize=SIZE - 1, labelcolor=INK, **keys)
    return figure


def _tick(start: date, grain: str | None) -> str:
    """A period in as few letters as an axis has room for."""
    if grain == "year":
        return f"{start.year}"
    if grain == "quarter":
        return f"Q{(start.month + 2) // 3} {start:%y}"
    return f"{start:%b %y}" if grain == "month" else f"{start.day} {start:%b}"
