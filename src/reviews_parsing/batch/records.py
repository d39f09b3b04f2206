"""The rows of an input as they are read: those that can be, and those that cannot with the reason."""

from __future__ import annotations

import base64
import json
from typing import Any, NamedTuple

from reviews_parsing.batch.lines import Place

Row = dict[str, Any]


class Record(NamedTuple):
    """A row of a text file: its values, or the reason why it has none. `raw` is as it stands in the file."""

    place: Place
    raw: bytes
    row: Row | None
    reason: str = ""


class Reject(NamedTuple):
    """A row that cannot be parsed. `line` is its number in the input, from 1."""

    line: int
    reason: str
    raw: bytes

    def to_json(self, name: str) -> str:
        """A line of the rejects file; what is not UTF-8 goes into `raw_base64`."""
        form: dict[str, Any] = {"input": name, "line": self.line, "reason": self.reason}
        raw = self.raw.removesuffix(b"\n").removesuffix(b"\r")
        try:
            form["raw"] = raw.decode("utf-8")
        except UnicodeDecodeError:
            form["raw_base64"] = base64.b64encode(raw).decode("ascii")
        return json.dumps(form, ensure_ascii=False) + "\n"


def unfit(row: Row, column: str) -> str:
    """Why a row has no text; nothing if it has."""
    value = row.get(column)
    if isinstance(value, str):
        return ""
    if value is None:
        return f"'{column}' is {'null' if column in row else 'missing'}: there is no text"
    return f"'{column}' is {english(value)}, not a string"


def english(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    return "a number" if isinstance(value, int | float) else "a list" if isinstance(value, list) else "an object"
