"""Detection of text encodings.

UTF-8, and UTF-16 and UTF-32 by their byte order mark or their NUL bytes, are certain. Of the 8-bit encodings only
Windows-1252 is found, by rules on each byte's neighbours that its relatives (Windows-1250, Mac Roman, code page 437)
and other scripts break: general detectors guess too freely in short English texts. charset-normalizer names
candidates for the error message.
"""

from __future__ import annotations

import codecs
import re

from reviews_parsing.errors import DataError

WINDOWS_1252 = "windows-1252"
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like that of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Windows-1252 characters in English reviews. Letters that other encodings have more often in the same place are absent.
_APOSTROPHES, _OPENING, _CLOSING = "\u2019\u2018\u00b4", "\u2018\u201c", "\u2019\u201d"
_SYMBOLS = "\u20ac\u00a3\u00a5\u00a2\u2122\u00ae\u00a9\u00b0\u00bd\u00bc\u00be\u2022\u00b7\u00a0\u2014\u2026"
_SMALL = "\u00e0\u00e1\u00e2\u00e4\u00e7\u00e8\u00e9\u00ea\u00eb\u00ed\u00ee\u00ef"
_SMALL += "\u00f1\u00f3\u00f4\u00f6\u00fa\u00fb\u00fc\u00df"
_CAPITAL = "\u00c0\u00c1\u00c2\u00c4\u00c7\u00c8\u00c9\u00ca\u00cd\u00ce\u00cf\u00d1\u00d3\u00d4\u00d6\u00da\u00dc"
_HIGH = re.compile("(?<=(.))([\u0080-\uffff])(?=(.))", re.DOTALL)
_FEW = 20
"""Up to this many characters all have to be plausible, in longer samples `_PLAUSIBLE_SHARE` of them."""
_PLAUSIBLE_SHARE = 0.95
_NUL_SHARE = 0.4
_START_BYTES = 4


def detect_unicode(head: bytes) -> tuple[str, bool]:
    """Return the Unicode encoding that the beginning of a file shows, and if that is certain; else utf-8."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return encoding, True
    pairs = head[: len(head) // 2 * 2]
    if len(pairs) >= 8:
        even, odd = pairs[::2].count(0), pairs[1::2].count(0)
        start = head[:_START_BYTES]  # that of a joined file may be UTF-8
        if even == 0 and odd >= _NUL_SHARE * len(pairs) / 2 and 0 in start:
            return "utf-16-le", True
        if odd == 0 and even >= _NUL_SHARE * len(pairs) / 2 and 0 in start:
            return "utf-16-be", True
    return "utf-8", False


def detect_legacy(sample: bytes) -> str | None:
    """Return windows-1252 if the non-ASCII bytes of a sample are plausible in English, None otherwise."""
    try:
        text = f" {sample.decode('cp1252')} "
    except UnicodeDecodeError:
        return None
    characters = [match.group(1, 2, 3) for match in _HIGH.finditer(text)]
    plausible = sum(_is_plausible(*neighbours) for neighbours in characters)
    required = len(characters) if len(characters) <= _FEW else _PLAUSIBLE_SHARE * len(characters)
    has_pairs = ("\u201c" in text) == ("\u201d" in text)
    return WINDOWS_1252 if characters and plausible >= required and has_pairs else None


def _is_plausible(left: str, character: str, right: str) -> bool:
    """Return True if a character of Windows-1252 may stand between its neighbours in an English review."""
    if character in _SMALL:
        return _is_plain(left) or _is_plain(right) or (character == "\u00e0" and left.isspace() and right.isspace())
    if character in _CAPITAL:  # at the beginning of a word, or in a word of capitals
        return (not left.isalpha() and right.isascii() and right.islower()) or (
            (left.isascii() and left.isupper()) and not right.islower()
        )
    if character in _APOSTROPHES and left.isalpha() and right.isalpha():
        return _is_plain(left) or _is_plain(right)
    if (character in _OPENING and not left.isalnum()) or (character in _CLOSING and not right.isalnum()):
        return True
    if character == "\u2013":  # an en dash between letters may be an n with a tilde of Mac Roman
        return not left.isalpha() or not right.isalpha()
    return character in _SYMBOLS and not (left.isalpha() and right.isalpha())


def _is_plain(character: str) -> bool:
    return character.isascii() and character.isalpha()


def guess_candidates(sample: bytes) -> list[str]:
    """Return encodings that a sample may have, the likeliest first."""
    from charset_normalizer import from_bytes

    return [match.encoding for match in list(from_bytes(sample[:4096]))[:3]]


def require_encoding(name: str) -> str:
    """Return the name of an encoding. Raises DataError if there is no such text encoding."""
    try:
        info = codecs.lookup(name)
        "".encode(info.name)
        codecs.getincrementaldecoder(info.name)("surrogateescape").decode(b"", final=True)  # idna has no error handler
    except (LookupError, ValueError):
        raise DataError(f"there is no encoding '{name}': give --encoding utf-8, windows-1252, utf-16, ...") from None
    if info.name == "utf-8-sig":
        return "utf-8"
    return WINDOWS_1252 if info.name == "cp1252" else info.name
