"""Plots as matplotlib figures without a window or global state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from reviews_parsing.insights.results import (
    Driver,
    GroupComparison,
    Insights,
    Period,
    RangeComparison,
    RangeDifference,
    Share,
)
from reviews_parsing.insights.statistics import SIGNIFICANCE_LEVEL, is_reportable
from reviews_parsing.insights.text import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Praise and blame are blue and vermilion of Okabe and Ito's palette, which colour-blind readers tell apart.
PRAISE, BLAME, NEUTRAL = "#0072b2", "#d55e00", "#c9ccd1"
MORE, LESS = "#7f6aa8", "#8a8f3c"
INK, MUTED, GRID, PAPER = "#1c2026", "#5f6873", "#e3e6ea", "#fefefe"
FONT_SIZE = 10.0

MAX_BARS = 15
"""Categories in bar plots, the most mentioned; tables hold all."""
MAX_PANELS = 8
"""Categories in plots over time and in heat maps."""
MIN_REVIEWS_PER_PERIOD = 5
"""Mean number of reviews per period that a category needs for a panel."""
MIN_PERIOD_REVIEWS = 3
"""Reviews of a period that a point needs."""
MIN_CELL_REVIEWS = 5
"""Reviews that a cell of a heat map needs."""
MAX_TICKS = 4
AXIS_LIMITS = (0.1, 0.2, 0.5, 1)
SIDES = {"mentions": "", "praise": "positive", "blame": "negative"}
"""Polarity of each measure; mentions have any."""
HEAT_COLOURS = {"mentions": (MORE, LESS), "praise": (PRAISE, BLAME), "blame": (BLAME, PRAISE)}
"""Colours above and below all other reviews."""


def figures(insights: Insights) -> dict[str, Figure]:
    """Return all plots by name, without those that have no data.

    The names are `impact`, `ranges_praise`, `ranges_blame`, `mentions`, `polarity`, `time_mentions`, `time_polarity`
    and `compare_COLUMN_MEASURE`.
    """
    plots: dict[str, Figure] = {}
    if drivers := impact_drivers(insights):
        plots["impact"] = impact(drivers)
    for measure in ("praise", "blame"):
        if panels := range_panels(insights, measure):
            plots[f"ranges_{measure}"] = ranges(panels, measure, insights.compared)
    if insights.categories:
        plots["mentions"] = mentions(insights)
    if any(c.praising + c.blaming for c in insights.categories):
        plots["polarity"] = polarity(insights)
    if len({period.start for period in insights.periods}) > 1:
        plots["time_mentions"] = mentions_over_time(insights)
        plots["time_polarity"] = polarity_over_time(insights)
    for comparison in insights.comparisons:
        for measure in dict.fromkeys(contrast.measure for contrast in comparison.contrasts):
            plots[f"compare_{comparison.column}_{measure}"] = heat_map(insights, comparison, measure)
    return plots


def mentions(insights: Insights) -> Figure:
    """Draw the share of reviews that mention each category, with intervals."""
    categories = insights.categories[:MAX_BARS][::-1]
    figure, axes = _plot(5.4, 0.9 + 0.36 * len(categories))
    for row, category in enumerate(categories):
        share = category.mentions
        (bar,) = axes.barh(row, share.value, height=0.62, color=MUTED, alpha=0.45, linewidth=0)
        bar.set_url(sentences_url(category=category.category))
        axes.plot([share.low, share.high], [row, row], color=INK, linewidth=1.2, solid_capstyle="butt")
        axes.text(share.high + 0.012, row, f"{percent(share.value)}", va="center", color=INK)
    axes.set_yticks(range(len(categories)), [_label(c.category) for c in categories])
    axes.set_xlim(0, min(1.12, max(c.mentions.high for c in categories) * 1.12))
    axes.xaxis.set_major_formatter(lambda value, _: percent(value))
    axes.set_xlabel("of all reviews")
    axes.xaxis.grid(True, color=GRID, linewidth=0.8)
    return figure


def polarity(insights: Insights) -> Figure:
    """Draw the shares of all reviews that blame each category, to the left, and that praise it, to the right."""
    categories = [c for c in insights.categories[:MAX_BARS] if c.praising + c.blaming][::-1]
    figure, axes = _plot(5.4, 0.9 + 0.36 * len(categories))
    longest = max(max(c.praising, c.blaming) for c in categories) / insights.reviews
    for row, category in enumerate(categories):
        for count, sign, colour, side in (
            (category.blaming, -1, BLAME, "negative"),
            (category.praising, 1, PRAISE, "positive"),
        ):
            share = count / insights.reviews
            (bar,) = axes.barh(row, sign * share, height=0.62, color=colour, linewidth=0)
            bar.set_url(sentences_url(category=category.category, polarity=side))
            position, alignment = sign * (share + 0.02 * longest), "left" if sign > 0 else "right"
            axes.text(position, row, percent(share), va="center", ha=alignment, color=INK)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(categories)), [_label(c.category) for c in categories])
    limit = 1.3 * longest  # room for the label of the longest bar
    axes.set_xlim(-limit, limit)
    axes.set_xticks([0], ["← blame it · praise it →"])
    axes.tick_params(axis="x", colors=MUTED)
    return figure


def impact_drivers(insights: Insights) -> list[Driver]:
    """Return the significant effects of categories on stars that are drawn, the largest impact first."""
    drivers = insights.rating.drivers if insights.rating else ()
    return [d for d in drivers if d.topic is None and d.adjusted < SIGNIFICANCE_LEVEL][:MAX_BARS]


def impact(drivers: Sequence[Driver]) -> Figure:
    """Draw the stars that praise and blame of each category add to the mean of all reviews, with intervals."""
    figure, axes = _plot(6.2, 0.9 + 0.36 * len(drivers))
    longest = max(max(abs(d.share * d.low), abs(d.share * d.high)) for d in drivers)
    for row, driver in enumerate(reversed(drivers)):
        positive = driver.impact > 0
        (bar,) = axes.barh(row, driver.impact, height=0.62, color=PRAISE if positive else BLAME, linewidth=0)
        bar.set_url(sentences_url(category=driver.category, polarity=driver.polarity))
        low, high = driver.share * driver.low, driver.share * driver.high
        axes.plot([low, high], [row, row], color=INK, linewidth=1.2, solid_capstyle="butt")
        gap = 0.02 * longest
        position = max(high, driver.impact) + gap if positive else min(low, driver.impact) - gap
        axes.text(position, row, stars_text(driver.impact), va="center", ha="left" if positive else "right", color=INK)
    labels = [
        f"{_label(d.category, 20)} {'praised' if d.polarity == 'positive' else 'blamed'}" for d in reversed(drivers)
    ]
    axes.set_yticks(range(len(drivers)), labels)
    axes.axvline(0, color=INK, linewidth=0.8)
    ends = [0.0, *(d.share * d.low for d in drivers), *(d.share * d.high for d in drivers)]
    room = 0.25 * (max(ends) - min(ends))
    axes.set_xlim(min(ends) - (room if min(ends) < 0 else 0), max(ends) + (room if max(ends) > 0 else 0))
    axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter(lambda value, _: stars_text(value))
    axes.set_xlabel("stars added to the mean of all rated reviews")
    axes.xaxis.grid(True, color=GRID, linewidth=0.8)
    return figure


def range_panels(insights: Insights, measure: str) -> list[tuple[str, list[RangeDifference]]]:
    """Return (title, differences of categories) of each panel of a comparison of two ranges: all reviews, then groups.

    A category is drawn if two or more reviews of a range have the measure.
    """
    if insights.compared is None:
        return []
    names = [category.category for category in insights.categories[:MAX_PANELS]]
    panels: dict[str, list[RangeDifference]] = {}
    for d in insights.compared.differences:
        if d.topic is None and d.measure == measure and d.category in names and max(d.hits, d.hits_before) > 1:
            title = "all reviews" if d.column is None else f"{d.column} {d.group}"
            panels.setdefault(f"{title} ({d.total:,}, before {d.total_before:,})", []).append(d)
    return list(panels.items())[: MAX_PANELS + 1]


def ranges(
    panels: Sequence[tuple[str, Sequence[RangeDifference]]], measure: str, compared: RangeComparison | None
) -> Figure:
    """Draw the share of all reviews with a measure in the previous range (hollow) and now (filled), on one scale."""
    colour, side = PRAISE if measure == "praise" else BLAME, SIDES[measure]
    days = {"from": f"{compared.first}", "to": f"{compared.last}"} if compared else {}
    names = list(dict.fromkeys(d.category for _, differences in panels for d in differences))[::-1]
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = _figure(6.4 if columns == 2 else 4.6, 0.6 + rows * (0.5 + 0.24 * len(names)))
    first = None
    for position, (title, differences) in enumerate(panels):
        axes = figure.add_subplot(rows, columns, position + 1, sharex=first, sharey=first)
        first = first or axes
        _style(axes)
        for d in differences:
            row = names.index(d.category)
            axes.plot([d.share_before.value, d.share.value], [row, row], color=colour, linewidth=1.6)
            axes.plot([d.share_before.value], [row], "o", markersize=5, markerfacecolor=PAPER, color=colour)
            (marker,) = axes.plot([d.share.value], [row], "o", markersize=5.5, color=colour)
            marker.set_url(sentences_url(category=d.category, polarity=side, **_group_filter(d), **days))
            if is_reportable(d.adjusted, d.difference.value):
                axes.text(d.share.value, row + 0.12, "*", ha="center", va="bottom", color=INK)
        axes.set_title(_label(title, 34), loc="left", fontsize=FONT_SIZE - 1, color=INK)
        axes.tick_params(labelsize=FONT_SIZE - 1.5, labelleft=position % columns == 0)
        axes.set_yticks(range(len(names)), [_label(name, 18) for name in names])
        axes.set_ylim(-0.6, len(names) - 0.2)
        axes.xaxis.set_major_formatter(lambda value, _: percent(value))
        axes.xaxis.grid(True, color=GRID, linewidth=0.8)
    figure.axes[0].set_xlim(left=0)
    return figure


def _group_filter(difference: RangeDifference) -> dict[str, str]:
    return {} if difference.column is None else {f"by:{difference.column}": f"{difference.group}"}


def stars_text(value: float) -> str:
    """Return a signed number of stars."""
    return f"{value:+.2f}".replace("-", "\u2212")


def sentences_url(**filters: str) -> str:
    """Return the link from a part of a plot to its sentences in the report; `inline` turns it into a filter."""
    return "#all?" + urlencode(filters)


def mentions_over_time(insights: Insights) -> Figure:
    """Draw the share of reviews that mention each category, by period."""

    def draw(axes: Axes, series: Sequence[Period]) -> None:
        _line(axes, series, lambda p: p.mentions, lambda p: p.total, MUTED, "-", "o")

    return _panels(insights, draw, "mention it", limit=lambda series: max(p.mentions.high for p in series))


def polarity_over_time(insights: Insights) -> Figure:
    """Draw the shares of the reviews of a category that praise and that blame it, by period."""

    def draw(axes: Axes, series: Sequence[Period]) -> None:
        _line(axes, series, lambda p: p.praise, lambda p: p.reviews, PRAISE, "-", "o")
        _line(axes, series, lambda p: p.blame, lambda p: p.reviews, BLAME, (0, (4, 2)), "s")

    return _panels(insights, draw, "praise it", "blame it")


def heat_map(insights: Insights, comparison: GroupComparison, measure: str) -> Figure:
    """Draw groups as rows and categories as columns; reportable differences are bold with an asterisk."""
    from matplotlib.patches import Rectangle

    names = [category.category for category in insights.categories[:MAX_PANELS]]
    contrasts = {(c.value, c.category): c for c in comparison.contrasts if c.measure == measure}
    groups = comparison.groups
    above, below = HEAT_COLOURS[measure]
    figure, axes = _plot(2.3 + 0.78 * len(names), 0.9 + 0.33 * len(groups))
    for row, group in enumerate(groups):
        for column, name in enumerate(names):
            contrast = contrasts.get((group.value, name))
            if contrast is None or contrast.reviews < MIN_CELL_REVIEWS:
                axes.text(column, row, "·", ha="center", va="center", color=MUTED, fontsize=FONT_SIZE - 1)
                continue
            difference = contrast.difference.value
            cell = Rectangle((column - 0.47, row - 0.44), 0.94, 0.88, linewidth=0)
            cell.set(facecolor=above if difference > 0 else below, alpha=min(1.0, abs(difference) / 0.5) * 0.8)
            by = {f"by:{comparison.column}": group.value}
            cell.set_url(sentences_url(category=name, polarity=SIDES[measure], **by))
            axes.add_patch(cell)
            reportable = is_reportable(contrast.adjusted, difference)
            label = percent(contrast.share.value) + (" *" if reportable else "")
            text = axes.text(column, row, label, ha="center", va="center", color=INK, fontsize=FONT_SIZE - 1)
            text.set_fontweight("bold" if reportable else "normal")
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_yticks(range(len(groups)), [f"{_label(g.value, 24)}  ({g.reviews:,})" for g in groups])
    labels = [_label(name, 12) for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=28, ha="left", rotation_mode="anchor")
    axes.xaxis.tick_top()
    axes.tick_params(labelsize=FONT_SIZE - 1)
    axes.hlines([row + 0.5 for row in range(len(groups) - 1)], -0.5, len(names) - 0.5, color=GRID, linewidth=0.6)
    return figure


def _line(
    axes: Axes,
    series: Sequence[Period],
    share: Callable[[Period], Share],
    total: Callable[[Period], int],
    colour: str,
    style: object,
    marker: str,
) -> None:
    from matplotlib.dates import date2num

    periods = [period for period in series if total(period) >= MIN_PERIOD_REVIEWS]
    starts, shares = [date2num(period.start) for period in periods], [share(period) for period in periods]
    axes.fill_between(starts, [s.low for s in shares], [s.high for s in shares], color=colour, alpha=0.16, linewidth=0)
    axes.plot(
        starts, [s.value for s in shares], color=colour, linestyle=style, marker=marker, markersize=3, linewidth=1.4
    )


def _panels(
    insights: Insights,
    draw: Callable[[Axes, Sequence[Period]], None],
    *labels: str,
    limit: Callable[[Sequence[Period]], float] | None = None,
) -> Figure:
    """Draw one small plot per category."""
    from matplotlib.dates import date2num

    starts = sorted({period.start for period in insights.periods})
    ticks = starts[:: -(-len(starts) // MAX_TICKS)]
    names = panel_categories(insights)
    by_name = {name: [period for period in insights.periods if period.category == name] for name in names}
    # All panels have one scale, so that they can be compared.
    highest = max(limit(series) for series in by_name.values()) if limit else 1
    top = next(value for value in AXIS_LIMITS if value >= highest)
    columns = min(2, len(names))
    rows = -(-len(names) // columns)
    figure = _figure(5.8 if columns == 2 else 4.2, 0.6 + 1.5 * rows)
    first = None
    for position, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, position + 1, sharex=first)
        first = first or axes
        _style(axes)
        draw(axes, by_name[name])
        axes.set_title(_label(name), loc="left", fontsize=FONT_SIZE, color=INK)
        axes.set_ylim(0, top)
        axes.set_yticks([0, top / 2, top])
        axes.yaxis.set_major_formatter(lambda value, _: percent(value))
        axes.yaxis.grid(True, color=GRID, linewidth=0.8)
        axes.tick_params(axis="x", pad=6)
        axes.tick_params(
            labelsize=FONT_SIZE - 1.5,
            labelbottom=position >= len(names) - columns,
            labelleft=position % columns == 0,
        )
        axes.set_xticks([date2num(start) for start in ticks], [_tick(start, insights.grain) for start in ticks])
    options = {"loc": "outside upper right", "ncols": len(labels), "frameon": False}
    figure.legend(figure.axes[0].get_lines(), labels, fontsize=FONT_SIZE - 1, labelcolor=INK, **options)
    return figure


def panel_categories(insights: Insights) -> list[str]:
    """Return the categories of plots over time: the most mentioned with enough reviews in each period."""
    minimum = MIN_REVIEWS_PER_PERIOD * len(insights.starts)
    frequent = [c.category for c in insights.categories[:MAX_PANELS] if c.reviews >= minimum]
    return frequent or [category.category for category in insights.categories[:2]]


def _tick(start: date, grain: str | None) -> str:
    """Return a short name of a period."""
    if grain == "year":
        return f"{start.year}"
    if grain == "quarter":
        return f"Q{(start.month + 2) // 3} {start:%y}"
    return f"{start:%b %y}" if grain == "month" else f"{start.day} {start:%b}"


def _plot(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure with one plot; width and height are in inches."""
    figure = _figure(width, height)
    axes = figure.add_subplot()
    _style(axes)
    return figure, axes


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=110, facecolor=PAPER)


def _style(axes: Axes) -> None:
    """Remove the frame and set colours and sizes."""
    axes.set_facecolor("none")
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=FONT_SIZE, length=0)
    axes.set_axisbelow(True)
    axes.xaxis.label.set(color=MUTED, size=FONT_SIZE)
    axes.yaxis.label.set(color=MUTED, size=FONT_SIZE)


def _label(text: str, limit: int = 28) -> str:
    """Return a text as a label: shortened to `limit` characters, and with $ not read as mathematics."""
    text = " ".join(text.split())
    return (text if len(text) <= limit else text[: limit - 1] + "…").replace("$", r"\$")
