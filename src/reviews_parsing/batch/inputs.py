"""Inputs by name: files, folders, globs, URLs and standard input."""

from __future__ import annotations

import hashlib
import shutil
import sys
import warnings
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from reviews_parsing.batch.plan import find_text_column, make_plan, scan_input
from reviews_parsing.batch.readers import PART_ROWS, Input, Part, Reader, ReadOptions
from reviews_parsing.batch.readers.detection import detect_layout, open_reader
from reviews_parsing.batch.readers.dialect import to_options
from reviews_parsing.batch.rows import Row
from reviews_parsing.errors import DataError
from reviews_parsing.io import filesystems, globs
from reviews_parsing.io.filesystems import Stat, printable
from reviews_parsing.io.formats import CSV, is_readable_name, readable_endings
from reviews_parsing.io.mojibake import MojibakeCount, MojibakeWarning
from reviews_parsing.io.staging import temporary_folder

STDIN = "-"
_STDIN_NAME = "standard input"


@contextmanager
def open_inputs(
    names: Sequence[str], options: ReadOptions | None = None, column: str | None = None
) -> Iterator[list[Reader]]:
    """Yield a reader for each file of the names and globs; "-" is standard input, which is copied for the block.

    `column` is the requested text column. Raises DataError if there is no file, or its layout is unknown or unclear.
    """
    if not names:
        raise DataError("no input: give at least one file, or - for standard input")
    if names.count(STDIN) > 1:
        raise DataError("standard input is named twice: give - once")
    files = [file for name in names for file in _expand(name)]
    duplicate, count = Counter(map(filesystems.absolute, files)).most_common(1)[0]
    if count > 1:
        raise DataError(f"{printable(duplicate)} is named twice: give it once")
    options = options or ReadOptions()
    with temporary_folder() as folder:
        yield [_open(file, options, column, folder) for file in files]


def read_rows(inputs: Sequence[str], options: ReadOptions | None = None) -> Generator[Row]:
    """Yield the rows of the inputs one after the other, in types that JSON can hold; of any file that `parse` reads.

    Raises DataError if an input or a row of it cannot be read.

    >>> for row in read_rows(["parsed.parquet"]):
    ...     print(row["aspects"])
    """
    with open_inputs(inputs, options) as readers:
        for reader in readers:
            readable, scan = scan_input(reader, PART_ROWS)
            parts = [Part(number, 0, *part) for number, part in enumerate(scan.parts)]
            for _, chunk in readable.chunks(parts, None):
                for reject in chunk.rejects:
                    raise DataError(f"{reader.input.name}:{reject.line}: {reject.reason}")
                yield from chunk.rows()


def read_texts(
    inputs: Sequence[str], text_column: str | None = None, options: ReadOptions | None = None
) -> Generator[tuple[str, Row]]:
    """Yield (text, the row without it) of the rows of the inputs; the text column is found as `parse_files` does.

    Warns of texts in a wrong encoding after the last one. Raises DataError if there is no such column, or an input or a
    row of it cannot be read.
    """
    mojibake = MojibakeCount()
    with open_inputs(inputs, options, text_column) as readers:
        plan = make_plan(readers, text_column, PART_ROWS)
        for part, chunk in plan.chunks(plan.parts):
            for reject in chunk.rejects:
                raise DataError(f"{chunk.name}:{reject.line}: {reject.reason}")
            column = plan.text_columns[part.source]
            for row, line in zip(chunk.rows(), chunk.lines, strict=True):
                text = row.pop(column, None)
                text = text if isinstance(text, str) else ""
                mojibake.add(text, chunk.name, line)
                yield text, row
    if message := mojibake.describe():
        warnings.warn(message, MojibakeWarning, stacklevel=2)


class Preview(NamedTuple):
    """Layout of a file, as text, its columns, the columns of strings, and the chosen text column.

    `options` read a delimited file in the same layout; None for other formats.
    """

    layout: str
    columns: list[str]
    text_columns: list[str]
    text_column: str | None
    options: ReadOptions | None


def preview_file(name: str, options: ReadOptions | None = None) -> Preview:
    """Look through a file without parsing it; without a clear text column the preview has none.

    Raises DataError if the file cannot be read or its layout is unclear.
    """
    with open_inputs([name], options) as (file,):
        reader, scan = scan_input(file, PART_ROWS)
        names = [column.name for column in scan.columns]
        strings = [column.name for column in scan.columns if column.has_texts]
        try:
            chosen = find_text_column(reader, scan, None)
        except DataError:
            chosen = None
        layout = reader.input.layout
        dialect = to_options(layout) if layout.format == CSV.name else None
        return Preview(layout.describe(), names, strings, chosen, dialect)


def _expand(name: str) -> list[str]:
    """Return the files of a name: the file itself, those in a folder with a readable ending, or those of a glob."""
    if name == STDIN or (not filesystems.is_url(name) and filesystems.stat(name) is not None):
        return [name]
    if globs.is_glob(name):
        files = globs.matches(name)
        problem = "matches no file"
    elif filesystems.is_url(name) or filesystems.is_folder(name):
        if filesystems.is_url(name) and not name.endswith("/") and filesystems.stat(name) is not None:
            return [name]
        files = filesystems.list_files(name)
        problem = "does not exist, or holds no file" if filesystems.is_url(name) else "holds no file"
    elif filesystems.exists(name):
        raise DataError(f"{printable(name)} is not a regular file: give a file, or pipe it into -")
    else:
        raise DataError(f"{printable(name)} does not exist: check the path")
    files = [file for file in files if is_readable_name(file)]
    if not files:
        raise DataError(f"{printable(name)} {problem} that ends in {readable_endings()}: check it")
    return files


def _open(name: str, options: ReadOptions, column: str | None, folder: Path) -> Reader:
    is_copy = name == STDIN
    display_name, location = (
        (_STDIN_NAME, str(folder / "stdin")) if is_copy else (printable(name), filesystems.absolute(name))
    )
    stat = _copy_stdin(Path(location)) if is_copy else filesystems.stat(name)
    if stat is None:
        raise DataError(f"{display_name} does not exist: check the path")
    if stat.size == 0:
        raise DataError(f"{display_name} is empty: give a file with at least one review")
    layout = detect_layout(location, display_name, stat, options, column)
    return open_reader(Input(display_name, location, stat, layout, is_copy), options.limits)


def _copy_stdin(path: Path) -> Stat:
    """Copy standard input to a file, because inputs are read twice; its stamp is the digest of the content."""
    try:
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
    except OSError as error:
        reason = filesystems.error_reason(error)
        raise DataError(
            f"{_STDIN_NAME} cannot be copied to {path.parent} ({reason}): make room, or set TMPDIR"
        ) from None
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Stat(path.stat().st_size, digest)
