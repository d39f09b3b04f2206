"""Writers of rows with their aspects, by the ending of the output, and of rejects."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import PurePath
from typing import IO, TYPE_CHECKING, Any

from reviews_parsing.batch.columns import ASPECTS, Column, column_names, merge_columns
from reviews_parsing.batch.readers import Reader
from reviews_parsing.batch.readers.delimited import encode_row
from reviews_parsing.batch.rows import Chunk, Row
from reviews_parsing.errors import DataError
from reviews_parsing.io import filesystems
from reviews_parsing.io.filesystems import printable
from reviews_parsing.io.formats import CSV, JSON_LINES, PARQUET, TAB_ENDINGS
from reviews_parsing.schema import aspects_arrow_type

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

AspectForms = list[list[dict[str, Any]]]
Write = Callable[[Chunk, AspectForms], None]
"""Function that writes a chunk with the aspects of each of its rows."""
Writer = Callable[[IO[bytes], Sequence[Sequence[Column]]], AbstractContextManager[Write]]
"""Writer of a format: from a new file and the columns of every input."""

ROW_GROUP_ROWS, ROW_GROUP_BYTES = 10_240, 2**24
"""A row group of Parquet ends after this many rows, or, if texts are long, after this many bytes."""


def open_writer(output: str, file: IO[bytes], columns: Sequence[Sequence[Column]]) -> AbstractContextManager[Write]:
    """Return the writer of a file by the ending of `output`."""
    return _WRITERS[PurePath(output).suffix.lower()](file, columns)


def callback_writer(on_rows: Callable[[list[Row]], None] | None) -> Write:
    """Return a writer that hands the rows to a function, or drops them."""
    return lambda chunk, aspects: on_rows(_with_aspects(chunk, aspects)) if on_rows else None


def encode_rejects(chunk: Chunk) -> list[bytes]:
    """Return the rejects of a chunk as lines of JSON."""
    return [reject.to_json(chunk.name).encode("utf-8") for reject in chunk.rejects]


def default_rejects_name(output: str) -> str:
    """Return the file for the rejects of an output: that of parsed.parquet is parsed.rejects.jsonl."""
    return f"{output.removesuffix(PurePath(output).suffix)}.rejects.jsonl"


def is_folder(output: str) -> bool:
    """Return True if the output is a folder of parts: by a slash at its end, by no ending, or because it is one."""
    if output.endswith("/") or filesystems.is_folder(output):
        return True
    return not PurePath(output).suffix


def require_output(output: str, readers: Sequence[Reader]) -> None:
    """Raise DataError if the output cannot be written, before any work is done for it."""
    ending = PurePath(output).suffix
    if ending.lower() not in _WRITERS:
        endings = ", ".join(_WRITERS)
        raise DataError(f"{printable(output)}: unknown ending '{ending}': give one of {endings}, or a folder/")
    location = filesystems.absolute(output)
    if any(reader.input.location == location for reader in readers):
        raise DataError(f"{printable(output)} is also an input: write to another file")
    filesystems.require_writable(output)


@contextmanager
def _json_writer(file: IO[bytes], _: Sequence[Sequence[Column]]) -> Iterator[Write]:
    def write(chunk: Chunk, aspects: AspectForms) -> None:
        rows = _with_aspects(chunk, aspects)
        file.writelines(json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n" for row in rows)

    yield write


@contextmanager
def _delimited_writer(file: IO[bytes], columns: Sequence[Sequence[Column]], delimiter: str) -> Iterator[Write]:
    header = [*column_names(columns), ASPECTS]

    def write(chunk: Chunk, aspects: AspectForms) -> None:
        for row in _with_aspects(chunk, aspects):
            file.write(encode_row(map(row.get, header), delimiter).encode("utf-8"))

    file.write(encode_row(header, delimiter).encode("utf-8"))
    yield write


@contextmanager
def _parquet_writer(file: IO[bytes], columns: Sequence[Sequence[Column]]) -> Iterator[Write]:
    with parquet_writer(file, merge_columns(columns)) as (write, _):
        yield write


@contextmanager
def parquet_writer(file: IO[bytes], fields: Sequence[pa.Field]) -> Iterator[tuple[Write, pq.ParquetWriter]]:
    """Write a Parquet file with these columns and the aspects; yields its write function and its writer."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    aspects_type = aspects_arrow_type()
    schema = pa.schema([*fields, (ASPECTS, aspects_type)])
    pending: list[pa.RecordBatch] = []

    def write(chunk: Chunk, aspects: AspectForms) -> None:
        arrays = [*chunk.arrays(fields), pa.array(aspects, aspects_type)]
        pending.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
        if sum(map(len, pending)) >= ROW_GROUP_ROWS or sum(batch.nbytes for batch in pending) >= ROW_GROUP_BYTES:
            write_group()

    def write_group() -> None:
        writer.write_table(pa.Table.from_batches(pending, schema))
        pending.clear()

    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        yield write, writer
        if pending:
            write_group()


_WRITERS: dict[str, Writer] = {
    **dict.fromkeys(PARQUET.endings, _parquet_writer),
    **dict.fromkeys(JSON_LINES.endings, _json_writer),
    **{
        ending: partial(_delimited_writer, delimiter="\t" if ending in TAB_ENDINGS else ",")
        for ending in CSV.endings[:2]
    },
}


def _with_aspects(chunk: Chunk, aspects: AspectForms) -> list[Row]:
    return [{**row, ASPECTS: forms} for row, forms in zip(chunk.rows(), aspects, strict=True)]
