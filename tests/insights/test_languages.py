"""Reviews in languages that the model does not read are counted apart."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from insights.making import Row, jsonl, parquet, review
from reviews_parsing.errors import DataError
from reviews_parsing.insights import analyse
from reviews_parsing.insights.export import to_json
from reviews_parsing.insights.report import write_report


def marked_rows() -> list[Row]:
    """Ten English reviews, of which five judge something, three foreign ones and an empty one."""
    english: dict[str, Any] = {"language": "en", "foreign": False}
    rows = [review("The [soup](FOOD+) was [lovely](!).", **english) for _ in range(5)]
    rows += [review("We came on a Monday.", **english) for _ in range(5)]
    rows += [review("Das [Essen](FOOD-) war kalt.", score=0.4, language="de", foreign=True) for _ in range(2)]
    rows += [review("khana bilkul bakwas hai", language=None, foreign=True)]
    return [*rows, review("", language="und", foreign=False)]


def write(folder: Path, form: str, rows: list[Row]) -> Path:
    path = folder / f"parsed.{form}"
    if form == "parquet":
        return parquet(path, rows, foreign=pa.bool_(), language=pa.string())
    if form == "jsonl":
        return jsonl(path, rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(rows[0])
        for row in rows:
            foreign = json.dumps(row["foreign"])
            writer.writerow((row | {"aspects": json.dumps(row["aspects"]), "foreign": foreign}).values())
    return path


@pytest.mark.parametrize("form", ["parquet", "jsonl", "csv"])
def test_foreign_reviews_are_in_no_figure(tmp_path: Path, form: str) -> None:
    insights = analyse([write(tmp_path, form, marked_rows())])
    assert (insights.reviews, insights.empty, insights.with_aspects, insights.aspects) == (10, 1, 5, 5)
    # An empty value of CSV is a null.
    assert insights.foreign == (("de", 2), ("und", 1))
    assert insights.notes[:2] == (
        "1 of 14 rows have an empty text and are not counted.",
        "3 reviews are in a language that the model does not read (de 2, und 1) and not counted.",
    )
    assert insights.categories[0].mentions.value == 0.5
    assert to_json(insights)["foreign"] == {"de": 2, "und": 1}
    write_report(insights, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<dt>reviews in languages that the model does not read, not counted</dt><dd>3</dd>" in page


def test_files_with_and_without_the_columns_are_read_together(tmp_path: Path) -> None:
    marked = write(tmp_path, "jsonl", marked_rows())
    older = parquet(tmp_path / "older.parquet", [review("Das [Essen](FOOD-) war kalt.") for _ in range(2)])
    insights = analyse([marked, older])
    assert (insights.reviews, insights.foreign) == (12, (("de", 2), ("und", 1)))


@pytest.mark.parametrize(
    "rows",
    [
        [review("The [soup](FOOD+) was warm.", foreign="yes"), review("The [soup](FOOD+) was warm.", foreign="true")],
        [review("The [soup](FOOD+) was warm.", foreign="true"), review("The [soup](FOOD+) was warm.", foreign="false")],
        [review("The [soup](FOOD+) was warm.", foreign=3), review("The [soup](FOOD+) was warm.", foreign=1)],
    ],
)
def test_another_column_of_that_name_has_no_effect(tmp_path: Path, rows: list[Row]) -> None:
    insights = analyse([parquet(tmp_path / "parsed.parquet", rows)], by=["foreign"])
    assert (insights.reviews, insights.foreign) == (2, ())


def test_a_file_of_foreign_reviews_is_refused(tmp_path: Path) -> None:
    rows = [row for row in marked_rows() if row["foreign"]]
    with pytest.raises(DataError, match=r"all reviews are in a language that the model does not read \(de\)"):
        analyse([write(tmp_path, "jsonl", rows)])
