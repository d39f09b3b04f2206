"""Prometheus metrics beside MLServer's own. No label holds anything of a text.

They use the default registry of prometheus_client: MLServer's `register` knows only histograms, and writes to a
registry that its endpoint reads only with parallel workers.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from types import SimpleNamespace
from typing import TYPE_CHECKING

from reviews_parsing.schema import ParsedReview

if TYPE_CHECKING:
    from reviews_parsing.serving.queue import BatchTiming, ParsedPart

LATENCY_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
BATCH_SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
SCORE_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
# Values of the label `door`.
ENDPOINTS = ("rest", "grpc")


@dataclass(slots=True)
class RequestOutcome:
    """Status of a request as an HTTP status, also for gRPC, its parsed texts, and its bytes, packed and unpacked."""

    status: int = HTTPStatus.INTERNAL_SERVER_ERROR
    texts: int = 0
    bytes: int = 0

    @property
    def text_count(self) -> str:
        """The number of texts as a label; `none` keeps fast rejections apart from fast answers."""
        return "many" if self.texts > 1 else "one" if self.texts else "none"


_current: ContextVar[RequestOutcome | None] = ContextVar("current", default=None)


@contextmanager
def observed(endpoint: str, is_counted: bool = True) -> Iterator[RequestOutcome]:
    """Count a request to `endpoint` (rest or grpc) with its outcome and latency."""
    outcome = RequestOutcome()
    if not is_counted:
        yield outcome
        return
    metrics = _metrics()
    token = _current.set(outcome)
    begin = time.perf_counter()
    metrics.in_progress.inc()
    try:
        yield outcome
    finally:
        _current.reset(token)
        metrics.in_progress.dec()
        metrics.requests.labels(endpoint, str(int(outcome.status))).inc()
        metrics.latency.labels(endpoint, outcome.text_count).observe(time.perf_counter() - begin)
        if outcome.status == HTTPStatus.SERVICE_UNAVAILABLE:
            metrics.shed.inc()


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Time a phase of a request: decode-input or encode-output."""
    begin = time.perf_counter()
    yield
    _metrics().phases.labels(name).observe(time.perf_counter() - begin)


def count_batch(batch: BatchTiming) -> None:
    """Count a batch and the phases of the model."""
    metrics = _metrics()
    metrics.batch_size.observe(batch.texts)
    metrics.tokens.inc(batch.tokens)
    for name, begin, end in batch.phases():
        metrics.phases.labels(name).observe((end - begin) / 1e9)


def count_displaced() -> None:
    """Count a waiting request that was shed for a client with less work."""
    _metrics().displaced.inc()


def count_limit(limit: str) -> None:
    """Count a request or connection that reached the limit of this name."""
    _metrics().limits.labels(limit).inc()


class ModelMetrics:
    """Metrics of one model version; Prometheus calls `waiting` at each scrape."""

    def __init__(self, version: str, precision: str, waiting: Callable[[], float]) -> None:
        metrics = _metrics()
        self._info = metrics.model.labels(version, precision)
        self._info.inc()
        metrics.waiting.set_function(waiting)
        self._metrics = metrics
        self._version = version
        self._reviews = metrics.reviews.labels(version)
        self._without_aspect = metrics.without_aspect.labels(version)
        self._score = metrics.score.labels(version)

    def count(self, parts: Sequence[ParsedPart], reviews: Sequence[ParsedReview]) -> None:
        """Count an answered request: time in the queue, reviews and aspects."""
        if outcome := _current.get():
            outcome.texts = len(reviews)
        self._reviews.inc(len(reviews))
        self._without_aspect.inc(sum(not review.aspects for review in reviews))
        for part in parts:
            self._metrics.phases.labels("wait").observe(part.waited)
        aspects = [aspect for review in reviews for aspect in review.aspects]
        for aspect in aspects:
            self._score.observe(aspect.score or 0.0)
        for (category, polarity), count in Counter((a.entity_group, a.polarity or "") for a in aspects).items():
            self._metrics.aspects.labels(self._version, category, polarity).inc(count)

    def retire(self) -> None:
        """Mark this version as unloaded."""
        self._info.dec()


class ComparisonMetrics:
    """Metrics of the comparison with another version."""

    def __init__(self, version: str) -> None:
        self._version = version

    def count(self, result: str) -> None:
        """Count a review of the sample: same, differ, shed or failed."""
        _metrics().compared_reviews.labels(self._version, result).inc()

    def aspects(self, part: str, counts: Mapping[str, int]) -> None:
        """Count aspects, by result, whose `part` both versions have, or only one has."""
        for result, count in counts.items():
            _metrics().compared_aspects.labels(self._version, part, result).inc(count)

    def latency(self, seconds: float) -> None:
        """Record the time of an answer of the other version, the network included."""
        _metrics().compared_latency.labels(self._version).observe(seconds)


@cache
def _metrics() -> SimpleNamespace:
    """Return the metrics of this process; all versions of the model share them."""
    from prometheus_client import Counter, Gauge, Histogram

    p, latency, version = "reviews_parsing_", LATENCY_BUCKETS_SECONDS, ["version"]
    requests = Counter(f"{p}requests", "inference requests, by endpoint and HTTP status", ["door", "status"])
    for endpoint in ENDPOINTS:
        for status in (HTTPStatus.OK, HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.SERVICE_UNAVAILABLE):
            # Start at zero: Prometheus sees no increase in a series whose first sample is a failure.
            requests.labels(endpoint, str(int(status)))
    return SimpleNamespace(
        requests=requests,
        in_progress=Gauge(f"{p}requests_in_progress", "inference requests in progress"),
        shed=Counter(f"{p}requests_shed", "inference requests shed with status 503"),
        displaced=Counter(f"{p}requests_displaced", "waiting requests shed for a request of a client with less work"),
        latency=Histogram(f"{p}request_seconds", "latency of a request", ["door", "texts"], buckets=latency),
        phases=Histogram(f"{p}phase_seconds", "time of a phase of a request or batch", ["phase"], buckets=latency),
        batch_size=Histogram(f"{p}batch_texts", "texts in a batch", buckets=BATCH_SIZE_BUCKETS),
        waiting=Gauge(f"{p}waiting", "texts in the queue; a long text counts once more for each 125 tokens"),
        tokens=Counter(f"{p}tokens", "tokens read by the encoder"),
        reviews=Counter(f"{p}reviews", "parsed reviews", version),
        without_aspect=Counter(f"{p}reviews_without_aspect", "parsed reviews without an aspect", version),
        aspects=Counter(f"{p}aspects", "aspects in parsed reviews", ["version", "category", "polarity"]),
        score=Histogram(f"{p}aspect_score", "scores of aspects", version, buckets=SCORE_BUCKETS),
        limits=Counter(f"{p}limit_reached", "times that a limit was reached, by setting", ["limit"]),
        compared_reviews=Counter(
            f"{p}compared_reviews", "reviews that another version parsed too", ["version", "result"]
        ),
        compared_aspects=Counter(
            f"{p}compared_aspects", "aspects of those reviews, of both versions", ["version", "part", "result"]
        ),
        compared_latency=Histogram(
            f"{p}compared_seconds", "time of an answer of the other version", version, buckets=latency
        ),
        model=Gauge(f"{p}model_info", "number of times that a model version is loaded", ["version", "precision"]),
    )
