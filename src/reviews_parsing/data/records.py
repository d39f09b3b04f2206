"""Records of JSON label files: one a line, in an array, pretty-printed, or nested in a document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from reviews_parsing.data.jsonl import decode_objects, parse_json
from reviews_parsing.data.tokens import TAG
from reviews_parsing.errors import DataError
from reviews_parsing.io.files import decode_utf8

Record = dict[str, Any]
_MAX_DEPTH = 4


def read_records(data: bytes, name: str) -> list[tuple[int, Record]]:
    """Return (line or position, record) of a JSON file. Raises DataError naming the invalid line.

    A pair of a text and an object, as in spaCy's training data, becomes the object with the field `text`.
    """
    text = decode_utf8(data, name)
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if lines and all(is_complete(line) for _, line in lines[:2]) and (len(lines) > 1 or lines[0][1].lstrip()[0] == "{"):
        numbered_values = []
        for number, line in lines:
            try:
                numbered_values.append((number, parse_json(line, "correct or remove the line")))
            except DataError as error:
                raise DataError(f"{name}:{number}: {error}") from None
        if len(numbered_values) == 1:
            nested_records = find_records(numbered_values[0][1])
            return list(enumerate(nested_records, 1)) if nested_records else _to_records(numbered_values, name)
        return _to_records(numbered_values, name)
    try:
        document = parse_json(text, "correct it")
    except DataError as error:
        if lines and lines[0][1].lstrip().startswith("{"):
            return list(decode_objects(data, name))
        raise DataError(f"{name}: {error}") from None
    records = find_records(document)
    if records:
        return list(enumerate(records, 1))
    return _to_records(enumerate(document, 1) if isinstance(document, list) else [(1, document)], name)


def is_complete(line: str) -> bool:
    """Return True if the line is a JSON object or array of its own."""
    try:
        return isinstance(json.loads(line), dict | list)
    except (ValueError, RecursionError):
        return False


def find_records(value: Any, depth: int = 0) -> list[Record]:
    """Return the records in a document: the outermost list of objects (or pairs) that hold a text, else []."""
    if depth > _MAX_DEPTH:
        return []
    if isinstance(value, list):
        records = [record for record in map(_to_record, value) if record is not None]
        if records and len(records) == len(value) and all(map(_has_text, records)):
            return records
        return []
    if not isinstance(value, dict) or (_has_text(value) and not _has_pairs(value)):
        return []
    nested = [records for member in value.values() if (records := find_records(member, depth + 1))]
    return nested[0] if len(nested) == 1 else []


def _to_records(numbered_values: Any, name: str) -> list[tuple[int, Record]]:
    return list(_iterate_records(numbered_values, name))


def _iterate_records(numbered_values: Any, name: str) -> Iterator[tuple[int, Record]]:
    for number, value in numbered_values:
        record = _to_record(value)
        if record is None:
            raise DataError(f"{name}:{number}: a {type(value).__name__}, not an object: write one review a line")
        yield number, record


def _to_record(value: Any) -> Record | None:
    if isinstance(value, dict):
        return value
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str):
        if isinstance(value[1], dict):
            return {"text": value[0], **value[1]}
        if isinstance(value[1], list):
            return {"text": value[0], "labels": value[1]}
    return None


def _has_text(record: Record) -> bool:
    """Return True for a field with a string that may be a text, with a list of tokens, or with tagged tokens."""
    return any(
        (isinstance(value, str) and " " in value.strip())
        or (
            isinstance(value, list)
            and len(value) > 1
            and all(isinstance(item, str) or _has_tag(item) for item in value)
        )
        for value in record.values()
    )


def _has_pairs(document: Record) -> bool:
    """Return True for a document with pairs of a text and labels, as the annotators of spaCy's training data write."""
    has_sentence = any(isinstance(value, str) and " " in value.strip() for value in document.values())
    return not has_sentence and any(
        isinstance(value, list) and value and all(isinstance(item, list) and _to_record(item) for item in value)
        for value in document.values()
    )


def _has_tag(row: Any) -> bool:
    cells = row.values() if isinstance(row, dict) else row if isinstance(row, list) else ()
    return any(isinstance(cell, str) and TAG.fullmatch(cell) for cell in cells)
