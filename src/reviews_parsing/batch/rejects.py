"""Where the rows go that cannot be parsed: a JSONL file, whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import PurePath
from tempfile import TemporaryFile
from typing import Protocol

from reviews_parsing.batch.flow import Parsed
from reviews_parsing.io import filesystems


class Keep(Protocol):
    def __call__(self, some: Parsed) -> None:
        """Note the rejects among these rows."""


def beside(output: str) -> str:
    """Where the rejects of an output go if nobody says: parsed.parquet's are parsed.rejects.jsonl."""
    return f"{output.removesuffix(PurePath(output).suffix)}.rejects.jsonl"


@contextmanager
def to_file(name: str, always: bool) -> Iterator[Keep]:
    """Write to `name` at the end of the block, if all went well; a file that is there is of a run before.

    Where there are none the file is written if `always`, else there is none.
    """
    with TemporaryFile(prefix="reviews-parsing-") as file:

        def keep(some: Parsed) -> None:
            file.writelines(lines(some))

        yield keep
        if file.tell() or always:
            file.seek(0)
            with filesystems.replacing(name) as temporary, temporary.open("xb") as target:
                shutil.copyfileobj(file, target)
        elif filesystems.stat(name):
            filesystems.remove(name)


def lines(some: Parsed) -> Iterable[bytes]:
    """The rejects as lines of JSON."""
    return (reject.to_json(some.chunk.name).encode("utf-8") for reject in some.chunk.rejects)


def nowhere(_: Parsed) -> None:
    """Rejects that nobody keeps are only counted."""
