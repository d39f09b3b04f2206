"""Export of all tables as rows, CSV, Parquet, XLSX and JSON, and of all plots as PNG and SVG."""

from __future__ import annotations

import csv
import io
import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import date
from pathlib import Path
from typing import Any

from reviews_parsing.errors import DataError
from reviews_parsing.insights.files import check_folder, check_page, make_folder, replacing, write_bytes
from reviews_parsing.insights.plots import figures
from reviews_parsing.insights.results import (
    Category,
    Cell,
    Change,
    Contrast,
    Disagreement,
    Driver,
    Finding,
    Group,
    Insights,
    Judgement,
    Period,
    RangeComparison,
    RangeDifference,
    Rating,
    Sentence,
    Share,
    SimilarTopics,
    Test,
    Topic,
    Word,
)

Row = dict[str, Any]
TABLES: Mapping[str, type] = {
    "findings": Finding,
    "drivers": Driver,
    "categories": Category,
    "topics": Topic,
    "similar_topics": SimilarTopics,
    "differences": RangeDifference,
    "periods": Period,
    "changes": Change,
    "words": Word,
    "judgements": Judgement,
    "sentences": Sentence,
    "disagreements": Disagreement,
    "groups": Group,
    "tests": Test,
    "contrasts": Contrast,
    "cells": Cell,
}
COMPARISON_TABLES = ("groups", "tests", "contrasts")
"""Tables of all comparisons, with a first column that names the compared column."""
MAX_SHEET_ROWS = 1_048_575
"""Rows of a sheet of XLSX below the header."""
MAX_CELL_LENGTH = 32_767
"""Characters of a cell of XLSX."""
PICTURE_DPI = 200
_SHARE_SUFFIXES = ("", "_low", "_high")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def tables(insights: Insights) -> dict[str, list[Row]]:
    """Return every table as rows of plain values; a share becomes three columns: NAME, NAME_low and NAME_high."""
    nested = {
        "drivers": insights.rating.drivers if insights.rating else (),
        "differences": insights.compared.differences if insights.compared else (),
    }
    return {
        name: [{"column": c.column, **row} for c in insights.comparisons for row in _rows(getattr(c, name))]
        if name in COMPARISON_TABLES
        else _rows(nested[name] if name in nested else getattr(insights, name))
        for name in TABLES
    }


def to_json(insights: Insights) -> dict[str, Any]:
    """Return all results as one JSON document: input, notes and tables."""
    names = ("sources", "min_score", "by", "reviews", "empty", "with_aspects", "aspects", "implicit", "time", "grain")
    return {
        **{name: getattr(insights, name) for name in names},
        "first": insights.first.isoformat() if insights.first else None,
        "last": insights.last.isoformat() if insights.last else None,
        "dated": insights.dated,
        "foreign": dict(insights.foreign),
        "notes": insights.notes,
        "place": insights.place,
        "rating": _summary(insights.rating, "drivers"),
        "compared": _summary(insights.compared, "differences"),
        "disagreement_counts": insights.disagreement_counts,
        **{name: [_with_iso_dates(row) for row in rows] for name, rows in tables(insights).items()},
    }


def _summary(result: Rating | RangeComparison | None, table: str) -> Row | None:
    """Return the fields of a result without those that are a table of their own."""
    if result is None:
        return None
    return _with_iso_dates({name: value for name, value in asdict(result).items() if name != table})


def write_tables(insights: Insights, folder: str | Path) -> list[Path]:
    """Write each table as NAME.csv and NAME.parquet into a folder, which is made if necessary.

    In CSV, a text that a spreadsheet would run as a formula is prefixed with an apostrophe. Raises DataError if a file
    cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    make_folder(target := Path(folder))
    paths = []
    for name, rows in tables(insights).items():
        columns = _columns(name)
        paths += [target / f"{name}.csv", target / f"{name}.parquet"]
        write_bytes(paths[-2], _csv(columns, rows).encode("utf-8", "replace"))
        with replacing(paths[-1]) as temporary:
            pq.write_table(pa.table({column: [row[column] for row in rows] for column in columns}), temporary)
    return paths


def write_workbook(insights: Insights, path: str | Path) -> None:
    """Write all tables into one XLSX file, a sheet for each; texts are never formulas.

    Raises DataError if it cannot be written, or openpyxl is not installed.
    """
    try:
        from openpyxl import Workbook
        from openpyxl.cell import WriteOnlyCell
        from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
    except ImportError:
        raise DataError("XLSX needs openpyxl: pip install 'reviews-parsing[insights]'") from None
    workbook = Workbook(write_only=True)
    for name, rows in tables(insights).items():
        sheet = workbook.create_sheet(name)
        sheet.freeze_panes = "A2"
        columns = _columns(name)
        sheet.append(columns)
        for row in rows[:MAX_SHEET_ROWS]:
            cells = []
            for column in columns:
                value = _cell_value(row[column])
                if isinstance(value, str):
                    cell = WriteOnlyCell(sheet, ILLEGAL_CHARACTERS_RE.sub(" ", value)[:MAX_CELL_LENGTH])
                    cell.data_type = "s"  # not "f", which a text that begins with = would be
                    cells.append(cell)
                else:
                    cells.append(value)
            sheet.append(cells)
    content = io.BytesIO()
    workbook.save(content)
    write_bytes(Path(path), content.getvalue())


def write_pictures(insights: Insights, folder: str | Path) -> list[Path]:
    """Write each plot as NAME.png and NAME.svg into a folder, which is made if necessary.

    Raises DataError if a file cannot be written.
    """
    make_folder(target := Path(folder))
    paths = []
    for name, figure in figures(insights).items():
        for ending in ("png", "svg"):
            content = io.BytesIO()
            metadata = {"Software": None} if ending == "png" else {"Date": None, "Creator": None}
            with warnings.catch_warnings():
                # Names of categories and groups may be in a script that the font lacks.
                warnings.filterwarnings("ignore", message="Glyph .* missing")
                figure.savefig(content, format=ending, dpi=PICTURE_DPI, metadata=metadata)
            paths.append(target / f"{_file_name(name)}.{ending}")
            write_bytes(paths[-1], content.getvalue())
    return paths


def write_json(insights: Insights, path: str | Path) -> None:
    """Write the document of `to_json`. Raises DataError if it cannot be written."""
    text = json.dumps(to_json(insights), ensure_ascii=False, indent=1) + "\n"
    write_bytes(Path(path), text.encode("utf-8", "replace"))


def check_targets(page: Path | None, *folders: Path | None) -> None:
    """Raise DataError if the report or the folders cannot be written, before any work is done for them."""
    if page is not None:
        check_page(page)
    for folder in folders:
        if folder is not None:
            check_folder(folder)


def _file_name(plot: str) -> str:
    """Return the name of a plot without characters that file names cannot have; it may hold a column's name."""
    return re.sub(r"[^\w.-]+", "_", plot)


def _columns(table: str) -> list[str]:
    """Return the columns of a table, also if it has no rows."""
    names = ["column"] if table in COMPARISON_TABLES else []
    for field in fields(TABLES[table]):
        suffixes: Sequence[str] = _SHARE_SUFFIXES if field.type == Share.__name__ else ("",)
        names += [f"{field.name}{suffix}" for suffix in suffixes]
    return names


def _rows(results: Iterable[Any]) -> list[Row]:
    return [_row(result) for result in results]


def _row(result: Any) -> Row:
    row: Row = {}
    for name, value in asdict(result).items():
        if isinstance(value, Share):
            row |= {f"{name}{suffix}": part for suffix, part in zip(_SHARE_SUFFIXES, value, strict=True)}
        else:
            row[name] = list(value) if isinstance(value, tuple) else value
    return row


def _with_iso_dates(row: Row) -> Row:
    return {name: value.isoformat() if isinstance(value, date) else value for name, value in row.items()}


def _csv(columns: list[str], rows: Iterable[Row]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_csv_value(row[column]) for column in columns] for row in rows)
    return file.getvalue()


def _csv_value(value: Any) -> Any:
    text = _cell_value(value)
    return f"'{text}" if isinstance(text, str) and text.startswith(_FORMULA_STARTS) else text


def _cell_value(value: Any) -> Any:
    """Return a value for one cell: lists as text."""
    if isinstance(value, list):
        return "; ".join(json.dumps(v, ensure_ascii=False) if isinstance(v, dict) else str(v) for v in value)
    return value
