"""Which files a path or URL means."""

from __future__ import annotations

from pathlib import PurePosixPath

from reviews_parsing.errors import DataError
from reviews_parsing.io import filesystems, formats, globs

PARQUET = formats.PARQUET.endings[0]
JSON, DELIMITED = (*formats.JSON_LINES.endings, *formats.JSON.endings), formats.CSV.endings
PACKED = tuple(formats.COMPRESSIONS[name].ending for name in ("gzip", "zstd"))
HOW = "parse them first: reviews-parsing parse FILE -o parsed.parquet"


def expand(path: str) -> list[str]:
    """The files that a path means, sorted; in a folder Parquet goes before text forms of the same.

    Raises DataError where there is none.
    """
    if globs.is_glob(path):
        if found := globs.matches(path):
            return found
        raise DataError(f"{path} matches no file: check the path")
    url = filesystems.is_url(path)
    if not url and not filesystems.exists(path):
        raise DataError(f"{path} does not exist: check the path")
    if not (url and path.endswith("/")) and filesystems.stat(path):
        return [path]
    inside = filesystems.list_files(path)
    for kinds in ((PARQUET,), (*JSON, *DELIMITED)):
        if found := [file for file in inside if kind_of(file) in kinds]:
            return found
    raise DataError(f"{path} {'does not exist, or ' if url else ''}holds no Parquet and no JSONL: {HOW}")


def kind_of(name: str) -> str:
    """The ending that tells the format, in lower case; of what is packed, the one before."""
    path = PurePosixPath(name)
    return PurePosixPath(path.stem).suffix.lower() if packed(name) else path.suffix.lower()


def packed(name: str) -> str:
    """The ending that tells how a file is packed; nothing where it is not."""
    last = PurePosixPath(name).suffix.lower()
    return last if last in PACKED else ""
