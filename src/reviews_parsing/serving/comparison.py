"""Comparison of two versions on live requests: another server parses a sample of the reviews, and agreement is counted.

A thread of its own sends the texts after their requests are answered, one at a time, each over a connection of its own,
so that all pods behind a Service get some. Samples are dropped while requests wait here, while the thread is behind,
and while requests wait at the other server, which does not count them as requests. Texts and answers are not kept.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

from reviews_parsing.schema import Aspect, ParsedReview
from reviews_parsing.serving.metrics import ComparisonMetrics
from reviews_parsing.serving.protocol import COMPARISON_HEADER, DATATYPE, INPUT
from reviews_parsing.serving.queue import lower_priority
from reviews_parsing.settings import MODEL_NAME

# Capacity of the queue in reviews, seconds between looks at the file, for an answer, and after a failure.
WAITING, RELOAD_SECONDS, TIMEOUT_SECONDS, PAUSE_SECONDS = 64, 2.0, 5.0, 30.0
PARTS = ("spans", "categories", "polarities")
PATH = f"/v2/models/{MODEL_NAME}/infer"
HEADERS = {"Content-Type": "application/json", "Connection": "close"}
AGREE, DIFFER = "agree", "differ"

log = logging.getLogger("mlserver")


@dataclass(frozen=True, slots=True)
class ComparisonTarget:
    """The other server: its URL, its version, and the percent of reviews that it gets."""

    url: str
    version: str
    percent: float

    @classmethod
    def read(cls, file: Path) -> ComparisonTarget | None:
        """Return the target in a file of JSON; None if the file is missing, empty or malformed."""
        try:
            form = json.loads(file.read_text(encoding="utf-8") or "null")
            target = cls(str(form["url"]), str(form["version"]), float(form["percent"]))
            is_usable = urlsplit(target.url).scheme == "http" and target.percent > 0
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return target if is_usable else None


def agreement(ours: Sequence[Aspect], theirs: Sequence[Aspect]) -> Iterator[tuple[str, int, int]]:
    """Yield for spans, categories and polarities: the aspects that both have, and those that only one has.

    Categories count with their spans, polarities with both.
    """
    for depth, part in enumerate(PARTS, 1):
        first, second = (
            Counter((aspect.span, aspect.entity_group, aspect.polarity)[:depth] for aspect in aspects)
            for aspects in (ours, theirs)
        )
        agree = (first & second).total()
        yield part, agree, first.total() + second.total() - 2 * agree


class VersionComparison:
    """Comparison of the served `version` with the target in `file`, which is read again every few seconds."""

    def __init__(self, file: Path, version: str, is_busy: Callable[[], bool]) -> None:
        self._file, self._version, self._is_busy = file, version, is_busy
        self._reviews: Queue[tuple[str, ParsedReview] | None] = Queue(WAITING)
        self._target: ComparisonTarget | None = None
        self._resume = 0.0
        self._reload()
        self._thread = Thread(target=self._run, name="comparison", daemon=True)
        self._thread.start()

    def observe(self, texts: Sequence[str], reviews: Sequence[ParsedReview]) -> None:
        """Queue a sample of the answered reviews. Never waits."""
        target = self._target
        if target is None or time.monotonic() < self._resume:
            return
        for text, review in zip(texts, reviews, strict=True):
            if random.random() * 100 >= target.percent:  # noqa: S311
                continue
            try:
                if self._is_busy():
                    raise Full
                self._reviews.put_nowait((text, review))
            except Full:
                ComparisonMetrics(target.version).count("shed")

    def close(self) -> None:
        """End the thread after the review in progress, and drop the reference to the queue."""
        self._target = None
        self._is_busy = lambda: True
        with suppress(Empty):
            while True:
                self._reviews.get_nowait()
        self._reviews.put(None)
        self._thread.join()

    def _run(self) -> None:
        lower_priority()
        due = time.monotonic() + RELOAD_SECONDS
        while True:
            with suppress(Empty):
                item = self._reviews.get(timeout=max(0.0, due - time.monotonic()))
                if item is None:
                    break
                if target := self._target:
                    if time.monotonic() < self._resume:  # it was queued before a failure
                        ComparisonMetrics(target.version).count("shed")
                    else:
                        self._compare(target, *item)
            if time.monotonic() >= due:
                due = time.monotonic() + RELOAD_SECONDS
                self._reload()

    def _reload(self) -> None:
        target = ComparisonTarget.read(self._file)
        if target and target.version == self._version:  # this is the other server
            target = None
        if target != self._target:
            self._resume = 0.0
            log.info("comparison: %s", f"version {target.version}, {target.percent:g} %" if target else "none")
        self._target = target

    def _compare(self, target: ComparisonTarget, text: str, review: ParsedReview) -> None:
        metrics = ComparisonMetrics(target.version)
        begin = time.perf_counter()
        try:
            theirs = self._ask(target, text)
        except Exception as error:  # of the network, or an answer of another form
            # Log the class alone: a message may quote a text.
            if not self._resume:
                log.warning("comparison: version %s does not answer (%s)", target.version, type(error).__name__)
            self._resume = time.monotonic() + PAUSE_SECONDS
            metrics.count("failed")
            return
        self._resume = 0.0
        if theirs is None:
            metrics.count("shed")
            return
        metrics.latency(time.perf_counter() - begin)
        counts = list(agreement(review.aspects, theirs))
        for part, agree, differ in counts:
            metrics.aspects(part, {AGREE: agree, DIFFER: differ})
        metrics.count("differ" if any(differ for *_, differ in counts) else "same")

    @staticmethod
    def _ask(target: ComparisonTarget, text: str) -> list[Aspect] | None:
        """Return the other server's aspects, None if it sheds the request. Raises an error of any kind."""
        address = urlsplit(target.url)
        tensor = {"name": INPUT, "shape": [1], "datatype": DATATYPE, "data": [text]}
        body, headers = json.dumps({"inputs": [tensor]}), {**HEADERS, COMPARISON_HEADER: "1"}
        with closing(HTTPConnection(address.hostname or "", address.port, timeout=TIMEOUT_SECONDS)) as connection:
            connection.request("POST", PATH, body, headers)
            response = connection.getresponse()
            content = response.read()
        if response.status == HTTPStatus.SERVICE_UNAVAILABLE:
            return None
        answer: dict[str, Any] = json.loads(content)
        if answer["model_version"] != target.version:
            raise ValueError("another version has answered")
        return [Aspect.from_json(form) for form in json.loads(answer["outputs"][0]["data"][0])]
