"""What Prometheus is told, beside MLServer's own metrics.

`mlserver.register` writes to a registry that MLServer's endpoint reads only with parallel workers, and knows histograms
only; these go to the default registry, which it always reads. No label holds anything of a text.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace

from reviews_parsing.schema import ParsedReview
from reviews_parsing.serving.work import OVERLOADED, Batch, Parsed

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
SCORES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
DOORS = ("rest", "grpc")
ANSWERED, FAILED = 200, 500


@dataclass(slots=True)
class Outcome:
    """What became of a request: an HTTP status, also where it came by gRPC, and how many texts were parsed for it."""

    status: int = FAILED
    texts: int = 0

    @property
    def amount(self) -> str:
        """Its texts as a label. A refusal has none: however quick it was, it is no quick answer."""
        return "many" if self.texts > 1 else "one" if self.texts else "none"


_current: ContextVar[Outcome | None] = ContextVar("current", default=None)


@contextmanager
def observed(door: str) -> Iterator[Outcome]:
    """Count a request by `door` with its outcome and seconds."""
    metrics = _metrics()
    outcome = Outcome()
    current = _current.set(outcome)
    begin = time.perf_counter()
    metrics.in_progress.inc()
    try:
        yield outcome
    finally:
        _current.reset(current)
        metrics.in_progress.dec()
        metrics.requests.labels(door, str(outcome.status)).inc()
        metrics.seconds.labels(door, outcome.amount).observe(time.perf_counter() - begin)
        if outcome.status == OVERLOADED:
            metrics.shed.inc()


@contextmanager
def phase(name: str) -> Iterator[None]:
    """The seconds of one phase of a request: decode-input, encode-output."""
    begin = time.perf_counter()
    yield
    _metrics().phases.labels(name).observe(time.perf_counter() - begin)


def count_batch(batch: Batch) -> None:
    """What the model did at once."""
    metrics = _metrics()
    metrics.batch.observe(batch.texts)
    metrics.tokens.inc(batch.tokens)
    for name, begin, end in batch.phases():
        metrics.phases.labels(name).observe((end - begin) / 1e9)


class ModelMetrics:
    """Counts of one model version; `waiting` is asked whenever Prometheus asks."""

    def __init__(self, version: str, precision: str, waiting: Callable[[], float]) -> None:
        metrics = _metrics()
        self._served = metrics.model.labels(version, precision)
        self._served.inc()
        metrics.waiting.set_function(waiting)
        self._metrics = metrics
        self._version = version
        self._reviews = metrics.reviews.labels(version)
        self._silent = metrics.silent.labels(version)
        self._score = metrics.score.labels(version)

    def count(self, parts: Sequence[Parsed], reviews: Sequence[ParsedReview]) -> None:
        """The answer to one request: its batches' share in the queue, its reviews and their aspects."""
        if outcome := _current.get():
            outcome.texts = len(reviews)
        self._reviews.inc(len(reviews))
        self._silent.inc(sum(not review.aspects for review in reviews))
        for part in parts:
            self._metrics.phases.labels("wait").observe(part.waited)
        aspects = [aspect for review in reviews for aspect in review.aspects]
        for aspect in aspects:
            self._score.observe(aspect.score or 0.0)
        for (category, polarity), number in Counter((a.entity_group, a.polarity or "") for a in aspects).items():
            self._metrics.aspects.labels(self._version, category, polarity).inc(number)

    def retire(self) -> None:
        """This version is no longer served."""
        self._served.dec()


@cache
def _metrics() -> SimpleNamespace:
    """Made once a process: a second version of the model counts into the same ones."""
    from prometheus_client import Counter, Gauge, Histogram

    p = "reviews_parsing_"
    version = ["version"]
    requests = Counter(f"{p}requests", "inference requests, by door and HTTP status", ["door", "status"])
    for door in DOORS:
        for status in (ANSWERED, FAILED, OVERLOADED):
            # From zero on: Prometheus sees no increase in what begins with a failure.
            requests.labels(door, str(status))
    return SimpleNamespace(
        requests=requests,
        in_progress=Gauge(f"{p}requests_in_progress", "inference requests under way"),
        shed=Counter(f"{p}requests_shed", "requests turned away with 503, as too much was waiting"),
        seconds=Histogram(f"{p}request_seconds", "seconds from request to answer", ["door", "texts"], buckets=SECONDS),
        phases=Histogram(f"{p}phase_seconds", "seconds of a phase of a request or batch", ["phase"], buckets=SECONDS),
        batch=Histogram(f"{p}batch_texts", "texts in a batch", buckets=SIZES),
        waiting=Gauge(f"{p}waiting", "pages that wait: texts, a long one counted for each 500 characters"),
        tokens=Counter(f"{p}tokens", "tokens that the encoder read"),
        reviews=Counter(f"{p}reviews", "reviews parsed", version),
        silent=Counter(f"{p}reviews_without_aspect", "reviews in which nothing was found", version),
        aspects=Counter(f"{p}aspects", "aspects found", ["version", "category", "polarity"]),
        score=Histogram(f"{p}aspect_score", "probabilities of aspects", version, buckets=SCORES),
        model=Gauge(f"{p}model_info", "how often a model version is loaded here", ["version", "precision"]),
    )
