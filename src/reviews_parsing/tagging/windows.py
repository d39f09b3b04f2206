"""Overlapping windows over texts that are longer than the encoder's input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Window:
    """Words [start, stop) to encode; the tags of words [keep_start, keep_stop) are used, the others are context."""

    start: int
    stop: int
    keep_start: int
    keep_stop: int


def windows(first: Sequence[int], size: int, margin: int) -> list[Window]:
    """Split a text into one window of at most `size` tokens, or into several of about half that size.

    `first[w]` is the index of word w's first token and `first[-1]` the number of tokens. Each word is kept by exactly
    one window, with at least `margin` tokens of context on each side except at the ends of the text. `size` must exceed
    2 * `margin` by three times the longest word. Windows of long texts are half as large because accuracy drops in more
    context than training texts have.
    """
    count = len(first) - 1
    if first[-1] <= size:
        return [Window(0, count, 0, count)]
    longest_word = max(stop - start for start, stop in pairwise(first))
    size = min(size, max(size // 2, 2 * margin + 3 * longest_word))
    cover: list[Window] = []
    keep_start = 0
    while keep_start < count:
        start = keep_start
        while start > 0 and first[keep_start] - first[start] < margin:
            start -= 1
        stop = keep_start + 1
        while stop < count and first[stop + 1] - first[start] <= size:
            stop += 1
        keep_stop = stop
        if stop < count:
            while keep_stop > keep_start + 1 and first[stop] - first[keep_stop] < margin:
                keep_stop -= 1
        cover.append(Window(start, stop, keep_start, keep_stop))
        keep_start = keep_stop
    return cover
