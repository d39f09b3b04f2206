"""Items of a field of labels: flattened objects or arrays, their values, and their places in a text."""

from __future__ import annotations

import re
from typing import Any

from reviews_parsing.data.label_fields.shapes import is_strings

_NULL = {"null", "none", ""}
Item = dict[str, Any]


def to_items(value: Any) -> list[Item] | None:  # noqa: PLR0911
    """Return the items of a field of labels, each flattened; None if the value cannot be labels."""
    if value is None:
        return []
    if isinstance(value, list):
        if not all(isinstance(item, dict | list) for item in value):
            # One item without a list around it: [4, 13, "FOOD"].
            is_item = any(type(item) is int for item in value) and any(isinstance(item, str) for item in value)
            return [flatten(value)] if is_item else None
        return [flatten(item) for item in value]
    if not isinstance(value, dict):
        return None
    lists = list(value.values())
    if value and all(isinstance(member, list) for member in lists):
        is_table = len({len(member) for member in lists}) == 1 and any(
            type(item) is int for member in lists for item in member
        )
        if is_table and len(lists) > 1:
            return [dict(zip(value, row, strict=True)) for row in zip(*lists, strict=True)]
        items = []
        for label, members in value.items():
            is_span = bool(members) and all(type(member) is int for member in members)
            for member in [members] if is_span else members:
                items.append(
                    {"label": label, **flatten(member if isinstance(member, list | dict) else {"text": member})}
                )
        return items
    return [flatten(value)] if value else []


def flatten(value: Any, prefix: str = "", depth: int = 0) -> Item:
    """Return the scalars of an object or array by dotted keys; a list of one object counts as that object."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict) and depth:
        value = value[0]
    if not isinstance(value, dict | list) or depth > 3:
        return {prefix: value}
    if isinstance(value, list) and depth and (not value or is_strings(value)):
        return {prefix: value}
    members = value.items() if isinstance(value, dict) else ((str(i), item) for i, item in enumerate(value))
    item: Item = {}
    for key, member in members:
        item |= flatten(member, f"{prefix}.{key}" if prefix else str(key), depth + 1)
    return item


def to_int(value: Any) -> int | None:
    """Return the integer that a number or a string holds, None for any other value."""
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return int(value) if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,9}", value) else None


def is_null(value: Any) -> bool:
    """Return True for null, an empty string and the names of null."""
    return value is None or (isinstance(value, str) and value.strip().casefold() in _NULL)


def compute_stop(start: int, end: int, mode: str) -> int:
    """Return the exclusive end of a span; `mode` is that of `Roles.end_mode`."""
    return {"end": end, "inclusive": end + 1, "length": start + end}[mode]


def cut_span(text: str, start: int, end: int, mode: str) -> str | None:
    """Return the words of a span, None if it is empty or lies outside the text."""
    stop = compute_stop(start, end, mode)
    return text[start:stop] if 0 <= start < stop <= len(text) else None


def offsets(item: Item, start: str, end: str) -> tuple[int, int]:
    """Return the values of two keys of offsets; a value that is not a number is 0."""
    return to_int(item[start]) or 0, to_int(item[end]) or 0


def occurrences(word: str, text: str) -> list[int]:
    """Return the positions of a word or phrase in the text, not inside other words."""
    pattern = rf"(?<!\w){re.escape(word)}(?!\w)"
    return [match.start() for match in re.finditer(pattern, text)]
