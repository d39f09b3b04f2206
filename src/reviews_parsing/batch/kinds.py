"""Which Arrow type holds all the values of a JSON column without loss, found value by value."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


class Scalar(Enum):
    """INT fits a double, LONG 64 bits. ANY is what no Arrow type holds as it is; it is written as JSON text."""

    NULL = auto()
    BOOL = auto()
    INT = auto()
    LONG = auto()
    FLOAT = auto()
    STRING = auto()
    ANY = auto()


@dataclass(frozen=True, slots=True)
class ListOf:
    """Lists of one kind of item."""

    item: Kind


@dataclass(frozen=True, slots=True)
class StructOf:
    """Objects that all have these keys."""

    fields: tuple[tuple[str, Kind], ...]


Kind = Scalar | ListOf | StructOf
DEEPEST = 16
_WIDER: dict[frozenset[Kind], Kind] = {
    frozenset((Scalar.INT, Scalar.LONG)): Scalar.LONG,
    frozenset((Scalar.INT, Scalar.FLOAT)): Scalar.FLOAT,
}
_PLAIN = {str: Scalar.STRING, type(None): Scalar.NULL, bool: Scalar.BOOL, float: Scalar.FLOAT}


def kind_of(value: Any, depth: int = 0) -> Kind:
    """The kind of one JSON value."""
    if plain := _PLAIN.get(type(value)):
        return plain
    if isinstance(value, int):
        return Scalar.INT if abs(value) <= 2**53 else Scalar.LONG if -(2**63) <= value < 2**63 else Scalar.ANY
    if depth == DEEPEST:
        return Scalar.ANY
    if isinstance(value, dict):
        return _struct({key: kind_of(item, depth + 1) for key, item in value.items()})
    items: Kind = Scalar.NULL
    for item in value:
        items = merge(items, kind_of(item, depth + 1))
    return _list(items)


def merge(one: Kind, other: Kind) -> Kind:
    """The narrowest kind that holds both."""
    if one == other or other is Scalar.NULL:
        return one
    if one is Scalar.NULL:
        return other
    if isinstance(one, ListOf) and isinstance(other, ListOf):
        return _list(merge(one.item, other.item))
    if isinstance(one, StructOf) and isinstance(other, StructOf):
        kinds, others = dict(one.fields), dict(other.fields)
        same = kinds.keys() == others.keys()
        return _struct({key: merge(kind, others[key]) for key, kind in kinds.items()}) if same else Scalar.ANY
    return _WIDER.get(frozenset((one, other)), Scalar.ANY)


def arrow_type(kind: Kind) -> pa.DataType:
    """The Arrow type of a column of that kind; string where nothing is known, and for JSON text."""
    import pyarrow as pa

    if isinstance(kind, ListOf):
        return pa.list_(arrow_type(kind.item))
    if isinstance(kind, StructOf):
        return pa.struct([(key, arrow_type(item)) for key, item in kind.fields])
    if kind in (Scalar.INT, Scalar.LONG):
        return pa.int64()
    return {Scalar.BOOL: pa.bool_(), Scalar.FLOAT: pa.float64()}.get(kind, pa.string())


def _list(item: Kind) -> Kind:
    return Scalar.ANY if item is Scalar.ANY else ListOf(item)


def _struct(fields: dict[str, Kind]) -> Kind:
    return Scalar.ANY if not fields or Scalar.ANY in fields.values() else StructOf(tuple(fields.items()))
