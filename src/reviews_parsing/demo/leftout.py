"""The rows of a file that could not be parsed: why, in one line, and as a file that can be sent back."""

from __future__ import annotations

import json
import re
from pathlib import Path

from reviews_parsing.demo.marks import plural

KINDS = 3
"""Reasons that are named; of the others the rows are counted."""
_NUMBERS = re.compile(r"0x[0-9a-f]+|\d+")


class LeftOut:
    """The rejects of one file, counted by reason; reasons that differ in numbers alone are one."""

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[str, int, bool]] = {}

    def add(self, reason: str) -> None:
        kind = _NUMBERS.sub("#", reason)
        first, count, alike = self._kinds.get(kind, (reason, 0, True))
        self._kinds[kind] = first, count + 1, alike and reason == first

    def __str__(self) -> str:
        """How many rows and why, the most frequent reason first; nothing where there are none."""
        kinds = sorted(self._kinds.values(), key=lambda kind: -kind[1])
        rows = sum(count for _, count, _ in kinds)
        if not rows:
            return ""
        named = [f"{first}{'' if alike else ', or the like'} ({plural(n, 'row')})" for first, n, alike in kinds[:KINDS]]
        others = sum(count for _, count, _ in kinds[KINDS:])
        why = "; ".join([*named, *([f"other reasons ({plural(others, 'row')})"] if others else [])])
        return f"{plural(rows, 'row')} could not be parsed and {'was' if rows == 1 else 'were'} left out: {why}."


def tidied(rejects: Path, name: str) -> LeftOut:
    """Count a file of rejects, whose input gets the name by which its owner knows it. Memory is flat."""
    found = LeftOut()
    fresh = rejects.with_name(f"{rejects.name}.tidied")
    with rejects.open(encoding="utf-8") as lines, fresh.open("x", encoding="utf-8") as tidy:
        for line in lines:
            reject = json.loads(line)
            found.add(reject["reason"])
            tidy.write(json.dumps({**reject, "input": name}, ensure_ascii=False) + "\n")
    fresh.replace(rejects)
    return found
