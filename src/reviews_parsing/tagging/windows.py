"""Windows over a text that is longer than an encoder reads at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Window:
    """Words [start, stop) are read; the tags of words [keep_start, keep_stop) are used."""

    start: int
    stop: int
    keep_start: int
    keep_stop: int


def windows(first: Sequence[int], size: int, margin: int) -> list[Window]:
    """Cover all words by one window of at most `size` tokens, or by several of half as many.

    `first[w]` is the index of word w's first token and `first[-1]` the number of tokens. Each word is kept by exactly
    one window, in which at least `margin` tokens (fewer at either end of the text) lie on each side of it. `size` must
    exceed 2 * `margin` by three times the longest word. A tagger that learnt from short texts is the less sure of a
    word the more strangers stand around it: hence the half, or what margins and words need where that is more.
    """
    count = len(first) - 1
    if first[-1] <= size:
        return [Window(0, count, 0, count)]
    longest = max(stop - start for start, stop in pairwise(first))
    size = min(size, max(size // 2, 2 * margin + 3 * longest))
    found: list[Window] = []
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
        found.append(Window(start, stop, keep_start, keep_stop))
        keep_start = keep_stop
    return found
