"""The lines of a text file, one at a time."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self, cast

from reviews_parsing.data.files import not_utf8
from reviews_parsing.errors import DataError

LONGEST = 2**24
"""Bytes of the longest line, so that a file without line ends cannot fill the memory."""


class Lines:
    """Lines of a UTF-8 file with their ends as they are, unzipped where its name ends in `.gz`; open inside `with`.

    `name` is what messages call the file.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self._path = path

    def __enter__(self) -> Self:
        """Raises DataError where the file cannot be opened."""
        try:
            self._file = self._path.open("rb")
        except OSError as error:
            raise self._unreadable(error) from None
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def position(self) -> int:
        """Bytes of the file (zipped ones where it is) read so far."""
        return self._file.tell()

    def __iter__(self) -> Iterator[str]:
        """Raises DataError where the file cannot be read, with line and byte where it is not UTF-8."""
        number = offset = 0
        zipped = self._path.suffix.lower() == ".gz"
        file = cast(BinaryIO, gzip.GzipFile(fileobj=self._file)) if zipped else self._file
        try:
            while line := file.readline(LONGEST):
                number += 1
                if len(line) == LONGEST and not line.endswith(b"\n"):
                    raise DataError(f"{self.name}:{number}: a line of more than {LONGEST} bytes: split it")
                try:
                    text = line.decode("utf-8")
                except UnicodeDecodeError as error:
                    raise not_utf8(error, self.name, number, offset) from None
                yield text.removeprefix("\ufeff") if number == 1 else text
                offset += len(line)
        except (OSError, EOFError, zlib.error) as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: Exception) -> DataError:
        reason = getattr(error, "strerror", None) or error
        return DataError(f"{self.name} cannot be read ({reason}): give a whole file that you may read")
