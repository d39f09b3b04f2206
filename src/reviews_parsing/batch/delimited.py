"""CSV and TSV, every value a string and every character of it kept: nothing guesses that 007 is a number.

The standard library's reader and not pyarrow's: the latter takes a file whose last quote is never closed, and counts
rows where a person looks for lines.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from reviews_parsing.batch.chunks import Row, as_text
from reviews_parsing.batch.columns import refuse_twins
from reviews_parsing.batch.lines import LONGEST, Lines
from reviews_parsing.errors import DataError

_ENDS = re.compile("(?<=\r)(?!\n)(?=.)", re.DOTALL)
_QUOTED = re.compile('[\t,;"\r\n]|^[ \ufeff]')


def read(lines: Lines, delimiter: str) -> tuple[list[str], Iterator[tuple[int, Row]]]:
    """(header, (line, row) of each row). Blank lines are no rows. A line ends in LF, CRLF or CR.

    Raises DataError naming the line of a row that is no CSV, or has more or fewer values than the header.
    """
    rows = _split(lines, delimiter)
    _, header = next(rows, (0, []))
    refuse_twins(header, lines.name)
    return header, _with_header(rows, header, lines.name)


def _with_header(rows: Iterator[tuple[int, list[str]]], header: list[str], name: str) -> Iterator[tuple[int, Row]]:
    for line, row in rows:
        if len(row) != len(header):
            raise DataError(f"{name}:{line}: {len(row)} values where the header has {len(header)}: mend the row")
        yield line, dict(zip(header, row, strict=True))


def _split(lines: Lines, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(number of its first line, values) of each row that is not blank."""
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST))  # the limit belongs to the process; never lower it
    reader = csv.reader((part for line in lines for part in _ends(line)), delimiter=delimiter, strict=True)
    while True:
        first = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            hint = " (is a quote never closed?)" if reader.line_num > first else ""
            raise DataError(f"{lines.name}:{first}: not CSV, {error}{hint}: mend the row") from None
        if row:
            yield first, row


def _ends(line: str) -> Sequence[str]:
    """A line that LF ends, split where a lone CR ends one."""
    return _ENDS.split(line) if "\r" in line else (line,)


def encode(values: Iterable[Any], delimiter: str) -> str:
    """A line of values as JSON has them: strings as they are, null as nothing, anything else as JSON."""
    # csv.writer (3.11, 3.12) leaves a lone CR unquoted unless lines end in CRLF.
    return delimiter.join(_quoted("" if value is None else as_text(value)) for value in values) + "\n"


def _quoted(value: str) -> str:
    return '"' + value.replace('"', '""') + '"' if _QUOTED.search(value) else value
