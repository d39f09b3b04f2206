"""Writers of rows with their aspects, by the ending of the output, and of rejects."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import PurePath
from typing import IO, TYPE_CHECKING, Any

from reviews_parsing.batch.columns import ASPECTS, FOREIGN, LANGUAGE, Column, added_columns, column_names, merge_columns
from reviews_parsing.batch.readers import Reader
from reviews_parsing.batch.readers.delimited import encode_row
from reviews_parsing.batch.rows import Chunk, Row
from reviews_parsing.errors import DataError
from reviews_parsing.io import filesystems
from reviews_parsing.io.filesystems import printable
from reviews_parsing.io.formats import CSV, JSON_LINES, PARQUET, TAB_ENDINGS
from reviews_parsing.schema import ParsedReview, aspects_arrow_type

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

Write = Callable[[Chunk, Sequence[ParsedReview]], None]
"""Function that writes a chunk with the review of each of its rows."""
Writer = Callable[[IO[bytes], Sequence[Sequence[Column]], bool], AbstractContextManager[Write]]
"""Writer of a format: from a new file, the columns of every input, and whether reviews have a language."""

ROW_GROUP_ROWS, ROW_GROUP_BYTES = 10_240, 2**24
"""A row group of Parquet ends after this many rows, or, if texts are long, after this many bytes."""


def open_writer(
    output: str, file: IO[bytes], columns: Sequence[Sequence[Column]], with_languages: bool
) -> AbstractContextManager[Write]:
    """Return the writer of a file by the ending of `output`."""
    return _WRITERS[PurePath(output).suffix.lower()](file, columns, with_languages)


def callback_writer(
    on_rows: Callable[[list[Row]], None] | None, columns: Sequence[Sequence[Column]], with_languages: bool
) -> Write:
    """Return a writer that hands the rows to a function, or drops them."""
    added = added_columns(column_names(columns), with_languages)
    return lambda chunk, reviews: on_rows(_parsed_rows(chunk, reviews, added)) if on_rows else None


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
    _require_target(output, readers)


def require_rejects(rejects: str, output: str | None, readers: Sequence[Reader]) -> None:
    """Raise DataError if the file of rejects cannot be written: without rejects, an old file is removed."""
    if output is not None and filesystems.absolute(rejects) == filesystems.absolute(output):
        raise DataError(f"{printable(rejects)} is also the output: give another file for the rejects")
    _require_target(rejects, readers)


def _require_target(target: str, readers: Sequence[Reader]) -> None:
    location = filesystems.absolute(target)
    if any(reader.input.location == location for reader in readers):
        raise DataError(f"{printable(target)} is also an input: write to another file")
    filesystems.require_writable(target)


@contextmanager
def _json_writer(file: IO[bytes], columns: Sequence[Sequence[Column]], with_languages: bool) -> Iterator[Write]:
    added = added_columns(column_names(columns), with_languages)

    def write(chunk: Chunk, reviews: Sequence[ParsedReview]) -> None:
        rows = _parsed_rows(chunk, reviews, added)
        file.writelines(json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n" for row in rows)

    yield write


@contextmanager
def _delimited_writer(
    file: IO[bytes], columns: Sequence[Sequence[Column]], with_languages: bool, delimiter: str
) -> Iterator[Write]:
    names = column_names(columns)
    added = added_columns(names, with_languages)
    header = [*names, *added]

    def write(chunk: Chunk, reviews: Sequence[ParsedReview]) -> None:
        for row in _parsed_rows(chunk, reviews, added):
            file.write(encode_row(map(row.get, header), delimiter).encode("utf-8"))

    file.write(encode_row(header, delimiter).encode("utf-8"))
    yield write


@contextmanager
def _parquet_writer(file: IO[bytes], columns: Sequence[Sequence[Column]], with_languages: bool) -> Iterator[Write]:
    with parquet_writer(file, merge_columns(columns), with_languages) as (write, _):
        yield write


@contextmanager
def parquet_writer(
    file: IO[bytes], fields: Sequence[pa.Field], with_languages: bool
) -> Iterator[tuple[Write, pq.ParquetWriter]]:
    """Write a Parquet file with these columns and those of the reviews; yields its write function and its writer."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {ASPECTS: aspects_arrow_type(), LANGUAGE: pa.string(), FOREIGN: pa.bool_()}
    added = added_columns((field.name for field in fields), with_languages)
    schema = pa.schema([*fields, *((name, types[name]) for name in added)])
    pending: list[pa.RecordBatch] = []

    def write(chunk: Chunk, reviews: Sequence[ParsedReview]) -> None:
        results = [pa.array([_result(review, name) for review in reviews], types[name]) for name in added]
        arrays = [*chunk.arrays(fields), *results]
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


def _parsed_rows(chunk: Chunk, reviews: Sequence[ParsedReview], added: Sequence[str]) -> list[Row]:
    """Return the rows of a chunk with the `added` columns."""
    return [
        {**row, **{name: _result(review, name) for name in added}}
        for row, review in zip(chunk.rows(), reviews, strict=True)
    ]


def _result(review: ParsedReview, name: str) -> Any:
    """Return the value of an added column."""
    if name == ASPECTS:
        return review.to_json()
    # A text whose language was not identified is neither foreign nor read.
    return review.language if name == LANGUAGE or review.language is None else review.foreign
