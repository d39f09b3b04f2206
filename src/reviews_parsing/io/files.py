"""Atomic file writes, and UTF-8 reads whose errors are one line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from reviews_parsing.errors import DataError
from reviews_parsing.io.staging import staged_files


def read_bytes(path: Path) -> bytes:
    """Return the content of a file. Raises DataError if it does not exist, is empty or cannot be read."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: check the path") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): check that it is a file you may read") from error
    if not data.strip():
        raise DataError(f"{path} is empty: give a file of labelled reviews")
    return data


def decode_utf8(data: bytes, name: str) -> str:
    """Decode a file and strip its byte order mark. Raises DataError with the line and offset of the first bad byte."""
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        byte, line = data[error.start], data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{name}:{line}: byte {byte:#04x} at offset {error.start} is not UTF-8: save the file as UTF-8"
        ) from None


def encode_utf8(text: str, name: str) -> bytes:
    """Encode a text. Raises DataError if it holds a lone surrogate, which UTF-8 cannot represent."""
    try:
        # Decoding strips one byte order mark, so a text that begins with one gets a second.
        return (f"\ufeff{text}" if text.startswith("\ufeff") else text).encode("utf-8")
    except UnicodeEncodeError as error:
        surrogate = ord(text[error.start])
        raise DataError(f"{name}: the text has a lone surrogate U+{surrogate:04X}: remove that character") from None


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically. Raises DataError if writing fails, for example on a full disk."""
    write_parts(path, (data,))


def write_parts(path: Path, parts: Iterable[bytes]) -> None:
    """Write a file atomically, part by part. Raises DataError if writing fails, for example on a full disk."""
    with staged_files(str(path)) as staged:
        with staged.create(str(path)) as file:
            file.writelines(parts)
        staged.commit()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path for a new file or folder, and move it to `path` if the block succeeds.

    Raises DataError if writing fails. A failed block leaves `path` unchanged and no temporary files behind.
    """
    with staged_files(str(path)) as staged:
        yield staged.path(str(path))
        staged.commit()
