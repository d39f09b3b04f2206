"""Flat records: a text, a word of it, and its category or polarity in one record."""

from __future__ import annotations

from collections.abc import Sequence

from reviews_parsing.data import polarities
from reviews_parsing.data.label_fields.aspects import read_item
from reviews_parsing.data.label_fields.roles import LABEL_NAME, Roles, infer_roles
from reviews_parsing.data.label_fields.shapes import Fields, Read, Shape, build_review, field_names, list_text_fields
from reviews_parsing.data.records import Record
from reviews_parsing.errors import DataError
from reviews_parsing.schema import Review


def infer_flat(records: Sequence[Record], fields: Fields, reasons: list[str]) -> Shape | None:
    """Recognise a text, a word of it, and its category or polarity in one record."""
    names = field_names(records)
    scalars = [n for n in names if all(isinstance(r.get(n), str | int) and type(r.get(n)) is not bool for r in records)]
    text_fields = [fields.text] if fields.text else list_text_fields(records)
    for text_field in text_fields:
        if not all(isinstance(record.get(text_field), str) for record in records):
            continue
        keys = [name for name in scalars if name not in {text_field, "id"}]
        if not any(polarities.are_polarities([str(r[k]) for r in records]) or LABEL_NAME.search(k) for k in keys):
            continue
        rows = [({key: record[key] for key in keys}, record[text_field]) for record in records]
        try:
            roles = infer_roles(rows, has_tokens=False)
        except DataError as error:
            reasons.append(str(error))
            continue
        if roles.word is None or not (roles.category or roles.polarity):
            continue

        return Shape(
            _make_flat_reader(text_field, keys, roles),
            text_field,
            roles.category or roles.polarity or roles.word,
            is_flat=True,
        )
    return None


def _make_flat_reader(text_field: str, keys: Sequence[str], roles: Roles) -> Read:
    def read(record: Record, default_id: str) -> Review:
        aspects = list(read_item({key: record[key] for key in keys}, record[text_field], roles))
        return build_review(record, default_id, record[text_field], aspects, [text_field, *keys], {})

    return read
