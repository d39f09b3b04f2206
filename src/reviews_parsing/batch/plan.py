"""Plan of a run: the inputs cut into parts, always in the same way, and the columns of the output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

from reviews_parsing.batch.columns import (
    Column,
    choose_text_column,
    merge_columns,
    refuse_aspects_column,
    text_name,
)
from reviews_parsing.batch.readers import Part, Reader, ReadOptions, Scan
from reviews_parsing.batch.readers.detection import correct_encoding, open_reader
from reviews_parsing.batch.rows import Chunk
from reviews_parsing.errors import DataError
from reviews_parsing.io.formats import PARQUET

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Options:
    """Options that change the output."""

    text_column: str | None = None
    min_score: float = 0.0
    spans_only: bool = False
    languages: bool = False
    reading: ReadOptions = field(default_factory=ReadOptions)


@dataclass(frozen=True, slots=True)
class Plan:
    """Inputs, the text column of each, the columns of each (the merged ones if only these are known), and all parts."""

    readers: Sequence[Reader]
    text_columns: Sequence[str]
    columns: Sequence[Sequence[Column]]
    parts: Sequence[Part]

    @property
    def fields(self) -> list[pa.Field]:
        """Columns of all inputs together. Raises DataError if their types disagree."""
        return merge_columns(self.columns)

    @property
    def rows(self) -> int:
        """Number of rows, rejects included."""
        return sum(part.rows for part in self.parts)

    def describe(self) -> list[str]:
        """Return lines that tell how the inputs are read; inputs that are read alike share a line."""
        names: dict[str, list[str]] = {}
        for reader, column in zip(self.readers, self.text_columns, strict=True):
            names.setdefault(f"{reader.input.layout.describe()}, texts in '{column}'", []).append(reader.input.name)
        return [
            f"{inputs[0]}{f' and {len(inputs) - 1:,} more' if len(inputs) > 1 else ''}: {description}"
            for description, inputs in names.items()
        ]

    def chunks(self, parts: Sequence[Part]) -> Iterator[tuple[Part, Chunk]]:
        """Yield the rows of these parts. Raises DataError if an input has changed, before the end of the part."""
        # Consecutive parts are read in one go: a compressed file can only be read from its beginning.
        for _, group in groupby(enumerate(parts), lambda pair: (pair[1].source, pair[1].number - pair[0])):
            run = [part for _, part in group]
            reader = self.readers[run[0].source]
            previous: Part | None = None
            for part, chunk in reader.chunks(run, self.text_columns[run[0].source]):
                if previous is not None and part is not previous:
                    reader.input.refuse_change()
                previous = part
                yield part, chunk
            reader.input.refuse_change()


def make_plan(readers: Sequence[Reader], text_column: str | None, part_rows: int) -> Plan:
    """Look through every input. Raises DataError if one cannot be read, or has no column of texts."""
    scanned = [scan_input(reader, part_rows) for reader in readers]
    text_columns = [find_text_column(reader, scan, text_column) for reader, scan in scanned]
    cuts = [(source, position, rows) for source, (_, scan) in enumerate(scanned) for position, rows in scan.parts]
    parts = [Part(number, *cut) for number, cut in enumerate(cuts)]
    return Plan([reader for reader, _ in scanned], text_columns, [scan.columns for _, scan in scanned], parts)


def scan_input(reader: Reader, part_rows: int) -> tuple[Reader, Scan]:
    """Scan an input; if it turns out not to be UTF-8, in the encoding that it has.

    Raises DataError if the input cannot be read or its encoding is unclear.
    """
    scan = reader.scan(part_rows)
    if scan.undecodable:
        file = correct_encoding(reader.input, scan.undecodable, scan.encoding_fault)
        reader = open_reader(file, reader.limits)
        scan = reader.scan(part_rows)
    return reader, scan


def find_text_column(reader: Reader, scan: Scan, requested: str | None) -> str:
    """Return the text column of an input. Raises DataError if it is not found, or the texts are in nested lists."""
    name, nested = reader.input.name, scan.nested
    column: str | None = None
    refuse_aspects_column(scan.columns, name)
    try:
        column = choose_text_column(scan.columns, name, requested)
    except DataError:
        if requested is not None or not nested.objects:
            raise
    is_named = column is not None and text_name(column) is not None
    if column is None or (requested is None and nested.objects and (not is_named or nested.has_more_texts)):
        way = "explode it into rows" if reader.input.layout.format == PARQUET.name else f"--records {nested.largest}"
        raise DataError(
            f"{name} holds lists of objects in its rows: {nested.describe()}; to parse the reviews in such a list: "
            f"{way}; to parse a column: --text-column"
        )
    return column
