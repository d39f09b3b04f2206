"""Errors of the disk, the network and the stores as messages in plain English."""

from __future__ import annotations

import os
import re
from pathlib import Path

from reviews_parsing.errors import DataError

# Error texts of the client libraries, and their meaning in plain English.
STORE_ERRORS = {
    "NO_SUCH_BUCKET": "there is no such bucket",
    "ACCESS_DENIED": "no permission",
    "INVALID_ACCESS_KEY_ID": "no valid credentials",
    "NETWORK_CONNECTION": "the store cannot be reached",
    "access token": "no valid credentials",  # the code beside it is UNAVAILABLE
    "UNAUTHENTICATED": "no valid credentials",
    "PERMISSION_DENIED": "no permission",
    "UNAVAILABLE": "the store cannot be reached",
    "Status(NOT_FOUND": "there is no such file or bucket",
}


def error_reason(error: BaseException) -> str:
    """Return why a file cannot be used, in a few words."""
    known_reason = next((words for code, words in STORE_ERRORS.items() if code in str(error)), None)
    code = getattr(error, "errno", None)
    reason = known_reason or (os.strerror(code) if code else first_line(error))
    return re.sub(r"\. Detail: .*", "", reason)


def is_unreachable(error: BaseException) -> bool:
    """Return True if an error comes from the disk, the network or the store, and not from the content of a file."""
    return getattr(error, "errno", None) is not None or any(code in str(error) for code in STORE_ERRORS)


def first_line(error: BaseException) -> str:
    """Return the first line of the message of a library's error."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def printable(name: str | Path) -> str:
    """Return a file name that can be printed: bytes that are not UTF-8 become escapes."""
    return str(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def unwritable(name: str | Path, error: OSError) -> DataError:
    """Return the error for a file that cannot be written."""
    return DataError(f"{printable(name)} cannot be written ({error_reason(error)}): nothing was changed there")
