"""Prometheus queries for versions: requests, failures and 95th percentile of latency by endpoint; alerts of drift."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

QUERY_TIMEOUT_SECONDS = 10
DRIFT_ALERT = "ReviewsParsingTrafficDrift"


class PrometheusUnavailable(Exception):
    """Prometheus does not answer, or with an error."""


@dataclass(frozen=True, slots=True)
class EndpointStatistics:
    """One version at one endpoint: requests, failed requests (5xx), 95th percentile of latency in seconds."""

    requests: float = 0.0
    failed: float = 0.0
    p95: float | None = None


class Prometheus:
    """A Prometheus server that scrapes the pods of a namespace."""

    def __init__(self, url: str, namespace: str) -> None:
        self.url = url.rstrip("/")
        # If the scrape configuration sets no namespace, every instance counts.
        self._namespace_matcher = f'namespace=~"|{namespace}"'

    def query(self, versions: tuple[str, str], seconds: float) -> dict[tuple[str, str], EndpointStatistics]:
        """Return the statistics of the last `seconds` by (version, endpoint). Raises PrometheusUnavailable.

        Request metrics carry no version; the gauge `reviews_parsing_model_info` maps instances to versions.
        """
        matcher = f'{self._namespace_matcher}, version=~"{"|".join(versions)}"'
        info = f"max by (job, instance, version) (reviews_parsing_model_info{{{matcher}}} > 0)"

        def total(series: str, labels: str, matchers: str = "") -> str:
            increase = self._increase(series, matchers, seconds)
            return f"sum by (version, door{labels}) ({increase} * on (job, instance) group_left (version) {info})"

        requests = self._query(total("reviews_parsing_requests_total", ""))
        failed = self._query(total("reviews_parsing_requests_total", "", ', status=~"5.."'))
        # Rejected requests are fast.
        buckets = total("reviews_parsing_request_seconds_bucket", ", le", ', texts!="none"')
        p95 = self._query(f"histogram_quantile(0.95, {buckets})")
        return {key: EndpointStatistics(count, failed.get(key, 0.0), p95.get(key)) for key, count in requests.items()}

    def sums(self, series: str, labels: str, version: str, seconds: float) -> dict[tuple[str, ...], float]:
        """Return the increase of a counter with a label `version`, by the values of `labels`, over all pods.

        Raises PrometheusUnavailable.
        """
        names = labels.split(", ")
        rows = self._rows(self._sum(series, labels, version, seconds))
        return {tuple(metric[name] for name in names): value for metric, value in rows}

    def quantile(self, series: str, version: str, seconds: float, share: float) -> float | None:
        """Return a quantile of the buckets of a histogram with a label `version`. Raises PrometheusUnavailable."""
        rows = self._rows(f"histogram_quantile({share}, {self._sum(series, 'le', version, seconds)})")
        return next((value for _, value in rows if not math.isnan(value)), None)

    def drift_seconds(self, version: str) -> dict[str, float]:
        """Return the numbers of a version's traffic that the alert of drift is active for, and for how long.

        Raises PrometheusUnavailable.
        """
        return {metric["number"]: seconds for metric, seconds in self._rows(self.drift_query(version))}

    def drift_query(self, version: str) -> str:
        """Return the query of `drift_seconds`. The value of ALERTS_FOR_STATE is the time at which an alert began."""
        matchers = f'alertname="{DRIFT_ALERT}", version="{version}", {self._namespace_matcher}'
        return f"max by (number) (time() - ALERTS_FOR_STATE{{{matchers}}})"

    def _sum(self, series: str, labels: str, version: str, seconds: float) -> str:
        matcher = f', version="{version}"'
        return f"sum by ({labels}) ({self._increase(series, matcher, seconds)})"

    def _increase(self, series: str, matchers: str, seconds: float) -> str:
        """Return the query for the increase of a counter.

        A series that is younger than the window began at zero; `increase` would omit its first value.
        """
        selector = f"{series}{{{self._namespace_matcher}{matchers}}}"
        window = f"{max(1, math.ceil(seconds))}s"
        return (
            f"((increase({selector}[{window}]) and {selector} offset {window}) "
            f"or ({selector} unless {selector} offset {window}))"
        )

    def _query(self, query: str) -> dict[tuple[str, str], float]:
        """Return the rows of a query by version and endpoint."""
        rows = self._rows(query)
        return {(metric["version"], metric["door"]): value for metric, value in rows if not math.isnan(value)}

    def _rows(self, query: str) -> list[tuple[dict[str, str], float]]:
        import httpx2

        try:
            response = httpx2.post(f"{self.url}/api/v1/query", data={"query": query}, timeout=QUERY_TIMEOUT_SECONDS)
            document: dict[str, Any] = response.json()
            if document["status"] != "success":
                raise PrometheusUnavailable(
                    f"Prometheus at {self.url} reports: {document.get('error', response.status_code)}"
                )
            return [(row["metric"], float(row["value"][1])) for row in document["data"]["result"]]
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, KeyError, TypeError) as error:
            raise PrometheusUnavailable(f"Prometheus at {self.url} does not answer ({error})") from error
