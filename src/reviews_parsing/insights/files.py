"""Which files a path means."""

from __future__ import annotations

from glob import glob, has_magic
from pathlib import Path

from reviews_parsing.errors import DataError

PARQUET = ".parquet"
JSON, DELIMITED = (".jsonl", ".ndjson", ".json"), (".csv", ".tsv")
PACKED = (".gz", ".zst")
HOW = "parse them first: reviews-parsing parse FILE -o parsed.parquet"


def expand(path: str) -> list[Path]:
    """The files that a path means, sorted; in a folder Parquet goes before text forms of the same.

    Raises DataError where there is none.
    """
    if not Path(path).exists() and has_magic(path):
        names = glob(path, recursive=True)  # noqa: PTH207  a pattern may be absolute, which Path.glob refuses
        found = sorted(Path(name) for name in names if Path(name).is_file())
        if not found:
            raise DataError(f"{path} matches no file: check the path")
        return found
    if not Path(path).exists():
        raise DataError(f"{path} does not exist: check the path")
    if not Path(path).is_dir():
        return [Path(path)]
    inside = sorted(file for file in Path(path).rglob("*") if file.is_file() and not _hidden(file, Path(path)))
    for kinds in ((PARQUET,), (*JSON, *DELIMITED)):
        found = [file for file in inside if kind_of(file) in kinds]
        if found:
            return found
    raise DataError(f"{path} holds no Parquet and no JSONL: {HOW}")


def _hidden(file: Path, folder: Path) -> bool:
    """What writers of folders put beside the data begins with a dot or an underscore."""
    return any(part.startswith((".", "_")) for part in file.relative_to(folder).parts)


def kind_of(file: Path) -> str:
    """The ending that tells the format, in lower case; of what is packed, the one before."""
    return Path(file.stem).suffix.lower() if file.suffix.lower() in PACKED else file.suffix.lower()
