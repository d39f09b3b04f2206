"""Parse whole files."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from reviews_parsing.batch import columns, sinks, sources
from reviews_parsing.batch.chunks import Chunk, Row
from reviews_parsing.batch.sources import Source
from reviews_parsing.parser import AspectParser
from reviews_parsing.schema import ParsedReview


@dataclass(frozen=True, slots=True)
class Report:
    """What was done. `rows` were read, `parsed` of them held a text, in which `aspects` were found.

    `counts` is the number of aspects of each (category, polarity), the most frequent first; a polarity is None where
    the model knows none.
    """

    rows: int
    parsed: int
    aspects: int
    seconds: float
    counts: Mapping[tuple[str, str | None], int]


def parse_files(
    parser: AspectParser,
    inputs: Sequence[str],
    output: Path | None = None,
    *,
    text_column: str | None = None,
    min_score: float = 0.0,
    spans_only: bool = False,
    progress: Callable[[int, int, int], None] | None = None,
    on_rows: Callable[[list[Row]], None] | None = None,
) -> Report:
    """Parse every row of the inputs (.csv, .tsv, .jsonl, .ndjson, .parquet, a text form with .gz; - is standard input).

    To `output` (.parquet, .jsonl, .ndjson, .csv, .tsv) go all columns that came in, of all inputs, and `aspects`: in
    Parquet `schema.aspects_arrow_type()`, in JSONL an array, in CSV that array as a string. Without `output`, `on_rows`
    gets the rows of JSONL, some hundred at a time. A row without a text has no aspects. Inputs are checked to their
    ends before parsing begins; memory does not depend on their size. `progress` is told, after each row, the bytes of
    all inputs that are done, all their bytes, and the rows that are done.

    Raises DataError where an input cannot be read or the output not be written; then there is no output.
    """
    tally = _Tally(time.perf_counter())
    if output is not None:
        sinks.check(output, inputs)
    with ExitStack() as stack:
        opened = stack.enter_context(sources.opened(inputs))
        found = [source.columns() for source in opened]
        texts = [columns.text_column(its, source.name, text_column) for source, its in zip(opened, found, strict=True)]
        write = sinks.to_function(on_rows) if output is None else stack.enter_context(sinks.to_file(output, found))
        before, total = 0, sum(source.size for source in opened)
        for source, text in zip(opened, texts, strict=True):
            # Closed as soon as anything fails, not when the failure's traceback is forgotten: it holds the file.
            chunks = stack.enter_context(closing(_parsed(parser, source, text, min_score, spans_only)))
            for chunk, reviews in chunks:
                parsed = []
                for done, review in reviews:
                    parsed.append(review.to_json())
                    tally.add(review)
                    if progress is not None:
                        progress(before + done, total, tally.rows)
                write(chunk, parsed)
            before += source.size
    return tally.report()


def _parsed(
    parser: AspectParser, source: Source, column: str, min_score: float, spans_only: bool
) -> Generator[tuple[Chunk, Iterator[tuple[int, ParsedReview]]]]:
    """Each chunk with, for each of its rows as it is parsed, (bytes of the source that are done, the review)."""
    start = 0
    for chunk in source.chunks():
        texts = [text or "" for text in chunk.texts(column)]
        ends = (start + (chunk.position - start) * row // len(texts) for row in range(1, len(texts) + 1))
        yield chunk, zip(ends, parser.parse_iter(texts, min_score, spans_only), strict=True)
        start = chunk.position


@dataclass
class _Tally:
    """What a report counts, while it is counted."""

    started: float
    rows: int = 0
    parsed: int = 0
    counts: Counter[tuple[str, str | None]] = field(default_factory=Counter)

    def add(self, review: ParsedReview) -> None:
        self.rows += 1
        self.parsed += bool(review.text.strip())
        self.counts.update((aspect.entity_group, aspect.polarity) for aspect in review.aspects)

    def report(self) -> Report:
        seconds = time.perf_counter() - self.started
        return Report(self.rows, self.parsed, self.counts.total(), seconds, dict(self.counts.most_common()))
