"""Similarity of names: spelling variants and typing errors."""

from __future__ import annotations

_LONG_NAME, _SHORT_NAME = 8, 4


def is_similar(first: str, second: str) -> bool:
    """Return True for names equal but for case, separators, one edit, or two edits in long names."""
    one, other = (_normalise(name) for name in (first, second))
    if one == other:
        return True
    shorter = min(len(one), len(other))
    digits = [[char for char in name if char.isdigit()] for name in (one, other)]
    if shorter < _SHORT_NAME or digits[0] != digits[1]:
        return False
    return _edit_distance(one, other) <= (2 if shorter >= _LONG_NAME else 1)


def _normalise(name: str) -> str:
    return "".join(char for char in name.casefold() if char.isalnum())


def _edit_distance(first: str, second: str) -> int:
    """Return the number of insertions, deletions, replacements and transpositions of neighbours."""
    if abs(len(first) - len(second)) > 2:
        return 3
    rows = [list(range(len(second) + 1))]
    for i, char in enumerate(first, start=1):
        row = [i]
        for j, other in enumerate(second, start=1):
            cost = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (char != other))
            if i > 1 and j > 1 and char == second[j - 2] and first[i - 2] == other:
                cost = min(cost, rows[-2][j - 2] + 1)
            row.append(cost)
        rows.append(row)
    return rows[-1][-1]
