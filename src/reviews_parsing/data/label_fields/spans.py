"""Spans: a list of items with offsets or words, and names, beside a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reviews_parsing.data.label_fields.aspects import read_item
from reviews_parsing.data.label_fields.items import to_items
from reviews_parsing.data.label_fields.roles import AmbiguityError, Roles, infer_roles
from reviews_parsing.data.label_fields.shapes import (
    TEXT_NAMES,
    Fields,
    Read,
    Shape,
    build_review,
    field_names,
    is_strings,
    list_text_fields,
)
from reviews_parsing.data.records import Record
from reviews_parsing.errors import DataError
from reviews_parsing.schema import Review


def infer_spans(records: Sequence[Record], fields: Fields, reasons: list[str]) -> Shape | None:
    """Recognise a list of spans beside a text; `reasons` gets the reason of each field that is not one."""
    names = field_names(records)
    text_fields = [fields.text] if fields.text else list_text_fields(records)
    label_fields = [fields.labels] if fields.labels else names
    has_tokens = any(all(is_strings(r.get(name)) and len(r[name]) > 1 for r in records) for name in names)
    shapes: list[tuple[Shape, Roles, list[Any]]] = []
    for label_field in label_fields:
        values = [record.get(label_field) for record in records]
        tables = [to_items(value) for value in values]
        if any(table is None for table in tables) or not any(tables):
            if any(isinstance(value, list) and value for value in values):
                reasons.append(_describe_values(label_field, values))
            continue
        options: list[tuple[str, Roles]] = []
        is_ambiguous = False
        for text_field in text_fields:
            if text_field == label_field:
                continue
            rows = [
                (i, str(r.get(text_field) or "")) for table, r in zip(tables, records, strict=True) for i in table or ()
            ]
            try:
                options.append((text_field, infer_roles(rows, has_tokens)))
            except DataError as error:
                is_ambiguous = is_ambiguous or isinstance(error, AmbiguityError)
                reasons.append(f"'{label_field}': {error}")
        chosen = _choose_text(options)
        if is_ambiguous and chosen is not None and chosen[0] != "text" and not chosen[1].is_verified:
            reasons.append(f"name the text of '{label_field}' with --text-field")
            continue
        if chosen is None:
            if len(options) > 1:
                fields_text = ", ".join(text_field for text_field, _ in options)
                raise DataError(f"the spans of '{label_field}' fit {fields_text}: name the text with --text-field")
            continue
        text_field, roles = chosen
        shape = Shape(_make_span_reader(text_field, label_field, roles), text_field, label_field)
        shapes.append((shape, roles, tables))
    return _choose_shape(records, shapes)


def _choose_shape(records: Sequence[Record], shapes: Sequence[tuple[Shape, Roles, list[Any]]]) -> Shape | None:
    named = [entry for entry in shapes if entry[1].category or entry[1].polarity]
    if not named:
        named = [entry for entry in shapes if not _is_tokenization(records, entry[0], entry[2], entry[1])]
    if not named:
        return None
    first = named[0][0]
    for shape, *_ in named[1:]:
        try:
            is_same = all(
                set(first.read(record, "").aspects) == set(shape.read(record, "").aspects) for record in records
            )
        except DataError:
            is_same = False
        if not is_same:
            raise DataError(
                f"'{first.label_field}' and '{shape.label_field}' both hold labels: choose with --labels-field"
            )
    return first._replace(equal_fields=tuple(shape.label_field for shape, *_ in shapes))


def _is_tokenization(records: Sequence[Record], shape: Shape, tables: Sequence[Any], roles: Roles) -> bool:
    """Return True if the spans are the tokens of the texts."""
    covered = sum(len(table or ()) for table in tables)
    return covered >= sum(len(str(record[shape.text_field]).split()) for record in records)


def _choose_text(options: Sequence[tuple[str, Roles]]) -> tuple[str, Roles] | None:
    verified = [option for option in options if option[1].is_verified]
    options = verified or options
    for known in TEXT_NAMES:
        for option in options:
            if option[0] == known:
                return option
    return options[0] if len(options) == 1 else None


def _describe_values(name: str, values: Sequence[Any]) -> str:
    items = [item for value in values if isinstance(value, list) for item in value]
    if items and all(isinstance(item, str) for item in items):
        return f"'{name}' holds names for whole texts, or words without names"
    return f"'{name}' has another form"


def _make_span_reader(text_field: str, label_field: str, roles: Roles) -> Read:
    def read(record: Record, default_id: str) -> Review:
        text = record[text_field]
        aspects = [
            aspect for item in to_items(record.get(label_field)) or () for aspect in read_item(item, text, roles)
        ]
        used = [text_field, *([label_field] if label_field != text_field else [])]
        return build_review(record, default_id, text, aspects, used, {})

    return read
