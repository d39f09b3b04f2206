"""Aspects of an item whose keys have known roles."""

from __future__ import annotations

from collections.abc import Iterator

from reviews_parsing.data import polarities
from reviews_parsing.data.label_fields.items import Item, compute_stop, is_null, occurrences, offsets, to_int
from reviews_parsing.data.label_fields.roles import Roles
from reviews_parsing.data.tokens import UNCATEGORISED
from reviews_parsing.errors import DataError
from reviews_parsing.schema import Aspect, Opinion


def read_item(item: Item, text: str, roles: Roles) -> Iterator[Aspect]:
    """Yield an aspect for each category of an item. Raises DataError if its words have no unique place in the text."""
    span: tuple[int, int] | None = None
    if roles.start is not None and roles.end is not None:
        start, end = offsets(item, roles.start, roles.end)
        span = (start, compute_stop(start, end, roles.end_mode))
    elif roles.word is not None and not is_null(item.get(roles.word)):
        span = _locate(item[roles.word], text, to_int(item.get(roles.ordinal)) if roles.ordinal else None)
    opinion = None
    if roles.opinion is not None and not is_null(item.get(roles.opinion)):
        start, end = _locate(item[roles.opinion], text, None)
        opinion = Opinion(text[start:end], start, end)
    value = item.get(roles.category) if roles.category else None
    polarity_value = item.get(roles.polarity) if roles.polarity else None
    polarity = None if is_null(polarity_value) else polarities.standardise(str(polarity_value))
    for category in value if isinstance(value, list) else [value]:
        name = UNCATEGORISED if is_null(category) else str(category)
        if span is None:
            yield Aspect(name, polarity=polarity, opinion=opinion)
        else:
            yield Aspect(name, text[slice(*span)], *span, polarity, opinion)


def _locate(word: str, text: str, ordinal: int | None) -> tuple[int, int]:
    starts = occurrences(word, text)
    if ordinal is not None and 0 <= ordinal < len(starts):
        return starts[ordinal], starts[ordinal] + len(word)
    if len(starts) != 1 or ordinal is not None:
        raise DataError(f"{word!r:.40} occurs {len(starts)} times in the text: give its offsets")
    return starts[0], starts[0] + len(word)
