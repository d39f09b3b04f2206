"""Files of each split in a dataset folder, by file name."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from reviews_parsing.data import parquet
from reviews_parsing.data.formats import FORMAT_BY_ENDING
from reviews_parsing.data.labels import LabelWarning
from reviews_parsing.errors import DataError
from reviews_parsing.io.formats import COMPRESSIONS, EXCEL

T = TypeVar("T")
_TABLE_ENDINGS = (".csv", ".xls", ".zip", *EXCEL.endings)

SPLITS = ("train", "validation", "test")
_SPLIT_BY_WORD = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_SHARD = re.compile(r"[-_]?\d{5}-of-\d{5}.*")


def find_splits(folder: Path) -> dict[str, list[Path]]:
    """Return the files or saved datasets of each split in the folder, or in its subfolder `data` (the hub's layout).

    Raises DataError if there are no splits, or if several files that are not shards of one file belong to a split.
    """
    for parent in (folder, folder / "data"):
        splits = group_by_split({str(path): path for path in sorted(parent.glob("*")) if _is_labelled(path)})
        if splits:
            _warn_of_unread(parent)
            return {split: _list_files(split, paths) for split, paths in splits.items()}
    names = ", ".join(f"{split}.jsonl" for split in SPLITS)
    raise DataError(f"{folder} holds no labelled splits: give a file, or a folder with files named like {names}")


def group_by_split(named_values: Mapping[str, T]) -> dict[str, list[T]]:
    """Return the values of each split that a word of their name denotes; values that name no split are omitted.

    Raises DataError if a name denotes two splits.
    """
    splits: dict[str, list[T]] = {split: [] for split in SPLITS}
    for name, value in named_values.items():
        words = re.split(r"[^a-z]+", Path(name).name.lower())
        matches = {_SPLIT_BY_WORD[word] for word in words if word in _SPLIT_BY_WORD}
        if len(matches) > 1:
            raise DataError(f"{name}: is it {' or '.join(sorted(matches))}? Rename it after one split")
        for split in matches:
            splits[split].append(value)
    return {split: values for split, values in splits.items() if values}


def _warn_of_unread(folder: Path) -> None:
    """Warn of tables and compressed files that have the name of a split, and are not read."""
    endings = (*_TABLE_ENDINGS, *(entry.ending for entry in COMPRESSIONS.values()))
    tables = {str(path): path for path in sorted(folder.glob("*")) if path.suffix.lower() in endings}
    names = [path.name for paths in group_by_split(tables).values() for path in paths]
    if names:
        warnings.warn(
            f"{folder}: not read: {', '.join(names)}: unpack them, or convert them to JSON lines",
            LabelWarning,
            stacklevel=2,
        )


def _is_labelled(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    if path.is_dir():
        return path.name.lower() in _SPLIT_BY_WORD and (parquet.is_saved_dataset(path) or bool(_list_shards(path)))
    return path.suffix.lower() in FORMAT_BY_ENDING


def _list_files(split: str, paths: list[Path]) -> list[Path]:
    """Return the file or the shards of a split."""
    if len({_SHARD.sub("", path.stem) for path in paths}) > 1 or len({path.suffix for path in paths}) > 1:
        names = ", ".join(path.name for path in paths)
        raise DataError(f"{paths[0].parent} holds several files for {split} ({names}): keep one of them")
    return [shard for path in paths for shard in (_list_shards(path) if path.is_dir() else [path])]


def _list_shards(folder: Path) -> list[Path]:
    if parquet.is_saved_dataset(folder):
        return [folder]
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in FORMAT_BY_ENDING)
