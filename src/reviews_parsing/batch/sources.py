"""Inputs by their names: files, folders, globs and URLs, each file by its ending, and standard input."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath

from reviews_parsing.batch import delimited, globs
from reviews_parsing.batch.lines import Lines
from reviews_parsing.batch.parquet import Parquet
from reviews_parsing.batch.records import Row
from reviews_parsing.batch.source import PART_ROWS, Input, Part, Source
from reviews_parsing.batch.textual import Read, Textual, read_json, read_plain
from reviews_parsing.errors import DataError
from reviews_parsing.io import filesystems
from reviews_parsing.io.filesystems import Stat

STDIN = "-"
_BY_LINES: dict[str, Read] = {
    ".csv": partial(delimited.read, delimiter=","),
    ".tsv": partial(delimited.read, delimiter="\t"),
    ".jsonl": read_json,
    ".ndjson": read_json,
}
_WITH_CR = (".csv", ".tsv")
_PARQUET = ".parquet"
_ZIPPED = (".gz", ".zst")
_STDIN_NAME = "standard input"
_KNOWN = ", ".join((*_BY_LINES, _PARQUET))


@contextmanager
def opened(inputs: Sequence[str]) -> Iterator[list[Source]]:
    """Each file that the inputs name, "-" being standard input: kept in a temporary file while the block runs.

    Raises DataError where there is none, or its ending is unknown.
    """
    if not inputs:
        raise DataError("no input: give at least one file, or - for standard input")
    if inputs.count(STDIN) > 1:
        raise DataError("standard input is named twice: give - once")
    names = [file for name in inputs for file in _files(name)]
    twin, count = Counter(map(filesystems.absolute, names)).most_common(1)[0]
    if count > 1:
        raise DataError(f"{twin} is named twice: give it once")
    with tempfile.TemporaryDirectory(prefix="reviews-parsing-") as folder:
        yield [_stdin(Path(folder)) if name == STDIN else _file(name) for name in names]


def read_rows(inputs: Sequence[str]) -> Generator[Row]:
    """The rows of the inputs one after the other, as JSON can hold them; what `parse_files` reads and writes.

    Raises DataError where an input or a row of it cannot be read.

    >>> for row in read_rows(["parsed.parquet"]):
    ...     print(row["aspects"])
    """
    with opened(inputs) as sources:
        for number, source in enumerate(sources):
            found = source.scan(PART_ROWS)
            parts = [Part(i, number, place, rows) for i, (place, rows) in enumerate(found.parts)]
            for _, chunk in source.chunks(parts, None):
                for reject in chunk.rejects:
                    raise DataError(f"{source.input.name}:{reject.line}: {reject.reason}")
                yield from chunk.rows()


def reopened(file: Input) -> Source:
    """The source of a file that was opened before, by its ending."""
    ending = _ending(file.where)
    if ending == _PARQUET:
        return Parquet(file)
    if ending not in _BY_LINES:
        return Textual(file, _sniffed(file.where))
    return Textual(file, _BY_LINES[ending], cr=ending in _WITH_CR)


def _ending(name: str) -> str:
    """The ending that says the format: of `reviews.csv.gz` it is `.csv`."""
    path = PurePosixPath(name)
    last = path.suffix.lower()
    return PurePosixPath(path.stem).suffix.lower() if last in _ZIPPED else last


def _format(name: str) -> str | None:
    ending = _ending(name)
    zipped = name.lower().endswith(_ZIPPED)
    return ending if ending in _BY_LINES or (ending == _PARQUET and not zipped) else None


def _files(name: str) -> list[str]:
    """The files that a name stands for: itself, those in a folder of a known ending, or those that a glob matches."""
    if name == STDIN or (not filesystems.is_url(name) and filesystems.is_file(name)):
        return [name]
    if globs.is_glob(name):
        found = [file for file in globs.matches(name) if _format(file)]
        what = "matches no file"
    elif filesystems.is_url(name) or filesystems.is_folder(name):
        if filesystems.is_url(name) and not name.endswith("/") and filesystems.stat(name):
            return [name]
        found = [file for file in filesystems.listed(name) if _format(file)]
        what = "does not exist, or holds no file" if filesystems.is_url(name) else "holds no file"
    elif filesystems.exists(name):
        raise DataError(f"{name} is no regular file: give a file, or pipe it into -")
    else:
        raise DataError(f"{name} does not exist: check the path")
    if not found:
        raise DataError(f"{name} {what} that ends in {_KNOWN}: check it")
    return found


def _file(name: str) -> Source:
    stat = filesystems.stat(name)
    if stat is None:
        raise DataError(f"{name} does not exist: check the path")
    if _format(name) is None:
        ending = PurePosixPath(name).suffix.lower()
        zipped = " or ".join(_ZIPPED)
        raise DataError(f"{name}: the ending '{ending}' says no format: give {_KNOWN}, or a text form with {zipped}")
    if stat.size == 0:
        raise DataError(f"{name} is empty: give a file with at least one review")
    return reopened(Input(name, filesystems.absolute(name), stat))


def _stdin(folder: Path) -> Source:
    """Standard input, copied: to be looked through before the first text is parsed it must be read twice."""
    path = folder / "stdin"
    try:
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
    except OSError as error:
        raise DataError(f"{_STDIN_NAME} cannot be kept in {folder.parent} ({error.strerror}): make room") from None
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return reopened(Input(_STDIN_NAME, str(path), Stat(path.stat().st_size, digest), copied=True))


def _sniffed(where: str) -> Read:
    with Lines(where, _STDIN_NAME) as lines:
        first = next((line.data.lstrip() for line in lines if line.data.strip()), b"")
    return read_json if first.startswith(b"{") else read_plain
