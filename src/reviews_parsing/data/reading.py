"""Labelled reviews from files, folders, the hub and the shipped corpus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reviews_parsing.data import arrow, folders, formats, hub
from reviews_parsing.data.mapping import apply
from reviews_parsing.errors import DataError
from reviews_parsing.io.files import read_bytes
from reviews_parsing.schema import Review

CORPUS = Path(__file__).parent / "corpus"
"""The folder of the shipped corpus: train.jsonl, validation.jsonl, test.jsonl."""
UNLABELLED = CORPUS / "unlabelled.jsonl"
"""Reviews without labels that were written beside it."""


@dataclass(frozen=True, slots=True)
class Located:
    """A review and where it came from; `line` is the number of its row in formats without lines."""

    file: str
    line: int
    review: Review


def read(path: str | Path, mapping: Mapping[str, str | None] | None = None, format: str | None = None) -> list[Review]:
    """The reviews of one labelled file, or of one split that `save_to_disk` wrote, in their order.

    `mapping` renames categories, or drops those that it maps to None. `format` (jsonl, conll, hf, semeval14,
    semeval16, acos, label-studio) overrides what ending and content say. Raises DataError naming the file and line that
    cannot be read.
    """
    splits = read_splits(path, mapping, format)
    if len(splits) > 1:
        raise DataError(f"{path} holds several splits ({', '.join(splits)}): give the file of one")
    return next(iter(splits.values()))


def read_splits(
    source: str | Path, mapping: Mapping[str, str | None] | None = None, format: str | None = None
) -> dict[str, list[Review]]:
    """The reviews of each split: train, validation and test as far as they are there.

    `source` is a folder of files named after their splits (dev and val mean validation), a Hugging Face dataset folder,
    a dataset's name on the hub, the word `corpus` for the shipped one, or a single file, which is one split, "all".
    Raises DataError where there is nothing to read or a file cannot be read.
    """
    found = locate(source, mapping, format)
    return {split: [place.review for place in places] for split, places in found.items()}


def locate(
    source: str | Path, mapping: Mapping[str, str | None] | None = None, format: str | None = None
) -> dict[str, list[Located]]:
    """Like `read_splits`, with the file and line of each review."""
    if format is not None:
        formats.named(format)
    found = _locate(source, format)
    for split, places in found.items():
        if not places:
            raise DataError(f"{source}: {split} holds no reviews: give a file of labelled reviews")
    if not mapping:
        return found
    return {split: [Located(p.file, p.line, apply(p.review, mapping)) for p in found[split]] for split in found}


def _locate(source: str | Path, format: str | None) -> dict[str, list[Located]]:
    path = CORPUS if source == "corpus" else Path(source)
    if path.is_dir() and not arrow.is_saved(path):
        files = folders.splits(path)
        return {split: [place for file in files[split] for place in _file(file, format)] for split in files}
    if not path.exists() and (hub.is_name(str(source)) or (format == "hf" and len(path.parts) == 1)):
        named = {
            name: [Located(f"{source}/{name}", *row) for row in rows] for name, rows in hub.read(str(source)).items()
        }
        found = folders.by_split(named)
        if not found:
            raise DataError(f"{source} has no train, validation or test split, only {', '.join(named)}: give a file")
        return {split: [place for places in found[split] for place in places] for split in found}
    return {"all": _file(path, format)}


def _file(path: Path, format: str | None) -> list[Located]:
    if path.is_dir():
        return [Located(str(path), *row) for row in arrow.read_saved(path)]
    data = read_bytes(path)
    decode = formats.named(format or formats.of_content(path, data)).decode
    found = [Located(str(path), *row) for row in decode(data, str(path))]
    if not found:
        raise DataError(f"{path} holds no reviews: give a file of labelled reviews")
    return found
