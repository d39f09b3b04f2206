"""Conversion between spans of words and IOB2 tag ids: tag 0 is O, category c has B = 2c + 1 and I = 2c + 2."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class WordSpan(NamedTuple):
    """Words [start, stop) of category number `category`."""

    start: int
    stop: int
    category: int


def spans_to_tags(spans: Iterable[WordSpan], count: int) -> list[int]:
    """Return the tags of `count` words; spans that overlap an earlier one are dropped."""
    tags = [0] * count
    for start, stop, category in spans:
        if not any(tags[start:stop]):
            tags[start:stop] = [2 * category + 1] + [2 * category + 2] * (stop - start - 1)
    return tags


def tags_to_spans(tags: Sequence[int]) -> list[WordSpan]:
    """Return the spans of a tag sequence; an I tag that does not continue its category begins a new span."""
    spans: list[WordSpan] = []
    start, category = 0, -1
    for word, tag in enumerate([*tags, 0]):
        if category >= 0 and tag == 2 * category + 2:
            continue
        if category >= 0:
            spans.append(WordSpan(start, word, category))
        start, category = word, (tag - 1) // 2
    return spans
