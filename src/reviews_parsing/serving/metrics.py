"""What Prometheus is told, beside MLServer's own metrics.

`mlserver.register` writes to a registry that MLServer's endpoint reads only with parallel workers, and knows histograms
only; these go to the default registry, which it always reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

from reviews_parsing.schema import ParsedReview

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Counts of one model version."""

    def __init__(self, version: str) -> None:
        reviews, self._aspects, seconds = _collectors()
        self._version = version
        self._reviews = reviews.labels(version)
        self._seconds = seconds.labels(version)

    def time(self) -> Any:
        """A context manager around the model's work for one request."""
        return self._seconds.time()

    def count(self, parsed: Sequence[ParsedReview]) -> None:
        self._reviews.inc(len(parsed))
        kinds = Counter((aspect.entity_group, aspect.polarity or "") for review in parsed for aspect in review.aspects)
        for (category, polarity), number in kinds.items():
            self._aspects.labels(self._version, category, polarity).inc(number)


@cache
def _collectors() -> tuple[Any, Any, Any]:
    """Made once a process: a second version of the model counts into the same ones."""
    from prometheus_client import Counter, Histogram

    return (
        Counter("reviews_parsing_reviews", "reviews parsed", ["version"]),
        Counter("reviews_parsing_aspects", "aspects found", ["version", "category", "polarity"]),
        Histogram("reviews_parsing_request_seconds", "seconds in the model, by request", ["version"], buckets=SECONDS),
    )
