"""Parquet files as inputs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reviews_parsing.batch.chunks import Batch, as_json
from reviews_parsing.batch.columns import Column, refuse_twins
from reviews_parsing.batch.lines import LONGEST, Place, unreadable
from reviews_parsing.batch.records import Reject
from reviews_parsing.batch.source import PART_BYTES, Input, Part, Scan
from reviews_parsing.errors import DataError
from reviews_parsing.io import filesystems
from reviews_parsing.parser import CHUNK_TEXTS

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

BUFFER = 2**20
"""Bytes read at once of each column, so that a file that is one row group fits into memory."""


@dataclass(frozen=True, slots=True)
class Parquet:
    """A Parquet file."""

    input: Input

    def scan(self, part_rows: int) -> Scan:
        """Read the file's footer."""
        with self._opened() as file:
            faults = [(field, _fault(field, self.input.name)) for field in file.schema_arrow]
            groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
            rows = file.metadata.num_rows
        size = max(1, sum(group.total_byte_size for group in groups) // max(1, rows))
        step = max(1, min(part_rows, PART_BYTES // size))
        parts = [(Place(start, start + 1), min(step, rows - start)) for start in range(0, rows, step)]
        return Scan([Column(field, fault, not fault) for field, fault in faults], parts or [(Place(), 0)])

    def chunks(self, parts: Sequence[Part], column: str | None) -> Iterator[tuple[Part, Batch]]:
        with self._opened() as file:
            batches = _batches(file, parts[0].start.offset)
            at, batch = parts[0].start.line, _empty(file)
            for part in parts:
                left = part.rows
                if left == 0:
                    yield part, Batch(self.input.name, _empty(file))
                while left:
                    if len(batch) == 0 and (batch := next(batches, None)) is None:
                        raise DataError(f"{self.input.name} is shorter than it was: start again")
                    some = batch.slice(0, left)
                    yield part, self._chunk(some, at, column)
                    batch, at, left = batch.slice(len(some)), at + len(some), left - len(some)

    def _chunk(self, batch: pa.RecordBatch, first: int, column: str | None) -> Batch:
        """`first` is the number of the batch's first row."""
        import pyarrow as pa

        reasons = _not_text(batch)
        if column is not None:
            texts = batch.column(batch.schema.get_field_index(column))
            for i in texts.is_null().to_numpy(zero_copy_only=False).nonzero()[0].tolist():
                reasons.setdefault(i, f"'{column}' is null: there is no text")
            if texts.nbytes > LONGEST:
                for i, text in enumerate(texts):
                    if i not in reasons and len(text.as_py().encode("utf-8")) > LONGEST:
                        reasons[i] = f"a text of more than {LONGEST} bytes"
        if not reasons:
            return Batch(self.input.name, batch)
        rejects = [Reject(first + i, reason, _raw(batch, i)) for i, reason in sorted(reasons.items())]
        kept = pa.array([i for i in range(len(batch)) if i not in reasons], pa.int64())
        return Batch(self.input.name, batch.take(kept), rejects)

    @contextmanager
    def _opened(self) -> Iterator[pq.ParquetFile]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with (
                filesystems.native(self.input.where) as raw,
                pq.ParquetFile(raw, buffer_size=BUFFER, pre_buffer=False) as file,
            ):
                refuse_twins(file.schema_arrow.names, self.input.name)
                yield file
        except (pa.ArrowException, OSError) as error:
            raise unreadable(self.input.name, error) from None


def _batches(file: pq.ParquetFile, start: int) -> Iterator[pa.RecordBatch]:
    """The rows from `start` on; groups that end before it are not read."""
    group = 0
    while group < file.metadata.num_row_groups and start >= (rows := file.metadata.row_group(group).num_rows):
        start -= rows
        group += 1
    for batch in file.iter_batches(CHUNK_TEXTS, list(range(group, file.metadata.num_row_groups)), use_threads=False):
        if start < len(batch):
            yield batch.slice(start)
        start = max(0, start - len(batch))


def _empty(file: pq.ParquetFile) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.RecordBatch.from_pylist([], file.schema_arrow)


def _not_text(batch: pa.RecordBatch) -> dict[int, str]:
    """The rows that hold a string which is not UTF-8, and what is wrong with them."""
    import pyarrow as pa

    found: dict[int, str] = {}
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
            continue
        try:
            array.validate(full=True)
        except pa.ArrowInvalid:
            for i, value in enumerate(array.cast(_binary(array.type))):
                try:
                    (value.as_py() or b"").decode("utf-8")
                except UnicodeDecodeError as error:
                    found.setdefault(i, f"'{name}': byte {value.as_py()[error.start]:#04x} is not UTF-8")
    return found


def _binary(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    return pa.large_binary() if pa.types.is_large_string(kind) else pa.binary()


def _raw(batch: pa.RecordBatch, row: int) -> bytes:
    """The row as a JSON object."""
    return json.dumps(
        {name: _value(array, row) for name, array in zip(batch.schema.names, batch.columns, strict=True)},
        ensure_ascii=False,
    ).encode("utf-8")


def _value(array: pa.Array, row: int) -> Any:
    import pyarrow as pa

    for kind in (array.type, pa.binary(), pa.string()):
        with suppress(pa.ArrowException, ValueError, OverflowError):
            return as_json(array.slice(row, 1).cast(kind)[0].as_py())
    return None


def _fault(field: pa.Field, name: str) -> str | None:
    import pyarrow.types as pt

    kind = field.type.value_type if pt.is_dictionary(field.type) else field.type
    text = pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind) or pt.is_null(kind)
    return None if text else f"{name}: '{field.name}' is {field.type}"
