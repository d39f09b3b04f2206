"""The lines of a text file, one at a time."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from reviews_parsing.data.files import not_utf8
from reviews_parsing.errors import DataError

LONGEST = 2**24
"""Bytes of the longest line, so that a file without line ends cannot fill the memory."""


class Lines:
    """Lines of a UTF-8 file with their ends as they are, unzipped where its name ends in `.gz`.

    `name` is what messages call the file.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self._path = path
        self._file: BinaryIO | None = None

    @property
    def position(self) -> int:
        """Bytes of the file (zipped ones where it is) read so far."""
        done = self._file is None or self._file.closed
        return self._path.stat().st_size if done else cast(BinaryIO, self._file).tell()

    def __iter__(self) -> Iterator[str]:
        """Raises DataError where the file cannot be read, with line and byte where it is not UTF-8."""
        number = offset = 0
        try:
            with self._path.open("rb") as self._file, _unzipped(self._path, self._file) as unzipped:
                while line := unzipped.readline(LONGEST):
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
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"{self.name} cannot be read ({reason}): give a whole file that you may read") from None


def _unzipped(path: Path, file: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, gzip.GzipFile(fileobj=file)) if path.suffix.lower() == ".gz" else file
