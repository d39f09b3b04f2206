"""Detection of the layout of an input, by its content rather than its ending, and the reader for it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from itertools import takewhile

from reviews_parsing.batch.readers import Input, Layout, Limits, Reader, ReadOptions, encoding, excel
from reviews_parsing.batch.readers.dialect import (
    SAMPLE_BYTES,
    detect_dialect,
    has_delimited_shape,
    refuse_other_separators,
)
from reviews_parsing.batch.readers.json import detect_style
from reviews_parsing.batch.readers.lines import Line, Lines, not_utf8, unreadable
from reviews_parsing.batch.readers.parquet import ParquetReader
from reviews_parsing.batch.readers.records import RecordReader
from reviews_parsing.errors import DataError
from reviews_parsing.io import filesystems
from reviews_parsing.io.filesystems import Stat
from reviews_parsing.io.formats import (
    COMPRESSIONS,
    CSV,
    EXCEL,
    HEAD_BYTES,
    JSON,
    JSON_LINES,
    PARQUET,
    TEXT,
    describe_unreadable,
    detect_binary,
    detect_compression,
    format_of_ending,
    split_endings,
)

_JSON_START = re.compile(rb'\s*(?:\{\s*(?:["}]|$)|\[\s*(?:[\[{"\]]|$))')


def open_reader(file: Input, limits: Limits) -> Reader:
    """Return the reader of an input whose layout is known."""
    return ParquetReader(file, limits) if file.layout.format == PARQUET.name else RecordReader(file, limits)


def detect_layout(location: str, name: str, stat: Stat, options: ReadOptions, column: str | None) -> Layout:
    """Return the layout of a file; `column` is the requested text column.

    Raises DataError if the file cannot be read, is of an unknown format, or its layout is unclear.
    """
    ending, packed_ending = split_endings(location)
    head = _read_head(location, name)
    compression = detect_compression(head)
    if compression is None:
        compression = next((entry for entry in COMPRESSIONS.values() if entry.ending == packed_ending), None)
    by_ending = format_of_ending(ending)
    binary = (detect_binary(head) if compression is None else None) or (
        by_ending if by_ending is not None and not by_ending.is_text else None
    )
    if binary is PARQUET:
        return Layout(PARQUET.name)
    if binary is EXCEL:
        return excel.detect_sheet(location, name, stat, Layout(EXCEL.name), options, column)
    layout = Layout(CSV.name, compression=compression.name if compression else "")
    with Lines(location, name, layout, options.limits) as lines:
        unpacked_head = lines.read(HEAD_BYTES)
    description = describe_unreadable(unpacked_head)
    if description or detect_binary(unpacked_head):
        raise DataError(f"{name} is {description or 'a binary file inside a compressed one: unpack it'}")
    if options.encoding is not None:
        detected, is_certain = encoding.require_encoding(options.encoding), True
    else:
        detected, is_certain = encoding.detect_unicode(unpacked_head)
    layout = replace(layout, encoding=detected, is_encoding_certain=is_certain)
    return _detect_text(location, name, layout, options, column, ending)


def _read_head(location: str, name: str) -> bytes:
    try:
        with closing(filesystems.filesystem_of(location).open_stream(location)) as file:
            return file.read(HEAD_BYTES)
    except OSError as error:
        raise unreadable(name, error) from None


def _detect_text(
    location: str, name: str, layout: Layout, options: ReadOptions, column: str | None, ending: str
) -> Layout:
    by_ending = format_of_ending(ending)
    with Lines(location, name, layout, options.limits, cr=True) as file:
        lines = _sample(file)
    is_delimited = options.delimiter is not None or options.header is not None or options.skip_lines is not None
    first = next((line.data for line in lines if line.data.strip()), b"")
    if _JSON_START.match(first) or (by_ending in (JSON, JSON_LINES) and not is_delimited):
        texts = [line.data for line in lines if line.is_whole and line.data.strip()]
        # Without a whole line in the sample, the file is one long value.
        style = detect_style(texts) if texts else "array" if first.lstrip().startswith(b"[") else "values"
        entry = JSON_LINES if style == "lines" else JSON
        return replace(layout, format=entry.name, style=style, records=options.records or "")
    if options.records is not None:
        raise DataError(f"{name} is neither JSON nor a workbook: leave --records out")
    if is_delimited or by_ending is CSV or has_delimited_shape(lines, layout):
        detected = detect_dialect(lines, replace(layout, format=CSV.name), options, name, column)
        legacy = _encoding_of_header(lines, detected, name)
        if legacy is None:
            return detected
        return _detect_text(
            location, name, replace(layout, encoding=legacy, is_encoding_certain=True), options, column, ending
        )
    if ending and by_ending is not TEXT:
        raise DataError(
            f"{name} is neither JSON nor clearly delimited text: give --delimiter, or --delimiter none for one review "
            "a line"
        )
    if column is None:
        refuse_other_separators(lines, name)
    return replace(layout, format=TEXT.name)


def _encoding_of_header(lines: Sequence[Line], layout: Layout, name: str) -> str | None:
    """Return the encoding of a file whose header is not UTF-8, None if it is. Raises DataError if that is unclear."""
    if layout.is_encoding_certain:
        return None
    faults = {line.position.line: not_utf8(line.position, line.data) for line in lines}
    if not faults.get(layout.header_line):
        return None
    sample = [line.data for line in lines if faults[line.position.line]]
    return _legacy_encoding(sample, f"{name}:{layout.header_line}: {faults[layout.header_line]}")


def _sample(lines: Lines) -> list[Line]:
    """Return the lines at the beginning of a file."""
    size = 0

    def is_within(line: Line) -> bool:
        nonlocal size
        size += len(line.data)
        return size <= SAMPLE_BYTES or size == len(line.data)

    return list(takewhile(is_within, lines))


def correct_encoding(file: Input, undecodable: Sequence[bytes], fault: str) -> Input:
    """Return an input that is not UTF-8 in the encoding of these rows. Raises DataError if that is unclear."""
    legacy = _legacy_encoding(undecodable, fault)
    return replace(file, layout=replace(file.layout, encoding=legacy, is_encoding_certain=True))


def _legacy_encoding(undecodable: Sequence[bytes], fault: str) -> str:
    """Return the 8-bit encoding of rows that are not UTF-8. Raises DataError with `fault` if it is unclear."""
    sample = b"\n".join(undecodable)
    legacy = encoding.detect_legacy(sample)
    if legacy is None:
        candidates = " or ".join(encoding.guess_candidates(sample))
        raise DataError(f"{fault}" + (f"; it may be {candidates}" if candidates else ""))
    return legacy
