"""Inference of the Arrow type that holds all values of a JSON column without loss, value by value."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


class Scalar(Enum):
    """Types without parts. INT fits a double, LONG 64 bits. ANY has no Arrow type and is written as JSON text."""

    NULL = auto()
    BOOL = auto()
    INT = auto()
    LONG = auto()
    FLOAT = auto()
    STRING = auto()
    ANY = auto()


@dataclass(frozen=True, slots=True)
class ListOf:
    """Lists with items of one type."""

    item: ValueType


@dataclass(frozen=True, slots=True)
class StructOf:
    """Objects that all have these keys."""

    fields: tuple[tuple[str, ValueType], ...]


ValueType = Scalar | ListOf | StructOf
MAX_DEPTH = 16
_WIDER: dict[frozenset[ValueType], ValueType] = {
    frozenset((Scalar.INT, Scalar.LONG)): Scalar.LONG,
    frozenset((Scalar.INT, Scalar.FLOAT)): Scalar.FLOAT,
}
_SIMPLE = {str: Scalar.STRING, type(None): Scalar.NULL, bool: Scalar.BOOL, float: Scalar.FLOAT}


def infer_type(value: Any, depth: int = 0) -> ValueType:
    """Return the type of one JSON value."""
    if simple := _SIMPLE.get(type(value)):
        return simple
    if isinstance(value, int):
        return Scalar.INT if abs(value) <= 2**53 else Scalar.LONG if -(2**63) <= value < 2**63 else Scalar.ANY
    if depth == MAX_DEPTH:
        return Scalar.ANY
    if isinstance(value, dict):
        return _struct({key: infer_type(item, depth + 1) for key, item in value.items()})
    items: ValueType = Scalar.NULL
    for item in value:
        items = merge_types(items, infer_type(item, depth + 1))
    return _list(items)


def merge_types(first: ValueType, second: ValueType) -> ValueType:
    """Return the narrowest type that holds both."""
    if first == second or second is Scalar.NULL:
        return first
    if first is Scalar.NULL:
        return second
    if isinstance(first, ListOf) and isinstance(second, ListOf):
        return _list(merge_types(first.item, second.item))
    if isinstance(first, StructOf) and isinstance(second, StructOf):
        types, second_types = dict(first.fields), dict(second.fields)
        same_keys = types.keys() == second_types.keys()
        return _struct({key: merge_types(types[key], second_types[key]) for key in types}) if same_keys else Scalar.ANY
    return _WIDER.get(frozenset((first, second)), Scalar.ANY)


def arrow_type(value_type: ValueType, keep_nulls: bool = False) -> pa.DataType:
    """Return the Arrow type; string for JSON text, and for values that are all null unless `keep_nulls`."""
    import pyarrow as pa

    if isinstance(value_type, ListOf):
        return pa.list_(arrow_type(value_type.item, keep_nulls))
    if isinstance(value_type, StructOf):
        return pa.struct([(key, arrow_type(item, keep_nulls)) for key, item in value_type.fields])
    if value_type in (Scalar.INT, Scalar.LONG):
        return pa.int64()
    if value_type is Scalar.NULL and keep_nulls:
        return pa.null()
    return {Scalar.BOOL: pa.bool_(), Scalar.FLOAT: pa.float64()}.get(value_type, pa.string())


def replace_nulls(data_type: pa.DataType) -> pa.DataType:
    """Return an Arrow type with string in place of each null type in it."""
    import pyarrow as pa

    if pa.types.is_null(data_type):
        return pa.string()
    if pa.types.is_list(data_type):
        return pa.list_(replace_nulls(data_type.value_type))
    if pa.types.is_struct(data_type):
        return pa.struct([(field.name, replace_nulls(field.type)) for field in data_type])
    return data_type


def _list(item: ValueType) -> ValueType:
    return Scalar.ANY if item is Scalar.ANY else ListOf(item)


def _struct(fields: dict[str, ValueType]) -> ValueType:
    return Scalar.ANY if not fields or Scalar.ANY in fields.values() else StructOf(tuple(fields.items()))
