"""Builders for Grafana's classic dashboards, which every version of Grafana reads, and for their queries."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
# The schema of Grafana 12 and 13; newer versions migrate it.
SCHEMA = 42
WIDTH, HEIGHT, STAT_HEIGHT = 24, 8, 4
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
ALL = "$__all"
RUNBOOKS = Path(__file__).parent.parent / "docs" / "runbooks"
RUNBOOK_NAMES = sorted(path.stem for path in RUNBOOKS.glob("ReviewsParsing*.md"))
RUNBOOKS_UID = "reviews-parsing-runbooks"

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
        has_queries: bool = True,
    ) -> None:
        """Create a dashboard; the namespaces of the metric `present` can be selected, `default` is selected first.

        Without queries, there is nothing to select.
        """
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
            "templating": {"list": [source, namespace, *variables] if has_queries else []},
            "annotations": {"list": [_rollout("starts", "green"), _rollout("ends", "purple")] if has_queries else []},
            # Links to the other dashboards.
            "links": [{"type": "dashboards", "title": "", "tags": ["reviews-parsing"], "keepTime": True}],
            "panels": self.panels,
        }
        self._y = 0

    def row(self, title: str, *panels: Panel) -> None:
        """Add panels side by side; without a title they belong to the row above."""
        if title:
            self._place({"type": "row", "title": title, "collapsed": False, "panels": []}, 0, WIDTH, 1)
            self._y += 1
        height = max({"stat": STAT_HEIGHT, "text": 2 * HEIGHT}.get(panel["type"], HEIGHT) for panel in panels)
        width = WIDTH // len(panels)
        for number, panel in enumerate(panels):
            source = {} if panel["type"] == "text" else {"datasource": DATA_SOURCE}
            self._place({**panel, **source}, number * width, width, height)
        self._y += height

    def _place(self, panel: Panel, x: int, width: int, height: int) -> None:
        place = {"x": x, "y": self._y, "w": width, "h": height}
        self.panels.append({"id": len(self.panels) + 1, **panel, "gridPos": place})


def series(
    title: str,
    unit: str,
    queries: Mapping[str, str],
    description: str = "",
    limits: Sequence[float] = (),
    runbooks: Sequence[str] = (),
    **custom: object,
) -> Panel:
    """Return a panel of lines over time, from queries by legend; `custom` are Grafana's drawing options.

    `limits` are drawn as dashed lines, the first in orange and the others in red. The names of `runbooks` become links.
    """
    custom_options = {"fillOpacity": 10, "showPoints": "never", **custom}
    defaults: dict[str, Any] = {"unit": unit, "min": 0, "custom": custom_options}
    if limits:
        custom_options["thresholdsStyle"] = {"mode": "dashed"}
        colours = ["orange", *["red"] * len(limits)]
        steps = [{"color": colour, "value": limit} for colour, limit in zip(colours, limits, strict=False)]
        defaults["thresholds"] = {"mode": "absolute", "steps": [{"color": "transparent", "value": None}, *steps]}
    return {
        "type": "timeseries",
        "title": title,
        "description": description,
        "targets": _targets(queries),
        "links": _links(runbooks),
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }


def stacked(title: str, unit: str, queries: Mapping[str, str], description: str = "") -> Panel:
    """Return a panel of stacked lines over time."""
    return series(title, unit, queries, description, fillOpacity=60, stacking={"mode": "normal", "group": "A"})


def stat(
    title: str,
    unit: str,
    query: str,
    description: str = "",
    legend: str = "",
    good: float | None = None,
    runbooks: Sequence[str] = (),
) -> Panel:
    """Return a panel of one number for the selected time range; green from `good` on, red below."""
    steps: list[dict[str, object]] = [{"color": "text" if good is None else "red", "value": None}]
    if good is not None:
        steps.append({"color": "green", "value": good})
    return {
        "type": "stat",
        "title": title,
        "description": description,
        "links": _links(runbooks),
        "targets": [{**target, "instant": True, "range": False} for target in _targets({legend: query})],
        "fieldConfig": {
            "defaults": {"unit": unit, "noValue": "-", "thresholds": {"mode": "absolute", "steps": steps}},
            "overrides": [],
        },
        "options": {"graphMode": "none", "textMode": "value_and_name" if legend else "value"},
    }


def alert_list(title: str, query: str, description: str) -> Panel:
    """Return a table of alerts, a row for each series of `query`, with links to the runbooks."""
    hidden = ("Time", "Value", "__name__", "job", "instance")
    link = {"title": "Runbooks", "url": f"/d/{RUNBOOKS_UID}"}
    return {
        "type": "table",
        "title": title,
        "description": description,
        "targets": [{**_targets({"": query})[0], "instant": True, "range": False, "format": "table"}],
        "transformations": [
            {
                "id": "organize",
                "options": {
                    "excludeByName": dict.fromkeys(hidden, True),
                    "indexByName": {"alertname": 0, "alertstate": 1, "severity": 2},
                    "renameByName": {"alertname": "alert", "alertstate": "state"},
                },
            }
        ],
        "fieldConfig": {
            "defaults": {"unit": "none", "noValue": "No alert fires."},
            "overrides": [
                {
                    "matcher": {"id": "byName", "options": "alert"},
                    "properties": [{"id": "links", "value": [link]}],
                }
            ],
        },
        "options": {"showHeader": True},
    }


def text(title: str, content: str) -> Panel:
    """Return a panel of Markdown."""
    return {"type": "text", "title": title, "options": {"mode": "markdown", "content": content}}


def runbook(name: str) -> Panel:
    """Return a panel with a runbook, whose links lead to the panels of other runbooks."""
    _, _, content = (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8").partition("\n")
    linked = re.sub(r"\]\((ReviewsParsing\w+)\.md\)", lambda match: f"]({runbook_address(match[1])})", content)
    # Pages outside of the runbooks are not in Grafana.
    return text(name, re.sub(r"\[([^\]]*)\]\(\.\.?/[^)]*\)", r"\1", linked).strip())


def runbook_address(name: str) -> str:
    """Return the address of the panel with a runbook."""
    return f"/d/{RUNBOOKS_UID}?viewPanel={RUNBOOK_NAMES.index(name) + 1}"


def _links(runbooks: Sequence[str]) -> list[dict[str, str]]:
    return [{"title": f"Runbook: {name}", "url": runbook_address(name)} for name in runbooks]


def _rollout(event: str, colour: str) -> dict[str, Any]:
    """Return an annotation of the five minutes after a version was first served (`starts`), or no longer (`ends`)."""
    versions = 'max by (version) (reviews_parsing_model_info{{namespace=~"$namespace"}}{} > 0)'
    now, before = versions.format(""), versions.format(" offset 5m")
    return {
        "name": f"A version {event}",
        "datasource": DATA_SOURCE,
        "enable": True,
        "iconColor": colour,
        "expr": f"{now} unless {before}" if event == "starts" else f"{before} unless {now}",
        "step": "30s",
        "titleFormat": f"Version {{{{version}}}} {event}",
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
