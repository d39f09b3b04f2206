"""Spreadsheets (.xlsx): rows of one sheet, streamed; numbers, dates and booleans keep their types."""

from __future__ import annotations

import datetime
import json
import re
import warnings
import zipfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from reviews_parsing.batch.columns import header_fault, refuse_duplicate_columns, text_name
from reviews_parsing.batch.readers import Input, Layout, Limits, ReadOptions
from reviews_parsing.batch.readers.dialect import Table, column_names, decide_header, locate_table
from reviews_parsing.batch.readers.lines import HEAD_BYTES, unreadable
from reviews_parsing.batch.rows import Position, Record, length_fault
from reviews_parsing.errors import DataError
from reviews_parsing.io import filesystems
from reviews_parsing.io.filesystems import Stat, first_line

if TYPE_CHECKING:
    from openpyxl import Workbook

_SAMPLE_ROWS = 200
_MAX_ROWS, _MAX_COLUMNS = 2**20, 2**14
"""Largest size of a sheet, by Excel's specification."""
_ERROR_VALUES = {"#N/A", "#VALUE!", "#REF!", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!"}
_EPOCH = datetime.time()
_EMPTY_FORMULA = re.compile(
    rb"""<(?:\w{1,9}:)?c\b(?![^<>]{0,200}\bt="str")[^<>]{0,200}\br="[A-Z]{1,3}(\d+)"[^<>]{0,200}>"""
    rb"""\s*<(?:\w+:)?f\b[^<>]*(?:/>|>[^<]*</(?:\w+:)?f>)"""
    rb"""\s*(?:<(?:\w+:)?v\s*/>\s*|<(?:\w+:)?v>\s*</(?:\w+:)?v>\s*)?</(?:\w+:)?c>"""
)
"""A cell with a formula and no result; with `t="str"` the result is an empty string.

The length of attributes is bounded: a tag without an end would take quadratic time.
"""
_MERGED_CELLS = re.compile(rb"""<(?:\w+:)?mergeCell\b[^<>]*\bref="(([A-Z]+)(\d+):[A-Z]+(\d+))\"""")
_NO_RESULT = "a formula without its result: open the file in a spreadsheet program and save it"
_BLOCK_BYTES, _MAX_BLOCK_BYTES = 2**20, 2**22


def detect_sheet(
    location: str, name: str, stat: Stat, layout: Layout, options: ReadOptions, column: str | None
) -> Layout:
    """Return the layout of a workbook: its sheet, and where the table begins in it. Raises DataError if unclear."""
    with _opened(location, name, stat, options.limits) as workbook:
        samples = {sheet: _sample(workbook, sheet) for sheet in workbook.sheetnames}
    sheet = _choose_sheet({sheet: rows for sheet, rows in samples.items() if rows}, options.records, name, column)
    rows = [row for row in samples[sheet] if row[0] > (options.skip_lines or 0)]
    if not rows:
        return replace(layout, records=sheet, header_line=1)
    cells = [[_to_label(value) for value in values] for _, values in rows]
    first, width = locate_table(cells) if options.skip_lines is None else (0, len(cells[0]))
    line = rows[first][0]
    table = Table(layout, [row[:width] + [""] * (width - len(row)) for row in cells[first:]], line, first > 0, 1.0)
    has_header = decide_header(table, options.header, name, column)
    with _opened(location, name, stat, options.limits) as workbook:
        _refuse_merged_rows(workbook, sheet, line if has_header else 0, name)
    return replace(
        layout,
        records=sheet,
        skip_lines=line - 1,
        header_line=line if has_header else 0,
        names=() if has_header else column_names(width),
    )


def _refuse_merged_rows(workbook: Workbook, sheet: str, header_line: int, name: str) -> None:
    """Raise DataError if cells of several rows below the header are merged: only the first row has their value."""
    for block in _blocks(workbook, sheet):
        for match in _MERGED_CELLS.finditer(block) if b"mergeCell" in block else ():
            if header_line < int(match[3]) < int(match[4]):
                raise DataError(
                    f"{name}: the cells {match[1].decode()} are merged, so that only their first row has a value: "
                    "unmerge them and repeat the value"
                )


def _rows_without_result(workbook: Workbook, sheet: str) -> set[int]:
    """Return the numbers of the rows with a formula whose result is not stored."""
    blocks = (block for block in _blocks(workbook, sheet) if b"<f" in block or b":f" in block)
    return {int(match[1]) for block in blocks for match in _EMPTY_FORMULA.finditer(block)}


def _blocks(workbook: Workbook, sheet: str) -> Iterator[bytes]:
    """Yield the XML of a sheet in blocks that end between rows or, if rows are very long, between tags."""
    worksheet = workbook[sheet]
    if not hasattr(worksheet, "reset_dimensions"):
        return  # a sheet that is a chart
    buffer = b""
    with worksheet._get_source() as source:
        while data := source.read(_BLOCK_BYTES):
            buffer += data
            cut = buffer.rfind(b"row>") + 4
            if cut < 4 and len(buffer) > _MAX_BLOCK_BYTES:
                cut = buffer.rfind(b"<")
            if cut >= 4:
                yield buffer[:cut]
                buffer = buffer[cut:]
    yield buffer


def _sample(workbook: Workbook, sheet: str) -> list[tuple[int, list[Any]]]:
    return list(islice(_rows(workbook, sheet), _SAMPLE_ROWS))


def _choose_sheet(
    samples: dict[str, list[tuple[int, list[Any]]]], requested: str | None, name: str, column: str | None
) -> str:
    """Return the requested sheet, else the only one with rows, else the only one that names texts."""
    if requested is not None:
        if requested not in samples:
            raise DataError(
                f"{name} has no sheet '{requested}' with rows: name it by --records, one of {', '.join(samples)}"
            )
        return requested
    if not samples:
        raise DataError(f"{name} is empty: give a file with at least one review")
    named = [
        sheet
        for sheet, rows in samples.items()
        if any(text_name(cell) or cell == column for _, values in rows for cell in values if isinstance(cell, str))
    ]
    candidates = named if len(samples) > 1 else list(samples)
    if len(candidates) != 1:
        raise DataError(
            f"{name} has several sheets: name the one with the reviews by --records, one of {', '.join(samples)}"
        )
    return candidates[0]


def read_sheet(file: Input, limits: Limits, start: Position | None) -> tuple[list[str], Generator[Record]]:
    """Return the columns and the records of a sheet from `start` on; a row without values is skipped."""
    layout = file.layout
    names = list(layout.names)
    if layout.header_line:
        with _opened(file.location, file.name, file.stat, limits) as workbook:
            header = next((values for line, values in _rows(workbook, layout.records, layout.header_line)), [])
        limits.refuse_columns(file.name, len(header))
        names = [str(value) if value is not None else f"column_{n}" for n, value in enumerate(header, start=1)]
        refuse_duplicate_columns(names, file.name)
    first = start.offset + 1 if start is not None else max(layout.header_line, layout.skip_lines) + 1
    return names, _records(file, limits, names, first)


def _records(file: Input, limits: Limits, names: Sequence[str], first: int) -> Generator[Record]:
    with _opened(file.location, file.name, file.stat, limits) as workbook:
        without_result = _rows_without_result(workbook, file.layout.records)
        for line, values in _rows(workbook, file.layout.records, first):
            raw = json.dumps(values, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass")
            record = Record(Position(line - 1, line), raw, None)
            if len(values) > len(names):
                yield record._replace(reason=f"{len(values)} values where the header has {len(names)}")
            elif len(raw) > limits.max_cell:
                yield record._replace(raw=raw[:HEAD_BYTES], reason=length_fault(limits.max_cell))
            elif line in without_result:
                yield record._replace(reason=_NO_RESULT)
            elif reason := header_fault(values, names, f"{file.name}:{line}") if file.layout.header_line else "":
                yield record._replace(reason=reason)
            else:
                padded = [*values, *[None] * (len(names) - len(values))]
                yield record._replace(row=dict(zip(names, padded, strict=True)))


@contextmanager
def _opened(location: str, name: str, stat: Stat, limits: Limits) -> Iterator[Workbook]:
    """Open a workbook for streaming. Raises DataError if it is damaged, encrypted or too large."""
    from openpyxl import load_workbook

    try:
        with filesystems.filesystem_of(location).open_random(location) as raw, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about styles and validations, which are not read
            with zipfile.ZipFile(raw) as archive:
                limits.refuse_unpacked(name, stat.size, sum(entry.file_size for entry in archive.infolist()))
            raw.seek(0)
            workbook = load_workbook(raw, read_only=True, data_only=True)
            try:
                yield workbook
            finally:
                workbook.close()
    except DataError:
        raise
    except OSError as error:
        raise unreadable(name, error) from None
    except Exception as error:  # openpyxl raises the errors of zipfile, of the XML parser and its own
        reason = first_line(error)
        raise DataError(f"{name} is not a workbook that can be read ({reason}): save it as .xlsx or CSV") from None


def _rows(workbook: Workbook, sheet: str, first: int = 1) -> Iterator[tuple[int, list[Any]]]:
    """Yield (number, values) of the rows from number `first` on that have a value, without empty cells at their end."""
    worksheet = workbook[sheet]
    if not hasattr(worksheet, "reset_dimensions"):
        return  # a sheet that is a chart
    worksheet.reset_dimensions()  # those that the file declares may be wrong
    for number, cells in enumerate(worksheet.iter_rows(min_row=first, values_only=True), start=first):
        if number > _MAX_ROWS or len(cells) > _MAX_COLUMNS:
            raise DataError(f"row {number:,} has {len(cells):,} cells, more than a sheet can have")
        values = [_to_json(value) for value in cells]
        while values and values[-1] is None:
            values.pop()
        if values:
            yield number, values


def _to_json(value: Any) -> Any:
    """Return a cell's value in a type that JSON can hold: dates in ISO 8601, errors and empty strings as null."""
    if isinstance(value, str):
        return None if value in _ERROR_VALUES or not value else value
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == _EPOCH else value.isoformat(sep=" ")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _to_label(value: Any) -> str:
    return "" if value is None else str(value)
