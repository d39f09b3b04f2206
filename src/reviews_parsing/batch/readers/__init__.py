"""Readers of inputs: their Protocol, and the description of an input as a file with a layout, split into parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from reviews_parsing.batch.columns import Column
from reviews_parsing.batch.readers.nesting import NestedLists
from reviews_parsing.batch.rows import Chunk, Position
from reviews_parsing.errors import DataError
from reviews_parsing.io import filesystems
from reviews_parsing.io.filesystems import Stat
from reviews_parsing.io.formats import FORMATS

PART_ROWS, PART_BYTES = 4096, 2**25
"""A part ends after this many rows, or, if they are long, after this many bytes."""
CHUNK_BYTES = 2**20
"""A chunk ends after this many bytes, or after the number of rows that the parser takes at once."""
NO_DELIMITER = "\x1f"
"""A delimiter that no text has: the unit separator. The file is a single column."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the memory that a file may take; each has an option of the same name."""

    max_unpacked: int | None = None
    """Bytes of a compressed file, spreadsheet or Parquet file after unpacking; None: see `unpacked_limit`."""
    max_columns: int = 2000
    max_cell: int = 2**21
    """Bytes of a row of text, or of a value in Parquet; longer ones are rejected."""

    def unpacked_limit(self, packed: int) -> int:
        """Return the most bytes that a file of `packed` bytes may unpack to: 100 times its size, at least 256 MiB."""
        return self.max_unpacked if self.max_unpacked is not None else max(2**28, 100 * packed)

    def refuse_unpacked(self, name: str, packed: int, unpacked: int) -> None:
        """Raise DataError if a file unpacks to too many bytes."""
        if unpacked > (limit := self.unpacked_limit(packed)):
            raise DataError(
                f"{name} unpacks from {packed:,} bytes to more than {limit:,}: if it is sound, raise --max-unpacked"
            )

    def refuse_columns(self, name: str, columns: int) -> None:
        """Raise DataError if an input has too many columns."""
        if columns > self.max_columns:
            raise DataError(f"{name} has more than {self.max_columns:,} columns: if it is sound, raise --max-columns")


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Options of the readers; None means that the value is inferred from the content."""

    delimiter: str | None = None
    encoding: str | None = None
    header: bool | None = None
    skip_lines: int | None = None
    records: str | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Layout:
    """Format of an input, one of `io.formats.FORMATS`, with the details of that format."""

    format: str
    compression: str = ""
    encoding: str = "utf-8"
    is_encoding_certain: bool = False
    """True if the encoding was requested or is marked in the file; the content of the rows then does not change it."""
    delimiter: str = ","
    quote: str = '"'
    escape: str = ""
    skips_spaces: bool = False
    """True if spaces after a delimiter are not part of the value, as in `1, "Nice soup, warm bread"`."""
    names: tuple[str, ...] = ()
    """Columns of a table without a header."""
    skip_lines: int = 0
    """Lines before the header or the first row; in a spreadsheet, rows."""
    header_line: int = 0
    """Line of the header from 1, 0 without a header."""
    style: str = "lines"
    """Style of JSON: `lines`, `bracketed` (an array with one object a line), `array` or `values` (consecutive ones)."""
    records: str = ""
    """The list (JSON) or the sheet (spreadsheet) with the reviews."""

    def describe(self) -> str:
        """Return the layout as text."""
        words = [FORMATS[self.format].title]
        if self.format in ("csv", "jsonl", "json", "text"):
            words += [self.compression] if self.compression else []
            words.append(self.encoding.upper() if self.encoding.startswith("utf") else self.encoding)
        if self.format == "csv":
            words.append(
                "one column" if self.delimiter == NO_DELIMITER else f"delimiter {delimiter_name(self.delimiter)}"
            )
        if self.records:
            words.append(f"records in '{self.records}'")
        if self.format in ("csv", "excel"):
            words.append(f"header in line {self.header_line}" if self.header_line else "no header")
        return ", ".join(words)


def delimiter_name(delimiter: str) -> str:
    """Return a delimiter as messages show it."""
    return "tab" if delimiter == "\t" else f"'{delimiter}'"


class Part(NamedTuple):
    """Consecutive rows of one input, rejects included; `source` is the index of the input."""

    number: int
    source: int
    start: Position
    rows: int


@dataclass(frozen=True, slots=True)
class Input:
    """A file: its name in messages, its full name, its stat when it was first seen, and its layout.

    `is_copy` marks the temporary copy of standard input.
    """

    name: str
    location: str
    stat: Stat
    layout: Layout
    is_copy: bool = False

    def refuse_change(self) -> None:
        """Raise DataError if the file was changed since it was first seen."""
        if not self.is_copy and filesystems.stat(self.location) != self.stat:
            raise DataError(f"{self.name} has changed while it was read: start again when it is whole")


class Scan(NamedTuple):
    """Content of an input: its columns, the begin and number of rows of each part, and lists nested in its rows.

    `undecodable` holds rows that are not UTF-8 if hardly another row shows that the file is; `encoding_fault` is the
    error of the first.
    """

    columns: list[Column]
    parts: list[tuple[Position, int]]
    nested: NestedLists
    undecodable: Sequence[bytes] = ()
    encoding_fault: str = ""


class Reader(Protocol):
    """An input that can be read more than once."""

    @property
    def input(self) -> Input:
        """The file."""

    @property
    def limits(self) -> Limits:
        """Limits of the memory that the file may take."""

    def scan(self, part_rows: int) -> Scan:
        """Look through the input. Raises DataError if it cannot be read, or is empty."""

    def chunks(self, parts: Sequence[Part], column: str | None) -> Iterator[tuple[Part, Chunk]]:
        """Yield the rows of consecutive parts, each part in one or more chunks.

        A row whose `column` is not a string is a reject; None accepts all rows. Raises DataError if the input cannot be
        read, or has become shorter.
        """
