"""A few hundred rows of an input, as whoever writes them wants to have them."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from reviews_parsing.batch.records import Reject, Row
from reviews_parsing.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa


class Chunk(Protocol):
    """Rows that follow each other in one input."""

    @property
    def name(self) -> str:
        """What messages call the input."""

    @property
    def rejects(self) -> Sequence[Reject]:
        """Rows among these that cannot be parsed; nothing else here counts them."""

    def texts(self, column: str) -> list[Any]:
        """The values of the column of texts; None where a row has none."""

    def rows(self) -> list[Row]:
        """The rows as JSON can hold them."""

    def arrays(self, fields: Sequence[pa.Field]) -> list[pa.Array]:
        """The rows as columns of these names and types; nulls where the input has no such column."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a CSV, JSONL or plain text file."""

    name: str
    values: list[Row]
    rejects: Sequence[Reject] = ()

    def texts(self, column: str) -> list[Any]:
        return [row.get(column) for row in self.values]

    def rows(self) -> list[Row]:
        return self.values

    def arrays(self, fields: Sequence[pa.Field]) -> list[pa.Array]:
        return [self._array(field) for field in fields]

    def _array(self, field: pa.Field) -> pa.Array:
        import pyarrow as pa

        values = self.texts(field.name)
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            values = [None if value is None else as_text(value) for value in values]
        try:
            return pa.array(values, field.type)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise _unfit(self.name, field, error) from None


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of a Parquet file, with its types."""

    name: str
    batch: pa.RecordBatch
    rejects: Sequence[Reject] = ()

    def texts(self, column: str) -> list[Any]:
        return self._values(self.batch.schema.get_field_index(column))

    def rows(self) -> list[Row]:
        names = self.batch.schema.names
        columns = [[as_json(value) for value in self._values(i)] for i in range(len(names))]
        return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]

    def arrays(self, fields: Sequence[pa.Field]) -> list[pa.Array]:
        return [self._array(field) for field in fields]

    def _array(self, field: pa.Field) -> pa.Array:
        import pyarrow as pa

        if (index := self.batch.schema.get_field_index(field.name)) < 0:
            return pa.nulls(len(self.batch), field.type)
        array = self.batch.column(index)
        try:
            return array if array.type == field.type else array.cast(field.type)
        except pa.ArrowException as error:
            raise _unfit(self.name, field, error) from None

    def _values(self, index: int) -> list[Any]:
        import pyarrow as pa

        array, kind = self.batch.column(index), self.batch.schema.types[index]
        # Python's own dates and times end at the microsecond and at the year 9999; Arrow's text does not.
        as_text = pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_time(kind)
        try:
            return (array.cast(pa.string()) if as_text else array).to_pylist()  # type: ignore[no-any-return]
        except (pa.ArrowException, ValueError, OverflowError) as error:
            column = self.batch.schema.names[index]
            raise DataError(f"{self.name}: column '{column}' cannot be read ({first_line(error)}): mend it") from None


def as_text(value: Any) -> str:
    """A JSON value in a column of strings: a string as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def first_line(error: BaseException) -> str:
    """What an error of a library says, on one line."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def as_json(value: Any) -> Any:
    """JSON has no NaN, bytes or dates: they become null, base64 and ISO 8601."""
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    return str(value)


def _unfit(name: str, field: pa.Field, error: Exception) -> DataError:
    return DataError(
        f"{name}: column '{field.name}' does not fit {field.type}, its type in all inputs together "
        f"({first_line(error)}): parse this file by itself"
    )
