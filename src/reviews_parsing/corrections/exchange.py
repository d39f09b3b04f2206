"""Corrections on their way to people and models: as labelled reviews, as Label Studio's tasks, and back."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from reviews_parsing.corrections.correction import Correction
from reviews_parsing.corrections.store import Saved, Store
from reviews_parsing.data import labelstudio
from reviews_parsing.data.mapping import apply
from reviews_parsing.errors import CorrectionConflict, DataError
from reviews_parsing.io.files import read_bytes
from reviews_parsing.schema import Review

REVISION, MODEL, VERSION = "revision", "model", "version"


@dataclass(frozen=True, slots=True)
class Imported:
    """How many corrections were saved, how many the store had already, and what kept others from being saved.

    `loose` counts the words that judge, but are link_opinions to no aspect, and so were left out.
    """

    saved: int
    unchanged: int
    conflicts: list[str]
    loose: int


def as_review(saved: Saved) -> Review:
    """The text with its corrected labels; its id is the same in every revision."""
    correction = saved.correction
    about = {
        REVISION: saved.revision,
        MODEL: correction.model,
        VERSION: correction.version,
        "author": correction.author,
        "at": correction.at.isoformat(timespec="seconds"),
    }
    review_id = f"correction-{hashlib.sha256(correction.text.encode()).hexdigest()[:12]}"
    meta = {key: value for key, value in about.items() if value is not None}
    return Review(review_id, correction.text, correction.aspects, meta)


def as_tasks(corrections: Sequence[Saved]) -> bytes:
    """Tasks for Label Studio: the labels as annotations, and what the model had answered as predictions."""
    return labelstudio.encode_tasks(
        labelstudio.task(as_review(saved), answer=saved.correction.answer, model=_name(saved.correction))
        for saved in corrections
    )


def import_tasks(
    store: Store,
    path: Path,
    *,
    mapping: Mapping[str, str | None] | None = None,
    categories: Collection[str] | None = None,
    force: bool = False,
) -> Imported:
    """Save what people labelled in Label Studio, from its JSON or JSON-MIN export.

    A text that somebody else corrected since it was exported is left as they left it, and said to be a conflict; with
    `force` it is saved as the next revision all the same. Raises DataError, and saves nothing, where the file cannot be
    read, a label is wrong, or a category is not among `categories`.
    """
    found = []
    for task in labelstudio.tasks(read_bytes(path), str(path)):
        review = apply(task.review, mapping or {})
        latest = store.latest(review.text)
        try:
            _refuse_unknown(review, categories)
            found.append((task, _correction(task, review, latest).checked(), latest))
        except DataError as error:
            raise DataError(f"{path}: task {task.number}: {error}") from None
    saved = unchanged = 0
    conflicts = []
    for task, correction, latest in found:
        if latest and set(latest.correction.aspects) == set(correction.aspects):
            unchanged += 1
            continue
        seen = task.review.meta.get(REVISION)
        if force:
            seen = latest.revision if latest else None
        try:
            store.save(correction, seen)
            saved += 1
        except CorrectionConflict as conflict:
            conflicts.append(f"{path}: task {task.number}: {conflict}")
    return Imported(saved, unchanged, conflicts, sum(task.loose for task, *_ in found))


def _refuse_unknown(review: Review, categories: Collection[str] | None) -> None:
    for aspect in review.aspects:
        if categories is not None and aspect.entity_group not in categories:
            raise DataError(
                f"category '{aspect.entity_group}' is not one of {', '.join(sorted(categories))}: "
                "rename it with --map, or name all with --categories"
            )


def _correction(task: labelstudio.Task, review: Review, latest: Saved | None) -> Correction:
    """What was labelled, beside what the task or else the store says was answered."""
    known = latest.correction if latest else None
    model, version = review.meta.get(MODEL), review.meta.get(VERSION)
    if model is None and task.model is not None:
        head, _, tail = task.model.rpartition("/")
        model, version = (head, tail) if head and tail.isdigit() else (task.model, None)
    if task.answer is None and known:
        model, version = known.model, known.version
    answer = task.answer if task.answer is not None else known.answer if known else ()
    at = task.at or datetime.now(UTC)
    return Correction(review.text, review.aspects, answer, model, version, task.author, at)


def _name(correction: Correction) -> str | None:
    return "/".join(filter(None, (correction.model, correction.version))) or None
