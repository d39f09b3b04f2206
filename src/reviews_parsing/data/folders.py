"""Which files of a folder are which split."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from reviews_parsing.data import arrow, formats
from reviews_parsing.errors import DataError

T = TypeVar("T")

SPLITS = ("train", "validation", "test")
_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_SHARD = re.compile(r"[-_]?\d{5}-of-\d{5}.*")


def splits(folder: Path) -> dict[str, list[Path]]:
    """The files (or saved datasets) of each split in the folder, or in its `data` folder, as the hub lays them out.

    Raises DataError where there are none, or two that claim the same split without being parts of one file.
    """
    for place in (folder, folder / "data"):
        found = by_split({str(path): path for path in sorted(place.glob("*")) if _is_data(path)})
        if found:
            return {split: _one(split, paths) for split, paths in found.items()}
    names = ", ".join(f"{split}.jsonl" for split in SPLITS)
    raise DataError(f"{folder} holds no labelled splits: give a file, or a folder with files named like {names}")


def by_split(named: Mapping[str, T]) -> dict[str, list[T]]:
    """What belongs to each split, by the words of its name; what names no split is left out.

    Raises DataError where something names two.
    """
    found: dict[str, list[T]] = {split: [] for split in SPLITS}
    for name, value in named.items():
        words = re.split(r"[^a-z]+", Path(name).name.lower())
        claimed = {_NAMES[word] for word in words if word in _NAMES}
        if len(claimed) > 1:
            raise DataError(f"{name}: is it {' or '.join(sorted(claimed))}? Rename it after one split")
        for split in claimed:
            found[split].append(value)
    return {split: values for split, values in found.items() if values}


def _is_data(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    if path.is_dir():
        return path.name.lower() in _NAMES and (arrow.is_saved(path) or bool(_parts(path)))
    return path.suffix.lower() in formats.SUFFIXES


def _one(split: str, paths: list[Path]) -> list[Path]:
    """The one file of a split, or its parts."""
    if len({_SHARD.sub("", path.stem) for path in paths}) > 1 or len({path.suffix for path in paths}) > 1:
        names = ", ".join(path.name for path in paths)
        raise DataError(f"{paths[0].parent} holds several files for {split} ({names}): keep one of them")
    return [part for path in paths for part in (_parts(path) if path.is_dir() else [path])]


def _parts(folder: Path) -> list[Path]:
    if arrow.is_saved(folder):
        return [folder]
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in formats.SUFFIXES)
