"""Rows of an input: records as they are read, rejects, and chunks of rows for the writers."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from reviews_parsing.errors import DataError
from reviews_parsing.io.filesystems import first_line, printable

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]


class Position(NamedTuple):
    """Begin of a row: bytes of the unpacked UTF-8 text before it, and its line from 1; else rows before it and its row.

    In a spreadsheet or Parquet file the offset counts rows.
    """

    offset: int = 0
    line: int = 1


class Record(NamedTuple):
    """Row of an input: its values, or the reason of its rejection. `raw` holds its bytes."""

    position: Position
    raw: bytes
    row: Row | None
    reason: str = ""


class Reject(NamedTuple):
    """A row that cannot be parsed. `line` is its number in the input, from 1."""

    line: int
    reason: str
    raw: bytes

    def to_json(self, name: str) -> str:
        """Return a line of the rejects file; bytes that are not UTF-8 are stored in `raw_base64`."""
        form: dict[str, Any] = {"input": printable(name), "line": self.line, "reason": self.reason}
        raw = self.raw.removesuffix(b"\n").removesuffix(b"\r")
        try:
            form["raw"] = raw.decode("utf-8")
        except UnicodeDecodeError:
            form["raw_base64"] = base64.b64encode(raw).decode("ascii")
        return json.dumps(form, ensure_ascii=False) + "\n"


class Chunk(Protocol):
    """Some hundred consecutive rows of one input."""

    @property
    def name(self) -> str:
        """Name of the input in messages."""

    @property
    def rejects(self) -> Sequence[Reject]:
        """Rows among these that cannot be parsed; nothing else here counts them."""

    @property
    def lines(self) -> Sequence[int]:
        """Line of each row, as in `Reject`; empty if unknown."""

    def texts(self, column: str) -> list[Any]:
        """Return the values of the text column; None for a row without a text."""

    def rows(self) -> list[Row]:
        """Return the rows in types that JSON can hold."""

    def arrays(self, fields: Sequence[pa.Field]) -> list[pa.Array]:
        """Return the rows as columns of these names and types; an absent column is null."""


@dataclass(frozen=True, slots=True)
class ValueChunk:
    """Rows of Python values: CSV, JSON, plain text or a spreadsheet."""

    name: str
    values: list[Row]
    rejects: Sequence[Reject] = ()
    lines: Sequence[int] = ()

    def texts(self, column: str) -> list[Any]:
        """Return the values of a column."""
        return [row.get(column) for row in self.values]

    def rows(self) -> list[Row]:
        """Return the rows as dictionaries."""
        return self.values

    def arrays(self, fields: Sequence[pa.Field]) -> list[pa.Array]:
        """Return an Arrow array for each field."""
        return [self._array(field) for field in fields]

    def _array(self, field: pa.Field) -> pa.Array:
        import pyarrow as pa

        values = self.texts(field.name)
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            values = [None if value is None else to_text(value) for value in values]
        try:
            return pa.array(values, field.type)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise _misfit(self.name, field, error) from None


@dataclass(frozen=True, slots=True)
class ArrowChunk:
    """Rows of a Parquet file, in its types."""

    name: str
    batch: pa.RecordBatch
    rejects: Sequence[Reject] = ()
    lines: Sequence[int] = ()

    def texts(self, column: str) -> list[Any]:
        """Return the values of a column."""
        return self._values(self.batch.schema.get_field_index(column))

    def rows(self) -> list[Row]:
        """Return the rows as dictionaries of JSON values."""
        names = self.batch.schema.names
        columns = [[to_json_value(value) for value in self._values(i)] for i in range(len(names))]
        return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]

    def arrays(self, fields: Sequence[pa.Field]) -> list[pa.Array]:
        """Return an Arrow array for each field."""
        return [self._array(field) for field in fields]

    def _array(self, field: pa.Field) -> pa.Array:
        import pyarrow as pa

        if (index := self.batch.schema.get_field_index(field.name)) < 0:
            return pa.nulls(len(self.batch), field.type)
        array = self.batch.column(index)
        try:
            return array if array.type == field.type else array.cast(field.type)
        except pa.ArrowException as error:
            raise _misfit(self.name, field, error) from None

    def _values(self, index: int) -> list[Any]:
        import pyarrow as pa

        array, kind = self.batch.column(index), self.batch.schema.types[index]
        # Python's own dates and times end at the microsecond and at the year 9999; Arrow's text does not.
        is_time = pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_time(kind)
        try:
            return (array.cast(pa.string()) if is_time else array).to_pylist()  # type: ignore[no-any-return]
        except (pa.ArrowException, ValueError, OverflowError) as error:
            column = self.batch.schema.names[index]
            reason = first_line(error)
            raise DataError(f"{self.name}: column '{column}' cannot be read ({reason}): correct it") from None


def to_text(value: Any) -> str:
    """Return a JSON value for a column of strings: a string unchanged, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def to_json_value(value: Any) -> Any:
    """Return a value that JSON can hold: NaN becomes null, bytes base64, dates and times ISO 8601."""
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, list | tuple):
        return [to_json_value(item) for item in value]
    if isinstance(value, dict):
        return {key: to_json_value(item) for key, item in value.items()}
    return str(value)


def type_fault(row: Row, column: str) -> str:
    """Return the fault of a text that is not a string; '' if it is a string or absent."""
    value = row.get(column)
    return "" if value is None or isinstance(value, str) else f"'{column}' is {english_type(value)}, not a string"


def length_fault(max_bytes: int) -> str:
    """Return the fault of a row that is longer than the limit."""
    return f"a row of more than {max_bytes} bytes"


def english_type(value: Any) -> str:
    """Return the JSON type of a value in English."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else "true or false"
    return "a number" if isinstance(value, int | float) else "a list" if isinstance(value, list) else "an object"


def _misfit(name: str, field: pa.Field, error: Exception) -> DataError:
    return DataError(
        f"{name}: column '{field.name}' does not fit {field.type}, its type in all inputs together "
        f"({first_line(error)}): parse this file by itself"
    )
