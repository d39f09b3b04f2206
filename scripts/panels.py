"""Builders for Grafana's classic dashboards, which every version of Grafana reads, and for their queries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
# The schema of Grafana 12 and 13; newer versions migrate it.
SCHEMA = 42
WIDTH, HEIGHT, STAT_HEIGHT = 24, 8, 4
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
ALL = "$__all"

Panel = dict[str, Any]


class Board:
    """Dashboard of rows of panels, each as wide as the page."""

    def __init__(
        self,
        uid: str,
        title: str,
        *variables: dict[str, Any],
        present: str = "reviews_parsing_model_info",
        default: str = ALL,
    ) -> None:
        """Create a dashboard; the namespaces of the metric `present` can be selected, `default` is selected first."""
        source = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
        namespace = variable("namespace", "Namespace", f"label_values({present}, namespace)", default)
        self.panels: list[Panel] = []
        self.json = {
            "uid": uid,
            "title": title,
            "tags": ["reviews-parsing"],
            "schemaVersion": SCHEMA,
            "editable": False,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": "now-3h", "to": "now"},
            "templating": {"list": [source, namespace, *variables]},
            # Links to the other two dashboards.
            "links": [{"type": "dashboards", "title": "", "tags": ["reviews-parsing"], "keepTime": True}],
            "panels": self.panels,
        }
        self._y = 0

    def row(self, title: str, *panels: Panel) -> None:
        """Add panels side by side; without a title they belong to the row above."""
        if title:
            self._place({"type": "row", "title": title, "collapsed": False, "panels": []}, 0, WIDTH, 1)
            self._y += 1
        height = max(STAT_HEIGHT if panel["type"] == "stat" else HEIGHT for panel in panels)
        width = WIDTH // len(panels)
        for number, panel in enumerate(panels):
            self._place({**panel, "datasource": DATA_SOURCE}, number * width, width, height)
        self._y += height

    def _place(self, panel: Panel, x: int, width: int, height: int) -> None:
        place = {"x": x, "y": self._y, "w": width, "h": height}
        self.panels.append({"id": len(self.panels) + 1, **panel, "gridPos": place})


def series(title: str, unit: str, queries: Mapping[str, str], description: str = "", **custom: object) -> Panel:
    """Return a panel of lines over time, from queries by legend; `custom` are Grafana's drawing options."""
    custom_options = {"fillOpacity": 10, "showPoints": "never", **custom}
    return {
        "type": "timeseries",
        "title": title,
        "description": description,
        "targets": _targets(queries),
        "fieldConfig": {"defaults": {"unit": unit, "min": 0, "custom": custom_options}, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }


def stacked(title: str, unit: str, queries: Mapping[str, str], description: str = "") -> Panel:
    """Return a panel of stacked lines over time."""
    return series(title, unit, queries, description, fillOpacity=60, stacking={"mode": "normal", "group": "A"})


def stat(
    title: str, unit: str, query: str, description: str = "", legend: str = "", good: float | None = None
) -> Panel:
    """Return a panel of one number for the selected time range; green from `good` on, red below."""
    steps: list[dict[str, object]] = [{"color": "text" if good is None else "red", "value": None}]
    if good is not None:
        steps.append({"color": "green", "value": good})
    return {
        "type": "stat",
        "title": title,
        "description": description,
        "targets": [{**target, "instant": True, "range": False} for target in _targets({legend: query})],
        "fieldConfig": {
            "defaults": {"unit": unit, "noValue": "-", "thresholds": {"mode": "absolute", "steps": steps}},
            "overrides": [],
        },
        "options": {"graphMode": "none", "textMode": "value_and_name" if legend else "value"},
    }


def heatmap(title: str, unit: str, histogram: tuple[str, str], description: str) -> Panel:
    """Return a heat map of the buckets of a histogram (name and labels) over time."""
    name, labels = histogram
    buckets = f"sum by (le) (increase({name}{{{labels}}}[$__rate_interval]))"
    return {
        "type": "heatmap",
        "title": title,
        "description": description,
        "targets": [{**target, "format": "heatmap"} for target in _targets({"{{le}}": buckets})],
        "fieldConfig": {"defaults": {}, "overrides": []},
        "options": {"calculate": False, "color": {"scheme": "Oranges", "steps": 64}, "yAxis": {"unit": unit}},
    }


def grown(counter: str, *labels: str) -> str:
    """Return the query for the increase of a counter in the selected time range."""
    return f"sum(increase({counter}{{{', '.join(labels)}}}[$__range]))"


def rate(counter: str, *labels: str, by: str = "") -> str:
    """Return the query for the rate per second of a counter."""
    return f"sum by ({by}) (rate({counter}{{{', '.join(labels)}}}[$__rate_interval]))"


def quantile(share: float, buckets: str, *labels: str, by: str = "") -> str:
    """Return the query for a quantile of a histogram."""
    return f"histogram_quantile({share}, {rate(buckets, *labels, by=f'le, {by}' if by else 'le')})"


def quantiles(buckets: str, *labels: str) -> dict[str, str]:
    """Return the queries for p50, p95 and p99 of a histogram, by name."""
    return {name: quantile(share, buckets, *labels) for name, share in QUANTILES.items()}


def _targets(queries: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "refId": chr(ord("A") + number),
            "datasource": DATA_SOURCE,
            "expr": query,
            "legendFormat": legend or "__auto",
            "range": True,
        }
        for number, (legend, query) in enumerate(queries.items())
    ]


def variable(name: str, label: str, query: str, default: str = ALL) -> dict[str, Any]:
    """Return a dashboard variable with multiple selection; "All" includes series without the label."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATA_SOURCE,
        "query": {"query": query, "refId": f"values-of-{name}"},
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "refresh": 2,
        "sort": 1,
        "current": {"text": ["All" if default == ALL else default], "value": [default]},
    }


def price(name: str, label: str, default: str) -> dict[str, Any]:
    """Return a dashboard variable for a number that the reader types."""
    return {
        "name": name,
        "label": label,
        "type": "textbox",
        "query": default,
        "current": {"text": default, "value": default},
    }
