"""What comes in, in numbers: counted for Prometheus beside what training would have, and sampled into files.

All of it happens in a thread of its own, once the answer is out. Nothing that goes wrong there reaches a request, and
where it cannot keep up, batches go by unseen.
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
from reviews_parsing.monitor import Profile, write
from reviews_parsing.monitor.bins import Bins
from reviews_parsing.monitor.numbers import Numbers
from reviews_parsing.parser import AspectParser, Prepared
from reviews_parsing.schema import ParsedReview
from reviews_parsing.serving.queue import lower_priority
from reviews_parsing.settings import Settings

if TYPE_CHECKING:
    from prometheus_client.core import Metric

Answered = tuple[Prepared, Logits, Sequence[ParsedReview]]

# Seconds between files, and how many batches may wait to be looked at.
PERIOD, WAITING = 300.0, 32
MINUTE = 60

log = logging.getLogger("mlserver")


def watch(parser: AspectParser, folder: Path, version: str, settings: Settings) -> Traffic:
    """What `version` of the model, which is in `folder`, sees from now on.

    A model of before has no profile, and nothing is watched; the log says so, as where its profile cannot be read.
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
    """What nobody watches."""

    def observe(self, prepared: Prepared, logits: Logits, reviews: Sequence[ParsedReview]) -> None:
        """A batch that has been answered. Never raises."""

    def close(self) -> None:
        """Nothing more is seen."""


class Watched(Traffic):
    """What one version of the model sees; some of it goes into `sample`, if given, and into a file every PERIOD."""

    def __init__(self, parser: AspectParser, profile: Profile, counts: Counts, sample: Sample | None) -> None:
        self._parser = parser
        self._gauge = profile.gauge
        self._counts = counts
        self._sample = sample
        self._failed = False
        self._batches: Queue[Answered | None] = Queue(WAITING)
        self._thread = Thread(target=self._watch, name="traffic", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def observe(self, prepared: Prepared, logits: Logits, reviews: Sequence[ParsedReview]) -> None:
        with suppress(Full):
            self._batches.put_nowait((prepared, logits, reviews))

    def close(self) -> None:
        atexit.unregister(self.close)
        self._batches.put(None)
        self._thread.join()

    def _watch(self) -> None:
        lower_priority()
        due = time.monotonic() + PERIOD
        batch: Answered | None = None
        while True:
            with suppress(Empty):
                batch = self._batches.get(timeout=max(0, due - time.monotonic()))
                if batch is None:
                    break
                self._measure(batch)
            if self._sample and time.monotonic() >= due:
                self._sample.flush()
            if time.monotonic() >= due:
                due += PERIOD
        if self._sample:
            self._sample.flush(everything=True)

    def _measure(self, batch: Answered) -> None:
        try:
            numbers = self._gauge.measure(self._parser, *batch)
            self._counts.add(numbers)
            if self._sample:
                self._sample.add(numbers)
        except Exception as error:  # whatever it was, the next batch is another
            if not self._failed:
                self._failed = True
                # Its class alone: a message may quote a text.
                log.error("traffic is not counted: %s", type(error).__name__)


class Counts:
    """How many reviews were in each bin of each number, and the share that the profile has there."""

    def __init__(self, profile: Profile) -> None:
        self.bins = Bins.of(profile.numbers, profile.gauge.names)
        self.expected = self.bins.shares(profile.numbers)
        self._seen = np.zeros(self.expected.shape, np.int64)
        self._lock = Lock()

    def add(self, numbers: Numbers) -> None:
        found = self.bins.count(numbers)
        with self._lock:
            self._seen += found

    @property
    def seen(self) -> Any:
        with self._lock:
            return self._seen.copy()


class Collector:
    """Counts of all versions, as Prometheus is told them. Their labels come from the models."""

    def __init__(self) -> None:
        self._versions: dict[str, Counts] = {}

    def counts(self, version: str, profile: Profile) -> Counts:
        """Those of a version, which go on if it was served before."""
        return self._versions.setdefault(version, Counts(profile))

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        labels = ["version", "number", "bin"]
        seen = CounterMetricFamily("reviews_parsing_traffic", "reviews, by where each number lies", labels=labels)
        expected = GaugeMetricFamily(
            "reviews_parsing_traffic_expected", "share of reviews that training has there", labels=labels
        )
        for version, counts in list(self._versions.items()):
            for (number, name), count, share in counts.bins.cells(counts.seen, counts.expected):
                seen.add_metric([version, number, name], count)
                expected.add_metric([version, number, name], share)
        yield from (seen, expected)


@cache
def _collector() -> Collector:
    """One a process, as Prometheus knows it."""
    from prometheus_client import REGISTRY

    found = Collector()
    REGISTRY.register(found)
    return found


class Sample:
    """At most `rows` reviews of each minute, each as likely as any other of it (Vitter, 1985, algorithm R), in files.

    `minute` says which it is now. Where a file cannot be written its reviews are lost, and a line in the log says so.
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
        self._kept: dict[int, list[Numbers]] = {}
        self._seen = 0

    def add(self, numbers: Numbers) -> None:
        """Reviews that were seen now."""
        minute = self._minute()
        if minute not in self._kept:
            self._kept[minute], self._seen = [], 0
        kept = self._kept[minute]
        for row in numbers:
            self._seen += 1
            if len(kept) < self._rows:
                kept.append(row)
            elif (place := random.randrange(self._seen)) < self._rows:  # noqa: S311
                kept[place] = row

    def flush(self, everything: bool = False) -> None:
        """Write the minutes that are over, or with `everything` the one under way too."""
        now = self._minute()
        done = {minute: rows for minute, rows in self._kept.items() if everything or minute < now}
        self._kept = {minute: rows for minute, rows in self._kept.items() if minute not in done}
        minutes = [minute for minute, rows in done.items() for _ in rows]
        if not minutes:
            return
        numbers = np.stack([row for rows in done.values() for row in rows])
        try:
            write(self._folder, self._profile, self._version, np.array(minutes), numbers, self._files)
        except Exception as error:  # a full disk, mostly
            log.error("%d reviews of traffic are lost: %s", len(minutes), error)
