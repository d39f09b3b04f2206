"""Windows keep each word once, with its context."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from reviews_parsing.tagging import windows

LONGEST = 8


@given(st.lists(st.integers(1, LONGEST), max_size=120), st.integers(0, 12), st.integers(1, 20))
def test_each_word_is_kept_once_and_has_its_margin(lengths: list[int], margin: int, room: int) -> None:
    first = [0, *accumulate(lengths)]
    size = 2 * (margin + LONGEST) + LONGEST + room
    cover = windows(first, size, margin)
    assert [word for w in cover for word in range(w.keep_start, w.keep_stop)] == list(range(len(lengths)))
    longest = max(lengths, default=0)
    max_tokens = size if len(cover) == 1 else max(size // 2, 2 * margin + 3 * longest)
    for window in cover:
        assert window.start <= window.keep_start <= window.keep_stop <= window.stop
        assert first[window.stop] - first[window.start] <= max_tokens
        assert window.start == 0 or first[window.keep_start] - first[window.start] >= margin
        assert window.stop == len(lengths) or first[window.stop] - first[window.keep_stop] >= margin


@given(st.lists(st.integers(1, LONGEST), max_size=30))
def test_a_text_that_fits_is_one_window(lengths: list[int]) -> None:
    first = [0, *accumulate(lengths)]
    (only,) = windows(first, first[-1], 4)
    assert (only.start, only.stop, only.keep_start, only.keep_stop) == (0, len(lengths), 0, len(lengths))


def test_the_number_of_windows_grows_linearly_with_the_length() -> None:
    count = [len(windows(list(range(words + 1)), 254, 48)) for words in (1_000, 10_000)]
    assert 9 < count[1] / count[0] < 11
