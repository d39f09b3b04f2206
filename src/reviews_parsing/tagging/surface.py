"""Surface normalisation of web text: HTML entities and tags, invisible characters, full-width and styled letters.

`normalise` returns the text as a browser renders it, with the original offsets of each character. `addresses` finds
URLs, e-mail addresses and handles, whose parts are not words of the review.
"""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import dataclass
from functools import cache

import regex

_BLOCK_TAGS = frozenset("br p div li ul ol tr table h1 h2 h3 h4 h5 h6 hr blockquote section article".split())  # noqa: SIM905
_TAGS = _BLOCK_TAGS | frozenset(
    "a abbr b big body center cite code dd del dl dt em font footer head header html i img ins main mark nav pre q s "  # noqa: SIM905
    "small span strike strong style sub sup tbody td th thead tt u video".split()
)


@dataclass(frozen=True, slots=True)
class SurfaceText:
    """Normalised `text`; its character i replaces characters [starts[i], ends[i]) of the original."""

    text: str
    starts: list[int]
    ends: list[int]


@cache
def _markup() -> regex.Pattern[str]:
    return regex.compile(
        r"(?P<tag></?[a-zA-Z][a-zA-Z0-9]{0,15}(?:\s[^<>]{0,500})?/?>)"
        r"|(?P<entity>&(?:\#[0-9]{1,7}|\#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});)"
        # Soft hyphen, zero-width space, word joiner, byte order mark, direction marks; not the joiners of scripts.
        r"|(?P<invisible>[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]+)"
        # Full-width forms, Latin ligatures, mathematical letters used as bold or cursive type.
        r"|(?P<styled>[\uff01-\uff5e\ufb00-\ufb06\U0001d400-\U0001d7ff])"
    )


@cache
def _address() -> regex.Pattern[str]:
    domain = r"(?:[\p{L}\p{N}](?:[\p{L}\p{N}-]{0,61}[\p{L}\p{N}])?\.){1,10}"
    endings = "com|org|net|info|io|app|co|uk|us|in|de|fr|it|es|eu|au|ca|sg|my|test|example"
    return regex.compile(
        r"(?:[a-z][a-z0-9+.-]{1,15}://|www\.)[^\s<>\"']+"
        # Bounded as in RFC 5321, so that the time is linear in the length of the text.
        r"|(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+"
        r"|(?<![\w@.])@\w[\w.]{0,29}(?<!\.)"
        rf"|(?<![\p{{L}}\p{{N}}@.-]){domain}(?:{endings})(?![\p{{L}}\p{{N}}])(?:[/?\#][^\s<>\"']*)?",
        regex.IGNORECASE,
    )


@cache
def _address_mark() -> re.Pattern[str]:
    """Return a pattern that every address contains, and few other texts; it is much faster than `_address`."""
    return re.compile(r"@|://|\.[^\s<>\"']")


@cache
def _space() -> regex.Pattern[str]:
    return regex.compile(r"\s")


def normalise(text: str) -> SurfaceText | None:
    """Return the normalised text, or None if nothing changes.

    Tags become white space (`<br>` and block tags a line break), entities their characters, styled letters plain ones
    (NFKC); invisible characters are removed.
    """
    if text.isascii() and "<" not in text and "&" not in text:
        return None
    pieces: list[tuple[str, int, int]] = []
    position = 0
    for match in _markup().finditer(text):
        replacement = _replacement(match)
        if replacement is None:
            continue
        pieces += [(character, i, i + 1) for i, character in enumerate(text[position : match.start()], position)]
        pieces += [(character, match.start(), match.end()) for character in replacement]
        position = match.end()
    if not position:
        return None
    pieces += [(character, i, i + 1) for i, character in enumerate(text[position:], position)]
    return SurfaceText("".join(p[0] for p in pieces), [p[1] for p in pieces], [p[2] for p in pieces])


def addresses(text: str) -> list[tuple[int, int]]:
    """Return (start, end) of every URL, domain, e-mail address and handle."""
    spans: list[tuple[int, int]] = []
    end = 0
    for mark in _address_mark().finditer(text):
        if mark.start() < end:
            continue
        # Addresses contain no white space: only the run of other characters around the mark is searched.
        start = mark.start()
        while start > end and not text[start - 1].isspace():
            start -= 1
        space = _space().search(text, mark.end())
        end = space.start() if space else len(text)
        spans += [match.span() for match in _address().finditer(text, start, end)]
    return spans


def _replacement(match: regex.Match[str]) -> str | None:
    """Return the text that a browser renders for the match, or None if it renders the source itself."""
    if match["tag"]:
        name = match["tag"].strip("</>").split()[0].rstrip("/").lower() if match["tag"].strip("</>").split() else ""
        if name not in _TAGS:
            return None
        return "\n" if name in _BLOCK_TAGS else " "
    if match["entity"]:
        character = html.unescape(match["entity"])
        return None if character == match["entity"] else character
    if match["invisible"]:
        return ""
    return unicodedata.normalize("NFKC", match["styled"])
