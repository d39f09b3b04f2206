"""Comment lines of a CoNLL sentence: `# key = value` lines hold the id, the text and the `meta` of a review."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_KEY_VALUE = re.compile(r"#\s*([^\s=]+)\s*=(.*)", re.DOTALL)
_ID_KEYS, _TEXT_KEY = ("id", "sent_id"), "text"
RESERVED_KEYS = frozenset({"id", "text", "aspects", "tokens", "tags", "columns", "comments"})


class ParsedComments(NamedTuple):
    """Content of the comments of one sentence; `free_lines` are the lines without a key."""

    id: str | None
    text: str | None
    meta: dict[str, Any]
    free_lines: list[str]


def parse_comments(lines: Sequence[str]) -> ParsedComments:
    """Parse the comment lines of a sentence; the first line with a key wins."""
    pairs: dict[str, str] = {}
    free_lines = []
    for line in lines:
        match = _KEY_VALUE.fullmatch(line)
        if match:
            pairs.setdefault(match[1], match[2].strip(" \t"))
        else:
            free_lines.append(line)
    id_key = next((key for key in _ID_KEYS if key in pairs), None)
    return ParsedComments(
        id=_parse_string(pairs[id_key]) if id_key else None,
        text=_parse_string(pairs[_TEXT_KEY]) if _TEXT_KEY in pairs else None,
        meta={key: _parse_value(raw) for key, raw in pairs.items() if key not in RESERVED_KEYS and key != id_key},
        free_lines=free_lines,
    )


def format_comments(review_id: str | None, text: str | None, meta: Mapping[str, Any]) -> list[str]:
    """Return comment lines that `parse_comments` reads back; keys that a comment cannot hold are omitted."""
    lines = [] if review_id is None else [f"# id = {_format_string(review_id)}"]
    lines += [] if text is None else [f"# text = {_format_string(text)}"]
    keys = [key for key in meta if key not in RESERVED_KEYS and re.fullmatch(r"[^\s=]+", key)]
    return lines + [f"# {key} = {_format_value(meta[key])}" for key in keys]


def _format_string(value: str) -> str:
    """Return the string itself if one line can hold it, else as JSON."""
    safe = value == value.strip(" \t") and not re.search(r"[\t\n\r]", value) and not value.startswith('"')
    return value if value and safe else json.dumps(value, ensure_ascii=False)


def _parse_string(raw: str) -> str:
    value = _parse_json(raw)
    return value if isinstance(value, str) and _format_string(value) == raw else raw


def _format_value(value: Any) -> str:
    """Return a value of `meta` as JSON; a string stays bare unless it would be parsed as JSON."""
    if isinstance(value, str) and _parse_json(value) is None and value != "null":
        return _format_string(value)
    return json.dumps(value, ensure_ascii=False, default=str)


def _parse_value(raw: str) -> Any:
    value = None if raw == "null" else _parse_json(raw, raw)
    return value if _format_value(value) == raw else raw


def _parse_json(raw: str, default: Any = None) -> Any:
    try:
        return json.loads(raw, parse_constant=_reject_constant)
    except (ValueError, RecursionError):
        return default


def _reject_constant(constant: str) -> None:
    raise ValueError(constant)
