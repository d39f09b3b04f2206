"""Conversion of corrections to labelled reviews and Label Studio tasks, and import of annotated tasks."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from reviews_parsing.corrections.correction import Correction
from reviews_parsing.corrections.store import (
    CorrectionConflict,
    CorrectionRevision,
    CorrectionStatus,
    CorrectionStore,
)
from reviews_parsing.data import labelstudio
from reviews_parsing.data.mapping import map_categories
from reviews_parsing.errors import DataError
from reviews_parsing.io.files import read_bytes
from reviews_parsing.schema import Review


@dataclass(frozen=True, slots=True)
class ImportReport:
    """Numbers of saved and of unchanged corrections, a message per conflict, and the number of unlinked opinions.

    Opinions without a relation to an aspect are not imported. `unused` counts the results that are not labels of spans.
    """

    saved: int
    unchanged: int
    conflicts: list[str]
    unlinked_opinions: int
    unused: Mapping[str, int] = field(default_factory=dict)


def to_review(revision: CorrectionRevision) -> Review:
    """Return the correction as a labelled review; all revisions of a text have the same id."""
    correction = revision.correction
    meta = {
        "revision": revision.number,
        "model": correction.model,
        "version": correction.version,
        "author": correction.author,
        "at": correction.corrected_at.isoformat(timespec="seconds"),
    }
    review_id = f"correction-{hashlib.sha256(correction.text.encode()).hexdigest()[:12]}"
    meta = {key: value for key, value in meta.items() if value is not None}
    return Review(review_id, correction.text, correction.aspects, meta)


def to_tasks(revisions: Sequence[CorrectionRevision]) -> bytes:
    """Return a file of Label Studio tasks: corrected labels as annotations, the model's aspects as predictions."""
    return labelstudio.encode_tasks(
        labelstudio.to_task(
            to_review(revision),
            predicted_aspects=revision.correction.predicted_aspects,
            model_version="/".join(filter(None, (revision.correction.model, revision.correction.version))) or None,
        )
        for revision in revisions
    )


def import_tasks(
    store: CorrectionStore,
    path: Path,
    *,
    mapping: Mapping[str, str | None] | None = None,
    categories: Collection[str] | None = None,
    force: bool = False,
    text_field: str | None = None,
) -> ImportReport:
    """Save the annotations of a Label Studio export (JSON or JSON-MIN) as approved corrections.

    A text that was corrected after the export is a conflict and is skipped; with `force` the import becomes its next
    revision. All or nothing for invalid input: raises DataError and saves nothing if the file cannot be read, a label
    is invalid, or a category is not in `categories`.
    """
    imports = []
    for task in labelstudio.decode_tasks(read_bytes(path), str(path), text_field):
        if not task.review.text.strip():
            continue
        review = map_categories(task.review, mapping or {})
        latest = store.find_latest(review.text)
        try:
            _check_categories(review, categories)
            imports.append((task, _to_correction(task, review, latest).normalize(), latest))
        except DataError as error:
            raise DataError(f"{path}: task {task.number}: {error}") from None
    saved = unchanged = 0
    conflicts = []
    for task, correction, latest in imports:
        if latest and set(latest.correction.aspects) == set(correction.aspects):
            unchanged += 1
            if latest.status is not CorrectionStatus.APPROVED:
                store.decide([latest.id], CorrectionStatus.APPROVED)
            continue
        base_revision = task.review.meta.get("revision")
        if force:
            base_revision = latest.number if latest else None
        try:
            store.save(correction, base_revision)
            saved += 1
        except CorrectionConflict as conflict:
            conflicts.append(f"{path}: task {task.number}: {conflict}")
    unused = Counter(name for task, *_ in imports for name in task.unused)
    return ImportReport(saved, unchanged, conflicts, sum(task.unlinked_opinions for task, *_ in imports), unused)


def _check_categories(review: Review, categories: Collection[str] | None) -> None:
    for aspect in review.aspects:
        if categories is not None and aspect.entity_group not in categories:
            raise DataError(
                f"category '{aspect.entity_group}' is not one of {', '.join(sorted(categories))}: "
                "rename it with --map, or list all categories with --categories"
            )


def _to_correction(task: labelstudio.Task, review: Review, latest: CorrectionRevision | None) -> Correction:
    """Return the task as a correction; the prediction is the task's, else that of the latest stored correction."""
    model, version = review.meta.get("model"), review.meta.get("version")
    predicted_aspects = task.predicted_aspects
    if model is None and task.model_version is not None:
        head, _, tail = task.model_version.rpartition("/")
        model, version = (head, tail) if head and tail.isdigit() else (task.model_version, None)
    if predicted_aspects is None and latest:
        model, version = latest.correction.model, latest.correction.version
        predicted_aspects = latest.correction.predicted_aspects
    labelled_at = task.labelled_at or datetime.now(UTC)
    return Correction(review.text, review.aspects, predicted_aspects or (), model, version, task.author, labelled_at)
