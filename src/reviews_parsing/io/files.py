"""Bytes in and out of files: one-line errors on the way in, all or nothing on the way out."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reviews_parsing.errors import DataError


def read_bytes(path: Path) -> bytes:
    """Raises DataError where there is no such file, or it is empty or unreadable."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: check the path") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): give a file that you may read") from error
    if not data.strip():
        raise DataError(f"{path} is empty: give a file of labelled reviews")
    return data


def decode_utf8(data: bytes, name: str) -> str:
    """The text of a file, without its byte order mark. Raises DataError with the place of the first wrong byte."""
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise not_utf8(error, name, data.count(b"\n", 0, error.start) + 1) from None


def not_utf8(error: UnicodeDecodeError, name: str, line: int, before: int = 0) -> DataError:
    """What to raise where a line cannot be decoded; `before` bytes of the file lie before what was to be decoded."""
    byte, offset = error.object[error.start], before + error.start
    return DataError(f"{name}:{line}: byte {byte:#04x} at offset {offset} is not UTF-8: save the file as UTF-8")


def encode_utf8(text: str, name: str) -> bytes:
    """Raises DataError where the text holds half of a surrogate pair, which no file can hold."""
    try:
        # Reading takes one byte order mark off; a text that begins with its own needs a second.
        return (f"\ufeff{text}" if text.startswith("\ufeff") else text).encode("utf-8")
    except UnicodeEncodeError as error:
        lone = ord(text[error.start])
        raise DataError(f"{name}: a text holds the lone surrogate U+{lone:04X}: remove that character") from None


def write_bytes(path: Path, data: bytes) -> None:
    """Write the file whole, or leave what was there. Raises DataError where that fails, as on a full disk."""
    with replacing(path) as temporary, temporary.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to make a file or folder at; it takes the place of `path` if the block succeeds.

    Raises DataError where writing fails; nothing half-written is left behind.
    """
    temporary, old = (path.with_name(f".{path.name}.{secrets.token_hex(4)}.{kind}") for kind in ("new", "old"))
    try:
        yield temporary
        if path.is_dir() and temporary.is_dir():
            path.replace(old)  # a folder that holds something cannot be replaced in one step
        temporary.replace(path)
    except OSError as error:
        if old.exists() and not path.exists():
            old.replace(path)
        raise DataError(f"{path} cannot be written ({error.strerror or error}): nothing was changed there") from error
    finally:
        for leftover in (temporary, old):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)
