"""Glob patterns of files in folders and in buckets."""

from __future__ import annotations

import glob
import re
from pathlib import Path

from reviews_parsing.io import filesystems

_MAGIC = re.compile(r"[*?\[]")


def is_glob(name: str) -> bool:
    """Return True if a name is a pattern, and not that of an existing file or folder."""
    return bool(_MAGIC.search(name)) and (filesystems.is_url(name) or not filesystems.exists(name))


def matches(pattern: str) -> list[str]:
    """Return the files that a pattern matches, sorted; `**` is any number of folders, in buckets too.

    Raises DataError if the store does not answer.
    """
    if not filesystems.is_url(pattern):
        # Path.glob refuses absolute patterns.
        names = glob.glob(pattern, recursive=True)  # noqa: PTH207
        return sorted(name for name in names if Path(name).is_file())
    constant = _MAGIC.split(pattern)[0]
    expression = re.compile(translate(pattern))
    names = filesystems.list_files(constant[: constant.rindex("/") + 1])
    return [name for name in names if expression.fullmatch(name)]


def translate(pattern: str) -> str:
    """Return a glob as a regular expression: `**/` is any number of folders, a star matches no slash."""
    expression = ""
    for piece in re.split(r"(\*\*/|\*\*|\*|\?|\[[^]]+\])", pattern):
        wildcard = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(piece)
        expression += wildcard or (piece.replace("[!", "[^") if piece.startswith("[") else re.escape(piece))
    return expression
