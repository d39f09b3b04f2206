"""Rows of a Hugging Face token-classification dataset (`tokens`, `ner_tags`) <-> reviews.

Other columns become `meta`. What tags cannot say of our aspects (polarity, opinions, implicit or overlapping ones)
travels in a column `aspects`, and what no column can hold in `reviews_parsing_meta`, as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from reviews_parsing.data.tokens import align, from_tokens, residue, to_tokens
from reviews_parsing.errors import DataError
from reviews_parsing.schema import Aspect, Review

Row = dict[str, Any]
TAGS = "ner_tags"
META = "reviews_parsing_meta"
_OWN = frozenset({"id", "tokens", TAGS, "text", "aspects", META})
_RESERVED = frozenset({"tags", "columns", "comments", "row", "tag_names"})


def reviews(rows: Sequence[Row], features: Mapping[str, Any], name: str) -> Iterator[tuple[int, Review]]:
    """(row number from 1, review) of each row. `features` are the dataset's, in their JSON form.

    Raises DataError naming the row, or the columns that are missing.
    """
    names = _label_names(features.get(TAGS)) or []
    used: set[str] = set()
    found = []
    for number, row in enumerate(rows, start=1):
        missing = "', '".join(column for column in ("tokens", TAGS) if column not in row)
        if missing:
            raise DataError(f"{name}: no column '{missing}' among {', '.join(row)}: rename the columns")
        try:
            named = {key: _named(row[key], features.get(key)) for key in row}
            review = _review(named, number)
        except DataError as error:
            raise DataError(f"{name}: row {number}: {error}") from None
        used.update(named[TAGS])
        found.append((number, review))
    if names and names != tag_names([], used):
        found = [(n, replace(review, meta={**review.meta, "tag_names": names})) for n, review in found]
    yield from found


def rows(labelled: Sequence[Review]) -> list[Row]:
    """The rows that `reviews` reads back, all with the same columns."""
    made = []
    for number, review in enumerate(labelled, start=1):
        tokens, tags = to_tokens(review)
        text, aspects, _ = from_tokens(tokens, tags, review.text)
        made.append(
            {
                "id": None if review.id == f"#{number}" else review.id,
                "tokens": tokens,
                TAGS: tags,
                "text": None if review.text == " ".join(tokens) else review.text,
                "aspects": None if (text, aspects) == (review.text, review.aspects) else _forms(review),
            }
        )
    optional = [key for key in ("id", "text", "aspects") if all(row[key] is None for row in made)]
    for row, review in zip(made, labelled, strict=True):
        for key in optional:
            del row[key]
        if "id" in row:
            row["id"] = review.id
        kept = review.meta.get("row")
        row.update({key: value for key, value in review.meta.items() if key not in (_OWN | _RESERVED)})
        if isinstance(kept, dict):
            row.update({key: value for key, value in kept.items() if row.get(key) is None})
        hidden = {key: review.meta[key] for key in ("columns", "comments") if key in review.meta}
        if hidden:
            row[META] = json.dumps(hidden, ensure_ascii=False, default=str)
    columns = list(dict.fromkeys(key for row in made for key in row))
    return [{key: row.get(key) for key in columns} for row in made]


def tag_names(labelled: Sequence[Review], used: Iterable[str]) -> list[str]:
    """Label names, in the order of their numbers: the source's where they suffice, else O and the sorted rest."""
    tags = set(used)
    for review in labelled[:1]:
        names = review.meta.get("tag_names")
        if isinstance(names, list) and tags <= set(names):
            return names
    groups = sorted({tag[2:] for tag in tags if tag[:2] in ("B-", "I-")})
    names = ["O", *(f"{prefix}-{group}" for group in groups for prefix in "BI")]
    return names + sorted(tags - set(names))


def _review(row: Row, number: int) -> Review:
    tokens, tags = _strings(row["tokens"], "tokens"), _strings(row[TAGS], TAGS)
    given = row.get("text")
    text, aspects, meta = from_tokens(tokens, tags, given if isinstance(given, str) else None)
    kept = {key: row[key] for key in row if key in _RESERVED}
    if given is not None and (not isinstance(given, str) or align(tokens, given) is None):
        kept["text"] = given
    forms = row.get("aspects")
    if forms is not None:
        try:
            aspects = tuple(Aspect.from_json(form) for form in forms)
            meta = residue(text, aspects, tokens, tags)
        except (DataError, TypeError):
            kept["aspects"] = forms
    meta |= {"row": kept} if kept else {}
    hidden = json.loads(row.get(META) or "{}")
    meta |= {key: value for key, value in hidden.items() if key not in _OWN}
    meta |= {key: value for key, value in row.items() if key not in (_OWN | _RESERVED)}
    review_id = row.get("id")
    return Review(f"#{number}" if review_id is None else str(review_id), text, aspects, meta)


def _forms(review: Review) -> list[Any]:
    return [aspect.to_json() for aspect in review.aspects]


def _strings(value: Any, column: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        hint = "name the labels in a ClassLabel feature" if column == TAGS else "give a list of strings"
        raise DataError(f"'{column}' is not a list of strings ({value!r:.40}): {hint}")
    return value


def _label_names(feature: Any) -> list[str] | None:
    """The names of a ClassLabel feature, alone or in a list."""
    if isinstance(feature, list):  # the oldest form of a list of features
        feature = feature[0] if feature else None
    if not isinstance(feature, dict):
        return None
    if feature.get("_type") == "ClassLabel":
        return list(feature["names"])
    return _label_names(feature.get("feature"))


def _named(value: Any, feature: Any) -> Any:
    """Label numbers as their names, which say the same without the dataset's features."""
    names = _label_names(feature)
    if names is None or value is None or isinstance(value, str):
        return value
    if isinstance(value, list):
        return [_named(item, feature) for item in value]
    if not (isinstance(value, int) and 0 <= value < len(names)):
        raise DataError(f"label {value} has no name among {len(names)}: mend the data or its ClassLabel")
    return names[value]
