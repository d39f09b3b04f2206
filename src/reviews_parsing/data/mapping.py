"""Category maps: rename the categories of a dataset, or drop them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from reviews_parsing.data.jsonl import parse_json
from reviews_parsing.errors import DataError
from reviews_parsing.io.files import decode_utf8, read_bytes
from reviews_parsing.schema import Review


def read_mapping(path: str | Path) -> dict[str, str | None]:
    """Read a JSON file such as {"FOOD#QUALITY": "FOOD", "RESTAURANT#MISCELLANEOUS": null}; null drops a category.

    Raises DataError if it is not an object of strings and nulls.
    """
    text = decode_utf8(read_bytes(Path(path)), str(path))
    try:
        mapping = parse_json(text, "correct it")
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    if not isinstance(mapping, dict):
        raise DataError(f"{path}: a category map is an object of category names, not {type(mapping).__name__}")
    for key, value in mapping.items():
        if not (value is None or (isinstance(value, str) and value)):
            raise DataError(f"{path}: '{key}' maps to {value!r:.40}: map it to a category name, or to null to drop it")
    return mapping


def map_categories(review: Review, mapping: Mapping[str, str | None]) -> Review:
    """Return the review with its categories renamed, without the aspects whose category maps to None.

    Categories that the map does not name are unchanged.
    """
    categories = [mapping.get(aspect.entity_group, aspect.entity_group) for aspect in review.aspects]
    aspects = tuple(
        replace(aspect, entity_group=category)
        for aspect, category in zip(review.aspects, categories, strict=True)
        if category is not None
    )
    if aspects == review.aspects:
        return review
    # The tags of the source hold the old categories.
    meta = {key: value for key, value in review.meta.items() if key not in ("tags", "tag_names")}
    return replace(review, aspects=aspects, meta=meta)
