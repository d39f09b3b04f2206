"""What every input can do: be looked through, and give its rows part by part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from reviews_parsing.batch.chunks import Chunk
from reviews_parsing.batch.columns import Column
from reviews_parsing.batch.lines import Place
from reviews_parsing.errors import DataError
from reviews_parsing.io import filesystems
from reviews_parsing.io.filesystems import Stat

PART_ROWS, PART_BYTES = 4096, 2**25
"""A part ends at as many rows, or, where they are long, at as many bytes."""
CHUNK_BYTES = 2**20
"""What is read at once ends at as many bytes, or at as many rows as the parser takes at once."""


class Part(NamedTuple):
    """Rows that follow each other in one input: `source` is its number, `rows` counts those that cannot be read too."""

    number: int
    source: int
    start: Place
    rows: int


@dataclass(frozen=True, slots=True)
class Input:
    """A file: what messages call it, where it is, and how it looked when it was first seen.

    `copied`: it is a copy that this run has made of standard input.
    """

    name: str
    where: str
    stat: Stat
    copied: bool = False

    def refuse_change(self) -> None:
        """Raises DataError where the file is not what it was."""
        if not self.copied and filesystems.stat(self.where) != self.stat:
            raise DataError(f"{self.name} has changed while it was read: start again when it is whole")


class Scan(NamedTuple):
    """What is in an input: its columns, and where its parts begin with the rows of each."""

    columns: list[Column]
    parts: list[tuple[Place, int]]


class Source(Protocol):
    """An input that can be read more than once."""

    @property
    def input(self) -> Input:
        """The file."""

    def scan(self, part_rows: int) -> Scan:
        """Look it through. Raises DataError where it cannot be read, or holds nothing."""

    def chunks(self, parts: Sequence[Part], column: str | None) -> Iterator[tuple[Part, Chunk]]:
        """The rows of parts that follow each other, each part in one chunk or more.

        Rows without a text in `column` are rejects; None takes all rows. Raises DataError where the input cannot be
        read, or is shorter than it was.
        """
