"""Plots that the browser draws with Observable Plot, in place of the static ones, from the same figures."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from reviews_parsing.insights.plots import MIN_PERIOD_REVIEWS, impact_drivers, panel_categories
from reviews_parsing.insights.results import Insights, Share
from reviews_parsing.insights.text import period_name

VENDOR = Path(__file__).parent / "templates" / "vendor"
LIBRARIES = ("d3-7.9.0.min.js", "plot-0.6.17.umd.min.js")
"""Files as published on npm, in the order in which they are loaded."""
DECIMALS = 4


def read_charts(insights: Insights) -> dict[str, Any]:
    """Return the figures of each chart by the name of the static plot that it takes the place of.

    `charts.js` reads them. Periods and bars are those of the static plots.
    """
    charts: dict[str, Any] = {}
    if drivers := impact_drivers(insights):
        charts["impact"] = [
            {
                "category": d.category,
                "polarity": d.polarity,
                "impact": round(d.impact, DECIMALS),
                "low": round(d.share * d.low, DECIMALS),
                "high": round(d.share * d.high, DECIMALS),
                "effect": round(d.effect, DECIMALS),
                "share": round(d.share, DECIMALS),
                "reviews": d.reviews,
            }
            for d in drivers
        ]
    if len({period.start for period in insights.periods}) > 1:
        panels = panel_categories(insights)
        charts["time_mentions"] = {"panels": panels, "points": list(_points(insights, panels, ("mentions",)))}
        charts["time_polarity"] = {"panels": panels, "points": list(_points(insights, panels, ("praise", "blame")))}
    return charts


def _points(insights: Insights, panels: list[str], measures: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Yield a point for each category, measure and period with enough reviews."""
    for name in panels:
        for measure in measures:
            for period in insights.periods:
                total = period.total if measure == "mentions" else period.reviews
                if period.category != name or total < MIN_PERIOD_REVIEWS:
                    continue
                hits = {"mentions": period.reviews, "praise": period.praising, "blame": period.blaming}[measure]
                share: Share = getattr(period, measure)
                yield {
                    "category": name,
                    "measure": measure,
                    "name": period_name(period.start, insights.grain),
                    "from": period.start.isoformat(),
                    "to": _last_day(period.start, insights.grain).isoformat(),
                    "n": hits,
                    "total": total,
                    "share": round(share.value, DECIMALS),
                    "low": round(share.low, DECIMALS),
                    "high": round(share.high, DECIMALS),
                }


def _last_day(start: date, grain: str | None) -> date:
    """Return the last day of the period that begins at `start`."""
    months = {"month": 1, "quarter": 3, "year": 12}.get(grain or "")
    if months is None:
        return start + timedelta(days=6 if grain == "week" else 0)
    following = start.year * 12 + start.month - 1 + months
    return date(following // 12, following % 12 + 1, 1) - timedelta(days=1)


def library_scripts() -> list[str]:
    """Return the libraries, each below its licence: the licence requires that every copy has it."""
    scripts = []
    for name in LIBRARIES:
        licence = (VENDOR / f"{name.partition('-')[0]}-LICENSE.txt").read_text(encoding="utf-8")
        scripts.append(f"/*\n{licence}*/\n{(VENDOR / name).read_text(encoding='utf-8')}")
    return scripts
