"""Input files and output paths. The only module of this room that imports `batch` and `io`."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from reviews_parsing.errors import DataError
from reviews_parsing.io import filesystems, globs
from reviews_parsing.io.files import replacing, write_bytes, write_parts

__all__ = [
    "check_file",
    "check_folder",
    "check_page",
    "expand",
    "fetch",
    "format_of",
    "make_folder",
    "modified",
    "replacing",
    "write_bytes",
    "write_parts",
]

PARQUET = ".parquet"
JSON_ENDINGS, DELIMITED_ENDINGS = (".jsonl", ".ndjson", ".json"), (".csv", ".tsv")
COMPRESSED_ENDINGS = (".gz", ".zst")
PARSE_FIRST = "parse them first: reviews-parsing parse FILE -o parsed.parquet"
FETCH_THREADS = 8


def expand(paths: Sequence[str | Path]) -> list[str]:
    """Return the files of all paths, folders, globs and URLs, without duplicates.

    Raises DataError if a path matches no file.
    """
    names = [name for path in paths for name in _expand(str(path))]
    if not names:
        raise DataError("no input: give files, folders or globs that reviews-parsing parse wrote")
    return list({filesystems.absolute(name): name for name in names}.values())


def _expand(path: str) -> list[str]:
    """Return the files of one path, sorted. In a folder, text files count only if it holds no Parquet."""
    if globs.is_glob(path):
        if names := globs.matches(path):
            return names
        raise DataError(f"{path} matches no file: check the path")
    url = filesystems.is_url(path)
    if not url and not filesystems.exists(path):
        raise DataError(f"{path} does not exist: check the path")
    if not (url and path.endswith("/")) and filesystems.stat(path):
        return [path]
    names = filesystems.list_files(path)
    for endings in ((PARQUET,), (*JSON_ENDINGS, *DELIMITED_ENDINGS)):
        if matching := [name for name in names if format_of(name) in endings]:
            return matching
    raise DataError(f"{path} {'does not exist, or ' if url else ''}holds no Parquet and no JSONL: {PARSE_FIRST}")


def format_of(name: str) -> str:
    """Return the ending that tells the format, in lower case, without the ending of a compression."""
    path = PurePosixPath(name)
    return PurePosixPath(path.stem).suffix.lower() if _compression(name) else path.suffix.lower()


def _compression(name: str) -> str:
    ending = PurePosixPath(name).suffix.lower()
    return ending if ending in COMPRESSED_ENDINGS else ""


def fetch(names: Sequence[str], folder: Path) -> list[Path]:
    """Return local paths of the files; those in buckets are copied into `folder`."""

    def fetch_one(number: int, name: str) -> Path:
        if not filesystems.is_url(name):
            return Path(name)
        copy = folder / f"fetched-{number}{format_of(name)}{_compression(name)}"
        filesystems.fetch(name, copy)
        return copy

    with ThreadPoolExecutor(FETCH_THREADS) as pool:
        return list(pool.map(fetch_one, range(len(names)), names))


def modified(names: Sequence[str]) -> datetime | None:
    """Return the latest modification time of local files in UTC, or None if a file is in a bucket."""
    if any(filesystems.is_url(name) for name in names):
        return None
    return datetime.fromtimestamp(max(Path(name).stat().st_mtime for name in names), UTC).replace(tzinfo=None)


def check_file(target: Path) -> None:
    """Raise DataError if no file can be written at `target`."""
    if filesystems.is_folder(str(target)):
        raise DataError(f"{target} is a folder: give the name of a file")
    filesystems.require_writable(str(target))


def check_page(target: Path) -> None:
    """Raise DataError if no HTML page can be written at `target`."""
    if target.suffix.lower() not in (".html", ".htm"):
        raise DataError(f"{target}: the report is a page: give a name that ends in .html")
    if filesystems.is_folder(str(target)):
        raise DataError(f"{target} is a folder: give the name of a file, such as {target / 'report.html'}")
    filesystems.require_writable(str(target))


def check_folder(target: Path) -> None:
    """Raise DataError if `target` cannot be made or written to as a folder."""
    if filesystems.is_folder(str(target)):
        filesystems.require_writable(str(target / "categories.csv"))
    elif filesystems.exists(str(target)):
        raise DataError(f"{target} is a file: give the name of a folder")
    else:
        filesystems.require_writable(str(target))


def make_folder(target: Path) -> None:
    """Make a folder for output if it does not exist. Raises DataError if it cannot be made or written to."""
    check_folder(target)
    try:
        target.mkdir(exist_ok=True)
    except OSError as error:
        raise DataError(f"{target} cannot be made ({error.strerror}): write elsewhere") from None
