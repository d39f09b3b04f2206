"""The counters of structure agree with a parser, however the bytes arrive."""

from __future__ import annotations

import json
from collections import deque
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reviews_parsing.errors import RequestRefused
from reviews_parsing.serving.structure import JsonStructure, check_message

json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text('a"\\{}[],:é\n', max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(st.text('b"\\', max_size=3), inner)),
    max_leaves=40,
)


def values_of(form: object) -> int:
    """Strings, opening brackets and commas outside strings."""
    match form:
        case str():
            return 1
        case list():
            return 1 + max(0, len(form) - 1) + sum(map(values_of, form))
        case dict():
            return 1 + max(0, len(form) - 1) + sum(1 + values_of(value) for value in form.values())
        case _:
            return 0


@given(json_values, st.integers(1, 9), st.booleans())
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
def test_values_are_counted_across_chunks(form: object, size: int, ascii_only: bool) -> None:
    content = json.dumps(form, ensure_ascii=ascii_only).encode()
    structure = JsonStructure(1000)
    for begin in range(0, len(content), size):
        structure.feed(content[begin : begin + size])
    assert structure.values == values_of(form)


@given(st.binary(max_size=60))
@settings(max_examples=500, deadline=None, derandomize=True, database=None)
def test_the_count_of_any_bytes_ends(content: bytes) -> None:
    with suppress(RequestRefused):
        check_message(content, 10)


def test_a_refusal_comes_before_the_last_byte() -> None:
    structure = JsonStructure(10)
    chunks = iter([b'"a",' * 10] * 10_000)
    with pytest.raises(RequestRefused, match="REVIEWS_PARSING_MAX_TEXTS"):
        deque(map(structure.feed, chunks), maxlen=0)
    assert next(chunks)
