"""Tagged tokens: a list of tokens and a list of tags of the same length, or a list of pairs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from reviews_parsing.data.conll import CHUNKS
from reviews_parsing.data.label_fields.items import flatten
from reviews_parsing.data.label_fields.shapes import Fields, Shape, build_review, field_names, is_strings, quote
from reviews_parsing.data.records import Record
from reviews_parsing.data.tokens import TAG, align, from_tokens
from reviews_parsing.errors import DataError
from reviews_parsing.schema import Review


def infer_tagged(records: Sequence[Record], fields: Fields, reasons: list[str]) -> Shape | None:
    """Recognise tokens and tags, in two fields or in pairs; `reasons` gets the reason of each field of other tags."""
    names = [fields.labels] if fields.labels else field_names(records)
    tag_fields = [name for name in names if _is_tag_column([_to_list(r.get(name)) for r in records])]
    if len(tag_fields) > 1:
        tag_fields = [name for name in tag_fields if not _is_chunk_column([_to_list(r[name]) for r in records])]
    if len(tag_fields) > 1:
        raise DataError(f"{quote(tag_fields)} all hold tags: choose one with --labels-field")
    if tag_fields:
        return _infer_token_field(records, tag_fields[0], fields, reasons)
    for name in names:
        rows = [record.get(name) for record in records]
        if all(_is_row_list(row) for row in rows):
            shape = _infer_tagged_rows(records, name)
            if shape is not None:
                return shape
        numbers = [row for row in rows if isinstance(row, list) and row and all(type(tag) is int for tag in row)]
        if len(numbers) == len(rows) and any(
            all(is_strings(r.get(key)) and len(r[key]) == len(r[name]) for r in records) for key in field_names(records)
        ):
            reasons.append(f"'{name}' holds numbers of tags without their names")
    return None


def _to_list(value: Any) -> Any:
    return value.split() if isinstance(value, str) else value


def _is_row_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, list | dict) for row in value)


def _is_tag(value: str) -> bool:
    return TAG.fullmatch(value) is not None


def _is_tag_column(rows: Sequence[Any]) -> bool:
    if not all(is_strings(row) and all(map(_is_tag, row)) for row in rows):
        return False
    return any("-" in tag[:2] for row in rows for tag in row) or any("B" in row and "O" in row for row in rows)


def _is_chunk_column(rows: Sequence[Sequence[str]]) -> bool:
    return {tag[2:] for row in rows for tag in row if len(tag) > 1} <= CHUNKS


def _infer_token_field(records: Sequence[Record], tag_field: str, fields: Fields, reasons: list[str]) -> Shape | None:
    candidates = [
        name
        for name in ([fields.text] if fields.text else field_names(records))
        if name != tag_field
        and isinstance(records[0].get(name), type(records[0][tag_field]))
        and all(
            is_strings(tokens := _to_list(r.get(name))) and len(tokens) == len(_to_list(r[tag_field])) for r in records
        )
    ]
    if len(candidates) > 1:
        candidates = [n for n in candidates if re.search("tok|word|form|text|sentence", n, re.IGNORECASE)]
    if len(candidates) != 1:
        reasons.append(f"'{tag_field}' holds tags, but no field holds as many tokens")
        return None
    (token_field,) = candidates

    def read(record: Record, default_id: str) -> Review:
        tokens, tags = _to_list(record[token_field]), _to_list(record[tag_field])
        return _read_tokens(record, default_id, tokens, tags, (token_field, tag_field))

    return Shape(read, token_field, tag_field)


def _infer_tagged_rows(records: Sequence[Record], name: str) -> Shape | None:
    """Recognise a list of rows, each a token with its tag."""
    rows = [[flatten(row) for row in record[name]] for record in records]
    keys = list(dict.fromkeys(key for table in rows for row in table for key in row))
    columns = {key: [[row.get(key) for row in table] for table in rows] for key in keys}
    tag_keys = [key for key in keys if _is_tag_column(columns[key])]
    token_keys = [key for key in keys if key not in tag_keys and all(map(is_strings, columns[key]))]
    if len(token_keys) > 1:
        token_keys = [key for key in token_keys if re.search("tok|word|form|text|orth", key)]
    if len(tag_keys) != 1 or len(token_keys) != 1:
        return None

    def read(record: Record, default_id: str) -> Review:
        table = [flatten(row) for row in record[name]]
        tokens, tags = [row[token_keys[0]] for row in table], [row[tag_keys[0]] for row in table]
        return _read_tokens(record, default_id, tokens, tags, (name,))

    return Shape(read, name, name)


def _read_tokens(
    record: Record, default_id: str, tokens: Sequence[str], tags: Sequence[str], used: Sequence[str]
) -> Review:
    """Return the review of tagged tokens; another field that consists of these tokens holds the text."""
    token_field, *_ = used
    texts = [v for k, v in record.items() if isinstance(v, str) and k != token_field and align(tokens, v)]
    text, aspects, meta = from_tokens(tokens, tags, texts[0] if texts else None)
    return build_review(record, default_id, text, aspects, used, meta)
