"""Comparison of a canary with the champion on live requests: start, stop, and the counts so far.

The champion's pods read a ConfigMap that names the canary, and send it a share of the reviews that they have answered
(`serving.comparison`). No pod is restarted for it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from reviews_parsing.errors import ClusterError, RolloutRefused
from reviews_parsing.rollout.cluster import Service
from reviews_parsing.rollout.plan import read_plan
from reviews_parsing.rollout.prometheus import Prometheus

KEY = "comparison.json"
PARTS = ("spans", "categories", "polarities")


@dataclass(frozen=True, slots=True)
class Agreement:
    """Counts of a comparison with `version`.

    `parts` are the shares of aspects that both versions have (the F1 of one version against the other) by spans,
    categories and polarities, None without an aspect. `p95` is that of the other version's answers, in seconds.
    """

    version: str
    compared: int
    same: int
    shed: int
    failed: int
    parts: dict[str, float | None]
    p95: float | None

    @property
    def words(self) -> str:
        """One line for people."""
        if not self.compared:
            return f"version {self.version}: no review was compared ({self.shed} shed, {self.failed} failed)"
        shares = ", ".join(f"{part} {share:.1%}" for part, share in self.parts.items() if share is not None)
        latency = "" if self.p95 is None else f", 95 of 100 answers within {1000 * self.p95:.0f} ms"
        return (
            f"version {self.version} agrees with the champion on {self.same:,} of {self.compared:,} reviews "
            f"({shares or 'no aspects'}{latency}; {self.shed:,} shed, {self.failed:,} failed)"
        )


def start_comparison(service: Service, version: str, percent: float) -> str:
    """Have the canary of `version` parse `percent` of the champion's reviews too; returns a line about it.

    Raises RolloutRefused if no canary of this version runs or the chart has no ConfigMap for it, ClusterError.
    """
    canary = read_plan(service.read()).canary
    if canary is None or canary.version != version:
        first = f"rollout start --version {version} --canary 0"
        raise RolloutRefused(f"{service.words} has no canary of version {version}; begin with: {first}")
    if service.read_comparison() is None:
        raise RolloutRefused(f"{service.words} has no ConfigMap for comparisons; install the chart of this release")
    url = service.predictor_url(canary.name)
    service.apply_comparison({KEY: json.dumps({"url": url, "version": version, "percent": percent})})
    return f"version {version} also parses {percent:g} % of the reviews, within two minutes"


def stop_comparison(service: Service) -> str | None:
    """End a comparison; returns a line about it, None without a comparison. Raises ClusterError."""
    data = service.read_comparison()
    if not data or not data.get(KEY):
        return None
    service.apply_comparison({KEY: ""})
    return "the comparison is ended"


def compared_version(service: Service) -> str | None:
    """Return the version of the comparison that runs, None without one. Raises ClusterError."""
    try:
        return str(json.loads((service.read_comparison() or {}).get(KEY) or "null")["version"])
    except (ValueError, KeyError, TypeError):
        return None


def read_agreement(prometheus: Prometheus, version: str, seconds: float) -> Agreement:
    """Return the counts of the last `seconds`. Raises ClusterError if Prometheus cannot be asked."""
    from reviews_parsing.rollout.prometheus import PrometheusUnavailable

    try:
        reviews = prometheus.sums("reviews_parsing_compared_reviews_total", "result", version, seconds)
        aspects = prometheus.sums("reviews_parsing_compared_aspects_total", "part, result", version, seconds)
        p95 = prometheus.quantile("reviews_parsing_compared_seconds_bucket", version, seconds, 0.95)
    except PrometheusUnavailable as error:
        raise ClusterError(str(error)) from error
    parts: dict[str, float | None] = {}
    for part in PARTS:
        agree, differ = (aspects.get((part, result), 0.0) for result in ("agree", "differ"))
        parts[part] = 2 * agree / (2 * agree + differ) if agree + differ else None
    same, different, shed, failed = (round(reviews.get((r,), 0.0)) for r in ("same", "differ", "shed", "failed"))
    return Agreement(version, same + different, same, shed, failed, parts, p95)
