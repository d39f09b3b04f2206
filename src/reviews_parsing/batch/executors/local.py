"""Parsing in this process: while some rows are parsed, the next are read."""

from __future__ import annotations

import io
import json
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from itertools import groupby
from typing import NamedTuple

from reviews_parsing.batch import writers
from reviews_parsing.batch.executors import PartsJob
from reviews_parsing.batch.parsers import ReviewParser
from reviews_parsing.batch.plan import Options, Plan
from reviews_parsing.batch.readers import Part
from reviews_parsing.batch.rows import Chunk
from reviews_parsing.batch.stats import Stats
from reviews_parsing.io.readahead import read_ahead
from reviews_parsing.schema import ParsedReview

READ_AHEAD_CHUNKS = 4
STATS_KEY = b"reviews_parsing"
"""Key of the counters in the footer of a part."""


class ParsedChunk(NamedTuple):
    """Rows of a part, and the reviews of those that were not rejected."""

    part: Part
    chunk: Chunk
    reviews: list[ParsedReview]


class LocalExecutor:
    """Parses parts in this process."""

    def run(self, job: PartsJob) -> Generator[tuple[int, Stats]]:
        """Parse the parts in this process; yield rows and statistics of each."""
        with closing(parse_chunks(job.parser, job.plan, job.parts, job.options)) as parsed:
            for part, group in groupby(parsed, lambda parsed_chunk: parsed_chunk.part):
                data, rejects, stats = io.BytesIO(), io.BytesIO(), Stats()
                with writers.parquet_writer(data, job.plan.fields) as (write, writer):
                    for _, chunk, reviews in group:
                        write(chunk, [review.to_json() for review in reviews])
                        rejects.writelines(writers.encode_rejects(chunk))
                        stats.add(chunk, reviews)
                        yield len(reviews) + len(chunk.rejects), Stats()
                    writer.add_key_value_metadata({STATS_KEY: json.dumps(stats.to_json())})
                if stats.rejected:
                    job.folder.write(rejects_name(part.number), rejects.getvalue())
                job.folder.write(part_name(part.number), data.getvalue())
                yield 0, stats


def part_name(number: int) -> str:
    """Return the file name of a part."""
    return f"part-{number:05d}.parquet"


def rejects_name(number: int) -> str:
    """Return the file name of the rejected rows of a part."""
    return f"_rejects-{number:05d}.jsonl"


def parse_chunks(parser: ReviewParser, plan: Plan, parts: Sequence[Part], options: Options) -> Generator[ParsedChunk]:
    """Yield the rows of `parts` in their order with their reviews. Raises DataError if an input cannot be read."""
    waiting: deque[tuple[Part, Chunk, int]] = deque()
    chunks = read_ahead(plan.chunks(parts), READ_AHEAD_CHUNKS)

    def read_texts() -> Iterator[str]:
        for part, chunk in chunks:
            texts = chunk.texts(plan.text_columns[part.source])
            waiting.append((part, chunk, len(texts)))
            for text in texts:
                yield text or ""  # a row without a text has no aspects

    def take_complete(reviews: list[ParsedReview]) -> Iterator[ParsedChunk]:
        """Yield the first waiting chunk with its reviews, and those behind it that hold only rejects."""
        while waiting and len(reviews) == waiting[0][2]:
            part, chunk, _ = waiting.popleft()
            yield ParsedChunk(part, chunk, reviews)
            reviews = []

    reviews: list[ParsedReview] = []
    try:
        for review in parser.parse_iter(read_texts(), options.min_score, options.spans_only):
            if not reviews:
                yield from take_complete([])
            reviews.append(review)
            if len(reviews) == waiting[0][2]:
                yield from take_complete(reviews)
                reviews = []
        yield from take_complete([])
    finally:
        chunks.close()
