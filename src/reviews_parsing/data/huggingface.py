"""Conversion between reviews and rows of a Hugging Face token-classification dataset (`tokens`, `ner_tags`).

Other columns become `meta`. The column `aspects` holds the labels that tags cannot express (polarities, opinions,
implicit and overlapping aspects), the column `reviews_parsing_meta` the values that no other column can hold, as JSON.
"""

from __future__ import annotations

import json
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from reviews_parsing.data.labels import LabelWarning
from reviews_parsing.data.polarities import standardise
from reviews_parsing.data.tokens import align, build_token_meta, from_tokens, to_tokens, warn_of_replaced_texts
from reviews_parsing.errors import DataError
from reviews_parsing.schema import Aspect, Review

Row = dict[str, Any]
TAGS = "ner_tags"
META = "reviews_parsing_meta"
_OPTIONAL_COLUMNS = ("id", "text", "aspects")
_COLUMNS = frozenset({*_OPTIONAL_COLUMNS, "tokens", TAGS, META})
_RESERVED_KEYS = frozenset({"tags", "columns", "comments", "row", "tag_names"})


def decode_rows(rows: Sequence[Row], features: Mapping[str, Any], name: str) -> Iterator[tuple[int, Review]]:
    """Yield (row number from 1, review) for each row. `features` are those of the dataset, in their JSON form.

    Raises DataError naming the invalid row or the missing columns.
    """
    names = _label_names(features.get(TAGS)) or []
    used_tags: set[str] = set()
    polarity_columns: Counter[str] = Counter()
    numbered_reviews = []
    replaced: list[str] = []
    for number, row in enumerate(rows, start=1):
        missing = "', '".join(column for column in ("tokens", TAGS) if column not in row)
        if missing:
            raise DataError(f"{name}: no column '{missing}' among {', '.join(row)}: rename the columns")
        try:
            row_with_names = {key: _replace_label_ids(row[key], features.get(key)) for key in row}
            review = _decode_row(row_with_names, number)
        except DataError as error:
            raise DataError(f"{name}: row {number}: {error}") from None
        used_tags.update(row_with_names[TAGS])
        polarity_columns.update(key for key, value in row_with_names.items() if _holds_polarities(key, value, row))
        numbered_reviews.append((number, review))
        if isinstance(row.get("text"), str) and row["text"] != review.text:
            replaced.append(f"row {number}")
    warn_of_replaced_texts(name, replaced)
    for column, count in polarity_columns.items():
        message = f"{name}: not read: the column '{column}' of {count} rows, which seems to hold polarities"
        warnings.warn(f"{message}: write them into the names of the tags (B-FOOD-positive)", LabelWarning, stacklevel=2)
    keep_names = bool(names) and names != order_tag_names(used_tags)
    for number, review in numbered_reviews:
        yield number, replace(review, meta={**review.meta, "tag_names": names}) if keep_names else review


def _holds_polarities(column: str, value: Any, row: Row) -> bool:
    """Return True for a column that is not read, and has a polarity for each token."""
    if column in (_COLUMNS | _RESERVED_KEYS) or not isinstance(value, list) or len(value) != len(row["tokens"]):
        return False
    is_named = re.search("polarit|sentiment", column, re.IGNORECASE) is not None
    return is_named or any(isinstance(item, str) and standardise(item) is not None for item in value)


def encode_rows(splits: Iterable[Sequence[Review]]) -> list[Row]:
    """Return the rows of all splits, which `decode_rows` reads back; they have the same columns."""
    numbered = [(f"#{number}", review) for reviews in splits for number, review in enumerate(reviews, start=1)]
    has_ids = any(review.id != default_id for default_id, review in numbered)
    rows = []
    for _, review in numbered:
        tokens, tags = to_tokens(review)
        text, aspects, _ = from_tokens(tokens, tags, review.text)
        is_complete = (text, aspects) == (review.text, review.aspects)
        row: Row = {
            "id": review.id if has_ids else None,
            "tokens": tokens,
            TAGS: tags,
            "text": None if review.text == " ".join(tokens) else review.text,
            "aspects": None if is_complete else [aspect.to_json() for aspect in review.aspects],
        }
        row |= {key: value for key, value in review.meta.items() if key not in (_COLUMNS | _RESERVED_KEYS)}
        source_row = review.meta.get("row")
        if isinstance(source_row, dict):
            row |= {key: value for key, value in source_row.items() if row.get(key) is None}
        row[META] = {key: review.meta[key] for key in ("columns", "comments") if key in review.meta}
        rows.append(row)
    columns = [
        key
        for key in dict.fromkeys(key for row in rows for key in row)
        if key not in _OPTIONAL_COLUMNS or any(row[key] is not None for row in rows)
    ]
    return [{key: row.get(key) for key in columns} for row in rows]


def order_tag_names(tags: Iterable[str], source_names: Any = None) -> list[str]:
    """Return the label names in the order of their ids: those of the source if complete, else O and the rest sorted."""
    used_tags = set(tags)
    if isinstance(source_names, list) and used_tags <= set(source_names):
        return source_names
    categories = sorted({tag[2:] for tag in used_tags if tag[:2] in ("B-", "I-")})
    names = ["O", *(f"{prefix}-{category}" for category in categories for prefix in "BI")]
    return names + sorted(used_tags - set(names))


def _decode_row(row: Row, number: int) -> Review:
    tokens, tags = _check_strings(row["tokens"], "tokens"), _check_strings(row[TAGS], TAGS)
    row_text, row_aspects = row.get("text"), row.get("aspects")
    text, aspects, meta = from_tokens(tokens, tags, row_text if isinstance(row_text, str) else None)
    # Columns of the source that have the name but not the content of ours.
    source_row = {key: row[key] for key in row if key in _RESERVED_KEYS}
    if row_text is not None and (not isinstance(row_text, str) or align(tokens, row_text) is None):
        source_row["text"] = row_text
    if row_aspects is not None:
        try:
            aspects = tuple(Aspect.from_json(aspect) for aspect in row_aspects)
            meta = build_token_meta(text, aspects, tokens, tags)
        except (DataError, TypeError):
            source_row["aspects"] = row_aspects
    meta |= {"row": source_row} if source_row else {}
    meta |= {key: value for key, value in json.loads(row.get(META) or "{}").items() if key not in _COLUMNS}
    meta |= {key: value for key, value in row.items() if key not in (_COLUMNS | _RESERVED_KEYS)}
    review_id = row.get("id")
    return Review(f"#{number}" if review_id is None else str(review_id), text, aspects, meta)


def _check_strings(value: Any, column: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        hint = "name the labels in a ClassLabel feature" if column == TAGS else "give a list of strings"
        raise DataError(f"'{column}' is not a list of strings ({value!r:.40}): {hint}")
    return value


def _label_names(feature: Any) -> list[str] | None:
    """Return the names of a ClassLabel feature or of a list of them, None for other features."""
    if isinstance(feature, list):  # a list of features in datasets < 2
        feature = feature[0] if feature else None
    if not isinstance(feature, dict):
        return None
    if feature.get("_type") == "ClassLabel":
        return list(feature["names"])
    return _label_names(feature.get("feature"))


def _replace_label_ids(value: Any, feature: Any) -> Any:
    """Replace the ids of a ClassLabel feature by their names. Raises DataError for an id without a name."""
    names = _label_names(feature)
    if names is None or value is None or isinstance(value, str):
        return value
    if isinstance(value, list):
        return [_replace_label_ids(item, feature) for item in value]
    if not (isinstance(value, int) and 0 <= value < len(names)):
        raise DataError(f"label {value} has no name among {len(names)}: correct the data or its ClassLabel")
    return names[value]
