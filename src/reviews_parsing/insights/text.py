"""Numbers, dates and reviews as text for people."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from datetime import date

VERBS = {"mentions": "mention", "praise": "praise", "blame": "blame"}
"""The verb of each measure."""
_ENTITY = re.compile(
    r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});|<br ?/?>|</?[pib]>", re.IGNORECASE
)


def percent(share: float) -> str:
    """Return a share as a percentage."""
    return f"{100 * share:.0f}\u00a0%"


def points(difference: float) -> str:
    """Return a difference of shares in percentage points."""
    return f"{100 * difference:+.0f}".replace("-", "\u2212")


def period_name(start: date, grain: str | None) -> str:
    """Return the name of a period."""
    names = {
        "year": f"{start.year}",
        "quarter": f"{start.year} Q{(start.month + 2) // 3}",
        "month": f"{start:%b %Y}",
        "week": f"the week of {day_name(start)}",
    }
    return names.get(grain or "", day_name(start))


def day_name(day: date | None) -> str:
    """Return a date such as `5 Jan 2024`."""
    return f"{day.day} {day:%b %Y}" if day else ""


def begin_sentence(scope: str, since: str) -> str:
    """Return the beginning of a sentence on a change since a period, in a group such as `place Harbour` or overall."""
    return f"{scope[0].upper() + scope[1:]}: since {since}," if scope else f"Since {since},"


def enumeration(parts: Sequence[str]) -> str:
    """Return `a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def readable(text: str, offsets: Sequence[int]) -> tuple[str, list[int]]:
    """Return a text with HTML entities and simple tags replaced, and offsets of the text moved accordingly."""
    if not _ENTITY.search(text):
        return text, list(offsets)
    pieces, shifts, position, length = [], [], 0, 0
    for match in _ENTITY.finditer(text):
        replacement = (
            html.unescape(match[0]) if match[0].startswith("&") else "\n" if match[0][1:3].lower() == "br" else ""
        )
        piece = text[position : match.start()]
        pieces += [piece, replacement]
        length += len(piece)
        shifts.append((match.start(), match.end(), length, length + len(replacement)))
        length += len(replacement)
        position = match.end()
    pieces.append(text[position:])

    def moved(offset: int) -> int:
        result = offset
        for start, end, new_start, new_end in shifts:
            if offset >= end:
                result = new_end + offset - end
            elif offset > start:
                return new_start
        return result

    return "".join(pieces), [moved(offset) for offset in offsets]
