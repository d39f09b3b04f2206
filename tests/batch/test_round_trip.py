"""Whatever a table of strings holds, it comes out as it went in, with the aspects that the parser finds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, reject, settings

from reviews_parsing.batch import parse_files, read_rows
from reviews_parsing.errors import DataError
from reviews_parsing.parser import AspectParser
from reviews_parsing.schema import Aspect

from .tables import Table, read, tables, write

FORMS = ["csv", "jsonl", "parquet"]


@pytest.mark.parametrize("form", FORMS)
@settings(deadline=None, max_examples=40)
@given(table=tables())
@example(table=Table(["text"], [{"text": 'Warm bread,\r\n"free"\r and 🍜\n'}, {"text": ""}]))
@example(table=Table(["text"], [{"text": ","}, {"text": ","}]))
@example(table=Table(["text"], [{"text": "0,"}, {"text": "0,"}]))
@example(table=Table(["\ufeffid", "text"], [{"\ufeffid": "007", "text": "\ufeffGood beer"}]))
def test_columns_rows_and_aspects_come_out(
    parser: AspectParser, tmp_path_factory: pytest.TempPathFactory, form: str, table: Table
) -> None:
    folder = tmp_path_factory.mktemp("table")
    source = write(table, folder / f"in.{form}")
    expected = [list(review.aspects) for review in parser.parse([row["text"] for row in table.rows])]
    column = confirmation(parser, source)
    for target in FORMS:
        output = folder / f"out.{target}"
        report = parse_files(parser, [str(source)], output, text_column=column)
        names, rows = read(output)
        assert names == [*table.names, "aspects"]
        found = [[Aspect.from_json(aspect) for aspect in row.pop("aspects")] for row in rows]
        assert rows == table.rows
        assert found == (expected if target != "parquet" else [[_single(a) for a in aspects] for aspects in expected])
        pairs = [(row["text"], a) for row, its in zip(rows, found, strict=True) for a in its if a.span]
        assert all(text[a.start : a.end] == a.word for text, a in pairs)
        assert report.rows == len(rows)
        assert report.aspects == sum(map(len, expected)) == sum(report.counts.values())


def confirmation(parser: AspectParser, source: Path) -> str | None:
    """Return --text-column if the texts look like rows that were not split: `a,b`, each with as many commas."""
    try:
        parse_files(parser, [str(source)], None)
    except DataError as error:
        if "seems to hold several columns" in str(error):
            return "text"
        raise
    return None


@settings(deadline=None, max_examples=100)
@given(table=tables())
def test_what_is_read_is_the_same_from_every_form(tmp_path_factory: pytest.TempPathFactory, table: Table) -> None:
    folder = tmp_path_factory.mktemp("table")
    for form in FORMS:
        try:
            assert list(read_rows([str(write(table, folder / f"in.{form}"))])) == table.rows
        except DataError as error:
            if "say which by --delimiter" not in str(error):  # a header such as `|:` beside columns without values
                raise
            reject()


def _single(aspect: Aspect) -> Aspect:
    """Return the aspect as stored in Parquet, with scores in single precision."""
    scores = {name: getattr(aspect, name) for name in ("score", "polarity_score")}
    changes: dict[str, Any] = {name: float(np.float32(score)) for name, score in scores.items() if score is not None}
    return replace(aspect, **changes)
