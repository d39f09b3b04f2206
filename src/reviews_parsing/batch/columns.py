"""Which columns an input has, which of them holds the texts, and what the columns of several inputs are together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reviews_parsing.batch.chunks import first_line
from reviews_parsing.batch.records import Row
from reviews_parsing.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

ASPECTS = "aspects"
TEXT_NAMES = ("text", "review", "review_text", "content", "comment", "body")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of an input. `fault` names a value that is no text, None where all are; `texts`: whether some are."""

    field: pa.Field
    fault: str | None = None
    texts: bool = True

    @property
    def name(self) -> str:
        return self.field.name  # type: ignore[no-any-return]


def refuse_twins(names: Sequence[str], name: str) -> None:
    """Raises DataError where two columns of the input have one name."""
    if len(set(names)) < len(names):
        twin = next(column for column in names if names.count(column) > 1)
        raise DataError(f"{name} has two columns '{twin}': rename one")


def text_column(columns: Sequence[Column], name: str, wanted: str | None) -> str:
    """The column of texts: the wanted one, else one of a usual name, else the only one of strings.

    Raises DataError listing the columns where there is none, naming what stands in one without any string, or where
    the aspects would take the place of a column.
    """
    if any(column.name == ASPECTS for column in columns):
        raise DataError(f"{name} already has a column '{ASPECTS}', where the parsed ones go: rename or remove it")
    chosen = _wanted(columns, wanted) if wanted is not None else _guess(columns)
    if chosen is None:
        which = "that is clearly the texts" if wanted is None else f"'{wanted}'"
        names = ", ".join(column.name for column in columns)
        raise DataError(f"{name} has no column {which}: name the text column, one of {names}")
    if chosen.fault is not None and not chosen.texts:
        raise DataError(f"{chosen.fault}, not a string: mend it, or name another text column")
    return chosen.name


def _wanted(columns: Iterable[Column], wanted: str) -> Column | None:
    return next((column for column in columns if column.name == wanted), None)


def _guess(columns: Sequence[Column]) -> Column | None:
    strings = [column for column in columns if column.fault is None]
    some = [column for column in columns if column.texts]
    named = [c for group in (strings, some, columns) for name in TEXT_NAMES for c in group if c.name.lower() == name]
    return next(iter(named), strings[0] if len(strings) == 1 else None)


def union(inputs: Sequence[Sequence[Column]]) -> list[pa.Field]:
    """The columns of all inputs, in the order in which they first come.

    Types that widen without loss (int and double) are widened. Raises DataError where two inputs disagree otherwise.
    """
    if len(inputs) == 1:
        return [column.field for column in inputs[0]]
    fields: dict[str, pa.Field] = {}
    for columns in inputs:
        for column in columns:
            field = column.field.with_nullable(True)
            fields[column.name] = _merged(fields.get(column.name, field), field)
    return list(fields.values())


def names(inputs: Sequence[Sequence[Column]]) -> list[str]:
    """The names of the columns of all inputs, in the order in which they first come."""
    return list(dict.fromkeys(column.name for columns in inputs for column in columns))


def _merged(one: pa.Field, other: pa.Field) -> pa.Field:
    import pyarrow as pa

    try:
        return pa.unify_schemas([pa.schema([one]), pa.schema([other])], promote_options="permissive").field(0)
    except pa.ArrowException as error:
        raise DataError(
            f"column '{one.name}' is {one.type} in one input and {other.type} in another ({first_line(error)}): "
            "parse them one by one, or write .jsonl"
        ) from None


def texts_of(rows: Iterable[Row], name: str, wanted: str | None) -> Iterator[tuple[str, Row]]:
    """(text, the row without it) of each row; the column of texts is found in the first row as `text_column` does.

    Raises DataError where there is none, or a row has something there that is no string.
    """
    import pyarrow as pa

    column: str | None = None
    for number, row in enumerate(rows, start=1):
        if column is None:
            kinds = ((key, value is None or isinstance(value, str)) for key, value in row.items())
            faults = [
                Column(pa.field(key, pa.string()), None if fits else f"{name}: '{key}' is") for key, fits in kinds
            ]
            column = text_column(faults, name, wanted)
        text = row.get(column)
        if text is not None and not isinstance(text, str):
            raise DataError(f"{name}: row {number}: '{column}' is {type(text).__name__}, not a string: mend the row")
        yield text or "", {key: value for key, value in row.items() if key != column}
