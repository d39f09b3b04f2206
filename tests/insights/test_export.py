"""Exported tables hold the same figures in every format."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.insights.making import parquet, review

from reviews_parsing.errors import DataError
from reviews_parsing.insights import analyse, tables, to_json, write_tables


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
    with pytest.raises(DataError, match="is no folder"):
        write_tables(insights, tmp_path / "none" / "tables")
