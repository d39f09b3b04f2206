"""Export of all tables as rows, CSV, Parquet and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import date
from pathlib import Path
from typing import Any

from reviews_parsing.errors import DataError
from reviews_parsing.insights.files import check_folder, check_page, replacing, write_bytes
from reviews_parsing.insights.results import (
    Category,
    Cell,
    Change,
    Contrast,
    Group,
    Insights,
    Judgement,
    Period,
    Sentence,
    Share,
    Test,
    Word,
)

Row = dict[str, Any]
TABLES: Mapping[str, type] = {
    "categories": Category,
    "periods": Period,
    "changes": Change,
    "words": Word,
    "judgements": Judgement,
    "sentences": Sentence,
    "groups": Group,
    "tests": Test,
    "contrasts": Contrast,
    "cells": Cell,
}
COMPARISON_TABLES = ("groups", "tests", "contrasts")
"""Tables of all comparisons, with a first column that names the compared column."""
_SHARE_SUFFIXES = ("", "_low", "_high")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def tables(insights: Insights) -> dict[str, list[Row]]:
    """Return every table as rows of plain values; a share becomes three columns: NAME, NAME_low and NAME_high."""
    return {
        name: [{"column": c.column, **row} for c in insights.comparisons for row in _rows(getattr(c, name))]
        if name in COMPARISON_TABLES
        else _rows(getattr(insights, name))
        for name in TABLES
    }


def to_json(insights: Insights) -> dict[str, Any]:
    """Return all results as one JSON document: input, notes and tables."""
    names = ("sources", "min_score", "by", "reviews", "with_aspects", "aspects", "implicit", "time", "grain")
    return {
        **{name: getattr(insights, name) for name in names},
        "first": insights.first.isoformat() if insights.first else None,
        "last": insights.last.isoformat() if insights.last else None,
        "dated": insights.dated,
        "notes": insights.notes,
        **{name: [_with_iso_dates(row) for row in rows] for name, rows in tables(insights).items()},
    }


def write_tables(insights: Insights, folder: str | Path) -> list[Path]:
    """Write each table as NAME.csv and NAME.parquet into a folder, which is made if necessary.

    In CSV, a text that a spreadsheet would run as a formula is prefixed with an apostrophe. Raises DataError if a file
    cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    target = Path(folder)
    check_folder(target)
    try:
        target.mkdir(exist_ok=True)
    except OSError as error:
        raise DataError(f"{target} cannot be made ({error.strerror}): write elsewhere") from None
    written = []
    for name, rows in tables(insights).items():
        columns = _columns(name)
        written += [target / f"{name}.csv", target / f"{name}.parquet"]
        write_bytes(written[-2], _csv(columns, rows).encode("utf-8", "replace"))
        with replacing(written[-1]) as temporary:
            pq.write_table(pa.table({column: [row[column] for row in rows] for column in columns}), temporary)
    return written


def check_targets(page: Path | None, folder: Path | None) -> None:
    """Raise DataError if the report or the tables cannot be written, before any work is done for them."""
    if page is not None:
        check_page(page)
    if folder is not None:
        check_folder(folder)


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
    text = "; ".join(value) if isinstance(value, list) else value
    return f"'{text}" if isinstance(text, str) and text.startswith(_FORMULA_STARTS) else text
