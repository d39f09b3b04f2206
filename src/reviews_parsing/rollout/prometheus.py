"""What Prometheus knows of two versions: requests, failures and how long 95 of 100 took, by door."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


class PrometheusAway(Exception):
    """Prometheus does not answer, or not what was asked."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One version at one door: requests, those that failed (5xx), and the 95th percentile of seconds."""

    requests: float = 0.0
    failed: float = 0.0
    p95: float | None = None


class Prometheus:
    """A Prometheus server that scrapes the pods of a namespace."""

    def __init__(self, url: str, namespace: str) -> None:
        self.url = url.rstrip("/")
        # Where the scrape sets no namespace, any instance counts.
        self._there = f'namespace=~"|{namespace}"'

    def figures(self, versions: tuple[str, str], seconds: float) -> dict[tuple[str, str], Figures]:
        """By (version, door), what happened in the last `seconds`. Raises PrometheusAway.

        The servers' requests carry no version; an instance says in `reviews_parsing_model_info` which one it serves.
        """
        either = "|".join(versions)
        info = f'max by (job, instance, version) (reviews_parsing_model_info{{{self._there}, version=~"{either}"}} > 0)'

        def total(series: str, labels: str, matchers: str = "") -> str:
            its = f"{series}{{{self._there}{matchers}}}"
            window = f"{max(1, math.ceil(seconds))}s"
            # A series that is younger than the window began at zero; `increase` would leave out its first value.
            grown = f"((increase({its}[{window}]) and {its} offset {window}) or ({its} unless {its} offset {window}))"
            return f"sum by (version, door{labels}) ({grown} * on (job, instance) group_left (version) {info})"

        requests = self._ask(total("reviews_parsing_requests_total", ""))
        failed = self._ask(total("reviews_parsing_requests_total", "", ', status=~"5.."'))
        # What was refused was refused quickly.
        seconds_of = total("reviews_parsing_request_seconds_bucket", ", le", ', texts!="none"')
        p95 = self._ask(f"histogram_quantile(0.95, {seconds_of})")
        return {key: Figures(count, failed.get(key, 0.0), p95.get(key)) for key, count in requests.items()}

    def _ask(self, query: str) -> dict[tuple[str, str], float]:
        import httpx2

        try:
            answer = httpx2.post(f"{self.url}/api/v1/query", data={"query": query}, timeout=10)
            document: dict[str, Any] = answer.json()
            if document["status"] != "success":
                raise PrometheusAway(f"Prometheus at {self.url} says: {document.get('error', answer.status_code)}")
            rows = [(row["metric"], float(row["value"][1])) for row in document["data"]["result"]]
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, KeyError, TypeError) as error:
            raise PrometheusAway(f"Prometheus at {self.url} does not answer ({error})") from error
        return {(its["version"], its["door"]): value for its, value in rows if not math.isnan(value)}
