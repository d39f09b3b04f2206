"""JSON: objects one a line, in an array, or one after the other, and lists of records nested in objects.

Objects one a line are read line by line, so that a line that is not JSON costs nothing else. Any other JSON is cut
into records by its braces and quotes, in constant memory; then the parts of a file that is not JSON are not known, and
it is refused.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from reviews_parsing.batch.readers import Layout
from reviews_parsing.batch.readers.lines import HEAD_BYTES, UTF8_BOM, Lines, not_utf8
from reviews_parsing.batch.rows import Position, Record, Row, english_type, length_fault
from reviews_parsing.errors import DataError
from reviews_parsing.io.json_errors import LONE_SURROGATE, not_json

BLOCK_BYTES = 2**20
_SAMPLE_LINES = 100
_SURROGATES = re.compile("[\ud800-\udfff]")
# A string that ends in its line, a bracket, a colon, the beginning of a string that does not end, or another value.
_TOKEN = re.compile(rb'"[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+"|[{}\[\]:]|"|[^\s,:{}\[\]"]+')
_OPENING, _CLOSING = (b"{", b"["), {b"}": b"{", b"]": b"["}
_PUNCTUATION = (b"}", b"]", b":")


class _NotJson(Exception):
    """A file that is not JSON as a whole."""


def parse_object(text: str) -> Row:
    """Parse a JSON object, or a string as {"text": string}. Raises DataError.

    NaN, infinities and numbers beyond double precision become null. Lone surrogates in keys become U+FFFD; those in
    strings of the object stay, so that a text with one can be rejected (see `replace_surrogates`).
    """
    try:
        value = json.loads(text, parse_constant=_null, parse_float=_parse_float)
    except (ValueError, RecursionError) as error:
        raise not_json(error, "correct or remove the line") from None
    if isinstance(value, str):
        value = {"text": value}
    if not isinstance(value, dict):
        raise DataError(f"{english_type(value)}, not an object: write one review a line")
    if "\\u" not in text:
        return value
    return {
        _without_surrogates(key): item if isinstance(item, str) else _without_surrogates(item)
        for key, item in value.items()
    }


def replace_surrogates(row: Row, column: str | None) -> str:
    """Replace lone surrogates in a row; return why its text in `column` cannot be parsed, '' if it can."""
    has_fault = column is not None and has_lone_surrogate(row.get(column))
    row |= {key: _without_surrogates(value) for key, value in row.items()}
    return LONE_SURROGATE if has_fault else ""


def has_lone_surrogate(value: Any) -> bool:
    """Return True if a value is a string that UTF-8 cannot hold."""
    return isinstance(value, str) and _SURROGATES.search(value) is not None


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATES.sub("\ufffd", value)
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return value


def _null(_: str) -> None:
    return None


def _parse_float(number: str) -> float | None:
    value = float(number)
    return value if math.isfinite(value) else None


def detect_style(lines: Sequence[bytes]) -> str:
    """Return the style of JSON (see `Layout.style`) from the first lines of a file."""
    lines = [line.strip() for line in lines if line.strip()]
    first, *next_lines = lines[:_SAMPLE_LINES]
    if not next_lines:
        return "array" if first.startswith(b"[") else "values"
    if _is_json(first):
        return "lines"
    if first.startswith(b"["):
        objects = [first[1:].strip(), *next_lines]
        objects = [line.removesuffix(b"]").removeprefix(b",").strip().removesuffix(b",") for line in objects]
        objects = [line for line in objects if line]
        good = sum(map(_is_object, objects))
        return "bracketed" if good > 1 and 2 * good > len(objects) else "array"
    if _is_object(first.removesuffix(b",")):
        return "bracketed"
    return "lines" if sum(map(_is_object, next_lines)) > len(next_lines) / 2 else "values"


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _is_object(line: bytes) -> bool:
    return line.startswith(b"{") and _is_json(line)


def read_json(lines: Lines, layout: Layout, start: Position | None) -> Iterator[Record]:
    """Return the records of a JSON file from `start` on."""
    if layout.records or layout.style in ("array", "values"):
        records = _Cutter(lines, layout).read(start)
    else:
        if start is not None:
            lines.seek(start)
        records = _read_lines(lines, layout.style == "bracketed")
    return (_parsed(record, layout.encoding) for record in records)


def _parsed(record: Record, encoding: str) -> Record:
    if record.reason:
        return record
    try:
        return record._replace(row=parse_object(record.raw.decode("utf-8")))
    except UnicodeDecodeError:
        return record._replace(reason=not_utf8(record.position, record.raw, encoding))
    except DataError as error:
        return record._replace(reason=str(error))


def _read_lines(lines: Lines, is_bracketed: bool) -> Iterator[Record]:
    """Yield each line that is not blank; with `is_bracketed` without the commas and brackets of the array."""
    too_long = length_fault(lines.limits.max_cell)
    for line in lines:
        data = line.data.removeprefix(UTF8_BOM)  # that of a joined file
        if is_bracketed:
            data = data.strip()
            if line.position.line == 1:
                data = data.removeprefix(b"[").lstrip()
            if data.endswith((b"}]", b"},]")) and not _is_json(data.removesuffix(b",")):
                data = data.removesuffix(b"]")
            data = data.removeprefix(b",").strip().removesuffix(b",").strip()
            if data in (b"]", b""):
                continue
        if data.strip():
            yield Record(line.position, data, None, "" if line.is_whole else too_long)


class _Cutter:
    """Cutter of a JSON text into records: the items of an array, of lists nested in objects, or consecutive values."""

    def __init__(self, lines: Lines, layout: Layout) -> None:
        self._lines, self._max_cell = lines, lines.limits.max_cell
        self._path = layout.records.encode()
        self._is_array = layout.style == "array"
        self._buffer, self._offset = b"", 0
        """Bytes that were read, and the offset of the first of them in the file."""
        self._index = 0
        """Index in the buffer behind the last token."""
        self._line, self._line_index = 1, 0
        """Line number at an index in the buffer."""
        self._is_ended = False
        self._long_head = b""
        """Beginning of the record under way if it is too long to keep."""

    def read(self, start: Position | None) -> Iterator[Record]:
        """Yield the records from `start` on. Raises DataError if the text is not JSON."""
        records: Iterator[Record]
        try:
            if self._path:  # the objects around a record are known only from the beginning on
                records = (record for record in self._read([]) if start is None or record.position >= start)
            else:
                if start is not None:
                    self._lines.seek(start)
                    self._offset, self._line = start
                records = self._read([b"["] if self._is_array and start is not None else [])
            yield from records
        except _NotJson as error:
            line = self._line_at(self._index)
            raise DataError(f"{self._lines.name}:{line}: not JSON ({error}): give a whole file") from None

    def _read(self, stack: list[bytes]) -> Iterator[Record]:
        """Yield the records; `stack` holds the brackets that are open at the beginning."""
        keys: list[bytes] = []
        key = b""
        begin: Position | None = None
        depth = 0
        while (match := self._next_token(begin)) is not None:
            token = match.group()
            if token == b'"':
                raise _NotJson("a string that does not end in its line")
            if begin is None and token not in _PUNCTUATION and self._is_record(token, stack, keys):
                begin, depth = self._position(match.start()), len(stack)
            elif begin is None:
                if not stack and (token not in _OPENING or (self._is_array and token == b"{" and not self._path)):
                    raise _NotJson(f"'{token[:20].decode('utf-8', 'replace')}' outside of the array")
                if token == b":":
                    keys = [*keys[: stack.count(b"{") - 1], key]
                key = token[1:-1]
            if token in _OPENING:
                stack.append(token)
            elif token in _CLOSING:
                if not stack or stack.pop() != _CLOSING[token]:
                    raise _NotJson(f"a '{token.decode()}' that closes nothing")
                keys = keys[: stack.count(b"{")]
            if begin is not None and len(stack) == depth:
                yield self._record(begin)
                begin = None
        if stack:
            raise _NotJson(f"the file ends inside {'an object' if stack[-1] == b'{' else 'a list'}")

    def _is_record(self, token: bytes, stack: list[bytes], keys: list[bytes]) -> bool:
        """Return True if a value that begins with `token` between these brackets, under these keys, is a record."""
        if self._path:  # a list, or one object instead of a list
            is_value = stack[-1:] == [b"["] or (stack[-1:] == [b"{"] and token == b"{")
            return is_value and stack.count(b"{") == len(keys) and b".".join(keys) == self._path
        return stack == ([b"["] if self._is_array else [])

    def _next_token(self, begin: Position | None) -> re.Match[bytes] | None:
        while True:
            match = _TOKEN.search(self._buffer, self._index)
            if match is not None and self._is_complete(match):
                self._index = match.end()
                return match
            if self._is_ended:
                return None
            self._fill(match.start() if match else len(self._buffer), begin)

    def _is_complete(self, match: re.Match[bytes]) -> bool:
        """Return False if a token may go on in the next block."""
        if self._is_ended:
            return True
        if match.group() == b'"':
            is_too_long = len(self._buffer) - match.start() > max(2 * BLOCK_BYTES, 2 * self._max_cell)
            return is_too_long or self._buffer.find(b"\n", match.end()) >= 0
        return match.end() < len(self._buffer)

    def _fill(self, min_start: int, begin: Position | None) -> None:
        """Read a block; drop the buffer before the current record, or before `min_start` without one."""
        cut = min_start
        if begin is not None and not self._long_head:
            cut = begin.offset - self._offset
            if len(self._buffer) - cut > self._max_cell:
                self._long_head, cut = self._buffer[cut : cut + HEAD_BYTES], min_start
        self._line_at(cut)
        self._buffer, self._offset = self._buffer[cut:], self._offset + cut
        self._index, self._line_index = max(0, self._index - cut), self._line_index - cut
        block = self._lines.read(BLOCK_BYTES)
        self._is_ended = not block
        if self._offset == 0 and not self._buffer and block.startswith(UTF8_BOM):
            self._offset, block = len(UTF8_BOM), block[len(UTF8_BOM) :]
        self._buffer += block

    def _line_at(self, index: int) -> int:
        """Return the line number at an index of the buffer, which does not lie before that of the last call."""
        if index > self._line_index:
            self._line += self._buffer.count(b"\n", self._line_index, index)
            self._line_index = index
        return self._line

    def _position(self, index: int) -> Position:
        return Position(self._offset + index, self._line_at(index))

    def _record(self, begin: Position) -> Record:
        head, self._long_head = self._long_head, b""
        raw = head or self._buffer[begin.offset - self._offset : self._index]
        if head or len(raw) > self._max_cell:
            hint = "" if self._path else "; if it holds a list of reviews, name that list by --records"
            return Record(begin, raw[:HEAD_BYTES], None, length_fault(self._max_cell) + hint)
        return Record(begin, raw, None)
