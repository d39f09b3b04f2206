"""Recognition of objects and lists that were written as strings, as JSON or as Python's representation."""

from __future__ import annotations

import ast
import json
from typing import Any

_MAX_LENGTH = 100_000


def encoded_type(text: str) -> str:
    """Return "an object" or "a list" if a string is a whole JSON or Python value of that type, else ''.

    An empty value and a list of numbers may be part of a text, such as a footnote.

    >>> encoded_type("{'en': 'Nice soup'}")
    'an object'
    """
    text = text.strip()
    if len(text) > _MAX_LENGTH or (text[:1], text[-1:]) not in (("{", "}"), ("[", "]")):
        return ""
    value = _parse(text)
    if isinstance(value, dict) and value:
        return "an object"
    return "a list" if isinstance(value, list) and any(isinstance(item, str | dict | list) for item in value) else ""


def _parse(text: str) -> Any:
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    return None
