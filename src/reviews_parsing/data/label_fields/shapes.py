"""Shapes of label files: their description, and the parts that all of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from reviews_parsing.data.records import Record
from reviews_parsing.schema import Aspect, Review

TEXT_NAMES = ("text", "sentence", "review", "content", "raw", "body", "comment", "document", "sentence_text")
# Keys of `meta` that the token formats use.
RESERVED_KEYS = frozenset(("tokens", "tags", "columns", "comments", "row", "tag_names"))
Read = Callable[[Record, str], Review]


class Fields(NamedTuple):
    """Names of the fields of the text and of the labels, None where they are inferred."""

    text: str | None = None
    labels: str | None = None


class Shape(NamedTuple):
    """A recognised shape: its reader, the fields of text and labels, and if each record is one aspect of its text.

    `equal_fields` hold the same labels.
    """

    read: Read
    text_field: str
    label_field: str
    is_flat: bool = False
    equal_fields: tuple[str, ...] = ()


def quote(names: Sequence[str]) -> str:
    """Return names in quotes, for messages."""
    return ", ".join(f"'{name}'" for name in names)


def field_names(records: Sequence[Record]) -> list[str]:
    """Return the fields of all records, in the order in which they first appear."""
    return list(dict.fromkeys(key for record in records for key in record))


def list_text_fields(records: Sequence[Record]) -> list[str]:
    """Return the fields that are a string in all records, those with a usual name of the text first."""
    names = [n for n in field_names(records) if all(isinstance(r.get(n), str) for r in records)]
    return sorted(names, key=lambda name: (name != "text", name not in TEXT_NAMES))


def is_strings(value: Any) -> bool:
    """Return True for a list of strings."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def build_review(
    record: Record, default_id: str, text: str, aspects: Sequence[Aspect], used: Sequence[str], meta: Mapping[str, Any]
) -> Review:
    """Return the review of a record; fields that are not `used` become `meta`."""
    others = {
        f"source_{key}" if key in RESERVED_KEYS else key: value
        for key, value in record.items()
        if key not in {*used, "id", "text", "aspects"}
    }
    review_id = record.get("id")
    return Review(default_id if review_id is None else str(review_id), text, tuple(aspects), {**others, **meta})
