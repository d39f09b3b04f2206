"""Units of offsets: characters of the text, or others that other tools count."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from reviews_parsing.data.label_fields.items import compute_stop
from reviews_parsing.tagging import words


def is_aligned(text: str, start: int, stop: int) -> bool:
    """Return True if a span begins and ends where words do."""
    bounds = words(text)
    # A span that ends in an apostrophe or hyphen inside a word.
    is_cut = not text[stop - 1 : stop].isalnum() and text[stop : stop + 1].isalnum()
    return not is_cut and start in {bound[0] for bound in bounds} and stop in {bound[1] for bound in bounds}


def find_other_unit(spans: Sequence[tuple[str, tuple[int, int]]], mode: str) -> str | None:
    """Return the unit in which more of the offsets fall on words than as characters, None if there is no such unit.

    `spans` are texts with two offsets, `mode` is that of `Roles.end_mode`.
    """
    bounds = [(text, first, compute_stop(first, last, mode)) for text, (first, last) in spans]
    best = sum(is_aligned(*bound) for bound in bounds)
    best_unit = None
    for unit, list_units in _UNITS.items():
        positions: dict[str, Mapping[int, int]] = {}
        for text, *_ in bounds:
            if text not in positions:
                positions[text] = _map_positions(text, list_units(text))
        aligned = sum(
            start in positions[text]
            and stop in positions[text]
            and is_aligned(text, positions[text][start], positions[text][stop])
            for text, start, stop in bounds
        )
        if aligned > best:
            best, best_unit = aligned, unit
    return best_unit


def _map_positions(text: str, lengths: Sequence[int]) -> dict[int, int]:
    """Return the position of each offset, given the number of units of each character."""
    positions, offset = {}, 0
    for position, length in enumerate(lengths):
        if length:
            positions[offset] = position
        offset += length
    return positions | {offset: len(text)}


def _list_line_breaks(text: str) -> list[int]:
    return [0 if text[i : i + 2] == "\r\n" else 1 for i in range(len(text))]


def _list_stripped(text: str) -> list[int]:
    margin = len(text) - len(text.lstrip())
    return [0] * margin + [1] * (len(text) - margin)


_UNITS: dict[str, Callable[[str], list[int]]] = {
    "UTF-16 code units": lambda text: [1 if ord(char) < 0x10000 else 2 for char in text],
    "bytes": lambda text: [len(char.encode("utf-8", "surrogatepass")) for char in text],
    "a line break of two characters as one": _list_line_breaks,
    "from the first character that is not white space": _list_stripped,
}
