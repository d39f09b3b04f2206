"""Sentence boundaries, for text as people type it: abbreviations, decimals, missing spaces, line breaks, CJK stops."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import regex

# A full stop after these does not end a sentence where a word in lower case, a digit or (for titles) a name follows.
TITLES = "dr mr mrs ms prof st rev capt sgt lt gen hon mt ft no nr approx ca vs inc ltd co fig est tel ext dept"
OTHERS = "e.g i.e etc a.m p.m am pm min mins hr hrs sec jr sr ave rd blvd bldg apt vol pp oz lb lbs sq u.s u.k"


@cache
def _ends() -> regex.Pattern[str]:
    closing = r"[\"'”’)\]]*"
    return regex.compile(
        rf"[.!?…。！？]+{closing}(?=\s|$)|[。！？]"
        # No space after the stop: "tasty.The waiter". Not "booking.com", "3.5", "U.S.A".
        r"|(?<=\p{Ll}{2}|[)!?])[.!?]+(?=\p{Lu}\p{Ll})"
        r"|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+"
    )


@cache
def _abbreviations() -> tuple[frozenset[str], frozenset[str]]:
    return frozenset(TITLES.split()), frozenset(OTHERS.split())


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Yield [start, end) of each sentence, in code points, without the white space around it."""
    start = 0
    for end in [*boundaries(text), len(text)]:
        piece = text[start:end]
        if stripped := piece.strip():
            begin = start + piece.index(stripped)
            yield begin, begin + len(stripped)
        start = end


def boundaries(text: str) -> list[int]:
    """Return the offsets at which a sentence ends; the end of the text is among them only where a stop is."""
    return [match.end() for match in _ends().finditer(text) if not _is_abbreviation(text, match.start(), match.end())]


def _is_abbreviation(text: str, stop: int, end: int) -> bool:
    """Tell whether the single full stop at `stop` belongs to an abbreviation or an initial, and ends nothing."""
    if text[stop:end] != ".":
        return False
    begin = stop
    while begin and not text[begin - 1].isspace() and text[begin - 1] not in "(\"'“‘[":
        begin -= 1
    word, following = text[begin:stop].lower(), text[end:].lstrip(" \t\xa0")[:1]
    titles, others = _abbreviations()
    if word in titles or (len(word) == 1 and word.isalpha() and word != "i" and text[begin:stop].isupper()):
        return bool(following) and following not in "\n\r"
    return word in others and bool(following) and not following.isupper() and following not in "\n\r"
