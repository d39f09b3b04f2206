"""Reference sets: labelled reviews that every challenger is evaluated on, kept in the registry.

Each set is a run with the reviews as an artifact, in one experiment for each registered model, so that all users of a
tracking server share the sets.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reviews_parsing import data
from reviews_parsing.errors import DataError
from reviews_parsing.registry.runs import REFERENCE_SETS, fetch_file, name_experiment, run
from reviews_parsing.registry.store import tracking
from reviews_parsing.schema import Review

FILE = "reference.jsonl"
NAME_TAG = "reviews_parsing.reference_set"
MIN_SPANS = 150
"""Spans from which a comparison without any difference excludes a loss of two points (`gate.RULE_OF_THREE`)."""


@dataclass(frozen=True, slots=True)
class ReferenceSet:
    """A registered set: its name, its run, its numbers of reviews and labelled spans, its categories, its digest."""

    name: str
    run_id: str
    reviews: int
    spans: int
    categories: tuple[str, ...]
    digest: str

    @property
    def warning(self) -> str | None:
        """A warning if the set has too few spans for the gate to let any similar model through."""
        if self.spans >= MIN_SPANS:
            return None
        return (
            f"reference set {self.name} has {self.spans} labelled spans: with fewer than {MIN_SPANS} the gate refuses "
            "every challenger that is not clearly better on it"
        )

    def read(self) -> list[Review]:
        """Download the reviews. Raises TrackingError, ModelError or DataError."""
        with tempfile.TemporaryDirectory() as scratch:
            return data.read(fetch_file(self.run_id, FILE, Path(scratch)))


def add_reference_set(
    source: str,
    name: str | None = None,
    mapping: Mapping[str, str | None] | None = None,
    data_format: str | None = None,
    model_name: str | None = None,
) -> ReferenceSet:
    """Register the labelled reviews in a file; a set of the same name is replaced. Idempotent.

    `name` is by default the name of the file. Raises DataError if the reviews have no labelled span, TrackingError.
    """
    name = name or Path(source).stem
    if not re.fullmatch(r"[\w.-]+", name):
        raise DataError(f"{name!r} is no name of a reference set: use letters, digits, '.', '-' and '_' (--name)")
    splits = data.read_splits(source, mapping, data_format)
    if len(splits) > 1:
        raise DataError(f"{source} has the splits {', '.join(splits)}: give the file of one")
    (reviews,) = splits.values()
    aspects = [aspect for review in reviews for aspect in review.aspects if aspect.span]
    if not aspects:
        raise DataError(f"{source} has no labelled span, so no model can be compared on it")
    data.check_labelled(source, reviews)
    digest = data.compute_digest({"reference": reviews})
    former = [reference for reference in list_reference_sets(model_name) if reference.name == name]
    if [reference.digest for reference in former] == [digest]:
        return former[0]
    categories = tuple(sorted({aspect.entity_group for aspect in aspects}))
    with (
        run(experiment=name_experiment(REFERENCE_SETS, model_name), name=name) as log,
        tempfile.TemporaryDirectory() as scratch,
    ):
        data.write(reviews, Path(scratch) / FILE)
        log.file(Path(scratch) / FILE, "")
        counts = {"reviews": len(reviews), "spans": len(aspects), "digest": digest}
        log.parameters({"source": source, "categories": ",".join(categories), **counts})
        # The tag comes last: without it, an interrupted run is no reference set.
        log.tags({NAME_TAG: name})
    _delete(former)
    return ReferenceSet(name, log.run_id, len(reviews), len(aspects), categories, digest)


def list_reference_sets(model_name: str | None = None) -> list[ReferenceSet]:
    """Return the registered sets of a model, by name."""
    with tracking() as client:
        experiment = client.get_experiment_by_name(name_experiment(REFERENCE_SETS, model_name))
        if experiment is None:
            return []
        runs = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"], max_results=1000)
    sets = {}
    for entry in runs:
        if name := entry.data.tags.get(NAME_TAG):
            p = entry.data.params
            categories = tuple(p["categories"].split(","))
            sets[name] = ReferenceSet(
                name, entry.info.run_id, int(p["reviews"]), int(p["spans"]), categories, p["digest"]
            )
    return [sets[name] for name in sorted(sets)]


def remove_reference_set(name: str, model_name: str | None = None) -> None:
    """Remove a set; MLflow keeps its run as deleted. Raises DataError if there is no such set."""
    sets = list_reference_sets(model_name)
    chosen = [reference for reference in sets if reference.name == name]
    if not chosen:
        names = ", ".join(reference.name for reference in sets) or "none"
        raise DataError(f"there is no reference set {name}; registered: {names}")
    _delete(chosen)


def _delete(sets: list[ReferenceSet]) -> None:
    with tracking() as client:
        for reference in sets:
            client.delete_run(reference.run_id)
