"""Inputs by their names: files by their endings, and standard input."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

from reviews_parsing.batch import delimited
from reviews_parsing.batch.chunks import Chunk, Row
from reviews_parsing.batch.columns import Column
from reviews_parsing.batch.lines import Lines
from reviews_parsing.batch.parquet import Parquet
from reviews_parsing.batch.textual import Read, Textual, read_json, read_plain
from reviews_parsing.errors import DataError

STDIN = "-"
_BY_LINES: dict[str, Read] = {
    ".csv": partial(delimited.read, delimiter=","),
    ".tsv": partial(delimited.read, delimiter="\t"),
    ".jsonl": read_json,
    ".ndjson": read_json,
}
_PARQUET, _GZIP = ".parquet", ".gz"
_STDIN_NAME = "standard input"


class Source(Protocol):
    """An input that can be read more than once."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def size(self) -> int:
        """Bytes."""

    def columns(self) -> list[Column]:
        """The columns; raises DataError where the input cannot be read."""

    def chunks(self) -> Iterator[Chunk]:
        """The rows in their order."""


@contextmanager
def opened(inputs: Sequence[str]) -> Iterator[list[Source]]:
    """Each input, "-" being standard input: kept in a temporary file while the block runs.

    Raises DataError where a file does not exist, or its ending is unknown.
    """
    if not inputs:
        raise DataError("no input: give at least one file, or - for standard input")
    if inputs.count(STDIN) > 1:
        raise DataError("standard input is named twice: give - once")
    with tempfile.TemporaryDirectory(prefix="reviews-parsing-") as folder:
        yield [_stdin(Path(folder)) if name == STDIN else _file(name) for name in inputs]


def read_rows(inputs: Sequence[str]) -> Generator[Row]:
    """The rows of the inputs one after the other, as JSON can hold them; what `parse_files` reads and writes.

    Raises DataError where an input cannot be read.

    >>> for row in read_rows(["parsed.parquet"]):
    ...     print(row["aspects"])
    """
    with opened(inputs) as sources:
        for source in sources:
            for chunk in source.chunks():
                yield from chunk.rows()


def _file(name: str) -> Source:
    path = Path(name)
    ending = path.suffix.lower()
    kind = Path(path.stem).suffix.lower() if ending == _GZIP else ending
    if not path.exists():
        raise DataError(f"{name} does not exist: check the path")
    if not path.is_file():
        raise DataError(f"{name} is no regular file: give a file, or pipe it into -")
    if kind not in _BY_LINES and ending != _PARQUET:
        known = ", ".join((*_BY_LINES, _PARQUET))
        raise DataError(f"{name}: the ending '{ending}' says no format: give {known}, or a text form with {_GZIP}")
    if (size := path.stat().st_size) == 0:
        raise DataError(f"{name} is empty: give a file with at least one review")
    return Parquet(path, name, size) if ending == _PARQUET else Textual(path, name, size, _BY_LINES[kind])


def _stdin(folder: Path) -> Source:
    """Standard input, copied: to be checked to its end before the first text is parsed it must be read twice."""
    path = folder / "stdin"
    try:
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
    except OSError as error:
        raise DataError(f"{_STDIN_NAME} cannot be kept in {folder.parent} ({error.strerror}): make room") from None
    with Lines(path, _STDIN_NAME) as lines:
        first = next((line.lstrip() for line in lines if line.strip()), "")
    read = read_json if first.startswith("{") else read_plain
    return Textual(path, _STDIN_NAME, path.stat().st_size, read)
