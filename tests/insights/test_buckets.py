"""Parsed files in buckets give the same insights as in folders."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from insights.making import Row, parquet
from reviews_parsing.errors import DataError
from reviews_parsing.insights import analyse
from stores import Store


def test_a_folder_in_a_bucket_says_what_the_same_rows_in_a_file_say(
    bucket: Store, rows: list[Row], parsed: Path, tmp_path: Path
) -> None:
    for number, some in enumerate((rows[:2], rows[2:])):
        part = parquet(tmp_path / "part", some)
        bucket.put(f"reviews/parsed/part-{number:05d}.parquet", part.read_bytes())
    bucket.put("reviews/parsed/_manifest.json", b"{}")
    bucket.put("reviews/parsed/_rejects-00001.jsonl", b"{}")
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    bucket.put("reviews/all.jsonl.gz", gzip.compress(lines.encode()))
    expected = analyse([parsed])
    for path in ("reviews/parsed/", "reviews/parsed", "reviews/*/part-*.parquet", "reviews/all.jsonl.gz"):
        insights = analyse([bucket.url(path)])
        for name in ("categories", "periods", "words", "judgements", "shown"):
            assert getattr(insights, name) == getattr(expected, name), (path, name)


def test_what_cannot_be_read_there_is_one_line_with_its_url(bucket: Store) -> None:
    bucket.put("reviews/half.parquet", b"PAR1 and then nothing")
    bucket.put("reviews/none.jsonl", b"")
    for path, message in (
        ("reviews/half.parquet", "cannot be read"),
        ("reviews/none.jsonl", "is empty"),
        ("reviews/nothing/", "does not exist, or holds no Parquet and no JSONL"),
        ("reviews/*.csv", "matches no file"),
        ("nobodys-bucket/parsed/", "there is no such bucket"),
    ):
        with pytest.raises(DataError) as caught:
            analyse([bucket.url(path)])
        (line,) = str(caught.value).splitlines()
        assert line.startswith(bucket.url(path))
        assert message in line
