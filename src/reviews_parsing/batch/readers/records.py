"""Reader of inputs that are read row by row: delimited text, JSON, plain text and spreadsheets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice

from reviews_parsing.batch.arrow_types import Scalar, ValueType, arrow_type, infer_type, merge_types
from reviews_parsing.batch.columns import Column, ValueSample
from reviews_parsing.batch.readers import CHUNK_BYTES, PART_BYTES, Input, Limits, Part, Scan, excel
from reviews_parsing.batch.readers.delimited import read_delimited
from reviews_parsing.batch.readers.json import has_lone_surrogate, read_json, replace_surrogates
from reviews_parsing.batch.readers.lines import Lines, not_utf8, nul_fault
from reviews_parsing.batch.readers.nesting import NestedLists
from reviews_parsing.batch.rows import Position, Record, Reject, Row, ValueChunk, english_type, length_fault, type_fault
from reviews_parsing.errors import DataError
from reviews_parsing.io.formats import CSV, EXCEL, TEXT
from reviews_parsing.io.json_errors import LONE_SURROGATE
from reviews_parsing.parser import CHUNK_TEXTS, FIRST_CHUNK_TEXTS


@dataclass(frozen=True, slots=True)
class RecordReader:
    """An input that is read row by row."""

    input: Input
    limits: Limits = field(default_factory=Limits)

    def scan(self, part_rows: int) -> Scan:
        """Read the file through, for the types of its columns and the positions of its parts."""
        parts: list[tuple[Position, int]] = []
        first_fault: Record | None = None
        codec = _EncodingCheck(self.input)
        with self._records(None) as (declared, records):
            summary = _Summary(self.input.name, self.limits, declared, self.input.layout.format == EXCEL.name)
            size = 0
            for record in records:
                if not parts or parts[-1][1] == part_rows or size >= PART_BYTES:
                    parts.append((record.position, 0))
                    size = 0
                parts[-1] = (parts[-1][0], parts[-1][1] + 1)
                size += len(record.raw)
                codec.add(record)
                if record.row is None:
                    first_fault = first_fault or record
                else:
                    summary.add(record.position.line, record.row)
        undecodable = codec.undecodable
        if not undecodable and (not summary.types or (first_fault and not summary.count)):
            self._refuse(first_fault)
        return Scan(summary.columns(), parts or [(Position(), 0)], summary.nested, undecodable, codec.fault)

    def _refuse(self, first_fault: Record | None) -> None:
        """Raise DataError: no row can be read."""
        if first_fault is None:
            if records := self.input.layout.records:
                raise DataError(f"{self.input.name} has no objects in '{records}': check --records")
            raise DataError(f"{self.input.name} is empty: give a file with at least one review")
        line, reason = first_fault.position.line, first_fault.reason
        raise DataError(f"{self.input.name}:{line}: {reason}; no other row can be read either")

    def chunks(self, parts: Sequence[Part], column: str | None) -> Iterator[tuple[Part, ValueChunk]]:
        """Yield the rows of the parts in chunks."""
        max_rows = FIRST_CHUNK_TEXTS
        with self._records(parts[0].start) as (_, records):
            for part in parts:
                missing = part.rows
                while True:
                    batch = list(_take(islice(records, min(missing, max_rows))))
                    missing, max_rows = missing - len(batch), CHUNK_TEXTS
                    yield part, self._chunk(batch, column)
                    if missing == 0:
                        break
                    if not batch:
                        raise DataError(f"{self.input.name} is shorter than it was: start again")

    def _chunk(self, records: Sequence[Record], column: str | None) -> ValueChunk:
        rows: list[Row] = []
        rejects: list[Reject] = []
        lines: list[int] = []
        for record in records:
            reason = record.reason
            if record.row is not None:
                if b"\\u" in record.raw:
                    reason = replace_surrogates(record.row, column)
                reason = reason or (type_fault(record.row, column) if column is not None else "")
                if not reason:
                    rows.append(record.row)
                    lines.append(record.position.line)
            if reason:
                rejects.append(Reject(record.position.line, reason, record.raw))
        return ValueChunk(self.input.name, rows, rejects, lines)

    @contextmanager
    def _records(self, start: Position | None) -> Iterator[tuple[list[str], Iterator[Record]]]:
        """Yield the columns that a header declares, and the records from `start` on."""
        layout, name = self.input.layout, self.input.name
        if layout.format == EXCEL.name:
            names, records = excel.read_sheet(self.input, self.limits, start)
            with closing(records):
                yield names, records
            return
        with Lines(self.input.location, name, layout, self.limits, cr=layout.format == CSV.name) as lines:
            if layout.format == CSV.name:
                yield read_delimited(lines, layout, start)
            elif layout.format == TEXT.name:
                yield [], _read_texts(lines, layout.encoding, start)
            else:
                yield [], read_json(lines, layout, start)


class _EncodingCheck:
    """Counter of rows that are not ASCII, to find out if a file is UTF-8 at all."""

    _SAMPLES = 200
    _MIN_RATIO = 10
    """So many rows that are not UTF-8 for each one that is show that the file is not UTF-8."""

    def __init__(self, file: Input) -> None:
        self._file = file
        self._samples: list[bytes] = []
        self._invalid = self._valid = 0
        self.fault = ""

    def add(self, record: Record) -> None:
        """Look at a row."""
        if record.raw.isascii() or self._file.layout.is_encoding_certain or self._file.layout.format == EXCEL.name:
            return
        fault = not_utf8(record.position, record.raw)
        if not fault:
            self._valid += 1
            return
        self._invalid += 1
        self.fault = self.fault or f"{self._file.name}:{record.position.line}: {fault}"
        if len(self._samples) < self._SAMPLES:
            self._samples.append(record.raw)

    @property
    def undecodable(self) -> list[bytes]:
        """Rows that are not UTF-8 if the file is in another encoding, none otherwise."""
        return self._samples if self._invalid >= self._MIN_RATIO * self._valid else []


class _Summary:
    """Columns of the rows that were seen: their types and a sample of their values."""

    def __init__(self, name: str, limits: Limits, declared: Sequence[str], is_typed: bool) -> None:
        """Create a summary; `declared` columns hold strings unless `is_typed` is True."""
        self._name, self._limits, self._is_declared = name, limits, bool(declared) and not is_typed
        self.count = 0
        self.types: dict[str, ValueType] = dict.fromkeys(declared, Scalar.NULL if is_typed else Scalar.STRING)
        self.nested = NestedLists()
        self._samples = {column: ValueSample() for column in declared}
        self._with_texts: set[str] = set(declared) if self._is_declared else set()
        self._faults: dict[str, str] = {}

    def add(self, line: int, row: Row) -> None:
        """Look at a row."""
        self.count += 1
        if self._is_declared and self.count > ValueSample.SIZE:
            return
        for column, value in row.items():
            if isinstance(value, str):
                self._sample(column, value)
            if not self._is_declared:
                self._infer(line, column, value)
        self.nested.add(row)
        self._limits.refuse_columns(self._name, len(self.types))

    def _sample(self, column: str, value: str) -> None:
        sample = self._samples.get(column)
        if sample is None:
            sample = self._samples[column] = ValueSample()
        sample.add(value)

    def _infer(self, line: int, column: str, value: object) -> None:
        value_type, known_type = infer_type(value), self.types.get(column, Scalar.NULL)
        if value_type is Scalar.STRING:
            if has_lone_surrogate(value):
                self._faults.setdefault(column, f"{self._name}:{line}: {LONE_SURROGATE}")
            else:
                self._with_texts.add(column)
        elif value is not None and column not in self._faults:
            self._faults[column] = f"{self._name}:{line}: '{column}' is {english_type(value)}, not a string"
        if column not in self.types or value_type != known_type:
            self.types[column] = merge_types(known_type, value_type)

    def columns(self) -> list[Column]:
        import pyarrow as pa

        is_single = len(self.types) == 1 and self._is_declared
        columns = []
        for name, value_type in self.types.items():
            sample = self._samples.get(name, ValueSample())
            column = Column(
                pa.field(name, arrow_type(value_type, keep_nulls=True)),
                self._faults.get(name),
                has_texts=name in self._with_texts,
                delimiters=sample.delimiters if is_single else "",
                is_inferred=True,
            )
            columns.append(column.described_by(sample, self._name))
        return columns


def _read_texts(lines: Lines, encoding: str, start: Position | None) -> Iterator[Record]:
    """Return a text a line in the column `text`; blank lines are skipped."""
    if start is not None:
        lines.seek(start)
    for line in lines:
        if line.data.strip():
            fault = length_fault(lines.limits.max_cell) if not line.is_whole else ""
            fault = fault or not_utf8(line.position, line.data, encoding) or nul_fault(line.data)
            text = line.data.decode("utf-8", "replace").removesuffix("\n").removesuffix("\r")
            yield Record(line.position, line.data, None if fault else {"text": text}, fault)


def _take(records: Iterator[Record]) -> Iterator[Record]:
    """Yield records up to CHUNK_BYTES."""
    size = 0
    for record in records:
        yield record
        size += len(record.raw)
        if size >= CHUNK_BYTES:
            return
