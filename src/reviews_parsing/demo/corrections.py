"""Corrections on the page: validation of requests, saving, and their effect on the results of a file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from reviews_parsing.batch.columns import ASPECTS
from reviews_parsing.corrections import Correction, CorrectionConflict, CorrectionRevision, CorrectionStore
from reviews_parsing.demo import worker
from reviews_parsing.errors import DataError, RequestRefused
from reviews_parsing.schema import Aspect, Taxonomy

MAX_CHARACTERS = 100_000
MAX_ASPECTS = 1_000
MAX_NAME_CHARACTERS = 80
MAX_CATEGORY_CHARACTERS = 40
_CATEGORY = re.compile(r"[^\W_][\w &/+-]*")

Name = Annotated[str, StringConstraints(max_length=MAX_NAME_CHARACTERS)]


class CorrectionRequest(BaseModel):
    """A correction as a browser sends it. `new_categories` names the categories that the model does not have."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    text: Annotated[str, StringConstraints(max_length=MAX_CHARACTERS)]
    aspects: Annotated[list[dict[str, Any]], Field(max_length=MAX_ASPECTS)]
    predicted_aspects: Annotated[list[dict[str, Any]], Field(max_length=MAX_ASPECTS)]
    model: Name | None = None
    version: Name | None = None
    author: Name | None = None
    base_revision: int | None = None
    new_categories: Annotated[list[str], Field(max_length=20)] = []


def save_correction(
    store: CorrectionStore, body: Mapping[str, Any], taxonomy: Taxonomy
) -> tuple[CorrectionRevision, bool]:
    """Save a correction as pending; return the latest revision of its text, and whether that is a conflict.

    A conflict is a newer correction by another user: nothing is saved then. Raises RequestRefused if the request is
    malformed, a category or polarity is unknown, or a label is invalid.
    """
    try:
        request = CorrectionRequest.model_validate(body)
        aspects, predicted_aspects = (
            tuple(map(Aspect.from_json, forms)) for forms in (request.aspects, request.predicted_aspects)
        )
    except ValidationError as error:
        [problem, *_] = error.errors(include_input=False, include_url=False)
        field = ".".join(map(str, problem["loc"]))
        raise RequestRefused(f"the correction is not saved: {field}: {problem['msg']}", 422) from None
    except DataError as error:
        raise RequestRefused(f"the correction is not saved: {error}", 422) from None
    _check_labels(aspects, taxonomy, request.new_categories)
    _check_labels(predicted_aspects, taxonomy, None)
    author = " ".join("".join(c for c in request.author or "" if c.isprintable()).split()) or None
    correction = Correction(
        request.text, _sort(aspects), predicted_aspects, request.model, request.version or None, author
    )
    try:
        store.save(correction, request.base_revision, approved=False)
    except CorrectionConflict as conflict:
        return conflict.latest, True
    except DataError as error:
        if str(store.path) in str(error):
            raise
        raise RequestRefused(str(error), 422) from None
    latest = store.find_latest(request.text)
    assert latest is not None  # just saved
    return latest, False


def describe_correction(revision: CorrectionRevision) -> dict[str, Any]:
    """Return a correction as JSON for the page."""
    correction = revision.correction
    return {
        "revision": revision.number,
        "aspects": [aspect.to_json() for aspect in correction.aspects],
        "author": correction.author,
        "at": correction.corrected_at.isoformat(timespec="seconds"),
        "status": revision.status,
    }


def apply_corrections(outcome: dict[str, Any], folder: Path, revisions: list[CorrectionRevision]) -> None:
    """Replace predicted aspects by corrected ones in the counts of a file; add corrections to its first reviews."""
    import numpy as np

    by_digest = {worker.text_digest(revision.correction.text): revision for revision in revisions}
    digests = np.load(folder / worker.DIGESTS_FILE, mmap_mode="r")
    rows = [int(row) for row in np.flatnonzero(np.isin(digests, np.array(list(by_digest), np.uint64)))]
    counts = {(category, polarity): n for category, polarity, n in outcome["counts"]}
    for row, predicted in _read_aspects(folder / outcome["downloads"]["parsed"], rows).items():
        corrected = [aspect.to_json() for aspect in by_digest[int(digests[row])].correction.aspects]
        for aspects, change in ((predicted, -1), (corrected, 1)):
            for aspect in aspects:
                key = (aspect["entity_group"], aspect.get("polarity"))
                counts[key] = counts.get(key, 0) + change
    outcome["counts"] = [(category, polarity, n) for (category, polarity), n in counts.items() if n]
    outcome["corrected"] = len(rows)
    for review in outcome["reviews"]:
        revision = by_digest.get(worker.text_digest(review["text"]))
        review["correction"] = describe_correction(revision) if revision else None


def _read_aspects(parsed: Path, rows: list[int]) -> dict[int, list[dict[str, Any]]]:
    """Return the aspects in some rows of a parsed file."""
    import pyarrow.parquet as pq

    aspects: dict[int, list[dict[str, Any]]] = {}
    start = 0
    with pq.ParquetFile(parsed) as file:
        for group in range(file.num_row_groups if rows else 0):
            end = start + file.metadata.row_group(group).num_rows
            in_group = [row for row in rows if start <= row < end]
            if in_group:
                table = file.read_row_group(group, columns=[ASPECTS], use_threads=False)
                values = table.column(0).take([row - start for row in in_group]).to_pylist()
                aspects.update(zip(in_group, values, strict=True))
            start = end
    return aspects


def _check_labels(aspects: tuple[Aspect, ...], taxonomy: Taxonomy, new_categories: list[str] | None) -> None:
    """Raise RequestRefused if a category or polarity is neither in the taxonomy nor among the new categories.

    Without `new_categories`, for predictions of older versions, only the form of the names is checked.
    """
    known_categories = {*taxonomy.categories, *taxonomy.implicit}
    for aspect in aspects:
        category, polarity = aspect.entity_group, aspect.polarity
        is_new = new_categories is None or category in new_categories
        if category not in known_categories and not (is_new and _is_category_name(category)):
            raise RequestRefused(
                f"the correction is not saved: '{category[:60]}' is not a category of the model "
                f"({', '.join(sorted(known_categories))}) and not the name of a new one (letters and digits, at most "
                f"{MAX_CATEGORY_CHARACTERS} characters)",
                422,
            )
        if polarity is not None and polarity not in taxonomy.polarities:
            names = ", ".join(taxonomy.polarities)
            raise RequestRefused(f"the correction is not saved: '{polarity[:60]}' is not one of {names}", 422)


def _is_category_name(name: str) -> bool:
    return len(name) <= MAX_CATEGORY_CHARACTERS and _CATEGORY.fullmatch(name) is not None


def _sort(aspects: tuple[Aspect, ...]) -> tuple[Aspect, ...]:
    """Sort by position, implicit aspects last, so that equal corrections are recognised as equal."""
    return tuple(sorted(aspects, key=lambda a: (a.span is None, a.span or (0, 0), a.entity_group, a.polarity or "")))
