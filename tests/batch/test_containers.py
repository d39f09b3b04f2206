"""The format of a file is found from its content, not from its ending."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reviews_parsing.batch import ReadOptions, parse_files, preview_file, read_rows, read_texts
from reviews_parsing.errors import DataError
from reviews_parsing.parser import AspectParser

from .test_dialects import read, refusal

REVIEWS: list[dict[str, Any]] = [
    {"id": 1, "text": 'Nice {soup}, "warm" bread\n'},
    {"id": 2, "text": "Slow waiter ]", "tags": [{"k": "[{"}], "owner": {"text": None}},
]
TEXTS = [review["text"] for review in REVIEWS]
JSON_FORMS = {
    "lines": "".join(json.dumps(row) + "\n" for row in REVIEWS),
    "lines without an end": "\r\n".join(json.dumps(row) for row in REVIEWS),
    "array": json.dumps(REVIEWS),
    "bracketed": "[\n" + ",\n".join(json.dumps(row) for row in REVIEWS) + "\n]\n",
    "bracketed, commas first": "[" + "\n,".join(json.dumps(row) for row in REVIEWS) + "]",
    "pretty array": json.dumps(REVIEWS, indent=2),
    "pretty objects": "\n".join(json.dumps(row, indent=4) for row in REVIEWS),
    "objects in a row": "".join(json.dumps(row) for row in REVIEWS),
    "tabs": json.dumps(REVIEWS, indent="\t"),
}
PACKERS = {"": lambda content: content, "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("form", JSON_FORMS)
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv", "a.txt", "a"])
@pytest.mark.parametrize("packer", PACKERS)
def test_forms_of_json(tmp_path: Path, form: str, name: str, packer: str) -> None:
    rows = read(tmp_path / name, PACKERS[packer](JSON_FORMS[form].encode()))
    assert [(text, row["id"]) for text, row in rows] == [(TEXTS[0], 1), (TEXTS[1], 2)]
    assert rows[1][1]["owner"] == {"text": None}


@pytest.mark.parametrize("form", JSON_FORMS)
def test_forms_at_standard_input(parser: AspectParser, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    for content in (
        JSON_FORMS[form].encode(),
        gzip.compress(JSON_FORMS[form].encode()),
        JSON_FORMS[form].encode("utf-16"),
    ):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))
        assert [text for text, _ in read_texts(["-"])] == TEXTS


@pytest.mark.parametrize(
    "content", ["id;review\n1;Nice soup\n", "sep=|\nid|review\n1|Nice soup\n", "review\nNice soup\n"]
)
def test_tables_at_standard_input(monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content.encode()), encoding="utf-8"))
    assert [text for text, _ in read_texts(["-"])] == ["Nice soup"]


def test_parquet_and_workbooks_under_other_names(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1], "text": ["Nice soup"]}), tmp_path / "a.csv")
    _workbook(tmp_path / "b.csv", {"Sheet": [["id", "text"], [1, "Nice soup"]]})
    for name in ("a.csv", "b.csv"):
        assert list(read_rows([str(tmp_path / name)])) == [{"id": 1, "text": "Nice soup"}]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
objects = st.lists(
    st.fixed_dictionaries({"text": st.text(min_size=1, max_size=10)}, optional={"x": values, "y": values}),
    min_size=1,
    max_size=5,
)


@settings(max_examples=300, deadline=None)
@given(rows=objects, data=st.data())
def test_any_json_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], data: st.DataObject
) -> None:
    indent = data.draw(st.sampled_from([None, 1, 2, "\t"]))
    ascii_only = data.draw(st.booleans())
    parts = [json.dumps(row, indent=indent, ensure_ascii=ascii_only) for row in rows]
    joint = data.draw(st.sampled_from(["\n", ",\n", " , ", "array"]))
    content = json.dumps(rows, indent=indent, ensure_ascii=ascii_only) if joint == "array" else joint.join(parts)
    if joint in (",\n", " , "):
        content = f"[{content}]"
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_bytes(content.encode("utf-8"))
    assert list(read_rows([str(path)])) == rows


PLACES = [
    {"name": "Uno", "rating": 4, "user": {"reviews": [{"body": "Nice soup"}, {"body": "Cold tea"}]}},
    {"name": "Due", "rating": 2, "user": {"reviews": [{"body": "Slow waiter"}]}},
]


@pytest.mark.parametrize(
    "content", [json.dumps(PLACES), "\n".join(map(json.dumps, PLACES)), json.dumps(PLACES, indent=1)]
)
def test_nested_reviews_are_named(tmp_path: Path, content: str) -> None:
    message = refusal(tmp_path / "a.json", content)
    assert "user.reviews (3 objects)" in message
    assert "--records user.reviews" in message
    texts = [text for text, _ in read(tmp_path / "a.json", content, records="user.reviews")]
    assert texts == ["Nice soup", "Cold tea", "Slow waiter"]
    assert [text for text, _ in read(tmp_path / "a.json", content, "name")] == ["Uno", "Due"]
    assert "check --records" in refusal(tmp_path / "a.json", content, records="user.comments")


@pytest.mark.parametrize("top", ["reviews", "data.items", "result.data.reviews"])
def test_an_object_around_the_reviews(tmp_path: Path, top: str) -> None:
    document: Any = [{"text": "Nice soup", "stars": 5}, {"text": "Cold tea", "stars": 1}]
    for key in reversed(top.split(".")):
        document = {"count": 2, key: document}
    assert f"--records {top}" in refusal(tmp_path / "a.json", json.dumps(document))
    rows = read(tmp_path / "a.json", json.dumps(document), records=top)
    assert rows == [("Nice soup", {"stars": 5}), ("Cold tea", {"stars": 1})]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'[{"text": "Nice"}, {"text": "Col', "a.json:1: not JSON"),
        (b"PK\x03\x04" + bytes(60), "a ZIP archive: unpack it"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"{\\rtf1 Nice soup}", "a document (RTF)"),
        (b"<!DOCTYPE html><table></table>", "an HTML page"),
        (b'<?xml version="1.0"?><reviews/>', "XML"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(60), "save it as .xlsx"),
        (b"SQLite format 3\x00" + bytes(60), "an SQLite database"),
        (gzip.compress(b"PAR1" + bytes(60), mtime=0), "a binary file inside a compressed one"),
        (b"[]", "is empty"),
        (b"[1, 2]", "a number, not an object"),
    ],
)
def test_content_that_is_no_table(tmp_path: Path, content: bytes, problem: str) -> None:
    assert problem in refusal(tmp_path / "a.json", content)


def _workbook(path: Path, sheets: Mapping[str, Sequence[Sequence[object]]]) -> None:
    workbook = openpyxl.Workbook()
    workbook.remove(workbook.active)
    for name, rows in sheets.items():
        sheet = workbook.create_sheet(name)
        for row in rows:
            sheet.append(row)
    workbook.save(path)


def test_a_workbook(tmp_path: Path) -> None:
    import datetime

    rows: list[list[object]] = [
        ["id", "Review", "day", "stars"],
        [1, "Nice soup", datetime.datetime(2024, 1, 6), 4.5],
        [2, None, None, 1],
    ]
    _workbook(tmp_path / "a.xlsx", {"About": [["Export of June"]], "Data": [["Reviews"], [], *rows]})
    assert list(read_texts([str(tmp_path / "a.xlsx")])) == [
        ("Nice soup", {"id": 1, "day": "2024-01-06", "stars": 4.5}),
        ("", {"id": 2, "day": None, "stars": 1}),
    ]
    assert preview_file(str(tmp_path / "a.xlsx")).layout == "spreadsheet, records in 'Data', header in line 3"


def test_sheets_and_headers_of_workbooks(tmp_path: Path) -> None:
    path = str(tmp_path / "a.xlsx")
    _workbook(tmp_path / "a.xlsx", {"June": [["text"], ["Nice soup"]], "July": [["text"], ["Cold tea"]]})
    with pytest.raises(DataError, match="--records, one of June, July"):
        list(read_texts([path]))
    assert [text for text, _ in read_texts([path], None, ReadOptions(records="July"))] == ["Cold tea"]
    _workbook(tmp_path / "a.xlsx", {"June": [[5, "The soup was nice."], [1, "The tea was cold."]]})
    assert [text for text, _ in read_texts([path])] == ["The soup was nice.", "The tea was cold."]


def test_a_workbook_is_parsed_in_parts(parser: AspectParser, tmp_path: Path) -> None:
    rows: list[list[object]] = [["id", "text"], *([number, f"Nice soup {number}"] for number in range(25))]
    _workbook(tmp_path / "a.xlsx", {"June": rows})
    parse_files(parser, [str(tmp_path / "a.xlsx")], tmp_path / "parsed", part_rows=10)
    parts = [pq.read_table(path) for path in sorted((tmp_path / "parsed").glob("*.parquet"))]
    assert [len(part) for part in parts] == [10, 10, 5]
    assert pa.concat_tables(parts)["id"].to_pylist() == list(range(25))


@pytest.mark.parametrize(
    "name",
    [
        "Review Text",
        "reviewText",
        "reviews.text",
        "REVIEW TEXT",
        " review ",
        "Review_Content",
        "Comments",
        "review-body",
    ],
)
def test_spellings_of_the_text_column(tmp_path: Path, name: str) -> None:
    assert [text for text, _ in read(tmp_path / "a.csv", f"id,title,{name}\n1,Lovely day out,Nice soup\n")] == [
        "Nice soup"
    ]
    row = json.dumps({"id": 1, "title": "Lovely day out", name: "Nice soup"})
    assert [text for text, _ in read(tmp_path / "a.json", row)] == ["Nice soup"]


def test_the_exact_name_goes_before_a_spelling(tmp_path: Path) -> None:
    assert [text for text, _ in read(tmp_path / "a.csv", "Text,text\nNo soup,Nice soup\n")] == ["Nice soup"]
    assert "(Text, TEXT)" in refusal(tmp_path / "a.csv", "Text,TEXT\nNo soup,Nice soup\n")


def test_date_of_visit_is_no_text(tmp_path: Path) -> None:
    content = "id,stars,Date of visit,Opinion\n1,5,in early June,Nice soup and bread\n"
    assert "--text-column, one of id, stars, Date of visit, Opinion" in refusal(tmp_path / "a.csv", content)


def test_an_object_in_place_of_a_list_is_read(tmp_path: Path) -> None:
    """Converters from XML write a list with one item as the item."""
    places = [{"name": "Uno", "reviews": {"text": "Nice soup"}}, {"name": "Due", "reviews": [{"text": "Cold tea"}]}]
    for content in (json.dumps(places), "\n".join(map(json.dumps, places)), json.dumps(places, indent=2)):
        texts = [text for text, _ in read(tmp_path / "a.json", content, records="reviews")]
        assert texts == ["Nice soup", "Cold tea"]


def test_fields_of_objects_are_read_by_their_path(tmp_path: Path) -> None:
    features = [{"type": "Feature", "properties": {"stars": 5, "review_text": text}} for text in TEXTS]
    content = json.dumps({"type": "FeatureCollection", "features": features})
    rows = read(tmp_path / "a.json", content, records="features.properties")
    assert rows == [(text, {"stars": 5}) for text in TEXTS]
    message = refusal(tmp_path / "a.json", content, records="features")  # 'Feature' is no text
    assert "no column that is clearly the texts" in message
    assert "objects (properties), the fields are read by --records" in message
    nested = [{"id": number, "review": {"text": text}} for number, text in enumerate(TEXTS)]
    assert "read its fields by --records" in refusal(tmp_path / "a.json", json.dumps(nested))
    assert [text for text, _ in read(tmp_path / "a.json", json.dumps(nested), records="review")] == TEXTS


def test_cells_that_are_merged_over_rows_are_refused(tmp_path: Path) -> None:
    rows = [["Stay", None, None], ["Hotel", "id", "review"], ["Uno", 1, "Nice soup"], [None, 2, "Cold tea"]]
    workbook = openpyxl.Workbook()
    for row in rows:
        workbook.active.append(row)
    workbook.active.merge_cells("A1:C1")
    workbook.save(tmp_path / "a.xlsx")
    assert [text for text, _ in read_texts([str(tmp_path / "a.xlsx")])] == ["Nice soup", "Cold tea"]
    workbook.active.merge_cells("A3:A4")
    workbook.save(tmp_path / "a.xlsx")
    with pytest.raises(DataError, match="cells A3:A4 are merged"):
        list(read_texts([str(tmp_path / "a.xlsx")]))


def test_a_cell_of_a_hundred_thousand_attributes_is_read(tmp_path: Path) -> None:
    """A search for formulas that tries each attribute against each other would take an hour."""
    _workbook(tmp_path / "a.xlsx", {"June": [["id", "text"], [1, "Nice soup"]]})
    attributes = b"".join(b'x%d.r="A1" ' % number for number in range(100_000))
    with zipfile.ZipFile(tmp_path / "a.xlsx") as old, zipfile.ZipFile(tmp_path / "b.xlsx", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b'<c r="A2"', b'<c %sr="A2"' % attributes))
    assert [row["text"] for row in read_rows([str(tmp_path / "b.xlsx")])] == ["Nice soup"]


@pytest.mark.parametrize(
    ("cell", "value"),
    [("<f>1+3</f><v>4</v>", 4), ("<f>1+3</f><v></v>", "fault"), ("<f>1+3</f><v />", "fault"), ("<f>1+3</f>", "fault")],
)
@pytest.mark.parametrize("is_string", [False, True])
def test_a_formula_without_its_result_is_a_reject(tmp_path: Path, cell: str, value: object, is_string: bool) -> None:
    """Programs that are not spreadsheets write formulas without results; a text that begins with = is one for them."""
    _workbook(tmp_path / "a.xlsx", {"June": [["id", "text", "sum"], [1, "Nice soup", "=1+3"], [2, "Cold tea", 5]]})
    attributes = ' t="str"' if is_string else ""
    with zipfile.ZipFile(tmp_path / "a.xlsx") as old, zipfile.ZipFile(tmp_path / "b.xlsx", "w") as new:
        for name in old.namelist():
            content = re.sub(
                rb'(r="C2")><f>1.3</f><v ?/>', rb"\1%s>%s" % (attributes.encode(), cell.encode()), old.read(name)
            )
            new.writestr(name, content)
    if value == "fault" and not is_string:
        with pytest.raises(DataError, match=r"b.xlsx:2: a formula without its result: open"):
            list(read_rows([str(tmp_path / "b.xlsx")]))
    else:
        expected = None if value == "fault" else str(value) if is_string else value
        assert [row["sum"] for row in read_rows([str(tmp_path / "b.xlsx")])] == [expected, 5]
