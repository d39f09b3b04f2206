"""Watch a canary beside the champion for a set time, then promote it or end it with the reason."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from reviews_parsing.errors import ClusterError, ReviewsParsingError, RolloutRefused, RolloutReverted
from reviews_parsing.rollout.cluster import Service
from reviews_parsing.rollout.plan import Canary, read_plan
from reviews_parsing.rollout.prometheus import EndpointStatistics, Prometheus, PrometheusUnavailable
from reviews_parsing.rollout.steps import Report, Status, end_canary, promote, traffic_share

POLL_SECONDS = 15.0
GRACE_SECONDS = 60.0
"""Outage of Prometheus, the cluster, the canary's pods or its share that decides against the canary."""
MIN_FAILURE_RATE = 0.001
"""Failure rate that is assumed of every champion."""
MIN_SLOWDOWN_SECONDS = 0.01
"""Differences of p95 below this are ignored."""

Statistics = Mapping[tuple[str, str], EndpointStatistics]
"""Statistics by (version, endpoint)."""


@dataclass(frozen=True, slots=True)
class AlarmLimits:
    """Limits of a canary: p-value of its failures if it were as good as the champion, and ratio of p95."""

    p_value: float
    p95_ratio: float


# Repeated tests would find something by chance alone; at the end the champion gets the benefit of the doubt.
INTERIM_LIMITS = AlarmLimits(p_value=0.001, p95_ratio=2.0)
FINAL_LIMITS = AlarmLimits(p_value=0.05, p95_ratio=1.25)


def watch_canary(
    service: Service,
    prometheus: Prometheus,
    *,
    seconds: float = 600,
    min_requests: int = 100,
    timeout: float = 600,
    force: bool = False,
    report: Report = print,
) -> Status:
    """Watch the canary of a service for `seconds`; promote it if it holds, else end it.

    It holds if at one endpoint at least it and the champion answered `min_requests` each, and at no endpoint it failed
    more often or was slower than the champion. Raises RolloutReverted with the reason if it was ended, RolloutRefused
    if there is no canary or another process ended it, ClusterError.
    """
    plan = read_plan(service.read())
    canary, champion = plan.canary, plan.champion
    if canary is None or canary.version is None or champion.version is None:
        raise RolloutRefused(f"{service.words} has no canary to watch; begin with: rollout start --canary 10")
    if not canary.percent:
        raise RolloutRefused(
            f"version {canary.version} is dark: give it requests first, with: rollout start --canary 10"
        )
    report(f"watching version {canary.version} beside {champion.version} for {seconds:.0f} s")
    reason = _watch(service, prometheus, canary, champion.version, seconds, min_requests, report)
    if reason is None:
        report(f"version {canary.version} held")
        return promote(service, timeout=timeout, force=force, report=report)
    try:
        end_canary(service, plan, report, force)
    except ReviewsParsingError as error:
        raise ClusterError(f"version {canary.version} must end ({reason}), but could not be ended: {error}") from error
    raise RolloutReverted(f"version {canary.version} is undone: {reason}; version {champion.version} goes on serving")


def find_failure(
    statistics: Statistics, canary: str, champion: str, min_requests: int, limits: AlarmLimits, is_final: bool
) -> str | None:
    """Return the reason against the canary, or None. Too little data is a reason only at the end."""
    is_conclusive = False
    max_requests = 0.0
    for endpoint in sorted({endpoint for _, endpoint in statistics}):
        new = statistics.get((canary, endpoint), EndpointStatistics())
        old = statistics.get((champion, endpoint), EndpointStatistics())
        max_requests = max(max_requests, new.requests)
        # Laplace's rule: the failure rate of a champion with few requests is uncertain.
        rate = max(MIN_FAILURE_RATE, (old.failed + 1) / (old.requests + 2))
        if new.failed and binomial_tail(new.failed, new.requests, rate) < limits.p_value:
            return (
                f"over {endpoint}, {new.failed:.0f} of {new.requests:.0f} requests failed, "
                f"of version {champion} {old.failed:.0f} of {old.requests:.0f}"
            )
        if min(new.requests, old.requests) < min_requests or new.p95 is None or old.p95 is None:
            continue
        is_conclusive = True
        if new.p95 > old.p95 * limits.p95_ratio and new.p95 - old.p95 > MIN_SLOWDOWN_SECONDS:
            return (
                f"over {endpoint}, 95 of 100 requests took up to {1000 * new.p95:.0f} ms, "
                f"of version {champion} {1000 * old.p95:.0f} ms"
            )
    if is_final and not is_conclusive:
        requirement = f"{min_requests} are needed of each version at one endpoint"
        return f"too little to tell: {max_requests:.0f} requests, {requirement}"
    return None


def binomial_tail(failed: float, requests: float, rate: float) -> float:
    """Return the probability of at least `failed` failures among `requests` with failure probability `rate`.

    SciPy's `binom.sf` without SciPy, which the extra `k8s` does not bring.
    """
    n = round(requests)
    k = min(n, round(failed))
    if k <= 0 or rate >= 1:
        return 1.0

    def log_probability(x: int) -> float:
        log_ways = math.lgamma(n + 1) - math.lgamma(x + 1) - math.lgamma(n - x + 1)
        return log_ways + x * math.log(rate) + (n - x) * math.log1p(-rate)

    # Terms beyond the mean fall quickly; the omitted ones are below the precision of a float.
    total = 0.0
    for x in range(k, n + 1):
        term = math.exp(log_probability(x))
        total += term
        if x > n * rate and term < total * 1e-12:
            break
    return min(1.0, total)


def duration(text: str) -> float:
    """Return the seconds of `90s`, `10m` or `1h`. Raises ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no duration; write 90s, 10m or 1h")
    return float(match.group(1)) * {"s": 1, "m": 60, "h": 3600}[match.group(2)]


def _watch(
    service: Service,
    prometheus: Prometheus,
    canary: Canary,
    champion: str,
    seconds: float,
    min_requests: int,
    report: Report,
) -> str | None:
    """Watch until a decision; returns None if the canary held, else the reason against it."""
    begin = time.monotonic()
    last_healthy = dict.fromkeys(("prometheus", "cluster", "pods", "gateway"), begin)
    while True:
        now = time.monotonic()
        is_final = now - begin >= seconds
        problem = _find_problem(service, canary, last_healthy)
        statistics: Statistics | None = None
        try:
            statistics = prometheus.query((canary.version or "", champion), max(now - begin, 1.0))
            last_healthy["prometheus"] = now
        except PrometheusUnavailable as error:
            problem = problem or (str(error), "prometheus")
        if statistics is not None:
            limits = FINAL_LIMITS if is_final else INTERIM_LIMITS
            reason = find_failure(statistics, canary.version or "", champion, min_requests, limits, is_final)
            if reason or (is_final and problem is None):
                return reason
            report(f"  {now - begin:.0f} s: {_summary(statistics, canary.version or '', champion)}")
        if problem is not None:
            words, clock = problem
            if now - last_healthy[clock] >= GRACE_SECONDS:
                return f"{words}, for {GRACE_SECONDS:.0f} s"
            report(f"  {words}")
        wait = POLL_SECONDS if is_final else min(POLL_SECONDS, begin + seconds - now)
        time.sleep(max(wait, 0.01))


def _find_problem(service: Service, canary: Canary, last_healthy: dict[str, float]) -> tuple[str, str] | None:
    """Return a problem of the canary in the cluster and the clock that counts it. Raises RolloutRefused."""
    now = time.monotonic()
    try:
        plan = read_plan(service.read())
        if plan.canary != canary:
            raise RolloutRefused(f"{service.words}: another client changed the canary; see: rollout status")
        progress = service.progress(canary.name, canary.uri, canary.image)
        refusal = traffic_share(service, plan)[1]
    except ClusterError as error:
        return str(error), "cluster"
    last_healthy["cluster"] = now
    if not progress.ready:
        return f"its pods are not ready ({progress.failed or progress.words})", "pods"
    last_healthy["pods"] = now
    if refusal:
        return f"the gateway does not send it its share ({refusal})", "gateway"
    last_healthy["gateway"] = now
    return None


def _summary(statistics: Statistics, canary: str, champion: str) -> str:
    def describe(version: str) -> str:
        endpoints = [figures for (owner, _), figures in statistics.items() if owner == version]
        requests, failed = sum(e.requests for e in endpoints), sum(e.failed for e in endpoints)
        slowest = max((e.p95 for e in endpoints if e.p95 is not None), default=None)
        p95 = f", p95 {1000 * slowest:.0f} ms" if slowest is not None else ""
        return f"version {version}: {requests:.0f} requests, {failed:.0f} failed{p95}"

    return f"{describe(canary)}; {describe(champion)}"
