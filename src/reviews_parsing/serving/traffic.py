"""Monitoring of traffic: numbers of each review are counted for Prometheus, and sampled into files.

A separate thread does this after the answer is sent. Its errors never reach a request, and batches are skipped if it
cannot keep up.
"""

from __future__ import annotations

import atexit
import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

import numpy as np

from reviews_parsing.encoder import Logits
from reviews_parsing.errors import ModelError
from reviews_parsing.monitor import Features, Profile, Quintiles, write_traffic
from reviews_parsing.parser import AspectParser, Prepared
from reviews_parsing.schema import ParsedReview
from reviews_parsing.serving.queue import lower_priority
from reviews_parsing.settings import Settings

if TYPE_CHECKING:
    from prometheus_client.core import Metric

Answered = tuple[Prepared, Logits, Sequence[ParsedReview]]

# Seconds between files, capacity of the queue in batches, and seconds of a minute.
PERIOD, WAITING = 300.0, 32
MINUTE = 60

log = logging.getLogger("mlserver")


def watch(parser: AspectParser, folder: Path, version: str, settings: Settings) -> Traffic:
    """Start monitoring the traffic of the model `version` in `folder`.

    Without a readable training profile, which older models lack, nothing is monitored, and the log says so.
    """
    try:
        profile = Profile.read(folder)
    except ModelError as error:
        log.warning("traffic is not watched: %s", error)
        return Traffic()
    sample = None
    if settings.traffic:
        sample = Sample(settings.traffic, profile, version, settings.traffic_rows, settings.traffic_files)
    return Watched(parser, profile, _collector().counts(version, profile), sample)


class Traffic:
    """Traffic that is not monitored; base class."""

    def observe(self, prepared: Prepared, logits: Logits, reviews: Sequence[ParsedReview]) -> None:
        """Record a batch that has been answered. Never raises."""

    def close(self) -> None:
        """End the monitoring."""


class Watched(Traffic):
    """Monitored traffic of one model version, sampled into a file every PERIOD seconds if `sample` is given."""

    def __init__(self, parser: AspectParser, profile: Profile, counts: Counts, sample: Sample | None) -> None:
        self._parser = parser
        self._extractor = profile.extractor
        self._counts = counts
        self._sample = sample
        self._failed = False
        self._batches: Queue[Answered | None] = Queue(WAITING)
        self._thread = Thread(target=self._watch, name="traffic", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def observe(self, prepared: Prepared, logits: Logits, reviews: Sequence[ParsedReview]) -> None:
        """Queue a batch to be counted; drop it if the queue is full."""
        with suppress(Full):
            self._batches.put_nowait((prepared, logits, reviews))

    def close(self) -> None:
        """Count the queued batches and end the thread."""
        atexit.unregister(self.close)
        self._batches.put(None)
        self._thread.join()

    def _watch(self) -> None:
        lower_priority()
        due = time.monotonic() + PERIOD
        while True:
            with suppress(Empty):
                batch = self._batches.get(timeout=max(0, due - time.monotonic()))
                if batch is None:
                    break
                self._measure(batch)
            if time.monotonic() >= due:
                due += PERIOD
                if self._sample:
                    self._sample.flush()
        if self._sample:
            self._sample.flush(include_current=True)

    def _measure(self, batch: Answered) -> None:
        try:
            numbers = self._extractor.from_predictions(self._parser, *batch)
            self._counts.add(numbers)
            if self._sample:
                self._sample.add(numbers)
        except Exception as error:  # the next batch may succeed
            if not self._failed:
                self._failed = True
                # Log the class alone: a message may quote a text.
                log.error("traffic is not counted: %s", type(error).__name__)


class Counts:
    """Counts of reviews in each bin of each number, and the expected shares from the profile. Thread-safe."""

    def __init__(self, profile: Profile) -> None:
        self.bins = Quintiles.fit(profile.features, profile.extractor.names)
        self.expected = self.bins.shares(profile.features)
        self._counts = np.zeros(self.expected.shape, np.int64)
        self._lock = Lock()

    def add(self, numbers: Features) -> None:
        """Count reviews."""
        counts = self.bins.count(numbers)
        with self._lock:
            self._counts += counts

    @property
    def snapshot(self) -> Any:
        """Copy of the counts."""
        with self._lock:
            return self._counts.copy()


class Collector:
    """Prometheus collector of the counts of all versions; the models define the labels."""

    def __init__(self) -> None:
        self._versions: dict[str, Counts] = {}

    def counts(self, version: str, profile: Profile) -> Counts:
        """Return the counts of a version, which continue if it was served before."""
        return self._versions.setdefault(version, Counts(profile))

    def describe(self) -> list[Metric]:
        """Return no metrics, because versions are known only after loading."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the counts of each bin and the shares expected from training."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        labels = ["version", "number", "bin"]
        observed = CounterMetricFamily("reviews_parsing_traffic", "reviews, by where each number lies", labels=labels)
        expected = GaugeMetricFamily(
            "reviews_parsing_traffic_expected", "share of reviews that training has there", labels=labels
        )
        for version, counts in list(self._versions.items()):
            for (number, name), count, share in counts.bins.cells(counts.snapshot, counts.expected):
                observed.add_metric([version, number, name], count)
                expected.add_metric([version, number, name], share)
        yield from (observed, expected)


@cache
def _collector() -> Collector:
    """Return the collector of this process, registered in prometheus_client's default registry."""
    from prometheus_client import REGISTRY

    collector = Collector()
    REGISTRY.register(collector)
    return collector


class Sample:
    """Reservoir sample of at most `rows` reviews per minute (Vitter, 1985, algorithm R), written to files.

    `minute` returns the number of the current minute. If a file cannot be written, its reviews are lost and logged.
    """

    def __init__(
        self,
        folder: Path,
        profile: Profile,
        version: str,
        rows: int,
        files: int,
        minute: Callable[[], int] = lambda: int(time.time()) // MINUTE,
    ) -> None:
        self._folder, self._profile, self._version = folder, profile, version
        self._rows, self._files = rows, files
        self._minute = minute
        self._rows_by_minute: dict[int, list[Features]] = {}
        self._reviews_of_minute = 0

    def add(self, numbers: Features) -> None:
        """Add reviews of the current minute."""
        minute = self._minute()
        if minute not in self._rows_by_minute:
            self._rows_by_minute[minute], self._reviews_of_minute = [], 0
        rows = self._rows_by_minute[minute]
        for row in numbers:
            self._reviews_of_minute += 1
            if len(rows) < self._rows:
                rows.append(row)
            elif (index := random.randrange(self._reviews_of_minute)) < self._rows:  # noqa: S311
                rows[index] = row

    def flush(self, include_current: bool = False) -> None:
        """Write the complete minutes, and with `include_current` the current one too."""
        now = self._minute()
        complete = {minute: rows for minute, rows in self._rows_by_minute.items() if include_current or minute < now}
        self._rows_by_minute = {minute: rows for minute, rows in self._rows_by_minute.items() if minute not in complete}
        minutes = [minute for minute, rows in complete.items() for _ in rows]
        if not minutes:
            return
        numbers = np.stack([row for rows in complete.values() for row in rows])
        try:
            write_traffic(self._folder, self._profile, self._version, np.array(minutes), numbers, self._files)
        except Exception as error:  # a full disk, mostly
            log.error("%d reviews of traffic are lost: %s", len(minutes), error)
