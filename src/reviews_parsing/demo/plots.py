"""Insights report of a parsed file, and its plots for the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

CAPTIONS = {
    "mentions": "Share of reviews that mention each category",
    "polarity": "Polarity of each category",
    "time_mentions": "Mentions over time",
    "time_polarity": "Polarity over time",
    "impact": "Stars that praise and blame add to the mean of all ratings",
}
MEASURES = {
    "mentions": "share of reviews that mention each category",
    "praise": "share of the reviews that mention a category and praise it",
    "blame": "share of the reviews that mention a category and blame it",
}


def draw_report(
    parsed: Path, report: Path, group_by: Sequence[str], progress: Callable[[float, str], None]
) -> list[tuple[str, str]]:
    """Write the insights report of a parsed file and return its plots as (caption, SVG).

    Style attributes are named `data-style`: the content security policy of the page forbids to parse them. `progress`
    gets the share that is done and the current step. Raises DataError if there is nothing to draw.
    """
    from reviews_parsing import insights
    from reviews_parsing.insights.svg import inline

    results = insights.analyse([parsed], group_by, progress=progress)
    progress(0.9, "writing the report")
    insights.write_report(results, report)
    progress(0.95, "drawing plots")
    return [
        (
            _caption(name),
            str(inline(figure, f"plot-{name}")).replace(' style="', ' data-style="'),
        )
        for name, figure in insights.figures(results).items()
    ]


def _caption(name: str) -> str:
    """Return the caption of a plot; those of groups are called `compare_COLUMN_MEASURE`."""
    if name in CAPTIONS:
        return CAPTIONS[name]
    column, _, measure = name.removeprefix("compare_").rpartition("_")
    return f"By {column}: {MEASURES[measure]}"
