"""Sentence splitter for informal text: abbreviations, decimals, missing spaces, line breaks, CJK full stops."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import regex

# A full stop after these abbreviations never ends a sentence.
TITLES = frozenset(
    "dr mr mrs ms prof st rev capt sgt lt gen hon mt ft no nr approx ca vs inc ltd co fig est tel ext dept".split()  # noqa: SIM905
)
# A full stop after these ends a sentence only before a capital letter.
UNITS = frozenset(
    "e.g i.e etc a.m p.m am pm min mins hr hrs sec jr sr ave rd blvd bldg apt vol pp oz lb lbs sq u.s u.k".split()  # noqa: SIM905
)


@cache
def _ends() -> regex.Pattern[str]:
    closing = r"[\"'”’)\]]*"
    return regex.compile(
        rf"[.!?…。！？]+{closing}(?=\s|$)|[。！？]"
        # A full stop without a space after it: "tasty.The waiter", but not "booking.com", "3.5", "U.S.A".
        r"|(?<=\p{Ll}{2}|[)!?])[.!?]+(?=\p{Lu}\p{Ll})"
        r"|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+"
    )


@cache
def _following() -> regex.Pattern[str]:
    return regex.compile(r"[ \t\xa0]*+(?P<character>.?)", regex.DOTALL)


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each sentence without the white space around it."""
    start = 0
    for end in [*boundaries(text), len(text)]:
        piece = text[start:end]
        if stripped := piece.strip():
            begin = start + piece.index(stripped)
            yield begin, begin + len(stripped)
        start = end


def boundaries(text: str) -> list[int]:
    """Return the offsets of sentence ends; the end of the text is included only after a full stop."""
    return [match.end() for match in _ends().finditer(text) if not _is_abbreviation(text, match.start(), match.end())]


def _is_abbreviation(text: str, stop: int, end: int) -> bool:
    """Return whether the single full stop at `stop` belongs to an abbreviation or an initial within a sentence."""
    if text[stop:end] != ".":
        return False
    begin = stop
    while begin and not text[begin - 1].isspace() and text[begin - 1] not in "(\"'“‘[":
        begin -= 1
    word, following = text[begin:stop].lower(), _following().match(text, end)["character"]
    if word in TITLES or (len(word) == 1 and word.isalpha() and word != "i" and text[begin:stop].isupper()):
        return bool(following) and following not in "\n\r"
    return word in UNITS and bool(following) and not following.isupper() and following not in "\n\r"
