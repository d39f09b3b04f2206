"""Inputs that are read line by line: CSV, TSV, JSONL and plain text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from reviews_parsing.batch.chunks import Row, Rows
from reviews_parsing.batch.columns import Column
from reviews_parsing.batch.kinds import Kind, Scalar, arrow_type, kind_of, merge
from reviews_parsing.batch.lines import Lines
from reviews_parsing.data import jsonl
from reviews_parsing.errors import DataError
from reviews_parsing.parser import CHUNK_TEXTS

Read = Callable[[Lines], tuple[list[str], Iterator[tuple[int, Row]]]]
"""A format: lines in; the names that a header declares, and (line, row) of each row out."""


def read_json(lines: Lines) -> tuple[list[str], Iterator[tuple[int, Row]]]:
    """An object a line. Raises DataError naming the line that is none."""
    return [], jsonl.objects(enumerate(lines, start=1), lines.name)


def read_plain(lines: Lines) -> tuple[list[str], Iterator[tuple[int, Row]]]:
    """A text a line, in the column `text`; blank lines are left out."""
    texts = ((number, line.removesuffix("\n").removesuffix("\r")) for number, line in enumerate(lines, start=1))
    return [], ((number, {"text": text}) for number, text in texts if text.strip())


@dataclass(frozen=True, slots=True)
class Textual:
    """A file that `read` can read. `name` is what messages call it, `size` its bytes."""

    path: Path
    name: str
    size: int
    read: Read

    def columns(self) -> list[Column]:
        """Read the file through, so that what is wrong in its last line is known before the first is parsed.

        Raises DataError where any of it cannot be read, or it is empty.
        """
        import pyarrow as pa

        with Lines(self.path, self.name) as lines:
            declared, records = self.read(lines)
            kinds: dict[str, Kind] = dict.fromkeys(declared, Scalar.NULL)
            faults: dict[str, str] = {}
            for line, row in records:
                for name, value in row.items():
                    kind, known = kind_of(value), kinds.get(name, Scalar.NULL)
                    if kind is not Scalar.STRING and value is not None and name not in faults:
                        faults[name] = f"{self.name}:{line}: '{name}' is {_english(value)}"
                    if name not in kinds or kind != known:
                        kinds[name] = merge(known, kind)
        if not kinds:
            raise DataError(f"{self.name} is empty: give a file with at least one review")
        return [Column(pa.field(name, arrow_type(kind)), faults.get(name)) for name, kind in kinds.items()]

    def chunks(self) -> Iterator[Rows]:
        """Raises DataError where the file cannot be read."""
        with Lines(self.path, self.name) as lines:
            _, records = self.read(lines)
            while values := [row for _, row in islice(records, CHUNK_TEXTS)]:
                yield Rows(self.name, values, lines.position)


def _english(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    return "a number" if isinstance(value, int | float) else "a list" if isinstance(value, list) else "an object"
