"""CSV and TSV, every value a string and every character of it kept: nothing guesses that 007 is a number.

The standard library's reader and not pyarrow's: the latter takes a file whose last quote is never closed, and counts
rows where a person looks for lines.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from reviews_parsing.batch.chunks import as_text
from reviews_parsing.batch.columns import refuse_twins
from reviews_parsing.batch.lines import LONGEST, Line, Lines, Place, not_text
from reviews_parsing.batch.records import Record
from reviews_parsing.errors import DataError

_QUOTED = re.compile('[\t,;"\r\n]|^[ \ufeff]')


class _Endless(Exception):
    """A row of more than LONGEST bytes."""


class _Feed:
    """Lines for csv.reader; `taken` are those of the row that it is at, which may be given back."""

    def __init__(self, lines: Lines) -> None:
        self._lines = iter(lines)
        self._back: deque[Line] = deque()
        self.taken: list[Line] = []
        self.fault = ""
        self._size = 0

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        line = self._back.popleft() if self._back else next(self._lines)
        self.taken.append(line)
        self._size += len(line.data)
        if not line.whole or self._size > LONGEST:
            raise _Endless
        try:
            return line.data.decode("utf-8")
        except UnicodeDecodeError:
            self.fault = self.fault or not_text(line.place, line.data)
            return line.data.decode("utf-8", "replace")

    def begin(self) -> None:
        """The next row."""
        self.taken = []
        self.fault = ""
        self._size = 0

    def give_back(self) -> Line:
        """The first line of the row, the others being read again."""
        first, *others = self.taken
        self._back.extendleft(reversed(others))
        return first


def read(lines: Lines, start: Place | None = None, *, delimiter: str) -> tuple[list[str], Iterator[Record]]:
    """(header, rows from `start` on). Blank lines are no rows. A line ends in LF, CRLF or CR.

    A quote that is never closed costs the line that it stands in, not those after it. Raises DataError where there is
    no header.
    """
    rows = _rows(_Feed(lines), delimiter)
    first = next(rows, None)
    if first is None:
        return [], iter(())
    record, header = first
    if record.reason:
        raise DataError(f"{lines.name}:{record.place.line}: {record.reason}: mend the header")
    refuse_twins(header, lines.name)
    if start is not None:
        lines.seek(start)
        rows = _rows(_Feed(lines), delimiter)
    return header, _with_header(rows, header)


def _with_header(rows: Iterator[tuple[Record, list[str]]], header: list[str]) -> Iterator[Record]:
    for record, row in rows:
        if record.reason:
            yield record
        elif len(row) != len(header):
            yield record._replace(reason=f"{len(row)} values where the header has {len(header)}")
        else:
            yield record._replace(row=dict(zip(header, row, strict=True)))


def _rows(feed: _Feed, delimiter: str) -> Iterator[tuple[Record, list[str]]]:
    """Each row that is not blank, still without its values, and these; none where the record has a reason."""
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST))  # the limit belongs to the process; never lower it
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    while True:
        feed.begin()
        try:
            row = next(reader)
        except StopIteration:
            return
        except _Endless:
            first = feed.give_back()
            yield Record(first.place, first.data, None, f"a row of more than {LONGEST} bytes"), []
            continue
        except csv.Error as error:
            hint = " (is a quote never closed?)" if len(feed.taken) > 1 or "end of data" in str(error) else ""
            first = feed.give_back()
            yield Record(first.place, first.data, None, f"not CSV, {error}{hint}"), []
            continue
        if row:
            raw = b"".join(line.data for line in feed.taken)
            yield Record(feed.taken[0].place, raw, None, feed.fault), row


def encode(values: Iterable[Any], delimiter: str) -> str:
    """A line of values as JSON has them: strings as they are, null as nothing, anything else as JSON."""
    # csv.writer (3.11, 3.12) leaves a lone CR unquoted unless lines end in CRLF.
    return delimiter.join(_quoted("" if value is None else as_text(value)) for value in values) + "\n"


def _quoted(value: str) -> str:
    return '"' + value.replace('"', '""') + '"' if _QUOTED.search(value) else value
