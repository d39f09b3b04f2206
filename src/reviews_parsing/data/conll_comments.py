"""The comment lines of a CoNLL sentence: `# key = value`, where a review keeps its id, its text and its `meta`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_KEY_VALUE = re.compile(r"#\s*([^\s=]+)\s*=(.*)", re.DOTALL)
_ID, _TEXT = ("id", "sent_id"), "text"
RESERVED = frozenset({"id", "text", "aspects", "tokens", "tags", "columns", "comments"})


class Said(NamedTuple):
    """What the comments of one sentence say. `free` are the lines that are not `# key = value`."""

    id: str | None
    text: str | None
    meta: dict[str, Any]
    free: list[str]


def parse(lines: Sequence[str]) -> Said:
    pairs: dict[str, str] = {}
    free = []
    for line in lines:
        match = _KEY_VALUE.fullmatch(line)
        if match:
            pairs.setdefault(match[1], match[2].strip(" \t"))
        else:
            free.append(line)
    named = next((key for key in _ID if key in pairs), None)
    return Said(
        id=_string(pairs[named]) if named else None,
        text=_string(pairs[_TEXT]) if _TEXT in pairs else None,
        meta={key: _value(raw) for key, raw in pairs.items() if key not in RESERVED and key != named},
        free=free,
    )


def render(review_id: str | None, text: str | None, meta: Mapping[str, Any]) -> list[str]:
    """Comment lines that `parse` reads back. Keys that cannot stand in a comment are left out."""
    lines = [] if review_id is None else [f"# id = {_plain(review_id)}"]
    lines += [] if text is None else [f"# text = {_plain(text)}"]
    keys = [key for key in meta if key not in RESERVED and re.fullmatch(r"[^\s=]+", key)]
    return lines + [f"# {key} = {_raw(meta[key])}" for key in keys]


def _plain(value: str) -> str:
    """The string as it is where one line holds it, else as JSON."""
    safe = value == value.strip(" \t") and not re.search(r"[\t\n\r]", value) and not value.startswith('"')
    return value if value and safe else json.dumps(value, ensure_ascii=False)


def _string(raw: str) -> str:
    value = _json(raw)
    return value if isinstance(value, str) and _plain(value) == raw else raw


def _raw(value: Any) -> str:
    """A meta value: strings as they are unless they would be read as something else."""
    if isinstance(value, str) and _json(value) is None and value != "null":
        return _plain(value)
    return json.dumps(value, ensure_ascii=False, default=str)


def _value(raw: str) -> Any:
    value = None if raw == "null" else _json(raw, raw)
    return value if _raw(value) == raw else raw


def _json(raw: str, default: Any = None) -> Any:
    try:
        return json.loads(raw, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return default


def _no_number(constant: str) -> None:
    raise ValueError(constant)
