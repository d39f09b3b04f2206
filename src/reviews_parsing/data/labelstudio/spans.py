"""Spans of exported regions: offsets in code points or UTF-16 code units, resolved to spans of the text.

Label Studio counts code points, as we do, and a line break of CR and LF as two. Releases before 1.4 counted UTF-16 code
units; that is used if only that is consistent with the words that the regions hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reviews_parsing.errors import DataError


def resolve_spans(text: str, values: Sequence[Mapping[str, Any]]) -> list[tuple[str, int, int]]:
    """Return (word, start, end) of each region; if the offsets are inconsistent, the word that the region holds.

    Raises DataError if a region has no offsets.
    """
    offsets = [_read_offsets(value) for value in values]
    region_words = [value.get("text") for value in values]
    spans = _find_consistent(text, offsets, region_words)
    if spans is not None:
        return spans
    return [
        (word if isinstance(word, str) else text[start:end], start, end)
        for word, (start, end) in zip(region_words, offsets, strict=True)
    ]


def fits(text: str, values: Sequence[Mapping[str, Any]]) -> bool:
    """Return True if the words of the regions are at their offsets in the text. Raises DataError without offsets."""
    offsets = [_read_offsets(value) for value in values]
    return _find_consistent(text, offsets, [value.get("text") for value in values]) is not None


def _find_consistent(
    text: str, offsets: Sequence[tuple[int, int]], region_words: Sequence[Any]
) -> list[tuple[str, int, int]] | None:
    """Return (word, start, end) of each region by code points, else by UTF-16 code units; None if neither fits."""
    code_points: list[Sequence[int | None]] = [range(len(text) + 1)]
    if len(text) != (units := len(text.encode("utf-16-le", "surrogatepass")) // 2):
        code_points.append(_map_utf16_offsets(text, units))
    for code_point_at in code_points:
        try:
            spans = [(code_point_at[start], code_point_at[end]) for start, end in offsets if min(start, end) >= 0]
        except IndexError:
            continue
        words = [text[start:end] for start, end in spans]
        if len(words) == len(offsets) and all(map(_is_consistent, words, spans, region_words)):
            return [(word, start or 0, end or 0) for word, (start, end) in zip(words, spans, strict=True)]
    return None


def _read_offsets(value: Mapping[str, Any]) -> tuple[int, int]:
    offsets = value.get("globalOffsets", value)
    start, end = (offsets.get(edge) if isinstance(offsets, dict) else None for edge in ("start", "end"))
    if type(start) is not int or type(end) is not int:
        raise DataError("a region has no 'start' and 'end' that are numbers: label a <Text>, then export JSON")
    return start, end


def _map_utf16_offsets(text: str, units: int) -> list[int | None]:
    """Return the code point offset of each UTF-16 offset, None inside a surrogate pair."""
    offsets: list[int | None] = []
    for position, char in enumerate(text):
        offsets += [position] if ord(char) < 0x10000 else [position, None]
    return [*offsets[:units], len(text)]


def _is_consistent(word: str, span: tuple[int | None, int | None], region_word: Any) -> bool:
    if None in span:
        return False
    return not isinstance(region_word, str) or _normalize(word) == _normalize(region_word)


def _normalize(text: str) -> str:
    """Remove line breaks, which the editor exports as a backslash and an n, and spaces, which it may omit."""
    return "".join(text.replace("\\n", "").split())
