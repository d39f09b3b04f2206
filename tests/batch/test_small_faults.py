"""Small faults cost small things: one value, not the review; one row, not the file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reviews_parsing.batch import Report, parse_files, read_rows
from reviews_parsing.batch.stats import is_blank
from reviews_parsing.errors import DataError
from reviews_parsing.parser import AspectParser
from reviews_parsing.schema import ParsedReview

from .tables import read

TEXTS: list[str | None] = ["Nice soup", "", None, " \t", "\u200b\ufeff", "Cold tea"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1E+400"])
@pytest.mark.parametrize(
    "form",
    [
        '{{"text": "Nice soup", "stars": {}}}\n',
        '[{{"text": "Nice soup", "stars": {}}}]',
        '{{\n"stars": {},\n"text": "Nice soup"}}',
    ],
)
def test_numbers_that_are_none(tmp_path: Path, form: str, number: str) -> None:
    (tmp_path / "a.json").write_text(form.format(number), encoding="utf-8")
    assert list(read_rows([str(tmp_path / "a.json")])) == [{"text": "Nice soup", "stars": None}]


@pytest.mark.parametrize(
    ("row", "value"),
    [
        ('{"text": "Nice", "user": "\\ud83c"}', {"text": "Nice", "user": "\ufffd"}),
        ('{"text": "Nice", "tags": ["a\\udc00b"]}', {"text": "Nice", "tags": ["a\ufffdb"]}),
        ('{"text": "Nice", "place": {"na\\ud800me": 1}}', {"text": "Nice", "place": {"na\ufffdme": 1}}),
        ('{"text": "Nice \\ud83c\\udf5c", "user": "x"}', {"text": "Nice \U0001f35c", "user": "x"}),
    ],
)
@pytest.mark.parametrize("output", ["out.jsonl", "out.parquet", "out.csv"])
def test_half_a_surrogate_pair_elsewhere(
    parser: AspectParser, tmp_path: Path, row: str, value: dict[str, Any], output: str
) -> None:
    (tmp_path / "a.jsonl").write_text(row + "\n", encoding="utf-8")
    report = parse_files(parser, [str(tmp_path / "a.jsonl")], tmp_path / output)
    assert (report.rows, report.rejected) == (1, 0)
    if output == "out.jsonl":
        ((found),) = read(tmp_path / output)[1]
        assert {name: found[name] for name in value} == value


@pytest.mark.parametrize("types", [(None, "x"), (None, 5), (None, [1]), (None, {"a": 1}), (None, 1.5), (None, True)])
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_column_that_is_null_in_one_file(
    parser: AspectParser, tmp_path: Path, types: tuple[Any, Any], form: str
) -> None:
    for name, value in zip("ab", types, strict=True):
        row = {"text": "Nice soup", "extra": value}
        if form == "parquet":
            pq.write_table(pa.Table.from_pylist([row]), tmp_path / f"{name}.parquet")
        else:
            (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    for order in ("ab", "ba"):
        inputs = [str(tmp_path / f"{name}.{form}") for name in order]
        parse_files(parser, inputs, tmp_path / "out.parquet")
        values = [row["extra"] for row in read(tmp_path / "out.parquet")[1]]
        assert values == ([types[0], types[1]] if order == "ab" else [types[1], types[0]])


def test_a_text_column_that_is_null_in_one_file(parser: AspectParser, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": null, "id": 1}\n', encoding="utf-8")
    (tmp_path / "b.jsonl").write_text('{"text": "Nice soup", "id": 2}\n', encoding="utf-8")
    report = parse_files(parser, [str(tmp_path)], tmp_path / "out.parquet")
    assert (report.rows, report.parsed, report.empty) == (2, 1, 1)


def _write(path: Path) -> Path:
    rows = [{"id": str(number), "text": text} for number, text in enumerate(TEXTS)]
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".xlsx":
        workbook = openpyxl.Workbook()
        for values in (["id", "text"], *(list(row.values()) for row in rows)):
            workbook.active.append(values)
        workbook.save(path)
    else:
        lines = [f'{row["id"]},"{row["text"] or ""}"\n' for row in rows]
        path.write_text("id,text\n" + "".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "xlsx"])
@pytest.mark.parametrize("output", ["out.parquet", "out.jsonl", "parsed/"])
def test_texts_of_nothing_are_counted_alike(parser: AspectParser, tmp_path: Path, form: str, output: str) -> None:
    target = f"{tmp_path}/{output}"
    report = parse_files(parser, [str(_write(tmp_path / f"a.{form}"))], target)
    assert (report.rows, report.parsed, report.empty, report.rejected) == (6, 2, 4, 0)
    assert report.aspects == sum(len(parser.parse([text])[0].aspects) for text in ("Nice soup", "Cold tea"))


@pytest.mark.parametrize("text", ["NA", "N/A", "#N/A", "NaN", "nan", "NULL", "null", "None", "\\N", " NA "])
def test_names_of_null_are_not_texts(text: str) -> None:
    assert is_blank(text)
    assert not is_blank(f"{text} soup")


def test_blank_texts() -> None:
    assert all(map(is_blank, ["", " ", "\n\t", "\u200b", "\ufeff", "\u00a0\u2028", "\u00ad\u200d"]))
    assert not any(map(is_blank, ["a", ".", "\U0001f35c", " \u200b1"]))


@pytest.mark.parametrize("output", ["out.parquet", "parsed/"])
def test_texts_in_other_languages_are_counted(tmp_path: Path, output: str) -> None:
    class Polyglot(AspectParser):
        """Takes texts that begin with a capital D for German."""

        def parse_iter(
            self, texts: Iterable[str], min_score: float = 0.0, spans_only: bool = False
        ) -> Iterator[ParsedReview]:
            return (ParsedReview(text, (), "de" if text[:1] == "D" else "en", text[:1] == "D") for text in texts)

    (tmp_path / "a.csv").write_text("text\nDie Suppe\nNice soup\nDer Tee\n", encoding="utf-8")
    report = parse_files(Polyglot.load("pretrained"), [str(tmp_path / "a.csv")], f"{tmp_path}/{output}", part_rows=2)
    assert dict(report.foreign) == {"de": 2}
    if output.endswith("/"):
        report = parse_files(
            Polyglot.load("pretrained"), [str(tmp_path / "a.csv")], f"{tmp_path}/{output}", part_rows=2, resume=True
        )
        assert dict(report.foreign) == {"de": 2}


def report_of(rejected: int, parsed: int, empty: int = 0) -> Report:
    reasons = ("a.csv:3: 1 values where the header has 2",) if rejected else ()
    return Report(
        parsed + empty, parsed, 0, 1.0, {}, rejected, "out.rejects.jsonl", empty=empty, reject_reasons=reasons
    )


@pytest.mark.parametrize(("rejected", "parsed", "empty"), [(0, 0, 0), (0, 9, 0), (5, 95, 0), (1, 19, 80), (3, 40, 60)])
def test_few_rejects_are_accepted(rejected: int, parsed: int, empty: int) -> None:
    report_of(rejected, parsed, empty).require_few_rejects()


@pytest.mark.parametrize(
    ("rejected", "parsed", "empty", "limit"),
    [
        (6, 94, 0, "--max-rejects 5 %"),
        (499, 1, 0, "more than parsed"),
        (1, 0, 0, "more than parsed"),
        (3, 2, 95, "more than parsed"),
    ],
)
def test_many_rejects_are_an_error(rejected: int, parsed: int, empty: int, limit: str) -> None:
    with pytest.raises(DataError) as caught:
        report_of(rejected, parsed, empty).require_few_rejects()
    message = str(caught.value)
    assert limit in message
    assert "a.csv:3: 1 values where the header has 2" in message
    assert "out.rejects.jsonl" in message
    assert message.endswith("raise --max-rejects")


def test_the_share_is_an_option() -> None:
    report_of(30, 70).require_few_rejects(0.3)
    with pytest.raises(DataError, match="--max-rejects 1 %"):
        report_of(2, 98).require_few_rejects(0.01)


def test_all_that_can_be_written_is_written(parser: AspectParser, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text\n1,Nice soup\n" + "2\n" * 9, encoding="utf-8")
    report = parse_files(parser, [str(tmp_path / "a.csv")], tmp_path / "out.jsonl")
    with pytest.raises(DataError, match="9 of 10 rows"):
        report.require_few_rejects()
    assert len(read(tmp_path / "out.jsonl")[1]) == 1
    assert len((tmp_path / "out.rejects.jsonl").read_text(encoding="utf-8").splitlines()) == 9
    assert len(report.reject_reasons) == 3
