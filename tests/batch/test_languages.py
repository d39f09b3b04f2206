"""Columns of the language beside the aspects."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reviews_parsing import AspectParser, pretrained
from reviews_parsing.batch import parse_files

from .tables import read

LANGUAGES = {
    "The soup was lovely and the waiter was kind.": ("en", False),
    "Das Essen war kalt und der Kellner unfreundlich.": ("de", True),
    "음식은 맛있었지만 직원이 불친절했어요.": ("ko", True),
    "yaha ka khana bilkul bakwas hai aur staff bhi rude": ("und", True),
    "Yum!": ("und", False),
    "": ("und", False),
}


@pytest.fixture(scope="module")
def parser() -> AspectParser:
    return AspectParser(pretrained.model_folder())


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in LANGUAGES), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("output", ["out.jsonl", "out.csv", "out.tsv", "out.parquet", "parts"])
def test_every_format_has_the_language_of_each_text(
    parser: AspectParser, tmp_path: Path, source: str, output: str
) -> None:
    report = parse_files(parser, [source], tmp_path / output, languages=True)
    assert report.foreign == {"de": 1, "ko": 1, "und": 1}
    if output == "out.tsv":
        lines = (tmp_path / output).read_text(encoding="utf-8").splitlines()
        assert [tuple(line.split("\t")[2:]) for line in lines] == [
            ("language", "foreign"),
            *((code, str(foreign).lower()) for code, foreign in LANGUAGES.values()),
        ]
        return
    path = tmp_path / "parts" / "part-00000.parquet" if output == "parts" else tmp_path / output
    names, rows = read(path)
    assert names == ["text", "aspects", "language", "foreign"]
    foreign = {"true": True, "false": False, True: True, False: False}
    assert {row["text"]: (row["language"], foreign[row["foreign"]]) for row in rows} == LANGUAGES
    if path.suffix == ".parquet":
        assert pq.read_schema(path).field("foreign").type == pa.bool_()


def test_an_input_keeps_its_own_columns(parser: AspectParser, tmp_path: Path) -> None:
    rows = [{"text": "Das Essen war kalt und der Kellner unfreundlich.", "Language": "Deutsch"}, {"text": "Fine."}]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    parse_files(parser, [str(source)], tmp_path / "out.parquet", languages=True)
    names, found = read(tmp_path / "out.parquet")
    assert names == ["text", "Language", "aspects", "foreign"]
    assert [(row["Language"], row["foreign"]) for row in found] == [("Deutsch", True), (None, False)]
    (tmp_path / "own.csv").write_text("text,foreign,language\nFine.,no,x\n", encoding="utf-8")
    parse_files(parser, [str(tmp_path / "own.csv")], tmp_path / "out.csv", languages=True)
    assert read(tmp_path / "out.csv")[0] == ["text", "foreign", "language", "aspects"]
    assert read(tmp_path / "out.csv")[1][0]["foreign"] == "no"


def test_a_parser_that_identifies_no_languages_adds_no_columns(tmp_path: Path, source: str) -> None:
    class OlderParser(AspectParser):
        identifies_languages = False

    parse_files(OlderParser(pretrained.model_folder()), [source], tmp_path / "out.jsonl", languages=True)
    assert read(tmp_path / "out.jsonl")[0] == ["text", "aspects"]
