"""Messages for text that is not JSON, or that UTF-8 cannot hold."""

from __future__ import annotations

import json

from reviews_parsing.errors import DataError

LONE_SURROGATE = "holds half of a surrogate pair: correct or remove the character"


def not_json(error: ValueError | RecursionError, remedy: str) -> DataError:
    """Return the error for a text that `json.loads` refuses, with the position of the fault and the remedy."""
    if not isinstance(error, json.JSONDecodeError):
        return DataError(f"not JSON ({error}): {remedy}")
    line = f"line {error.lineno}, " if error.lineno > 1 else ""
    return DataError(f"not JSON ({error.msg} at {line}column {error.colno}): {remedy}")
