"""Detection of the dialect of delimited text: delimiter, quotes, lines above the header, header or none.

A header with a usual name of the text column is certain. Otherwise a delimiter is accepted if it splits nearly all
sample rows into the same number of cells. Of several such delimiters, one is accepted if only its columns do not hold
the others, and clevercsv chooses it too. Unclear cases are refused with the option that settles them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from reviews_parsing.batch.columns import TEXT_NAMES, is_number_or_date, text_name
from reviews_parsing.batch.readers import NO_DELIMITER, Layout, ReadOptions, delimiter_name
from reviews_parsing.batch.readers.delimited import DelimitedRows
from reviews_parsing.batch.readers.lines import Line
from reviews_parsing.batch.rows import Record
from reviews_parsing.errors import DataError

DELIMITERS = (",", ";", "\t", "|")
SAMPLE_BYTES = 2**16
_SNIFFED_CHARACTERS, _MIN_SNIFFED_ROWS = 2**13, 3
_MIN_REGULAR = 0.9
"""Share of the sample rows that must have the width of a table without a known header."""
_MIN_UNEVEN = 0.5
"""Share of the sample rows with equal widths above which a file is not a single column."""
_MAX_PREAMBLE_ROWS = 50
# Numbers in a column that show that words above them are names.
_MIN_NUMBERS = 3
_MAX_LABEL_CHARACTERS, _MAX_LABEL_WORDS = 60, 6
_SEPARATOR_LINE = re.compile(rb'"?sep=(.)"?\s*', re.IGNORECASE)
_DELIMITER_NAMES = {
    "tab": "\t",
    "\\t": "\t",
    "comma": ",",
    "semicolon": ";",
    "pipe": "|",
    "space": " ",
    "none": NO_DELIMITER,
}
_OTHER_SEPARATORS = ("~", "^", "::", "\x01", "\x1f", "\xa6", "\xa7", "\xac")
"""Separators that are not detected, only noticed in a file that seems to have a single column."""
_ESCAPED_CHARACTER = re.compile(r"\\x[0-9a-fA-F]{2}")
_GAP = re.compile(r"(?<=\S) {2,}(?=\S)")
_LABEL = re.compile(r"([^\W\d][\w/. -]{0,39}):(?:\s|$)")
_NULLS = {"n/a", "na", "nan", "null", "none", "nil", "unknown", "-", "--", "?"}


@dataclass(frozen=True, slots=True)
class Table:
    """Sample rows from the header or the first row on.

    `line` is the line of the first, `has_preamble` is True if lines above it were left out, `regular` is the share of
    rows with the width of the table, `even` that of all rows of the sample, `is_escaped` is True if a cell without
    quotes around it holds an escaped quote.
    """

    layout: Layout
    rows: list[list[str]]
    line: int
    has_preamble: bool
    regular: float
    even: float = 1.0
    is_escaped: bool = False

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.rows[0])

    @property
    def names_texts(self) -> bool:
        """True if a cell of the first row is a usual name of the text column."""
        return any(map(text_name, self.rows[0]))

    @property
    def is_prose(self) -> bool:
        """True if the delimiter is the comma of prose, with a space behind it, and no column holds numbers or dates."""
        cells = [cell for row in self.rows for cell in row[1:]]
        spaced = 2 * sum(cell[:1] in (" ", "") for cell in cells) >= len(cells)
        columns = zip(*(row for row in self.rows if len(row) == self.width), strict=True)
        return self.layout.delimiter == "," and spaced and not any(all(map(is_number_or_date, c)) for c in columns)


def detect_dialect(
    lines: Sequence[Line], layout: Layout, options: ReadOptions, name: str, column: str | None
) -> Layout:
    """Return the layout of a delimited file from its first lines; `column` is the requested text column.

    Raises DataError if the dialect is unclear.
    """
    lines = [line for line in lines if line.is_whole]
    skip_lines = options.skip_lines
    delimiter = None if options.delimiter is None else require_delimiter(options.delimiter)
    if skip_lines is None and lines and (match := _SEPARATOR_LINE.fullmatch(lines[0].data)):
        skip_lines, delimiter = 1, delimiter or match.group(1).decode("utf-8", "replace")
    layout = replace(layout, skip_lines=skip_lines or 0)
    if not any(line.data.strip() for line in lines[layout.skip_lines :]):
        return replace(layout, header_line=1)
    layouts = [replace(layout, delimiter=entry) for entry in ([delimiter] if delimiter else DELIMITERS)]
    tables = [table for entry in layouts if (table := _split(lines, entry, finds_preamble=options.skip_lines is None))]
    table = _choose(tables, lines[layout.skip_lines :], delimiter is not None, name, column)
    if delimiter is None and column is None and table.layout.delimiter == NO_DELIMITER:
        refuse_other_separators(lines, name)
    has_header = decide_header(table, options.header, name, column)
    return replace(
        table.layout,
        skip_lines=sum(line.position.line < table.line for line in lines),
        header_line=table.line if has_header else 0,
        names=() if has_header else column_names(table.width),
    )


def refuse_other_separators(lines: Sequence[Line], name: str) -> None:
    """Raise DataError if lines that seem to be one column are split otherwise.

    They may be split by another separator, have a fixed width, or each hold one field of a record (`stars: 5`).
    """
    rows = [line.data.decode("utf-8", "replace").rstrip() for line in lines if line.is_whole and line.data.strip()]
    if len(rows) < 2:
        return
    for separator in _OTHER_SEPARATORS:
        count, frequency = Counter(row.count(separator) for row in rows).most_common(1)[0]
        if count and frequency >= _MIN_REGULAR * len(rows):
            remedy = f"give --delimiter {separator!r}" if len(separator) == 1 else "replace it by a tab"
            raise DataError(
                f"{name} seems to be delimited by {separator!r}: {remedy}, or --delimiter none for one review a line"
            )
    stops = Counter(match.end() for row in rows for match in _GAP.finditer(row))
    if stops and max(stops.values()) >= max(3, _MIN_REGULAR * len(rows)):
        raise DataError(
            f"{name} seems to have columns of a fixed width: save it as CSV, or give --delimiter none for one review a "
            "line"
        )
    labels = [match[1] for row in rows if (match := _LABEL.match(row))]
    if len(labels) >= max(4, _MIN_REGULAR * len(rows)) and 2 * len(set(labels)) <= len(labels):
        raise DataError(
            f"{name} seems to have a line for each field ('{labels[0]}:'), not for each review: save it as CSV or JSON "
            "lines, or give --delimiter none for one review a line"
        )


def require_delimiter(name: str) -> str:
    """Return the character of a delimiter by its name or itself. Raises DataError if it cannot be one."""
    character = _DELIMITER_NAMES.get(name.lower(), name)
    if _ESCAPED_CHARACTER.fullmatch(name):
        character = chr(int(name[2:], 16))
    if len(character) != 1 or character in '"\r\n' or character.isalnum():
        raise DataError(f"--delimiter {name!r} is not one character: give , ; | tab, or none for a single column")
    return character


def to_options(layout: Layout) -> ReadOptions:
    """Return the options that read a delimited file in a given layout."""
    names = {"\t": "tab", " ": "space", NO_DELIMITER: "none"}
    delimiter = names.get(layout.delimiter, layout.delimiter)
    return ReadOptions(delimiter, layout.encoding, layout.header_line > 0, layout.skip_lines)


def has_delimited_shape(lines: Sequence[Line], layout: Layout) -> bool:
    """Return True if lines of unknown format are delimited: a header names the texts, or all rows have equal width."""
    lines = [line for line in lines if line.is_whole]
    layouts = [replace(layout, delimiter=delimiter) for delimiter in DELIMITERS]
    tables = [table for entry in layouts if (table := _split(lines, entry, finds_preamble=True))]
    regular = [table for table in tables if table.width > 1 and table.regular == 1 and len(table.rows) > 1]
    return any(table.names_texts for table in tables) or any(not table.is_prose for table in regular)


def locate_table(rows: Sequence[Sequence[str]]) -> tuple[int, int]:
    """Return the index of the header or first row of a table with lines above it, and the width of the table."""
    named: list[int] = []
    for number, cells in enumerate(rows[:_MAX_PREAMBLE_ROWS]):
        is_filled = _is_filled(cells)
        if len(cells) > 1 and (any(map(text_name, cells)) if is_filled else any(cell in TEXT_NAMES for cell in cells)):
            named.append(number)
        if len(cells) > 1 and is_filled and number + 1 < len(rows) and len(rows[number + 1]) == len(cells):
            if not named and "" in cells and _names_all(rows[number + 1]):
                named.append(number + 1)  # names below a row of groups of columns
            break
    if named:
        return named[-1], len(rows[named[-1]])
    widths = Counter(map(len, rows))
    width = max(widths, key=lambda size: (widths[size], size))
    return next((n for n, cells in enumerate(rows) if len(cells) == width and _is_filled(cells)), 0), width


def _names_all(cells: Sequence[str]) -> bool:
    """Return True if a row names all columns, and one of them the texts."""
    return any(map(text_name, cells)) and len(set(cells)) == len(cells) and all(map(_is_label, cells))


def decide_header(table: Table, requested: bool | None, name: str, column: str | None) -> bool:
    """Return True if the first row of a table is its header. Raises DataError if that is unclear."""
    if requested is not None:
        return requested
    has_header = True if column is not None and column in table.rows[0] else _looks_like_header(table)
    if has_header and (count := _count_further_headers(table)):
        place = f"line {table.line + 1} seems" if count == 1 else f"lines {table.line + 1} and {table.line + 2} seem"
        row = " | ".join(cell for cell in table.rows[1] if cell.strip())
        raise DataError(
            f"{name}: {place} to name the columns again ({row:.60}): remove that, or say --header to keep it"
        )
    if has_header is None or (table.has_preamble and not has_header):
        row = " | ".join(table.rows[0])
        raise DataError(
            f"{name}: line {table.line} ({row:.60}) may be the header or the first row: say --header or --no-header"
            + (", and --skip-lines" if table.has_preamble else "")
        )
    return has_header


def column_names(width: int) -> tuple[str, ...]:
    """Return the names of the columns of a table without a header."""
    return ("text",) if width == 1 else tuple(f"column_{number}" for number in range(1, width + 1))


def _split(lines: Sequence[Line], layout: Layout, finds_preamble: bool) -> Table | None:
    """Split sample lines by a delimiter, with the quotes that fit best; None if no row can be read."""
    lines = lines[layout.skip_lines :]
    layouts = [layout]
    if any(b'\\"' in line.data for line in lines):
        layouts.append(replace(layout, escape="\\"))
    delimiter = re.escape(layout.delimiter.encode())
    spaced_quote = re.compile(delimiter + rb' +"[^"\s' + delimiter + rb"]")
    if any(spaced_quote.search(line.data) for line in lines):
        layouts += [replace(entry, skips_spaces=True) for entry in layouts]
    if all(line.data[:1] == b"'" for line in lines if line.data.strip()):
        layouts.append(replace(layout, quote="'"))
    tables = [table for entry in layouts if (table := _read_table(lines, entry, finds_preamble))]
    return max(
        tables,
        key=lambda t: (t.regular, t.width, not t.has_preamble, t.is_escaped, t.layout.skips_spaces),
        default=None,
    )


def _read_table(lines: Sequence[Line], layout: Layout, finds_preamble: bool) -> Table | None:
    max_bytes = max([SAMPLE_BYTES, *(len(line.data) for line in lines)])  # the first line may be longer than the sample
    records = list(DelimitedRows(iter(lines), layout, max_bytes))
    # A row that is not UTF-8 has cells: the encoding is found later.
    rows = [(record.position.line, cells) for record, cells in records if cells]
    if not rows:
        return None
    first, width = locate_table([cells for _, cells in rows]) if finds_preamble else (0, len(rows[0][1]))
    line = rows[first][0]
    below = [record for record, _ in records if record.position.line >= line]
    table_rows = [cells for _, cells in rows[first:]]
    regular = sum(len(cells) == width for cells in table_rows) / len(below)
    even = sum(len(cells) == width for _, cells in rows) / len(records)
    is_escaped = bool(layout.escape) and any(_has_bare_escape(record, cells) for record, cells in records)
    return Table(layout, table_rows, line, len(below) < len(records), regular, even, is_escaped)


def _has_bare_escape(record: Record, cells: Sequence[str]) -> bool:
    """Return True if a cell that holds a quote is written without quotes around it, as only escapes allow."""
    raw = record.raw.decode("utf-8", "replace")
    escaped = (cell.replace("\\", "\\\\").replace('"', '\\"') for cell in cells if '"' in cell)
    return any(cell in raw and f'"{cell}' not in raw for cell in escaped)


def _is_filled(cells: Sequence[str]) -> bool:
    """Return False for a title above a table: one cell with empty ones after it.

    Only the first cell may be empty if there are two: the index of a data frame has no name.
    """
    filled = [bool(cell.strip()) for cell in cells]
    return len(cells) == 1 or sum(filled) > 1 or filled == [False, True]


def _choose(tables: Sequence[Table], lines: Sequence[Line], is_given: bool, name: str, column: str | None) -> Table:
    """Return the table that the sample is. Raises DataError if that is unclear."""
    if is_given and tables:
        return tables[0]
    wide = [table for table in tables if table.width > 1]
    named = [table for table in wide if table.names_texts or column in table.rows[0]]
    sound = named or [
        table
        for table in wide
        if table.regular >= _MIN_REGULAR and (not table.has_preamble or _looks_like_header(table))
    ]
    prose = [table for table in sound if table.is_prose and not table.names_texts]
    sound = [table for table in sound if table not in prose]
    if len(sound) > 1:
        delimiters = [table.layout.delimiter for table in sound]
        split = [table for table in sound if not _holds_delimiters(table, delimiters)]
        has_rows = max(len(table.rows) for table in sound) >= _MIN_SNIFFED_ROWS
        if not has_rows or len(split) != 1 or split[0].layout.delimiter != _sniff(lines):
            raise _several_delimiters(name, delimiters)
        sound = split
    if sound:
        # A row with a single value looks like a title above the table, which then is not sound.
        delimiters = [table.layout.delimiter for table in wide if table.even >= _MIN_REGULAR]
        if not named and _holds_delimiters(sound[0], delimiters):
            raise _several_delimiters(name, delimiters)
        return sound[0]
    single = [table for table in tables if table.width == 1 and not table.has_preamble]
    is_named = any(table.names_texts for table in single)
    uneven = [
        table
        for table in wide
        if table.regular >= _MIN_UNEVEN and not table.is_prose and not (table.has_preamble and is_named)
    ]
    if prose or uneven or not single:
        raise DataError(f"{name}: it is unclear how its columns are delimited: give --delimiter, or --delimiter none")
    return _read_table(lines, replace(single[0].layout, delimiter=NO_DELIMITER), finds_preamble=False) or single[0]


def _several_delimiters(name: str, delimiters: Sequence[str]) -> DataError:
    listed = " or ".join(map(delimiter_name, delimiters))
    return DataError(f"{name} may be delimited by {listed}: say which by --delimiter")


def _holds_delimiters(table: Table, delimiters: Sequence[str]) -> bool:
    """Return True if one of these delimiters is in each cell of a column without numbers, dates and links."""
    alternatives = [delimiter for delimiter in delimiters if delimiter != table.layout.delimiter]
    for column in zip(*(row for row in table.rows if len(row) == table.width), strict=True):
        cells = [cell for cell in column if cell.strip()]
        is_held = any(all(delimiter in cell for cell in cells) for delimiter in alternatives)
        if cells and is_held and not all(map(is_number_or_date, cells)):
            return True
    return False


def _sniff(lines: Sequence[Line]) -> str | None:
    """Return the delimiter that clevercsv finds."""
    from clevercsv.detect import Detector

    sample = b"".join(line.data for line in lines)[:_SNIFFED_CHARACTERS].decode("utf-8", "replace").replace("\0", "")
    dialect = Detector().detect(sample, delimiters=list(DELIMITERS))
    return dialect.delimiter if dialect else None


def _looks_like_header(table: Table) -> bool | None:
    """Return True if the first row is a header, False if it is a row, None if it may be either."""
    header, *rows = table.rows
    names = [cell.strip() for cell in header]
    if table.names_texts:
        return True
    numbers = [str(number) for number in range(len(names))]
    is_index = all(is_number_or_date(row[0]) for row in rows)
    if len(names) > 1 and (names == numbers or (names == ["", *numbers[:-1]] and is_index)):
        return True  # of a data frame without names
    columns = list(zip(*(row for row in rows if len(row) == len(header)), strict=True)) or [()] * len(header)
    is_row = any(
        cell and (is_number_or_date(cell) or cell.lower() in _NULLS or cell in (value.strip() for value in column))
        for cell, column in zip(names, columns, strict=True)
    )
    # Numbers and dates under a word show a header.
    contrasts = sum(
        sum(bool(value.strip()) for value in column)
        for cell, column in zip(names, columns, strict=True)
        if _is_word(cell) and all(is_number_or_date(value) for value in column if value.strip())
    )
    if is_row:
        return None if contrasts else False
    if contrasts > 1 or any(map(_is_identifier, names)):
        return True
    filled = [cell for cell in names if cell]
    is_label_row = all(map(_is_label, filled)) and len(set(filled)) == len(filled) > len(names) / 2
    return None if is_label_row and not any(map(_is_sentence, names)) else False


def _count_further_headers(table: Table) -> int:
    """Return the number of rows (up to 2) below the header that hold only words where the other rows have numbers.

    These rows have numbers or dates in two columns at least, so a first review without a number is read.
    """
    for count in (2, 1):
        headers, rows = table.rows[1 : count + 1], [row for row in table.rows[count + 1 :] if len(row) == table.width]
        cells = [cell.strip() for row in headers for cell in row]
        is_complete = all(len(row) == table.width for row in headers)
        if not is_complete or any(is_number_or_date(cell) or cell.lower() in _NULLS for cell in cells if cell):
            continue
        columns = [[value for value in column if value.strip()] for column in zip(*rows, strict=True)]
        numeric = [
            number
            for number, values in enumerate(columns)
            if len(values) >= _MIN_NUMBERS and all(map(is_number_or_date, values))
        ]
        has_names = any(all(any(map(str.isalpha, row[number])) for row in headers) for number in numeric)
        if len(numeric) > 1 and has_names:
            return count
    return 0


def _is_label(cell: str) -> bool:
    """Return True if a cell may be the name of a column."""
    return (
        0 < len(cell) <= _MAX_LABEL_CHARACTERS and len(cell.split()) <= _MAX_LABEL_WORDS and not is_number_or_date(cell)
    )


def _is_word(cell: str) -> bool:
    return _is_label(cell) and not any(map(str.isdigit, cell))


def _is_sentence(cell: str) -> bool:
    return not _is_label(cell) or (len(cell.split()) > 2 and cell[-1:] in ".!")


def _is_identifier(cell: str) -> bool:
    """Return True if a cell is written like a name in a program: review_body, reviewBody, review.body."""
    return re.fullmatch(r"[A-Za-z]\w*(?:[_.]\w+)+|[a-z]+[A-Z][A-Za-z]*", cell) is not None
