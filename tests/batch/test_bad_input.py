"""A file that cannot be read is refused with one line that says where, before anything is parsed or written."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reviews_parsing.batch import parse_files, read_rows
from reviews_parsing.errors import DataError
from reviews_parsing.parser import AspectParser

GOOD = b"id,text\n1,Fine soup\n"


def refused(
    parser: AspectParser, *inputs: Path | str, output: str = "out.jsonl", text_column: str | None = None
) -> str:
    """Return the error message, after a check that no row was parsed or written."""
    folder = Path(inputs[0]).parent
    before = sorted(folder.iterdir())
    parsed: list[tuple[int, int, int]] = []
    with pytest.raises(DataError) as caught:
        parse_files(
            parser,
            [str(path) for path in inputs],
            folder / output,
            text_column=text_column,
            progress=lambda *done: parsed.append(done),
        )
    assert (sorted(folder.iterdir()), parsed) == (before, [])
    assert not {file.path for file in psutil.Process().open_files()} & {str(path) for path in inputs}
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"", "a.csv is empty"),
        ("a.csv", b"\xef\xbb\xbf\n\n", "a.csv is empty"),
        ("a.csv", b"text,id,id\nFine,1,2\n", "a.csv has two columns 'id'"),
        ("a.csv", b"text,aspects\nFine,[]\n", "a.csv already has a column 'aspects', where the parsed ones go: rename"),
        ("a.csv", b"id,stars\n1,5\n", "name the text column by --text-column, one of id, stars"),
        (
            "a.csv",
            "text\nCafé\n".encode("cp437"),
            "a.csv:2: byte 0x82 at offset 8 is not UTF-8: save the file as UTF-8, or name its --encoding",
        ),
        ("a.jsonl", b"\n \n", "a.jsonl is empty"),
        ("a.jsonl", b'{"text": null}\n{"text": {"en": "Fine"}}\n', "a.jsonl:2: 'text' is an object, not a string"),
        ("a.jsonl", b'["Fine"]\n{"text"\n', "a.jsonl:1: a list, not an object: write one review a line; no other row"),
        ("a.jsonl", b'{"text": "\\ud83c"}\n', "a.jsonl:1: holds half of a surrogate pair"),
        ("a.jsonl", b'{"text": "Fine", "aspects": []}\n', "already has a column 'aspects'"),
        ("a.jsonl", b'{"text": "Fine", "Aspects": "food"}\n', "already has a column 'Aspects'"),
        ("a.jsonl", b'{"text": "Fine", "aspects": [{"a": 1}, {"a": 2}]}\n', "already has a column 'aspects'"),
        ("a.jsonl.gz", b'{"text": "Fine"}\n', "a.jsonl.gz cannot be read (Not a gzipped file"),
        ("a.csv.gz", gzip.compress(GOOD, mtime=0)[:-9], "a.csv.gz cannot be read (Compressed file ended before"),
        ("a.parquet", GOOD, "a.parquet cannot be read"),
        ("a.xlsx", GOOD, "a.xlsx is not a workbook that can be read"),
        ("a.gz", GOOD, "a.gz cannot be read (Not a gzipped file"),
        ("a.dat", b"Fine soup\nSlow waiter\n", "a.dat is neither JSON nor clearly delimited text: give --delimiter"),
        ("a.jsonl.zst", b'{"text": "Fine"}\n', "a.jsonl.zst cannot be read (ZSTD decompress failed"),
    ],
)
def test_a_bad_file(parser: AspectParser, tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert said in refused(parser, tmp_path / name)


def test_files_that_are_not_there(parser: AspectParser, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(GOOD)
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    assert "b.csv does not exist" in refused(parser, tmp_path / "a.csv", tmp_path / "b.csv")
    assert "a.csv is named twice" in refused(parser, tmp_path / "a.csv", tmp_path / "[a].csv")
    assert "folder.csv holds no file that ends in .csv, .tsv" in refused(parser, tmp_path / "folder.csv")
    assert "x*.csv matches no file that ends in" in refused(parser, tmp_path / "x*.csv")
    assert "pipe.csv is not a regular file" in refused(parser, tmp_path / "pipe.csv")
    with pytest.raises(DataError, match="at least one file"):
        parse_files(parser, [])


def test_a_text_column_that_is_not_there(parser: AspectParser, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(GOOD)
    message = refused(parser, tmp_path / "a.csv", text_column="Text")
    assert message.endswith("a.csv has no column 'Text': name the text column by --text-column, one of id, text")


def test_texts_of_another_type_in_parquet(parser: AspectParser, tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [1, 2], "raw": [b"x", b"y"]}), tmp_path / "a.parquet")
    assert "'text' is int64, not a string" in refused(parser, tmp_path / "a.parquet")
    assert "'raw' is binary, not a string" in refused(parser, tmp_path / "a.parquet", text_column="raw")


def test_two_parquet_columns_of_one_name(parser: AspectParser, tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_arrays([pa.array(["x"]), pa.array(["y"])], ["text", "text"]), tmp_path / "a.parquet")
    assert "a.parquet has two columns 'text'" in refused(parser, tmp_path / "a.parquet")


def test_damage_in_the_middle_of_a_parquet_file(parser: AspectParser, tmp_path: Path) -> None:
    path, output = tmp_path / "a.parquet", tmp_path / "out.csv"
    pq.write_table(pa.table({"text": ["Fine soup"] * 5000, "id": list(range(5000))}), path)
    content = bytearray(path.read_bytes())
    content[200:2000] = bytes(1800)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.parquet cannot be read"):
        parse_files(parser, [str(path)], output)
    assert list(tmp_path.iterdir()) == [path]


def test_outputs_that_cannot_be(parser: AspectParser, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_bytes(GOOD)
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "link.csv").symlink_to(source)
    known = "give one of .parquet, .jsonl, .ndjson, .csv, .tsv, or a folder/"
    assert f"unknown ending '.doc': {known}" in refused(parser, source, output="out.doc")
    assert "a.csv is also an input: write to another file" in refused(parser, source, output="a.csv")
    assert "link.csv is also an input" in refused(parser, source, output="link.csv")
    assert "only a folder of parts can be resumed" in str(caught(parser, source, tmp_path / "out.csv", resume=True))
    assert "rejects lie in the folder" in str(caught(parser, source, tmp_path / "new", rejects_file="rejects.jsonl"))
    assert "nowhere is not a folder" in refused(parser, source, output="nowhere/out.csv")
    assert source.read_bytes() == GOOD


def caught(parser: AspectParser, source: Path, output: Path, **options: Any) -> DataError:
    with pytest.raises(DataError) as error:
        parse_files(parser, [str(source)], output, **options)
    assert not output.exists()
    return error.value


def test_reading_says_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(GOOD + b"2\n")
    with pytest.raises(DataError, match=r"a\.csv:3: 1 values"):
        list(read_rows([str(tmp_path / "a.csv")]))
