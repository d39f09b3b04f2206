"""CSV, TSV and other delimited text: every value is a string, with every character of it.

The standard library's parser is used, not pyarrow's: that one accepts a file whose last quote is never closed, and
counts rows instead of lines.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from reviews_parsing.batch.columns import header_fault, refuse_duplicate_columns
from reviews_parsing.batch.readers import Layout
from reviews_parsing.batch.readers.lines import Line, Lines, not_utf8, nul_fault
from reviews_parsing.batch.rows import Position, Record, length_fault, to_text
from reviews_parsing.errors import DataError

_QUOTED = re.compile('[\t,;"\r\n]|^[ \ufeff]')
_BACKSLASH = re.compile(r'\\(["\\]?)')
_UNCLOSED = "unexpected end of data"
"""The error of the parser for a row that ends inside quotes."""


class Cells(NamedTuple):
    """A row as a list of cells; without cells if the record has a reason."""

    record: Record
    cells: list[str]


_JOINED_ROWS = "a quote that opens in this row or the one before and closes in another: remove it, or double it"


class _TooLong(Exception):
    """A row of more bytes than the limit."""


class _Failure(NamedTuple):
    """Reason of the failure of a row with open quotes; `is_final` is False if the row was too long."""

    reason: str
    is_final: bool


class DelimitedRows:
    """Iterator over the rows of delimited lines, in linear time even if no row is valid.

    An invalid row loses its first line; the next row begins in the line after it. Whether open quotes stay open in a
    line depends only on that line, so each line is scanned once, not once for each earlier row.
    """

    def __init__(self, lines: Iterator[Line], layout: Layout, max_cell: int) -> None:
        csv.field_size_limit(max(csv.field_size_limit(), max_cell))  # a setting of the process, which others may raise
        self._lines, self._layout, self._max_cell = lines, layout, max_cell
        self._format: dict[str, Any] = {
            "delimiter": layout.delimiter,
            "quotechar": layout.quote or None,
            "escapechar": layout.escape or None,
            "skipinitialspace": layout.skips_spaces,
            "quoting": csv.QUOTE_MINIMAL if layout.quote else csv.QUOTE_NONE,
            "strict": True,
        }
        self._pending: deque[Line] = deque()
        """Lines that were read ahead."""
        self._row: list[Line] = []
        """Lines of the row that is being read."""
        self._too_long = length_fault(max_cell)

    def __iter__(self) -> Iterator[Cells]:
        reader = self._reader(self._feed())
        while True:
            self._row = []
            try:
                cells = next(reader)
            except StopIteration:
                return
            except _TooLong:
                if len(self._row) > 1:
                    self._pending.appendleft(self._row.pop())
                yield from self._recover(_Failure(self._too_long, is_final=False))
            except csv.Error as error:
                yield from self._recover(_Failure(f"not CSV, {error}", is_final=True))
            else:
                if self._may_be_joined(cells):
                    for line in self._row:
                        yield self._reject(line, _JOINED_ROWS, is_open=False)
                elif cells:
                    yield self._cells(self._row, cells)
                continue
            reader = self._reader(self._feed())

    def _may_be_joined(self, cells: Sequence[str]) -> bool:
        """Return True if each line of the row has as many tabs as the row: tables with tabs often have no quotes."""
        tabs = len(cells) - 1
        return (
            self._layout.delimiter == "\t"
            and len(self._row) > 1
            and tabs > 0
            and all(line.data.count(b"\t") == tabs for line in self._row)
        )

    def _reader(self, texts: Iterable[str]) -> Iterator[list[str]]:
        return csv.reader(texts, **self._format)

    def _feed(self) -> Iterator[str]:
        """Yield the lines for the parser."""
        size = 0
        while line := self._next_line():
            size = len(line.data) if not self._row else size + len(line.data)
            self._row.append(line)
            if not line.is_whole or size > self._max_cell:
                raise _TooLong
            yield self._decode(line)

    def _next_line(self) -> Line | None:
        return self._pending.popleft() if self._pending else next(self._lines, None)

    def _decode(self, line: Line) -> str:
        text = line.data.decode("utf-8", "replace")
        # A backslash before any other character is itself.
        return _BACKSLASH.sub(lambda match: match[0] if match[1] else "\\\\", text) if self._layout.escape else text

    def _cells(self, lines: Sequence[Line], cells: list[str]) -> Cells:
        raw = b"".join(line.data for line in lines)
        faults = (not_utf8(line.position, line.data, self._layout.encoding) for line in lines)
        fault = nul_fault(raw) if raw.isascii() else next(filter(None, faults), "")
        return Cells(Record(lines[0].position, raw, None, fault), cells)

    def _recover(self, failure: _Failure) -> Iterator[Cells]:
        """Reject the first line of a row that failed, and read the rows that begin in its other lines.

        At the begin of each of these lines the failed row was inside quotes. So is any row that begins in one of them
        and leaves its quotes open: it fails in the same way, unless the failed row was only too long.
        """
        window = deque(self._row)
        first = window.popleft()
        is_open = bool(window) or _UNCLOSED in failure.reason
        yield self._reject(first, failure.reason, is_open)
        size = sum(len(line.data) for line in window)
        while window:
            line = window[0]
            cells, reason = self._parse([line])
            if reason == _UNCLOSED and failure.is_final and len(window) == 1:
                break  # how a row goes on that begins in the last line is not known yet
            if reason == _UNCLOSED and not failure.is_final:
                closed, failure, size = self._extend(window, size)
                if closed:
                    yield closed
                    return
            window.popleft()
            size -= len(line.data)
            if reason == _UNCLOSED:
                yield self._reject(line, failure.reason, is_open=True)
            elif reason:
                yield self._reject(line, f"not CSV, {reason}", is_open=False)
            elif cells:
                yield self._cells([line], cells)
        self._pending.extendleft(reversed(window))

    def _extend(self, window: deque[Line], size: int) -> tuple[Cells | None, _Failure, int]:
        """Read on inside quotes until the row that begins with the window is closed, fails or is too long.

        Return the row if it was closed, why it failed otherwise, and the new size of the window in bytes.
        """
        while True:
            line = self._next_line()
            if line is None:
                return None, _Failure(f"not CSV, {_UNCLOSED}", is_final=True), size
            if not line.is_whole or size + len(line.data) > self._max_cell:
                self._pending.appendleft(line)
                return None, _Failure(self._too_long, is_final=False), size
            window.append(line)
            size += len(line.data)
            quoted = Line(line.position, self._layout.quote.encode() + line.data)
            _, reason = self._parse([quoted])
            if not reason:
                cells, _ = self._parse(window)
                return self._cells(list(window), cells), _Failure("", is_final=True), size
            if reason != _UNCLOSED:
                return None, _Failure(f"not CSV, {reason}", is_final=True), size

    def _parse(self, lines: Iterable[Line]) -> tuple[list[str], str]:
        """Return the cells of the row that lines make, or the reason why they make none."""
        try:
            return next(self._reader(self._decode(line) for line in lines)), ""
        except csv.Error as error:
            return [], str(error)

    def _reject(self, line: Line, reason: str, is_open: bool) -> Cells:
        hint = " (is a quote never closed?)" if is_open and reason.startswith("not CSV") else ""
        return Cells(Record(line.position, line.data, None, reason + hint), [])


def read_delimited(lines: Lines, layout: Layout, start: Position | None) -> tuple[list[str], Iterator[Record]]:
    """Return the columns and the rows from `start` on; blank lines are skipped.

    Raises DataError if the header cannot be read.
    """
    iterator = iter(lines)
    for _ in range(layout.skip_lines):
        next(iterator, None)
    rows = iter(DelimitedRows(iterator, layout, lines.limits.max_cell))
    names = list(layout.names)
    if layout.header_line:
        names = _read_header(rows, lines)
    if start is not None:
        lines.seek(start)
        rows = iter(DelimitedRows(iter(lines), layout, lines.limits.max_cell))
    return names, _named(rows, names, lines.name)


def _read_header(rows: Iterator[Cells], lines: Lines) -> list[str]:
    header = next(rows, None)
    if header is None:
        return []
    if header.record.reason:
        raise DataError(f"{lines.name}:{header.record.position.line}: {header.record.reason}: correct the header")
    lines.limits.refuse_columns(lines.name, len(header.cells))
    refuse_duplicate_columns(header.cells, lines.name)
    return header.cells


def _named(rows: Iterator[Cells], names: list[str], name: str) -> Iterator[Record]:
    """Yield the rows as records. Raises DataError if the header comes again with its columns in another order."""
    for record, cells in rows:
        if record.reason:
            yield record
        elif len(cells) != len(names):
            yield record._replace(reason=f"{len(cells)} values where the header has {len(names)}")
        elif reason := header_fault(cells, names, f"{name}:{record.position.line}"):
            yield record._replace(reason=reason)
        else:
            yield record._replace(row=dict(zip(names, cells, strict=True)))


def encode_row(values: Iterable[Any], delimiter: str) -> str:
    """Return a line of JSON values: strings unchanged, null as nothing, anything else as JSON."""
    # csv.writer (3.11, 3.12) leaves a lone CR unquoted unless lines end in CRLF.
    return delimiter.join(_quote("" if value is None else to_text(value)) for value in values) + "\n"


def _quote(value: str) -> str:
    return '"' + value.replace('"', '""') + '"' if _QUOTED.search(value) else value
