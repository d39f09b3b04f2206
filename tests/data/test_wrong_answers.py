"""Label files that would be misread in silence are refused, or their faults are counted and named."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from typer.testing import CliRunner

from reviews_parsing import data
from reviews_parsing.cli.app import app
from reviews_parsing.errors import DataError
from reviews_parsing.io.mojibake import MojibakeWarning
from reviews_parsing.schema import Aspect, Opinion, Review

SOUP = Aspect("FOOD", "soup", 5, 9, "positive")


def write_rows(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def tagged(*tags: str, **columns: Any) -> dict[str, Any]:
    return {"tokens": [f"word{number}" for number in range(len(tags))], "ner_tags": list(tags), **columns}


def polarities(path: Path) -> list[tuple[str, str | None]]:
    return [(aspect.entity_group, aspect.polarity) for review in data.read(path) for aspect in review.aspects]


def test_mojibake_in_labelled_texts_is_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    data.write([Review("a", "Nice soup", (SOUP,)), Review("b", "Warm soup in the cafÃ©", (SOUP,))], file)
    with pytest.warns(MojibakeWarning, match=r"1 text holds characters of a wrong encoding .*x\.jsonl:2"):
        assert data.read(file)[1].text == "Warm soup in the cafÃ©"
    (finding,) = data.check(file)
    assert (finding.line, finding.kind, finding.severity) == (2, "encoding", "warning")
    assert data.check_dataset(file) == []


def test_texts_that_are_objects_as_strings_are_refused(tmp_path: Path) -> None:
    encoded = json.dumps({"en": "Nice soup"})
    labels = [{"entity_group": "FOOD", "word": "soup", "start": 13, "end": 17}]
    file = write_rows(tmp_path / "x.jsonl", {"id": "a", "text": encoded, "aspects": labels})
    with pytest.raises(DataError, match=r"x.jsonl:1: the text is an object as a string, as are all others: give"):
        data.read(file)
    write_rows(file, {"id": "a", "text": encoded, "aspects": labels}, {"id": "b", "text": "Nice", "aspects": []})
    assert [(finding.line, finding.kind) for finding in data.check(file)] == [(1, "text")]


@pytest.mark.parametrize(("text", "kind"), [({"en": "Nice soup"}, "an object"), (["Nice soup"], "a list")])
def test_another_field_does_not_replace_a_text_that_is_no_string(tmp_path: Path, text: object, kind: str) -> None:
    region: dict[str, Any] = {"id": "r", "from_name": "label", "to_name": "text", "type": "labels"}
    region |= {"value": {"start": 5, "end": 9, "labels": ["FOOD"]}}
    task = {"data": {"text": text, "author": "A. Tester, London"}, "annotations": [{"result": [region]}]}
    (tmp_path / "x.json").write_text(json.dumps([task]), encoding="utf-8")
    with pytest.raises(DataError, match=f"x.json: task 1: its 'text' is {kind}, not a string: write the text itself"):
        data.read(tmp_path / "x.json")


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["B-FOOD-positive", "B-STAFF-NEG"], [("FOOD", "positive"), ("STAFF", "negative")]),
        (["B-positive-FOOD", "B-NEG-STAFF"], [("FOOD", "positive"), ("STAFF", "negative")]),
        (["B-POS", "B-NEG"], [("ASPECT", "positive"), ("ASPECT", "negative")]),
    ],
)
def test_polarities_in_the_names_of_tags(tmp_path: Path, tags: list[str], expected: list[tuple[str, str]]) -> None:
    assert polarities(write_rows(tmp_path / "x.jsonl", tagged("O", tags[0], "O", tags[1]))) == expected


def test_polarities_in_some_names_of_tags_are_not_read_and_named(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "x.jsonl", tagged("O", "B-FOOD-positive", "O", "B-STAFF"))
    message = r"not read: the polarity in the category of 1 of 2 labels \('FOOD-positive'\), as 'STAFF' holds none"
    with pytest.warns(data.LabelWarning, match=message):
        assert polarities(file) == [("FOOD-positive", None), ("STAFF", None)]


@pytest.mark.parametrize("column", [{"polarities": ["-", "positive"]}, {"sentiment": [-100, 2]}, {"x": ["O", "POS"]}])
def test_polarities_in_a_column_of_their_own_are_named(tmp_path: Path, column: dict[str, Any]) -> None:
    file = write_rows(tmp_path / "x.jsonl", tagged("O", "B-FOOD", **column))
    with pytest.warns(data.LabelWarning, match=f"not read: the column '{next(iter(column))}' of 1 rows"):
        data.read(file)


def test_missing_polarities_are_counted(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "x.jsonl", tagged("O", "B-FOOD"))
    assert [finding.kind for finding in data.check_dataset(file)] == ["polarity"]
    done = CliRunner().invoke(app, ["data", "convert", str(file), str(tmp_path / "y.jsonl")])
    assert (done.exit_code, "not one of 1 labels has a polarity" in done.output) == (0, True)
    data.write([Review("a", "Nice soup", (SOUP, Aspect("FOOD", "Nice", 0, 4)))], file)
    (finding,) = data.check_dataset(file)
    assert finding.message.startswith("1 of 2 labels have no polarity")


@pytest.mark.parametrize("command", [["convert"], ["stats"], ["agreement"]])
def test_labels_that_are_not_at_their_offsets_are_refused_or_counted(tmp_path: Path, command: list[str]) -> None:
    file, other = tmp_path / "x.jsonl", tmp_path / "y.jsonl"
    shifted = Review("s", "Nice soup here", (Aspect("FOOD", "soup", 6, 10, "positive"),))
    arguments = ["data", *command, str(file), *([] if command == ["stats"] else [str(other)])]
    data.write([shifted], file)
    data.write([Review("s", "Nice soup here", (SOUP,))], other)
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, DataError)
    assert "1 of 1 labels are not at their offsets (such as FOOD at 6:10 in review s)" in str(done.exception)
    data.write([shifted, *(Review(f"r{number}", "Nice soup", (SOUP,)) for number in range(30))], file)
    with pytest.warns(data.LabelWarning, match="1 of 31 labels are not at their offsets"):
        assert CliRunner().invoke(app, arguments).exit_code == 0


def test_compressed_files_and_spreadsheets_say_what_can_be_read(tmp_path: Path) -> None:
    data.write([Review("a", "Nice soup", (SOUP,))], tmp_path / "train.jsonl")
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress((tmp_path / "train.jsonl").read_bytes()))
    with pytest.raises(DataError, match=r"x.jsonl.gz is compressed \(gzip\): unpack it .*; only `parse`"):
        data.read(tmp_path / "x.jsonl.gz")
    openpyxl.Workbook().save(tmp_path / "x.xlsx")
    with pytest.raises(DataError, match=r"x.xlsx is a spreadsheet, which has no offsets of labels: write JSON lines"):
        data.check(tmp_path / "x.xlsx")
    (tmp_path / "x.html").write_text("<!DOCTYPE html><html></html>")
    with pytest.raises(DataError, match=r"x.html is an HTML page: write JSON lines"):
        data.read(tmp_path / "x.html")
    (tmp_path / "x.jsonl.gz").rename(tmp_path / "test.jsonl.gz")
    with pytest.warns(data.LabelWarning, match=r"not read: test.jsonl.gz: unpack them"):
        assert list(data.read_splits(tmp_path)) == ["train"]


def test_opinions_are_labels_with_offsets(tmp_path: Path) -> None:
    review = Review("a", "Nice soup", (Aspect("FOOD", "soup", 5, 9, "positive", Opinion("Nice", 1, 5)),))
    with pytest.raises(DataError, match="1 of 2 labels are not at their offsets"):
        data.check_offsets("x", [review])
