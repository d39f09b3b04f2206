"""What is to be done: the inputs cut into parts, always in the same way, and the columns that come out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from reviews_parsing.batch import columns
from reviews_parsing.batch.chunks import Chunk
from reviews_parsing.batch.columns import Column
from reviews_parsing.batch.source import Part, Source

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Options:
    """What changes what comes out."""

    text_column: str | None = None
    min_score: float = 0.0
    spans_only: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Inputs, the column of texts of each, the columns that each has (none where that is not known), and all parts."""

    sources: Sequence[Source]
    texts: Sequence[str]
    columns: Sequence[Sequence[Column]]
    parts: Sequence[Part]

    @property
    def fields(self) -> list[pa.Field]:
        """The columns of all inputs together. Raises DataError where their types disagree."""
        return columns.union(self.columns)

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    def chunks(self, parts: Sequence[Part]) -> Iterator[tuple[Part, Chunk]]:
        """The rows of these parts. Raises DataError where an input has changed, before the last of a part is known."""
        # Parts that follow each other are read in one go: a zipped file can only be read from its beginning.
        for _, group in groupby(enumerate(parts), lambda pair: (pair[1].source, pair[1].number - pair[0])):
            run = [part for _, part in group]
            source = self.sources[run[0].source]
            before: Part | None = None
            for part, chunk in source.chunks(run, self.texts[run[0].source]):
                if before is not None and part is not before:
                    source.input.refuse_change()
                before = part
                yield part, chunk
            source.input.refuse_change()


def make(sources: Sequence[Source], text_column: str | None, part_rows: int) -> Plan:
    """Look through every input. Raises DataError where one cannot be read, or has no column of texts."""
    scans = [source.scan(part_rows) for source in sources]
    texts = [
        columns.text_column(scan.columns, source.input.name, text_column)
        for source, scan in zip(sources, scans, strict=True)
    ]
    cuts = [(number, place, rows) for number, scan in enumerate(scans) for place, rows in scan.parts]
    parts = [Part(number, *cut) for number, cut in enumerate(cuts)]
    return Plan(sources, texts, [scan.columns for scan in scans], parts)
