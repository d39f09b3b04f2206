"""Category maps: what other data calls a category -> what we call it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from reviews_parsing.errors import DataError
from reviews_parsing.io.files import decode_utf8, read_bytes
from reviews_parsing.schema import Review


def read_mapping(path: str | Path) -> dict[str, str | None]:
    """A JSON file such as {"FOOD#QUALITY": "FOOD", "RESTAURANT#MISCELLANEOUS": null}; null drops the category.

    Raises DataError where it is not an object of strings and nulls.
    """
    text = decode_utf8(read_bytes(Path(path)), str(path))
    try:
        form = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({error}): mend it") from None
    if not isinstance(form, dict):
        raise DataError(f"{path}: a category map is an object of category names, not {type(form).__name__}")
    for key, value in form.items():
        if not (value is None or (isinstance(value, str) and value)):
            raise DataError(f"{path}: '{key}' maps to {value!r:.40}: map it to a category name, or to null to drop it")
    return form


def apply(review: Review, mapping: Mapping[str, str | None]) -> Review:
    """The review with its categories renamed, and without the aspects of those that map to None.

    Categories that the map does not name stay as they are.
    """
    renamed = [(mapping.get(aspect.entity_group, aspect.entity_group), aspect) for aspect in review.aspects]
    aspects = tuple(replace(aspect, entity_group=group) for group, aspect in renamed if group is not None)
    if aspects == review.aspects:
        return review
    # The source's own tags name categories that are gone.
    meta = {key: value for key, value in review.meta.items() if key not in ("tags", "tag_names")}
    return replace(review, aspects=aspects, meta=meta)
