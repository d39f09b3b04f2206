"""The Arrow type found for JSON values gives them back, or they become JSON text."""

from __future__ import annotations

from functools import reduce
from typing import Any, cast

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reviews_parsing.batch.arrow_types import ListOf, Scalar, StructOf, ValueType, arrow_type, infer_type, merge_types

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3)
)
numbers = st.none() | st.integers(-(2**54), 2**54) | st.floats(-1e9, 1e9)
keys = st.sampled_from(["a", "b"])


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    inside = st.recursive(
        leaves, lambda s: st.lists(s, max_size=3) | st.dictionaries(keys, s, max_size=2), max_leaves=6
    )
    return st.lists(inside, min_size=1, max_size=5)


def kind(values: list[Any]) -> ValueType:
    return reduce(merge_types, map(infer_type, values))


@settings(deadline=None, max_examples=1000)
@given(values=nested(scalars) | nested(numbers) | nested(st.none() | st.text(max_size=3)))
@example(values=[2**53 + 1, 0.5])
@example(values=[2**64, None])
@example(values=[{"a": []}, {"a": [None, 1]}])
def test_the_type_holds_every_value(values: list[Any]) -> None:
    if (found := kind(values)) is not Scalar.ANY:
        assert pa.array(values, arrow_type(found)).to_pylist() == values


@settings(deadline=None, max_examples=300)
@given(values=nested(numbers), data=st.data())
def test_the_order_of_values_does_not_matter(values: list[Any], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(values))
    assert _ordered(kind(shuffled)) == _ordered(kind(values))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([None, None], pa.string()),
        ([1, True], pa.string()),
        ([1, 2.5, None], pa.float64()),
        ([2**62, -1], pa.int64()),
        ([2**63], pa.string()),
        ([[], [None]], pa.list_(pa.string())),
        ([[1], [0.5], []], pa.list_(pa.float64())),
        ([[1], ["x"]], pa.string()),
        ([{"a": 1}, None, {"a": 0.5}], pa.struct([("a", pa.float64())])),
        ([{"a": 1}, {"b": 1}], pa.string()),
        ([{}], pa.string()),
        ([reduce(lambda inside, _: [inside], range(900), cast(Any, 1))], pa.string()),
    ],
)
def test_the_type_of(values: list[Any], expected: pa.DataType) -> None:
    assert arrow_type(kind(values)) == expected


def _ordered(found: ValueType) -> Any:
    if isinstance(found, ListOf):
        return [_ordered(found.item)]
    return {key: _ordered(item) for key, item in found.fields} if isinstance(found, StructOf) else found
