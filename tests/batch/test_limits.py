"""Small files cost little: recovery in delimited text is linear, and unpacked bytes, columns and cells are bounded."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import sys
import zipfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reviews_parsing.batch import Limits, ReadOptions, read_texts
from reviews_parsing.batch.readers import Layout
from reviews_parsing.batch.readers.delimited import DelimitedRows
from reviews_parsing.batch.readers.lines import Line
from reviews_parsing.batch.rows import Position
from reviews_parsing.errors import DataError

MAX_GROWTH = 2.3
MIB = 2**20


def split(content: bytes) -> Iterator[Line]:
    offset = 0
    for number, data in enumerate(content.splitlines(keepends=True), start=1):
        yield Line(Position(offset, number), data)
        offset += len(data)


def work(content: bytes, max_cell: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return the calls made and the bytes parsed while all rows are read."""
    calls = parsed = 0
    original = csv.reader

    def counted(lines: Any, **options: Any) -> Any:
        def texts() -> Iterator[str]:
            nonlocal parsed
            for text in lines:
                parsed += len(text)
                yield text

        return original(texts(), **options)

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    with monkeypatch.context() as patched:
        patched.setattr("reviews_parsing.batch.readers.delimited.csv.reader", counted)
        rows = DelimitedRows(split(content), Layout("csv"), max_cell)
        previous = sys.getprofile()
        sys.setprofile(count)
        try:
            for _ in rows:
                pass
        finally:
            sys.setprofile(previous)
    return calls + parsed


pieces = st.sampled_from(['a","', '"', 'x,"y', '"a"b', '""', "z", ',"', '"\n', "\n", 'b"c', '",', "\r\n", '\\"'])


@settings(max_examples=150, deadline=None)
@given(
    pattern=st.lists(pieces, min_size=1, max_size=6).map("".join),
    prefix=st.sampled_from(["", '"', 'a,"b\n']),
    data=st.data(),
)
def test_recovery_is_linear(pattern: str, prefix: str, data: st.DataObject) -> None:
    max_cell = data.draw(st.sampled_from([50, 300, 2 * MIB]))
    line = pattern if pattern.endswith("\n") else f"{pattern}\n"
    with pytest.MonkeyPatch.context() as monkeypatch:
        costs = [work((prefix + line * times).encode(), max_cell, monkeypatch) for times in (200, 400, 800)]
    assert costs[1] <= MAX_GROWTH * costs[0]
    assert costs[2] <= MAX_GROWTH * costs[1]


@pytest.mark.parametrize("line", [b'a","\n', b'"\n', b'1,"a"b\n', b'"a","b"c","d\n', b'x,""y\n'])
def test_no_row_of_a_hostile_file_is_lost(line: bytes) -> None:
    content = b"id,text\n" + line * 2000
    rows = list(DelimitedRows(split(content), Layout("csv"), 2 * MIB))
    raw = b"".join(record.raw for record, _ in rows)
    assert raw == content


def refusal(path: Path, content: bytes, **limits: int) -> str:
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(read_texts([str(path)], None, ReadOptions(limits=Limits(**limits))))
    return str(caught.value)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_unpacked_bytes(tmp_path: Path, pack: Any) -> None:
    content = pack(b"id,text\n" + b"1,Nice soup\n" * 100_000)
    message = refusal(tmp_path / "a.csv", content, max_unpacked=MIB)
    assert "unpacks from" in message
    assert "raise --max-unpacked" in message
    (tmp_path / "a.csv").write_bytes(content)
    rows = read_texts([str(tmp_path / "a.csv")], None, ReadOptions(limits=Limits(max_unpacked=2 * MIB)))
    assert sum(1 for _ in rows) == 100_000


def test_a_bomb_ends_before_it_is_unpacked(tmp_path: Path) -> None:
    """Half a GiB in some 500 kB: the default bound is 256 MiB."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1) as file:
        file.write(b"id,text\n")
        for _ in range(520):
            file.write(b"x" * MIB)
    assert "raise --max-unpacked" in refusal(tmp_path / "a.csv", packed.getvalue())


def test_bad_lines_in_a_small_archive(tmp_path: Path) -> None:
    content = gzip.compress(b"id,text\n1,Nice soup\n" + b'a","\n' * 400_000)
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    assert len(content) < 20_000
    with pytest.raises(DataError, match=r"a\.csv:3: "):
        list(read_texts([str(path)]))


@pytest.mark.parametrize(
    "content",
    [
        ",".join(["text", *(f"c{n}" for n in range(200_000))]).encode() + b"\n",
        b"".join(json.dumps({"text": "Nice", f"c{n}": 1}).encode() + b"\n" for n in range(2100)),
        json.dumps({"text": "Nice", **{f"c{n}": 1 for n in range(2100)}}).encode(),
    ],
    ids=["header", "keys of many objects", "keys of one object"],
)
def test_columns(tmp_path: Path, content: bytes) -> None:
    assert "more than 2,000 columns: if it is sound, raise --max-columns" in refusal(tmp_path / "a.csv", content)
    if content.startswith(b"{"):
        (tmp_path / "a.csv").write_bytes(content)
        options = ReadOptions(limits=Limits(max_columns=2200))
        assert next(iter(read_texts([str(tmp_path / "a.csv")], None, options)))[0] == "Nice"


def test_columns_of_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["Nice"], **{f"c{n}": [1] for n in range(60)}}), tmp_path / "in.parquet")
    content = (tmp_path / "in.parquet").read_bytes()
    assert "more than 50 columns" in refusal(tmp_path / "a.parquet", content, max_columns=50)


def test_a_parquet_file_that_becomes_large(tmp_path: Path) -> None:
    """Ten million times the same long value: small in the file, by its dictionary and its runs."""
    table = pa.table({"text": pa.array(["x" * 1000] * 500_000).dictionary_encode()})
    pq.write_table(table, tmp_path / "in.parquet", compression="zstd")
    content = (tmp_path / "in.parquet").read_bytes()
    assert len(content) < 100_000
    assert "raise --max-unpacked" in refusal(tmp_path / "a.parquet", content)


def test_long_values_of_a_dictionary_are_rejects(tmp_path: Path) -> None:
    values = ["Nice soup", "x" * 5000]
    table = pa.table({"text": pa.array(values * 500).dictionary_encode()})
    pq.write_table(table, tmp_path / "in.parquet")
    content = (tmp_path / "in.parquet").read_bytes()
    assert "a text of more than 1000 bytes" in refusal(tmp_path / "a.parquet", content, max_cell=1000)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"id,text\n1," + b"x" * 3000 + b"\n"),
        ("a.csv", b'id,text\n1,"' + b"x\n" * 3000 + b'"\n'),
        ("a.jsonl", b'{"text": "Nice"}\n{"text": "' + b"x" * 3000 + b'"}\n'),
        ("a.json", json.dumps([{"text": "Nice"}, {"text": "x" * 3000}], indent=1).encode()),
        ("a.txt", b"Nice\n" + b"x" * 3000 + b"\n"),
    ],
)
def test_cells(tmp_path: Path, name: str, content: bytes) -> None:
    assert "a row of more than 2000 bytes" in refusal(tmp_path / name, content, max_cell=2000)
    options = ReadOptions(limits=Limits(max_cell=10_000))
    assert len(list(read_texts([str(tmp_path / name)], None, options))) in (1, 2)


def test_a_workbook_that_becomes_large(tmp_path: Path) -> None:
    workbook = openpyxl.Workbook()
    workbook.active.append(["text"])
    workbook.save(tmp_path / "in.xlsx")
    packed = io.BytesIO()
    with zipfile.ZipFile(tmp_path / "in.xlsx") as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
        target.writestr("xl/media/image1.png", bytes(300 * MIB))
    assert "raise --max-unpacked" in refusal(tmp_path / "a.xlsx", packed.getvalue())


@pytest.mark.parametrize("content", [b"[" * 200_000, b'{"a":' * 200_000, b'[{"text": "Nice", "x": ' + b"[" * 100_000])
def test_nesting(tmp_path: Path, content: bytes) -> None:
    assert "not JSON" in refusal(tmp_path / "a.json", content) or "row of more" in refusal(tmp_path / "a.json", content)


def test_a_sample_is_all_that_detection_reads(tmp_path: Path) -> None:
    """The dialect of a large file is found from its beginning."""
    from reviews_parsing.batch.readers.detection import detect_layout
    from reviews_parsing.io import filesystems

    path = tmp_path / "a.csv"
    path.write_bytes(b"id;text\n" + b"1;Nice soup, warm bread\n" * 400_000)
    stat = filesystems.stat(str(path))
    assert stat is not None
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    previous = sys.getprofile()
    sys.setprofile(count)
    try:
        layout = detect_layout(str(path), "a.csv", stat, ReadOptions(), None)
    finally:
        sys.setprofile(previous)
    assert (layout.delimiter, layout.header_line) == (";", 1)
    assert calls < 5_000_000
    assert len(list(islice(read_texts([str(path)]), 3))) == 3
