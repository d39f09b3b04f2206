"""Exported tables hold the same figures in every format."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import openpyxl
import pyarrow.parquet as pq
import pytest

from insights.making import Row, parquet, review
from reviews_parsing.errors import DataError
from reviews_parsing.insights import (
    analyse,
    figures,
    tables,
    to_json,
    write_pictures,
    write_tables,
    write_workbook,
)


def test_every_table_is_csv_and_parquet(parsed: Path, tmp_path: Path) -> None:
    insights = analyse([parsed], ["month"])
    written = write_tables(insights, tmp_path / "tables")
    assert {path.name for path in written} == {f"{n}.{e}" for n in tables(insights) for e in ("csv", "parquet")}
    for name, rows in tables(insights).items():
        assert pq.read_table(tmp_path / "tables" / f"{name}.parquet").to_pylist() == rows
        with (tmp_path / "tables" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            assert len(list(csv.DictReader(file))) == len(rows)
    (food,) = (row for row in tables(insights)["categories"] if row["category"] == "FOOD")
    assert (food["reviews"], food["mentions"]) == (3, pytest.approx(0.6))
    assert food["mentions_low"] < 0.6 < food["mentions_high"]


def test_tables_without_rows_have_the_same_columns(parsed: Path, tmp_path: Path) -> None:
    rows = [review("[Tea](BEVERAGE+).", shop=shop) for shop in "ab" for _ in range(10)]
    full = analyse([parquet(tmp_path / "p.parquet", rows)], ["shop"])
    for insights, folder in ((full, "full"), (analyse([parsed]), "bare")):
        write_tables(insights, tmp_path / folder)
    for name in ("contrasts", "tests", "groups"):
        full_names, bare_names = (pq.read_schema(tmp_path / f / f"{name}.parquet").names for f in ("full", "bare"))
        assert full_names == bare_names == list(tables(full)[name][0])


def test_json_holds_the_tables(parsed: Path) -> None:
    document = json.loads(json.dumps(to_json(analyse([parsed], ["month"]))))
    assert document["reviews"] == 5
    assert document["first"] == "2024-01-05"
    assert document["periods"][0]["start"] == "2024-01-01"
    assert [row["category"] for row in document["categories"]] == ["FOOD", "STAFF", "AMBIENCE"]


def test_a_spreadsheet_takes_no_text_for_a_formula(tmp_path: Path) -> None:
    path = parquet(tmp_path / "p.parquet", [review('[=HYPERLINK("x")](FOOD+) they wrote on the board.')])
    write_tables(analyse([path]), tmp_path / "tables")
    with (tmp_path / "tables" / "words.csv").open(encoding="utf-8", newline="") as file:
        assert [row["word"] for row in csv.DictReader(file)] == ['\'=HYPERLINK("x")']


def test_a_folder_that_cannot_be_made_is_one_line(parsed: Path, tmp_path: Path) -> None:
    insights = analyse([parsed])
    with pytest.raises(DataError, match="is a file"):
        write_tables(insights, parsed)
    with pytest.raises(DataError, match="is not a folder"):
        write_tables(insights, tmp_path / "none" / "tables")


def test_the_workbook_holds_every_table(parsed: Path, tmp_path: Path) -> None:
    insights = analyse([parsed], ["month"])
    write_workbook(insights, tmp_path / "tables.xlsx")
    workbook = openpyxl.load_workbook(tmp_path / "tables.xlsx")
    assert workbook.sheetnames == list(tables(insights))
    for name, rows in tables(insights).items():
        header, *cells = workbook[name].values
        assert len(cells) == len(rows), name
        if rows:
            assert list(header) == list(rows[0])
    header, *cells = workbook["categories"].values
    food = dict(zip(header, cells[0], strict=True))
    assert (food["category"], food["reviews"], food["mentions"]) == ("FOOD", 3, pytest.approx(0.6))


def test_the_workbook_has_texts_and_no_formulas(tmp_path: Path) -> None:
    text = '[=HYPERLINK("x")](FOOD+) they wrote on https://example.org today.'
    write_workbook(analyse([parquet(tmp_path / "p.parquet", [review(text)])]), tmp_path / "t.xlsx")
    sheets = openpyxl.load_workbook(tmp_path / "t.xlsx")
    cells = [cell for sheet in sheets for row in sheet.iter_rows() for cell in row]
    assert any(cell.value == '=HYPERLINK("x")' for cell in cells)
    assert not any(cell.data_type == "f" or cell.hyperlink for cell in cells)


def test_every_picture_is_png_and_svg(tmp_path: Path) -> None:
    columns: list[Row] = [{"shop/name": f"拉麵 {n % 2}"} for n in range(20)]
    rows = [review("[Tea](BEVERAGE+).", **column) for column in columns]
    insights = analyse([parquet(tmp_path / "p.parquet", rows)], ["shop/name"])
    written = write_pictures(insights, tmp_path / "pictures")
    assert len(written) == 2 * len(figures(insights))
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {path.name for path in written}
    for path in written:
        assert path.read_bytes().startswith(b"\x89PNG" if path.suffix == ".png" else b"<?xml")


def test_findings_in_json_are_ranked_and_complete(tmp_path: Path) -> None:
    rows = [
        review(f"The [tea](BEVERAGE{'-' if shop == 'Hill' else '+'}).", shop=shop, stars=4 - (shop == "Hill") - n % 2)
        for shop in ("Hill", "Quay", "Park")
        for n in range(40)
    ]
    document = json.loads(json.dumps(to_json(analyse([parquet(tmp_path / "p.parquet", rows)], ["shop"]))))
    first = document["findings"][0]
    assert (first["kind"], first["category"], first["group"], first["n"]) == ("group", "BEVERAGE", "Hill", 40)
    assert first["p"] < 0.001
    assert "Where shop is Hill, 100\u00a0% (40 of 40) of the reviews blame BEVERAGE" in first["text"]
    # Quay and Park differ from the others only because of Hill.
    assert {finding["group"] for finding in document["findings"]} == {"Hill"}
    assert document["rating"]["rated"] == 120
