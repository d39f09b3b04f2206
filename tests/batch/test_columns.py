"""Tests of the choice of the text column, and of the values of the other columns."""

from __future__ import annotations

import datetime
import gzip
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reviews_parsing.batch import parse_files, read_rows
from reviews_parsing.errors import DataError
from reviews_parsing.parser import AspectParser
from reviews_parsing.schema import aspects_arrow_type

from .tables import read

TEXT = "The ramen was great but the waiter was rude."


def lines(path: Path, *rows: Any) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def parsed(parser: AspectParser, *inputs: str, text_column: str | None = None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    parse_files(parser, inputs, text_column=text_column, on_rows=rows.extend)
    return rows


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ({"title": "Fine", "text": TEXT, "review": "Fine"}, "text"),
        ({"title": "Fine", "Body": TEXT}, "Body"),
        ({"review": 7, "title": "Fine", "comment": TEXT}, "comment"),
        ({"stars": 5, "was": TEXT, "tags": ["x"]}, "was"),
    ],
)
def test_the_text_column_is_guessed(parser: AspectParser, tmp_path: Path, row: dict[str, Any], column: str) -> None:
    (found,) = parsed(parser, lines(tmp_path / "a.jsonl", row))
    assert [aspect["word"] for aspect in found["aspects"]] == ["ramen", "waiter"]
    assert found == parsed(parser, str(tmp_path / "a.jsonl"), text_column=column)[0]


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ({"review": "R1", "comment": TEXT}, "comment"),
        ({"text": "positive", "Review Body": TEXT, "stars": 5}, "Review Body"),
        ({"body": "B-7", "feedback": TEXT}, "feedback"),
        ({"Place": "The Golden Duck", "was": TEXT, "stars": 5}, None),
        ({"stars": 5, "Place": "The Golden Duck"}, None),
        ({"stars": 5, "where": "12 Main Street London"}, None),
        ({"stars": 5, "tags": '{"service": "table service"}'}, None),
        ({"stars": 5, "Address": "12 Main Street, the old mill"}, None),
        ({"stars": 5, "developerReply": "We are sorry for that"}, None),
        ({"stars": 5, "user": "anna"}, None),
        ({"stars": 5, "sentiment": "positive"}, None),
        ({"review": "https://a.example/1", "message": TEXT}, None),
        ({"comments": "12", "message": TEXT}, None),
        ({"review": "", "message": TEXT}, None),
    ],
)
def test_identifiers_names_and_replies_are_not_the_texts(
    tmp_path: Path, row: dict[str, Any], column: str | None
) -> None:
    from reviews_parsing.batch import read_texts

    path = lines(tmp_path / "a.jsonl", row)
    if column is None:
        with pytest.raises(DataError, match=r"name the texts? .*by --text-column"):
            list(read_texts([path]))
    else:
        assert [text for text, _ in read_texts([path])] == [TEXT]


def test_a_named_column_wins(parser: AspectParser, tmp_path: Path) -> None:
    (found,) = parsed(parser, lines(tmp_path / "a.jsonl", {"text": "", "other": TEXT}), text_column="other")
    assert len(found["aspects"]) == 2


def test_a_text_of_nothing_comes_out_without_aspects(parser: AspectParser, tmp_path: Path) -> None:
    source = lines(tmp_path / "a.jsonl", {"id": 3, "text": ""}, {"id": 4, "text": " "}, {"text": TEXT})
    report = parse_files(parser, [source], tmp_path / "out.parquet")
    assert (report.rows, report.parsed, report.aspects, report.rejected) == (3, 1, 2, 0)
    (review,) = parser.parse([TEXT])
    assert report.counts == {(aspect.entity_group, aspect.polarity): 1 for aspect in review.aspects}
    _, rows = read(tmp_path / "out.parquet")
    assert [(row["id"], row["text"], len(row["aspects"])) for row in rows] == [(3, "", 0), (4, " ", 0), (None, TEXT, 2)]


def test_a_score_that_is_too_low_is_left_out(parser: AspectParser, tmp_path: Path) -> None:
    source = lines(tmp_path / "a.jsonl", {"text": TEXT})
    assert parse_files(parser, [source], min_score=1.0).aspects == 0


def test_csv_values_stay_strings(parser: AspectParser, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfid,day,n,text\r\n007,2024-01-06,1e5,\r\n")
    for name in ("out.csv", "out.jsonl", "out.parquet"):
        parse_files(parser, [str(tmp_path / "a.csv")], tmp_path / name)
        assert read(tmp_path / name)[1] == [{"id": "007", "day": "2024-01-06", "n": "1e5", "text": "", "aspects": []}]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_ends_a_row(tmp_path: Path, end: str) -> None:
    (tmp_path / "a.csv").write_bytes(end.join(["id,text", "1,Fine", "", '2,"Two\r\nlines"', "3,"]).encode())
    assert [(row["id"], row["text"]) for row in read_rows([str(tmp_path / "a.csv")])] == [
        ("1", "Fine"),
        ("2", "Two\r\nlines"),
        ("3", ""),
    ]


def test_json_values_stay_as_they_are(parser: AspectParser, tmp_path: Path) -> None:
    rows = [{"text": "", "a": 2**70, "b": [1, {"c": None}], "d": True}, {"d": 1.5, "text": "", "e": {}}]
    assert parsed(parser, lines(tmp_path / "a.jsonl", *rows)) == [row | {"aspects": []} for row in rows]


def test_json_columns_get_the_type_that_holds_them(parser: AspectParser, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"text": "", "n": 1, "x": 1, "tags": [], "at": {"city": "Graz", "zip": "007"}, "any": 5, "big": 2**70},
        {"text": "", "n": None, "x": 0.5, "tags": ["hot"], "at": {"city": "Wien", "zip": None}, "any": "5"},
    ]
    source = lines(tmp_path / "a.jsonl", *rows)
    parse_files(parser, [source], tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    assert dict(zip(table.column_names, table.schema.types, strict=True)) == {
        "text": pa.string(),
        "n": pa.int64(),
        "x": pa.float64(),
        "tags": pa.list_(pa.string()),
        "at": pa.struct([("city", pa.string()), ("zip", pa.string())]),
        "any": pa.string(),
        "big": pa.string(),
        "aspects": aspects_arrow_type(),
    }
    assert table.drop_columns(["aspects"]).to_pylist() == [
        rows[0] | {"any": "5", "big": str(2**70)},
        rows[1] | {"big": None},
    ]
    parse_files(parser, [source], tmp_path / "out.csv")
    assert read(tmp_path / "out.csv")[1][0] == {
        "text": "",
        "n": "1",
        "x": "1",
        "tags": "[]",
        "at": '{"city": "Graz", "zip": "007"}',
        "any": "5",
        "big": str(2**70),
        "aspects": [],
    }


@pytest.fixture
def typed(tmp_path: Path) -> Path:
    day = datetime.date(2024, 1, 6)
    table = pa.table(
        {
            "text": pa.array([" ", ""], pa.large_string()),
            "id": pa.array([1, 2], pa.uint64()),
            "price": pa.array([Decimal("1.10"), None]),
            "at": pa.array([1, None], pa.timestamp("ns", "UTC")),
            "day": pa.array([day, None]),
            "city": pa.array(["Graz", "Graz"]).dictionary_encode(),
            "share": pa.array([float("nan"), 0.5], pa.float32()),
            "raw": pa.array([b"\xff", None]),
            "in": pa.array([{"days": [day]}, None]),
            "far": pa.array([10**12 // 2, None], pa.timestamp("s")),
        }
    )
    pq.write_table(table, tmp_path / "typed.parquet")
    return tmp_path / "typed.parquet"


def test_parquet_keeps_its_types(parser: AspectParser, tmp_path: Path, typed: Path) -> None:
    parse_files(parser, [str(typed)], tmp_path / "out.parquet")
    found, before = pq.read_table(tmp_path / "out.parquet"), pq.read_table(typed)
    assert found.schema.field("aspects").type == aspects_arrow_type()
    found = found.drop_columns(["aspects"])
    assert found.schema.equals(before.schema)
    names = [name for name in before.column_names if name != "share"]  # NaN equals nothing
    assert found.select(names).equals(before.select(names))


def test_parquet_types_have_a_form_in_json(parser: AspectParser, typed: Path) -> None:
    first, second = parsed(parser, str(typed))
    assert json.loads(json.dumps(first, allow_nan=False)) == {
        "text": " ",
        "id": 1,
        "price": "1.10",
        "at": "1970-01-01 00:00:00.000000001Z",
        "day": "2024-01-06",
        "city": "Graz",
        "share": None,
        "raw": "/w==",
        "in": {"days": ["2024-01-06"]},
        "far": "17814-05-16 00:53:20.000",
        "aspects": [],
    }
    assert second["share"] == 0.5


def test_zipped_inputs_and_tabs(parser: AspectParser, tmp_path: Path) -> None:
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(b'id\ttext\n1\t"Fine\tsoup"\n'))
    report = parse_files(parser, [str(tmp_path / "a.tsv.gz")], tmp_path / "out.tsv")
    assert report.parsed == 1
    assert (tmp_path / "out.tsv").read_bytes().startswith(b'id\ttext\taspects\n1\t"Fine\tsoup"\t')


def test_an_input_without_rows_has_its_columns(parser: AspectParser, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text\n", encoding="utf-8")
    assert parse_files(parser, [str(tmp_path / "a.csv")], tmp_path / "out.parquet").rows == 0
    assert pq.read_schema(tmp_path / "out.parquet").names == ["id", "text", "aspects"]
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "b.parquet")
    parse_files(parser, [str(tmp_path / "b.parquet")], tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text(encoding="utf-8") == "text,aspects\n"


def test_several_inputs_are_one_table_with_all_their_columns(parser: AspectParser, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text\nx,Fine\n", encoding="utf-8")
    second = lines(tmp_path / "b.jsonl", {"review": "Dear", "stars": 4})
    pq.write_table(pa.table({"text": ["Loud"], "stars": [0.5]}), tmp_path / "c.parquet")
    inputs = [str(tmp_path / "a.csv"), second, str(tmp_path / "c.parquet")]
    for output in (tmp_path / "out.parquet", tmp_path / "out.csv"):
        report = parse_files(parser, inputs, output)
        names, rows = read(output)
        assert (names, report.parsed) == (["id", "text", "review", "stars", "aspects"], 3)
        assert [str(row["stars"] or "") for row in rows] == ["", "4" if output.suffix == ".csv" else "4.0", "0.5"]
        assert [row["text"] or row["review"] for row in rows] == ["Fine", "Dear", "Loud"]


def test_columns_that_disagree(parser: AspectParser, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("stars,text\n5,Fine\n", encoding="utf-8")
    inputs = [str(tmp_path / "a.csv"), lines(tmp_path / "b.jsonl", {"text": "Dear", "stars": 4})]
    with pytest.raises(DataError, match="column 'stars' is string in one input and int64 in another"):
        parse_files(parser, inputs, tmp_path / "out.parquet")
    parse_files(parser, inputs, tmp_path / "out.jsonl")
    assert [row["stars"] for row in read(tmp_path / "out.jsonl")[1]] == ["5", 4]


def test_standard_input_is_json_or_plain_text(parser: AspectParser, monkeypatch: pytest.MonkeyPatch) -> None:
    def typed(content: str) -> list[dict[str, Any]]:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content.encode()), encoding="utf-8"))
        return [{k: v for k, v in row.items() if k != "aspects"} for row in parsed(parser, "-")]

    assert typed('\n {"comment": "Fine", "n": 1}\n') == [{"comment": "Fine", "n": 1}]
    assert typed(" Fine soup\r\n\nDear,\u2028but good") == [{"text": " Fine soup"}, {"text": "Dear,\u2028but good"}]
    with pytest.raises(DataError, match="standard input is empty"):
        typed(" \n")
    assert typed('{"text": "Fine"}\nFine\n') == [{"text": "Fine"}]
    with pytest.raises(DataError, match="named twice"):
        parsed(parser, "-", "-")


def test_progress_ends_at_the_end(parser: AspectParser, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\n" + '""\n' * 600, encoding="utf-8")
    source, other = str(tmp_path / "a.csv"), lines(tmp_path / "b.jsonl", {"text": ""})
    seen: list[tuple[int, int, int]] = []
    parse_files(parser, [source, other], progress=lambda *done: seen.append(done))
    assert seen == sorted(seen)
    assert len(seen) > 2
    assert seen[-1] == (601, 601, 601)
