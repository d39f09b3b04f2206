"""Detection of mojibake: texts that were decoded in a wrong encoding and saved again, so that `é` became `Ã©`.

Each pattern is a sequence that no language writes: the characters that the bytes of one UTF-8 character become in
Windows-1252, Latin-1, Mac Roman or Windows-1251, in a place where these characters do not belong. A round trip alone
does not suffice: `é »` at the end of a French quotation is also the UTF-8 of a Chinese character. Texts are never
changed, because labels are offsets into them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


class MojibakeWarning(UserWarning):
    """Texts of a wrong encoding in a file."""


# The bytes 0x80 to 0xBF, which continue a character in UTF-8, in Windows-1252 and in Latin-1.
_SYMBOLS = bytes(range(0x80, 0xA0)).decode("cp1252", "ignore")
_NEXT = rf"[{_SYMBOLS}\x80-\xbf]"
# Those of them that do not follow a word or letter of their own, as quotes, dashes and spaces do.
_STRONG = "[€ƒˆ‰Š‹ŒŽ˜šœžŸ\x80-\x9f¡-¬®-¶¸-º¼-¿]"
_AFTER_CAPITAL = "[ƒˆ‰ŠŒŽœžŸ\x80-\x9f¤¦¨¬¯±µ¶¸¼-¾]"
_CAPITALS, _SMALL = "A-ZÀ-Þ", "a-zß-ÿ"
_PATTERNS = (
    "�",
    r"\A\ufeff",
    "[\x80-\x84\x86-\x9f]",  # Windows-1252 that was read as Latin-1
    rf"(?<=[{_SMALL}])Ã{_NEXT}",
    rf"(?<![^\W\d_])Ã(?:{_STRONG}|[€–—…‘](?=[^\W\d_]))",
    rf"(?<=[{_CAPITALS}])Ã(?:{_AFTER_CAPITAL}|[‘‡](?=[A-Z]))",
    rf"(?<![{_CAPITALS}«])Â[\xa0-\xbf]",
    rf"â(?:€{_NEXT}?|‚¬|„¢|[˜œ\x98-\x9e\xad]{_NEXT})",
    rf"ðŸ{_NEXT}*",
    "ï»¿|ï¿½|ï¸\x8f",
    rf"(?<=[a-z])[Ä-Ë]{_NEXT}(?=[a-z])",
    rf"(?:[ÎÏÐÑ×ØÙÚÛ]{_NEXT}){{3,}}|(?:[à-é]{_NEXT}{_NEXT}){{3,}}",
    "(?<=[A-Za-z])√[©®∂§†º]|‚Ä[ôòúùìî¶]",  # Mac Roman
    "вЂ[™њќ“”¦]",  # Windows-1251
)
_MOJIBAKE = re.compile(rf"(?=[\x80-\x9fÂ-Ûà-éðïâ√‚в\ufeff\ufffd])(?:{'|'.join(_PATTERNS)})")
_MAX_SHOWN = 4


def find_mojibake(text: str) -> str | None:
    """Return a description of the first character of a wrong encoding, None for a correct text.

    >>> find_mojibake("The cafÃ© was nice")
    "'Ã©' for 'é'"
    """
    match = None if text.isascii() else _MOJIBAKE.search(text)
    if match is None:
        return None
    damaged = match[0]
    if damaged in "\ufeff\ufffd":
        return "a byte order mark" if damaged == "\ufeff" else "'\ufffd' for a lost character"
    repaired = _repair(damaged)
    shown = damaged if len(damaged) <= _MAX_SHOWN else f"{damaged[:_MAX_SHOWN]}..."
    return f"{shown!r} for {repaired[:1]!r}" if repaired else repr(shown)


def _repair(damaged: str) -> str | None:
    """Return the characters that were meant, None if some of their bytes are lost."""
    if len(damaged) == 1:
        return damaged.encode("latin-1").decode("cp1252", "ignore") or None
    for encoding in ("cp1252", "mac_roman", "cp1251"):
        try:
            return b"".join(_to_bytes(character, encoding) for character in damaged).decode("utf-8")
        except UnicodeError:
            continue
    return None


def _to_bytes(character: str, encoding: str) -> bytes:
    """Return the byte of a character; those that an encoding does not have are Latin-1."""
    try:
        return character.encode(encoding)
    except UnicodeEncodeError:
        return character.encode("latin-1")


@dataclass
class MojibakeCount:
    """Number of texts of a wrong encoding, and a description of the first with its location."""

    texts: int = 0
    first: str = ""

    def add(self, text: str, name: str, line: int | None) -> None:
        """Look at a text of line `line` of the file `name`."""
        if description := find_mojibake(text):
            self.texts += 1
            self.first = self.first or f"{description} in {name}{f':{line}' if line else ''}"

    def merge(self, count: MojibakeCount) -> None:
        """Add the texts of later rows."""
        self.texts += count.texts
        self.first = self.first or count.first

    def describe(self) -> str:
        """Return the warning, with what to do; '' without such texts."""
        if not self.texts:
            return ""
        subject = "text holds" if self.texts == 1 else "texts hold"
        return (
            f"{self.texts:,} {subject} characters of a wrong encoding (first: {self.first}): export the file as UTF-8 "
            "again, or repair the texts (ftfy) before they are labelled"
        )
