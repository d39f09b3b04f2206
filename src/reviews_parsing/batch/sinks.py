"""Where the rows go: a file by its ending, written whole or not at all, or a function."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING, Any

from reviews_parsing.batch import columns, delimited
from reviews_parsing.batch.chunks import Chunk
from reviews_parsing.batch.columns import ASPECTS, Column
from reviews_parsing.batch.records import Row
from reviews_parsing.batch.source import Source
from reviews_parsing.errors import DataError
from reviews_parsing.io import filesystems
from reviews_parsing.schema import aspects_arrow_type

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

Aspects = list[list[dict[str, Any]]]
Write = Callable[[Chunk, Aspects], None]
"""Writes a chunk with the aspects of each of its rows."""
Writer = Callable[[IO[bytes], Sequence[Sequence[Column]]], AbstractContextManager[Write]]
"""A format: a new file and the columns of every input in, a function that writes out."""

ROW_GROUP, ROW_GROUP_BYTES = 10_240, 2**24
"""A row group of Parquet ends at as many rows, or, where texts are long, at as many bytes."""


@contextmanager
def to_file(output: str, inputs: Sequence[Sequence[Column]]) -> Iterator[Write]:
    """Write to a temporary file, which becomes `output` at the end of the block, if all went well.

    Raises DataError where writing fails, as on a full disk.
    """
    with filesystems.replacing(output) as temporary, temporary.open("xb") as file:
        with _WRITERS[PurePath(output).suffix.lower()](file, inputs) as write:
            yield write
        file.flush()
        os.fsync(file.fileno())


def to_function(on_rows: Callable[[list[Row]], None] | None) -> Write:
    """Hand the rows on, if anybody wants them."""
    return lambda chunk, aspects: on_rows(_with_aspects(chunk, aspects)) if on_rows else None


def is_folder(output: str) -> bool:
    """Whether the output is a folder of parts: it says so, it is one, or its name has no ending."""
    if output.endswith("/") or (not filesystems.is_url(output) and filesystems.is_folder(output)):
        return True
    return not PurePath(output).suffix


def check(output: str, inputs: Sequence[Source]) -> None:
    """Raises DataError where nothing could be written to `output`, before any work is done for it."""
    ending = PurePath(output).suffix
    if ending.lower() not in _WRITERS:
        known = ", ".join(_WRITERS)
        raise DataError(f"{output}: the ending '{ending}' says no format: give one of {known}, or a folder/")
    where = filesystems.absolute(output)
    if any(source.input.where == where for source in inputs):
        raise DataError(f"{output} is also an input: write to another file")
    check_folder(output)


def check_folder(output: str) -> None:
    """Raises DataError where the folder that a file goes into is not there, or may not be written to."""
    if filesystems.is_url(output):
        filesystems.refuse_missing_bucket(output)
        return
    folder = Path(output).parent
    if not filesystems.is_folder(str(folder)):
        raise DataError(f"{folder} is no folder: make it, or write elsewhere")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DataError(f"{folder} cannot be written to (no permission): write elsewhere")


@contextmanager
def _json(file: IO[bytes], _: Sequence[Sequence[Column]]) -> Iterator[Write]:
    def write(chunk: Chunk, aspects: Aspects) -> None:
        rows = _with_aspects(chunk, aspects)
        file.writelines(json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n" for row in rows)

    yield write


@contextmanager
def _delimited(file: IO[bytes], inputs: Sequence[Sequence[Column]], delimiter: str) -> Iterator[Write]:
    header = [*columns.names(inputs), ASPECTS]

    def write(chunk: Chunk, aspects: Aspects) -> None:
        for row in _with_aspects(chunk, aspects):
            file.write(delimited.encode(map(row.get, header), delimiter).encode("utf-8"))

    file.write(delimited.encode(header, delimiter).encode("utf-8"))
    yield write


@contextmanager
def _parquet(file: IO[bytes], inputs: Sequence[Sequence[Column]]) -> Iterator[Write]:
    with parquet(file, columns.union(inputs)) as (write, _):
        yield write


@contextmanager
def parquet(file: IO[bytes], fields: Sequence[pa.Field]) -> Iterator[tuple[Write, pq.ParquetWriter]]:
    """A Parquet file with these columns and the aspects."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = aspects_arrow_type()
    schema = pa.schema([*fields, (ASPECTS, kind)])
    waiting: list[pa.RecordBatch] = []

    def write(chunk: Chunk, aspects: Aspects) -> None:
        arrays = [*chunk.arrays(fields), pa.array(aspects, kind)]
        waiting.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
        if sum(map(len, waiting)) >= ROW_GROUP or sum(batch.nbytes for batch in waiting) >= ROW_GROUP_BYTES:
            write_group()

    def write_group() -> None:
        writer.write_table(pa.Table.from_batches(waiting, schema))
        waiting.clear()

    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        yield write, writer
        if waiting:
            write_group()


_WRITERS: dict[str, Writer] = {
    ".parquet": _parquet,
    ".jsonl": _json,
    ".ndjson": _json,
    ".csv": partial(_delimited, delimiter=","),
    ".tsv": partial(_delimited, delimiter="\t"),
}


def _with_aspects(chunk: Chunk, aspects: Aspects) -> list[Row]:
    return [{**row, ASPECTS: found} for row, found in zip(chunk.rows(), aspects, strict=True)]
