"""The first rows of a file come before a full chunk is read and parsed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reviews_parsing.batch import parse_files
from reviews_parsing.batch.rows import Row
from reviews_parsing.parser import FIRST_CHUNK_TEXTS, AspectParser

TEXTS = [f"Dish {number} was great." for number in range(100)]


def write(path: Path) -> None:
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"text": TEXTS}), path)
    else:
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS), encoding="utf-8")


@pytest.mark.parametrize("name", ["reviews.jsonl", "reviews.parquet"])
def test_the_first_rows_are_few_and_all_rows_come_in_order(name: str, parser: AspectParser, tmp_path: Path) -> None:
    write(tmp_path / name)
    chunks: list[list[Row]] = []
    parse_files(parser, [str(tmp_path / name)], on_rows=lambda rows: chunks.append(list(rows)))
    assert len(chunks[0]) == FIRST_CHUNK_TEXTS
    assert [row["text"] for rows in chunks for row in rows] == TEXTS


def test_the_first_answers_of_a_stream_need_few_texts(parser: AspectParser) -> None:
    """The parser works on the next chunk meanwhile, and reads no text beyond it."""
    read: list[str] = []

    def stream() -> Iterable[str]:
        for text in TEXTS * 10:
            read.append(text)
            yield text

    first = next(iter(parser.parse_iter(stream())))
    assert first.text == TEXTS[0]
    assert len(read) <= FIRST_CHUNK_TEXTS + 256
