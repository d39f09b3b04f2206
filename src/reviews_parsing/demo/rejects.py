"""Rows of a file that could not be parsed: their reasons in a sentence."""

from __future__ import annotations

import json
import re
from pathlib import Path

MAX_REASONS = 3
"""Reasons of rejected rows that are named; rows with other reasons are counted."""
_NUMBERS = re.compile(r"0x[0-9a-f]+|\d+")


class RejectSummary:
    """Rejected rows counted by reason; reasons that differ only in numbers are one."""

    def __init__(self) -> None:
        self._reasons: dict[str, tuple[str, int, bool]] = {}

    def add(self, reason: str) -> None:
        """Count a reason; reasons that differ only in numbers are counted together."""
        key = _NUMBERS.sub("#", reason)
        first, count, identical = self._reasons.get(key, (reason, 0, True))
        self._reasons[key] = first, count + 1, identical and reason == first

    def __str__(self) -> str:
        """Return the number of rows and the most frequent reasons as a sentence, empty without any rows."""
        reasons = sorted(self._reasons.values(), key=lambda reason: -reason[1])
        rows = sum(count for _, count, _ in reasons)
        if not rows:
            return ""
        parts = [
            f"{first}{'' if identical else ', or the like'} ({_plural(count, 'row')})"
            for first, count, identical in reasons[:MAX_REASONS]
        ]
        unnamed = sum(count for _, count, _ in reasons[MAX_REASONS:])
        if unnamed:
            parts.append(f"other reasons ({_plural(unnamed, 'row')})")
        verb = "was" if rows == 1 else "were"
        return f"{_plural(rows, 'row')} could not be parsed and {verb} left out: {'; '.join(parts)}."


def summarise_rejects(rejects: Path, input_name: str) -> RejectSummary:
    """Count a file of rejects, and replace the name of the stored file in it by `input_name`; memory is constant."""
    summary = RejectSummary()
    rewritten = rejects.with_name(f"{rejects.name}.new")
    with rejects.open(encoding="utf-8") as lines, rewritten.open("x", encoding="utf-8") as target:
        for line in lines:
            reject = json.loads(line)
            summary.add(reject["reason"])
            target.write(json.dumps({**reject, "input": input_name}, ensure_ascii=False) + "\n")
    rewritten.replace(rejects)
    return summary


def _plural(number: int, noun: str) -> str:
    """Return "1 row", "1,200 rows"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
