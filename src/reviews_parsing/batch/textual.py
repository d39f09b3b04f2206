"""Inputs that are read line by line: CSV, TSV, JSONL and plain text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from reviews_parsing.batch.chunks import Rows
from reviews_parsing.batch.columns import Column
from reviews_parsing.batch.kinds import Kind, Scalar, arrow_type, kind_of, merge
from reviews_parsing.batch.lines import LONGEST, Lines, Place, not_text
from reviews_parsing.batch.records import Record, Reject, Row, english, unfit
from reviews_parsing.batch.source import CHUNK_BYTES, PART_BYTES, Input, Part, Scan
from reviews_parsing.data import jsonl
from reviews_parsing.errors import DataError
from reviews_parsing.parser import CHUNK_TEXTS

if TYPE_CHECKING:
    import pyarrow as pa

Read = Callable[[Lines, Place | None], tuple[list[str], Iterator[Record]]]
"""A format: lines in; the names that a header declares, and the rows from a place on out."""


def read_json(lines: Lines, start: Place | None = None) -> tuple[list[str], Iterator[Record]]:
    """An object a line; blank lines are left out."""
    return [], (_checked(record, jsonl.parse_object) for record in _rows(lines, start))


def read_plain(lines: Lines, start: Place | None = None) -> tuple[list[str], Iterator[Record]]:
    """A text a line, in the column `text`; blank lines are left out."""
    return [], (_checked(record, _plain) for record in _rows(lines, start))


def _rows(lines: Lines, start: Place | None) -> Iterator[Record]:
    if start is not None:
        lines.seek(start)
    for line in lines:
        if line.data.strip():
            yield Record(line.place, line.data, None, "" if line.whole else f"a row of more than {LONGEST} bytes")


def _checked(record: Record, form_of: Callable[[str], Row]) -> Record:
    if record.reason:
        return record
    try:
        return record._replace(row=form_of(record.raw.decode("utf-8")))
    except UnicodeDecodeError:
        return record._replace(reason=not_text(record.place, record.raw))
    except DataError as error:
        return record._replace(reason=str(error))


def _plain(line: str) -> Row:
    return {"text": line.removesuffix("\n").removesuffix("\r")}


@dataclass(frozen=True, slots=True)
class Textual:
    """A file that `read` can read; with `cr` a lone CR ends a line of it."""

    input: Input
    read: Read
    cr: bool = False

    def scan(self, part_rows: int) -> Scan:
        """Read the file through, for the types of its columns and the places of its parts."""
        kinds: dict[str, Kind] = {}
        texts: set[str] = set()
        faults: dict[str, str] = {}
        parts: list[tuple[Place, int]] = []
        worst: Record | None = None
        with self._lines() as lines:
            declared, records = self.read(lines, None)
            size = good = 0
            for record in records:
                if not parts or parts[-1][1] == part_rows or size >= PART_BYTES:
                    parts.append((record.place, 0))
                    size = 0
                parts[-1] = (parts[-1][0], parts[-1][1] + 1)
                size += len(record.raw)
                if record.row is None:
                    worst = worst or record
                    continue
                good += 1
                if not declared:
                    self._look(record.place.line, record.row, kinds, texts, faults)
        if declared:
            kinds, texts = dict.fromkeys(declared, Scalar.STRING), set(declared)
        if not kinds or (worst and not good):
            self._refuse(worst)
        columns = [
            Column(_field(name, kind), faults.get(name), name in texts or name not in faults)
            for name, kind in kinds.items()
        ]
        return Scan(columns, parts or [(Place(), 0)])

    def _look(self, line: int, row: Row, kinds: dict[str, Kind], texts: set[str], faults: dict[str, str]) -> None:
        for name, value in row.items():
            kind, known = kind_of(value), kinds.get(name, Scalar.NULL)
            if kind is Scalar.STRING:
                texts.add(name)
            elif value is not None and name not in faults:
                faults[name] = f"{self.input.name}:{line}: '{name}' is {english(value)}"
            if name not in kinds or kind != known:
                kinds[name] = merge(known, kind)

    def _refuse(self, worst: Record | None) -> None:
        """Raises DataError: there is no row that can be read."""
        if worst is None:
            raise DataError(f"{self.input.name} is empty: give a file with at least one review")
        raise DataError(f"{self.input.name}:{worst.place.line}: {worst.reason}; no other row can be read either")

    def chunks(self, parts: Sequence[Part], column: str | None) -> Iterator[tuple[Part, Rows]]:
        with self._lines() as lines:
            _, records = self.read(lines, parts[0].start)
            for part in parts:
                left = part.rows
                while True:
                    taken = list(_some(islice(records, min(left, CHUNK_TEXTS))))
                    left -= len(taken)
                    yield part, self._chunk(taken, column)
                    if left == 0:
                        break
                    if not taken:
                        raise DataError(f"{self.input.name} is shorter than it was: start again")

    def _chunk(self, records: Sequence[Record], column: str | None) -> Rows:
        rows: list[Row] = []
        rejects: list[Reject] = []
        for record in records:
            if record.row is None:
                rejects.append(Reject(record.place.line, record.reason, record.raw))
            elif column is not None and (reason := unfit(record.row, column)):
                rejects.append(Reject(record.place.line, reason, record.raw))
            else:
                rows.append(record.row)
        return Rows(self.input.name, rows, rejects)

    def _lines(self) -> Lines:
        return Lines(self.input.where, self.input.name, self.cr)


def _some(records: Iterator[Record]) -> Iterator[Record]:
    """As many as there are, or as make CHUNK_BYTES."""
    size = 0
    for record in records:
        yield record
        size += len(record.raw)
        if size >= CHUNK_BYTES:
            return


def _field(name: str, kind: Kind) -> pa.Field:
    import pyarrow as pa

    return pa.field(name, arrow_type(kind))
