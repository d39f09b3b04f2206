"""The lines of a text file, one at a time, each with its place."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, Self, cast

from reviews_parsing.errors import DataError
from reviews_parsing.io import filesystems

LONGEST = 2**21
"""Bytes of the longest row: a file without line ends cannot fill the memory."""
HEAD = 1000
"""Bytes that are kept of a longer one."""
_BOM = b"\xef\xbb\xbf"
_ENDS = re.compile(rb"(?<=\r)(?!\n)(?=.)", re.DOTALL)


class Place(NamedTuple):
    """Where a row begins: bytes of the unzipped file before it, and the number of its line, from 1.

    In Parquet, rows before it, and its number.
    """

    offset: int = 0
    line: int = 1


class Line(NamedTuple):
    """A line with its end as it is; only its beginning where it is too long."""

    place: Place
    data: bytes
    whole: bool = True


class Lines:
    """Lines of a file, unzipped where its name ends in `.gz` or `.zst`; open inside `with`.

    `where` is the file and `name` what messages call it. With `cr` a lone CR ends a line, as LF and CRLF do.
    """

    def __init__(self, where: str, name: str, cr: bool = False) -> None:
        self.name = name
        self._where, self._cr = where, cr

    def __enter__(self) -> Self:
        """Raises DataError where the file cannot be opened."""
        self._next, self._read = Place(), 0
        try:
            self._raw = filesystems.opened(self._where)
        except OSError as error:
            raise unreadable(self.name, error) from None
        self._file = _unzipped(self._raw, self._where)
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def seek(self, place: Place) -> None:
        """Go on with the line at `place`. Raises DataError where the file cannot be read up to there."""
        if self._file is self._raw:
            self._file.seek(place.offset)
        else:
            if place.offset < self._read:
                self._raw.seek(0)
                self._file, self._read = _unzipped(self._raw, self._where), 0
            self._skip(place.offset - self._read)
        self._next, self._read = place, place.offset

    def _skip(self, size: int) -> None:
        try:
            while size and (some := self._file.read(min(size, 2**20))):
                size -= len(some)
        except (OSError, EOFError, zlib.error) as error:
            raise unreadable(self.name, error) from None

    def __iter__(self) -> Iterator[Line]:
        """Raises DataError where the file cannot be read."""
        while data := self._readline():
            place, whole = self._next, True
            size = len(data)
            if size > LONGEST and not data.endswith(b"\n"):
                data, whole = data[:HEAD], False
                while (more := self._readline()) and not more.endswith(b"\n"):
                    size += len(more)
                size += len(more)
            self._next = Place(place.offset + size, place.line + 1)
            if place.offset == 0 and data.startswith(_BOM):
                data = data[len(_BOM) :]
                place = Place(len(_BOM), 1)
            if not (self._cr and whole and b"\r" in data):
                yield Line(place, data, whole)
                continue
            for part in _ENDS.split(data):
                yield Line(place, part)
                place = Place(place.offset + len(part), place.line + 1)
            self._next = place

    def _readline(self) -> bytes:
        try:
            data = self._file.readline(LONGEST + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise unreadable(self.name, error) from None
        self._read += len(data)
        return data


def unreadable(name: str, error: Exception) -> DataError:
    return DataError(f"{name} cannot be read ({filesystems.reason(error)}): give a whole file that you may read")


def not_text(place: Place, data: bytes) -> str:
    """Where and why bytes at `place` are not UTF-8; nothing if they are."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"{data[error.start]:#04x} at offset {place.offset + error.start}"
        return f"byte {byte} is not UTF-8: save the file as UTF-8"
    return ""


def _unzipped(raw: BinaryIO, where: str) -> BinaryIO:
    if where.lower().endswith(".gz"):
        return cast(BinaryIO, gzip.GzipFile(fileobj=raw))
    if where.lower().endswith(".zst"):
        import pyarrow as pa

        return cast(BinaryIO, io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd"), 2**18))
    return raw
