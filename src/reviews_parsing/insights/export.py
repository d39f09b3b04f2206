"""The tables behind a report, as rows, and as files of CSV and Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from datetime import date
from pathlib import Path
from typing import Any

from reviews_parsing.errors import DataError
from reviews_parsing.insights.report import check_page
from reviews_parsing.insights.tables import (
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
from reviews_parsing.io import filesystems
from reviews_parsing.io.files import replacing, write_bytes

Row = dict[str, Any]
_KINDS: Mapping[str, type] = {
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
_COMPARED = ("groups", "tests", "contrasts")
"""Tables of all comparisons together, that say of which column a row is."""
_SHARE = ("", "_low", "_high")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def tables(insights: Insights) -> dict[str, list[Row]]:
    """Every table by its name, as rows of plain values; a share is three columns: NAME, NAME_low and NAME_high."""
    compared = {
        name: [{"column": c.column, **row} for c in insights.comparisons for row in _rows(getattr(c, name))]
        for name in _COMPARED
    }
    return {name: compared[name] if name in compared else _rows(getattr(insights, name)) for name in _KINDS}


def to_json(insights: Insights) -> dict[str, Any]:
    """Everything as one JSON document: what was read, the notes, and the tables."""
    head = ("sources", "min_score", "by", "reviews", "with_aspects", "aspects", "implicit", "time", "grain")
    return {
        **{name: getattr(insights, name) for name in head},
        "first": insights.first.isoformat() if insights.first else None,
        "last": insights.last.isoformat() if insights.last else None,
        "dated": insights.dated,
        "notes": insights.notes,
        **{name: [_plain(row) for row in rows] for name, rows in tables(insights).items()},
    }


def write_tables(insights: Insights, folder: str | Path) -> list[Path]:
    """Write each table as NAME.csv and NAME.parquet; the folder is made if there is none.

    In CSV, which people open in spreadsheets, a text that a spreadsheet would take for a formula begins with an
    apostrophe. Raises DataError where a file cannot be written.
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
    """Raises DataError where nothing could be written there, before any work is done for it."""
    if page is not None:
        check_page(page)
    if folder is not None:
        check_folder(folder)


def check_folder(target: Path) -> None:
    """Raises DataError where no folder can be made or written to there, before any work is done for it."""
    if filesystems.is_folder(str(target)):
        filesystems.require_writable(str(target / "categories.csv"))
    elif filesystems.exists(str(target)):
        raise DataError(f"{target} is a file: give the name of a folder")
    else:
        filesystems.require_writable(str(target))


def _columns(table: str) -> list[str]:
    """The columns of a table, whether or not it has rows."""
    names = ["column"] if table in _COMPARED else []
    for field in fields(_KINDS[table]):
        names += [f"{field.name}{end}" for end in _SHARE] if field.type == Share.__name__ else [field.name]
    return names


def _rows(found: Iterable[Any]) -> list[Row]:
    return [_row(its) for its in found]


def _row(its: Any) -> Row:
    row: Row = {}
    for name, value in asdict(its).items():
        if isinstance(value, Share):
            row |= {f"{name}{end}": part for end, part in zip(_SHARE, value, strict=True)}
        else:
            row[name] = list(value) if isinstance(value, tuple) else value
    return row


def _plain(row: Row) -> Row:
    return {name: value.isoformat() if isinstance(value, date) else value for name, value in row.items()}


def _csv(columns: list[str], rows: Iterable[Row]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row[column]) for column in columns] for row in rows)
    return file.getvalue()


def _cell(value: Any) -> Any:
    text = "; ".join(value) if isinstance(value, list) else value
    return f"'{text}" if isinstance(text, str) and text.startswith(_FORMULA) else text
