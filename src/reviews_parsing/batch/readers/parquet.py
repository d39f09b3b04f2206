"""Parquet files as inputs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from reviews_parsing.batch.columns import Column, ValueSample, refuse_duplicate_columns
from reviews_parsing.batch.readers import PART_BYTES, Input, Limits, Part, Scan
from reviews_parsing.batch.readers.lines import HEAD_BYTES, unreadable
from reviews_parsing.batch.readers.nesting import NestedLists
from reviews_parsing.batch.rows import ArrowChunk, Position, Reject, to_json_value
from reviews_parsing.errors import DataError
from reviews_parsing.io import filesystems
from reviews_parsing.parser import CHUNK_TEXTS, FIRST_CHUNK_TEXTS

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

BUFFER_BYTES = 2**20
"""Bytes read at once of each column, so that a file with a single row group fits into memory."""
_BULKY_ROWS = 8
"""Rows read at once if values may be too long."""


@dataclass(frozen=True, slots=True)
class ParquetReader:
    """A Parquet file."""

    input: Input
    limits: Limits = field(default_factory=Limits)

    def scan(self, part_rows: int) -> Scan:
        """Read the file's footer and its first rows."""
        with self._opened() as file:
            schema, bulky = file.schema_arrow, self._bulky_columns(file.metadata)
            samples = {} if bulky else self._samples(file, CHUNK_TEXTS)
            groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
            rows = file.metadata.num_rows
        if bulky:
            with self._opened(bulky) as file:
                samples = self._samples(file, _BULKY_ROWS)
        columns = [_column(entry, self.input.name, samples.get(entry.name)) for entry in schema]
        size = max(1, sum(group.total_byte_size for group in groups) // max(1, rows))
        step = max(1, min(part_rows, PART_BYTES // size))
        parts = [(Position(start, start + 1), min(step, rows - start)) for start in range(0, rows, step)]
        return Scan(columns, parts or [(Position(), 0)], _nested(columns))

    def _samples(self, file: pq.ParquetFile, rows: int) -> dict[str, ValueSample]:
        """Return a sample of the first values of each column of strings that has one; rejects are passed over."""
        batch = next(self._batches(file, 0, rows), _empty_batch(file.schema_arrow))
        samples = {}
        for name, array in zip(batch.schema.names, batch.columns, strict=True):
            if _is_text(array.type):
                samples[name] = sample = ValueSample()
                for value in _strings(array, self.limits.max_cell):
                    sample.add(value)
        return {name: sample for name, sample in samples.items() if sample}

    def chunks(self, parts: Sequence[Part], column: str | None) -> Iterator[tuple[Part, ArrowChunk]]:
        """Yield the rows of the parts in chunks."""
        with self._opened() as file:
            schema, bulky = file.schema_arrow, self._bulky_columns(file.metadata)
        with self._opened(bulky) as file:
            batches = self._batches(file, parts[0].start.offset, _BULKY_ROWS if bulky else CHUNK_TEXTS)
            empty = _empty_batch(schema)
            line, batch, max_rows = parts[0].start.line, empty, FIRST_CHUNK_TEXTS
            for part in parts:
                missing = part.rows
                if missing == 0:
                    yield part, ArrowChunk(self.input.name, empty)
                while missing:
                    if len(batch) == 0 and (batch := next(batches, None)) is None:
                        raise DataError(f"{self.input.name} is shorter than it was: start again")
                    head = batch.slice(0, min(missing, max_rows))
                    max_rows = CHUNK_TEXTS
                    yield part, self._chunk(head, line, column, schema)
                    batch, line, missing = batch.slice(len(head)), line + len(head), missing - len(head)

    def _batches(self, file: pq.ParquetFile, start: int, size: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows from `start` on; groups that end before it are not read."""
        group, unpacked = 0, 0
        while group < file.metadata.num_row_groups and start >= (rows := file.metadata.row_group(group).num_rows):
            start -= rows
            group += 1
        groups = list(range(group, file.metadata.num_row_groups))
        for batch in file.iter_batches(size, groups, use_threads=False):
            unpacked += sum(self._unpacked_bytes(array) for array in batch.columns)
            self.limits.refuse_unpacked(self.input.name, self.input.stat.size, unpacked)
            if start < len(batch):
                yield batch.slice(start)
            start = max(0, start - len(batch))

    def _unpacked_bytes(self, array: pa.Array) -> int:
        """Return the bytes of the values of an array; values that are rejected for their length count nothing."""
        import pyarrow.compute as pc
        import pyarrow.types as pt

        if not pt.is_dictionary(array.type) or not _has_length(array.type.value_type):
            return array.nbytes  # type: ignore[no-any-return]
        lengths = pc.binary_length(array.dictionary).cast("int64")
        lengths = pc.if_else(pc.greater(lengths, self.limits.max_cell), 0, lengths)
        return pc.sum(lengths.take(array.indices)).as_py() or 0

    def _bulky_columns(self, metadata: pq.FileMetaData) -> list[str]:
        """Return the columns whose dictionary may hold values above the limit, which rows refer to by an index.

        The size of a dictionary is estimated from its packed size. Raises DataError if such a column is nested.
        """
        bulky: dict[str, None] = {}
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            for chunk in map(group.column, range(group.num_columns)):
                if chunk.physical_type == "BYTE_ARRAY" and chunk.dictionary_page_offset is not None:
                    packed = chunk.data_page_offset - chunk.dictionary_page_offset
                    ratio = chunk.total_uncompressed_size / max(1, chunk.total_compressed_size)
                    if min(packed * ratio, chunk.total_uncompressed_size) > self.limits.max_cell / 2:
                        bulky[chunk.path_in_schema] = None
        if nested := [name for name in bulky if "." in name]:
            raise DataError(
                f"{self.input.name}: values in '{nested[0]}' may be longer than {self.limits.max_cell} bytes: if they "
                "are sound, raise --max-cell"
            )
        return list(bulky)

    def _chunk(self, batch: pa.RecordBatch, first: int, column: str | None, schema: pa.Schema) -> ArrowChunk:
        """Return a batch without its rejects; `first` is the number of its first row."""
        import pyarrow as pa

        reasons = self._long_values(batch, column)
        accepted = [i for i in range(len(batch)) if i not in reasons]
        rejects = [Reject(first + i, reason, _raw(batch, i, reason)) for i, reason in reasons.items()]
        if reasons:
            batch = batch.take(pa.array(accepted, pa.int64()))
        batch = batch if batch.schema.equals(schema) else batch.cast(schema)
        if reasons := _undecodable(batch):
            rejects += [Reject(first + accepted[i], reason, _raw(batch, i)) for i, reason in reasons.items()]
            accepted = [position for i, position in enumerate(accepted) if i not in reasons]
            batch = batch.take(pa.array([i for i in range(len(batch)) if i not in reasons], pa.int64()))
        return ArrowChunk(self.input.name, batch, sorted(rejects), [first + i for i in accepted])

    def _long_values(self, batch: pa.RecordBatch, column: str | None) -> dict[int, str]:
        """Return the rows with a string or binary value of more than `max_cell` bytes, with the reason."""
        import pyarrow.compute as pc
        import pyarrow.types as pt

        reasons: dict[int, str] = {}
        for name, array in zip(batch.schema.names, batch.columns, strict=True):
            values = array.dictionary if pt.is_dictionary(array.type) else array
            if values.nbytes <= self.limits.max_cell or not _has_length(values.type):
                continue
            too_long = pc.greater(pc.binary_length(values), self.limits.max_cell)
            too_long = too_long.take(array.indices) if pt.is_dictionary(array.type) else too_long
            subject = "a text" if name == column else f"a value in '{name}'"
            for i, is_too_long in enumerate(too_long.to_pylist()):
                if is_too_long:
                    reasons.setdefault(i, f"{subject} of more than {self.limits.max_cell} bytes")
        return reasons

    @contextmanager
    def _opened(self, dictionaries: Sequence[str] = ()) -> Iterator[pq.ParquetFile]:
        """Open the file; the columns in `dictionaries` are read as dictionary arrays, which do not repeat values."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        location, name = self.input.location, self.input.name
        try:
            with (
                filesystems.filesystem_of(location).open_random(location) as raw,
                pq.ParquetFile(
                    raw, buffer_size=BUFFER_BYTES, pre_buffer=False, read_dictionary=list(dictionaries)
                ) as file,
            ):
                self.limits.refuse_columns(name, file.metadata.num_columns)
                groups = (file.metadata.row_group(i) for i in range(file.metadata.num_row_groups))
                self.limits.refuse_unpacked(name, self.input.stat.size, sum(group.total_byte_size for group in groups))
                refuse_duplicate_columns(file.schema_arrow.names, name)
                yield file
        except (pa.ArrowException, OSError) as error:
            raise unreadable(name, error) from None


def _has_length(data_type: pa.DataType) -> bool:
    import pyarrow.types as pt

    return any(test(data_type) for test in (pt.is_string, pt.is_large_string, pt.is_binary, pt.is_large_binary))


def _empty_batch(schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch without rows."""
    import pyarrow as pa

    return pa.RecordBatch.from_pylist([], schema)


def _undecodable(batch: pa.RecordBatch) -> dict[int, str]:
    """Return the rows that hold a string which is not UTF-8, with the reason."""
    import pyarrow as pa

    reasons: dict[int, str] = {}
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
            continue
        try:
            array.validate(full=True)
        except pa.ArrowInvalid:
            for i, value in enumerate(array.cast(_binary_type(array.type))):
                try:
                    (value.as_py() or b"").decode("utf-8")
                except UnicodeDecodeError as error:
                    reasons.setdefault(i, f"'{name}': byte {value.as_py()[error.start]:#04x} is not UTF-8")
    return reasons


def _binary_type(data_type: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    return pa.large_binary() if pa.types.is_large_string(data_type) else pa.binary()


def _raw(batch: pa.RecordBatch, row: int, is_long: str = "") -> bytes:
    """Return a row as a JSON object; the strings of a row that is too long are cut."""
    values = {name: _value(array, row) for name, array in zip(batch.schema.names, batch.columns, strict=True)}
    if is_long:
        values = {name: value[:HEAD_BYTES] if isinstance(value, str) else value for name, value in values.items()}
    return json.dumps(values, ensure_ascii=False).encode("utf-8")


def _value(array: pa.Array, row: int) -> Any:
    import pyarrow as pa

    for data_type in (array.type, pa.binary(), pa.string()):
        with suppress(pa.ArrowException, ValueError, OverflowError):
            return to_json_value(array.slice(row, 1).cast(data_type)[0].as_py())
    return None


def _is_text(data_type: pa.DataType) -> bool:
    import pyarrow.types as pt

    values = data_type.value_type if pt.is_dictionary(data_type) else data_type
    return any(test(values) for test in (pt.is_string, pt.is_large_string, pt.is_string_view))


def _strings(array: pa.Array, max_bytes: int) -> Iterator[str]:
    """Yield the values of an array of strings that are UTF-8 of at most `max_bytes`."""
    import pyarrow.types as pt

    for scalar in array:
        value = scalar.value if pt.is_dictionary(array.type) else scalar
        if value.is_valid and value.as_buffer().size <= max_bytes:
            with suppress(UnicodeDecodeError):
                yield value.as_py()


def _column(entry: pa.Field, name: str, sample: ValueSample | None) -> Column:
    import pyarrow.types as pt

    if _is_text(entry.type) or pt.is_null(entry.type):
        return Column(entry).described_by(sample, name) if sample else Column(entry)
    return Column(entry, f"{name}: '{entry.name}' is {entry.type}, not a string", has_texts=False)


def _nested(columns: Sequence[Column]) -> NestedLists:
    import pyarrow.types as pt

    nested = NestedLists()
    for column in columns:
        data_type = column.field.type
        if (pt.is_list(data_type) or pt.is_large_list(data_type)) and pt.is_struct(data_type.value_type):
            nested.objects[column.name] = 1
    return nested
