"""Rows that cannot be parsed are kept with the reason, and nothing stops for them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reviews_parsing.batch import ReadOptions, parse_files
from reviews_parsing.batch.readers import Limits
from reviews_parsing.batch.readers.lines import HEAD_BYTES
from reviews_parsing.errors import DataError
from reviews_parsing.parser import AspectParser

from .tables import read
from .test_joined_files import Silent

LONGEST = Limits().max_cell
CSV = b"id,text\n1,Fine soup\n"
JSON = b'{"id": "1", "text": "Fine soup"}\n'
ACCENTED, JSON_ACCENTED = (content.replace(b"soup", "caf\u00e9".encode()) for content in (CSV, JSON))
LAST = {"csv": b"9,Fine bread\n", "tsv": b"9\tFine bread\n", "jsonl": b'{"id": "9", "text": "Fine bread"}\n'}


def rejected(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def parsed(parser: AspectParser, source: Path, output: str = "out.jsonl") -> tuple[list[Any], list[dict[str, Any]]]:
    """Return the ids of the parsed rows, and the rejected rows."""
    target = source.parent / output
    report = parse_files(parser, [str(source)], target)
    rows, rejects = read(target)[1], target.with_name("out.rejects.jsonl")
    found = rejected(rejects) if rejects.exists() else []
    assert (report.rows, report.rejected) == (len(rows), len(found))
    assert report.rejects == (str(rejects) if found else None)
    assert [reject.pop("input") for reject in found] == [str(source)] * len(found)
    return [row["id"] for row in rows], found


@pytest.mark.parametrize(
    ("name", "content", "line", "reason", "raw"),
    [
        ("a.csv", CSV + b"2,Good, but dear\r\n", 3, "3 values where the header has 2", b"2,Good, but dear"),
        ("a.csv", b'id,text\n1,"Two\nlines"\n2\n', 4, "1 values where the header has 2", b"2"),
        ("a.csv", CSV + b'2,"No end\n', 3, "not CSV, ',' expected after '\"'", b'2,"No end'),
        ("a.csv", CSV + b'2,"Odd" quotes\n', 3, "not CSV, ',' expected after '\"'", b'2,"Odd" quotes'),
        ("a.csv", ACCENTED + b"2,Caf\xe9\n", 3, "byte 0xe9 at offset 26 is not UTF-8", b"2,Caf\xe9"),
        ("a.tsv", b"id\ttext\n1\tFine\n2,Fine\n", 3, "1 values where the header has 2", b"2,Fine"),
        ("a.jsonl", JSON + b'{"text": "Half\n', 2, "not JSON (", b'{"text": "Half'),
        ("a.jsonl", JSON + b'["Fine"]\n', 2, "a list, not an object", b'["Fine"]'),
        ("a.jsonl", JSON + b'{"id": "2", "text": 5}\n', 2, "'text' is a number, not a", b'{"id": "2", "text": 5}'),
        (
            "a.jsonl",
            JSON + b'\n{"id": "2", "text": ["Fine"]}\n',
            3,
            "'text' is a list",
            b'{"id": "2", "text": ["Fine"]}',
        ),
        (
            "a.jsonl",
            JSON_ACCENTED + b'{"text": "\xff"}\n',
            2,
            "byte 0xff at offset 44 is not UTF-8",
            b'{"text": "\xff"}',
        ),
        ("a.jsonl", JSON + b'{"text": "\\ud83c"}\n', 2, "holds half of a surrogate", b'{"text": "\\ud83c"}'),
        (
            "a.csv",
            CSV + b"2," + b"x" * LONGEST + b"\n",
            3,
            f"a row of more than {LONGEST}",
            b"2," + b"x" * (HEAD_BYTES - 2),
        ),
        ("a.jsonl", JSON + b"x" * 2 * LONGEST + b"\n", 2, f"a row of more than {LONGEST} bytes", b"x" * HEAD_BYTES),
    ],
)
def test_a_bad_row(
    parser: AspectParser, tmp_path: Path, name: str, content: bytes, line: int, reason: str, raw: bytes
) -> None:
    kind = name.split(".")[1]
    last = LAST[kind] if b"No end" not in content else b'9,"Fine bread"\n'
    (tmp_path / name).write_bytes(content + last)
    ids, (reject,) = parsed(parser, tmp_path / name)
    assert ids == ["1", "9"]
    assert (reject["line"], reject["reason"][: len(reason)]) == (line, reason)
    assert (reject["raw"].encode() if "raw" in reject else base64.b64decode(reject["raw_base64"])) == raw


def test_a_quote_that_is_never_closed_costs_one_line(parser: AspectParser, tmp_path: Path) -> None:
    lines = b"".join(b"%d,A line of a long file.\n" % number for number in range(20))
    (tmp_path / "a.csv").write_bytes(CSV + b'2,"\n' + lines)
    ids, (reject,) = parsed(parser, tmp_path / "a.csv")
    assert ids == ["1", *map(str, range(20))]
    assert reject["reason"] == "not CSV, unexpected end of data (is a quote never closed?)"
    assert reject["line"] == 3


def test_rows_of_parquet(parser: AspectParser, tmp_path: Path) -> None:
    latin = pa.array([b"Fine", "Café".encode("latin-1"), None, b"x" * (LONGEST + 1), b"Fine"], pa.binary())
    table = pa.table({"text": latin.view(pa.string()), "id": list("12345"), "day": [1, 2, 3, 4, 5]})
    pq.write_table(table, tmp_path / "a.parquet")
    ids, found = parsed(parser, tmp_path / "a.parquet", "out.parquet")
    assert ids == ["1", "3", "5"]  # a row without a text is no reject
    assert [(reject["line"], reject["reason"]) for reject in found] == [
        (2, "'text': byte 0xe9 is not UTF-8"),
        (4, f"a text of more than {LONGEST} bytes"),
    ]
    assert json.loads(found[1]["raw"]) == {"text": "x" * HEAD_BYTES, "id": "4", "day": 4}
    assert base64.b64decode(json.loads(found[0]["raw"])["text"]).decode("latin-1") == "Café"


def test_rejects_of_a_run_before_do_not_stay(parser: AspectParser, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_bytes(CSV + b"2\n")
    assert len(parsed(parser, source)[1]) == 1
    source.write_bytes(CSV)
    assert parsed(parser, source) == (["1"], [])
    assert not (tmp_path / "out.rejects.jsonl").exists()


def test_rejects_go_where_they_are_sent(parser: AspectParser, tmp_path: Path) -> None:
    source, target = tmp_path / "a.csv", tmp_path / "bad.jsonl"
    source.write_bytes(CSV + b"2\n")
    assert parse_files(parser, [str(source)], rejects_file=target).rejects == str(target)
    assert len(rejected(target)) == 1
    source.write_bytes(CSV)
    parse_files(parser, [str(source)], rejects_file=target)
    assert rejected(target) == []
    with pytest.raises(DataError, match="nowhere is not a folder"):
        parse_files(parser, [str(source)], rejects_file=tmp_path / "nowhere" / "bad.jsonl")


def test_rejects_that_nobody_keeps_are_told(parser: AspectParser, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(CSV + b"2\n3\n")
    report = parse_files(parser, [str(tmp_path / "a.csv")])
    assert (report.rows, report.rejected, report.rejects) == (1, 2, None)
    assert report.reject == f"{tmp_path / 'a.csv'}:3: 1 values where the header has 2"


pieces = st.sampled_from(
    [b'"', b",", b"\n", b"\r", b"\r\n", b"x", b"y,z\n", b"\xe9", b'"q"', b"1,fine\n", b"\xef\xbb\xbf"]
)


@settings(deadline=None, max_examples=300)
@given(body=st.lists(pieces, max_size=30).map(b"".join))
def test_no_byte_of_a_csv_is_lost(parser: AspectParser, tmp_path_factory: pytest.TempPathFactory, body: bytes) -> None:
    """Rows that come out and those that do not are the file, cut in the same places wherever reading begins."""
    from reviews_parsing.batch.inputs import open_inputs
    from reviews_parsing.batch.plan import make_plan

    folder = tmp_path_factory.mktemp("csv")
    body = b"good,row\n" + body
    (folder / "a.csv").write_bytes(b"text,b\n" + body)
    reading = ReadOptions(encoding="utf-8", delimiter=",", header=True)
    with open_inputs([str(folder / "a.csv")], reading) as opened:
        whole = make_plan(opened, None, 10_000)
        cut = make_plan(opened, None, 2)
        assert sum(part.rows for part in cut.parts) == whole.rows
        together = [chunk for _, chunk in whole.chunks(whole.parts)]
        rows = [row for chunk in together for row in chunk.rows()]
        rejects = [reject for chunk in together for reject in chunk.rejects]
        alone = [chunk for part in cut.parts for _, chunk in cut.chunks([part])]
        assert [row for chunk in alone for row in chunk.rows()] == rows
        assert [reject for chunk in alone for reject in chunk.rejects] == rejects
    kept = b"".join(reject.raw for reject in rejects).count(b"\xe9")
    assert kept == body.count(b"\xe9")


def test_quotes_of_two_texts_do_not_join_rows_with_tabs(tmp_path: Path) -> None:
    rows = ['1\t"Great place\t5', '2\tThe tea was ok"\t4', "3\tFine soup\t3", '4\t"A line\nand another"\t2']
    (tmp_path / "a.tsv").write_text("\n".join(["id\ttext\tstars", *rows]) + "\n")
    texts: list[str] = []
    report = parse_files(
        Silent(), [str(tmp_path / "a.tsv")], on_rows=lambda rows: texts.extend(row["text"] for row in rows)
    )
    assert (texts, report.rejected) == (["Fine soup", "A line\nand another"], 2)
    assert any("a quote that opens in this row" in reason for reason in report.reject_reasons)


@pytest.mark.parametrize("link", [False, True])
def test_rejects_do_not_replace_an_input_or_the_output(parser: AspectParser, tmp_path: Path, link: bool) -> None:
    source, target = tmp_path / "a.rejects.jsonl", tmp_path / "a.csv"
    source.write_text('{"text": "Nice soup"}\n')
    rejects = source
    if link:
        rejects = tmp_path / "link.jsonl"
        rejects.symlink_to(source)
    with pytest.raises(DataError, match="is also an input"):  # by default too
        parse_files(parser, [str(rejects)], target, rejects_file=None if not link else source)
    with pytest.raises(DataError, match="is also an input"):
        parse_files(parser, [str(source)], rejects_file=rejects, on_rows=lambda rows: None)
    with pytest.raises(DataError, match="is also the output"):
        parse_files(parser, [str(source)], target, rejects_file=target)
    assert source.read_text() == '{"text": "Nice soup"}\n'
    assert not target.exists()
