"""Patterns of names, of files in folders and in buckets."""

from __future__ import annotations

import glob
import re
from pathlib import Path

from reviews_parsing.io import filesystems

_MAGIC = re.compile(r"[*?\[]")


def is_glob(name: str) -> bool:
    """Whether a name is a pattern, and not that of a file or folder which is there."""
    return bool(_MAGIC.search(name)) and (filesystems.is_url(name) or not filesystems.exists(name))


def matches(pattern: str) -> list[str]:
    """The files that a pattern matches, sorted; `**` is any number of folders, in buckets too.

    Raises DataError where the store does not answer.
    """
    if not filesystems.is_url(pattern):
        # A pattern may be absolute, which Path.glob refuses.
        found = glob.glob(pattern, recursive=True)  # noqa: PTH207
        return sorted(file for file in found if Path(file).is_file())
    whole = _MAGIC.split(pattern)[0]
    shape = re.compile(translate(pattern))
    return [file for file in filesystems.listed(whole[: whole.rindex("/") + 1]) if shape.fullmatch(file)]


def translate(pattern: str) -> str:
    """A glob as a regular expression: `**/` is any number of folders, a star no slash."""
    shape = ""
    for piece in re.split(r"(\*\*/|\*\*|\*|\?|\[[^]]+\])", pattern):
        known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(piece)
        shape += known or (piece.replace("[!", "[^") if piece.startswith("[") else re.escape(piece))
    return shape
