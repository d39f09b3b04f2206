"""Datasets by their name on the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

from reviews_parsing.data import formats, hf
from reviews_parsing.errors import DataError
from reviews_parsing.schema import Review

_UNREACHABLE = {"ConnectionError", "OfflineModeIsEnabled", "TimeoutError", "TransportError"}
_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def is_name(source: str) -> bool:
    """Whether `source`, which is no path that exists, reads as owner/name rather than as a mistaken path."""
    path = Path(source)
    return bool(_NAME.fullmatch(source)) and not path.parent.exists() and path.suffix.lower() not in formats.SUFFIXES


def read(name: str) -> dict[str, list[tuple[int, Review]]]:
    """(row number, review) of each split, by the dataset's own names of its splits.

    Raises DataError where the `datasets` library is missing, the hub is out of reach, or there is no such dataset.
    """
    try:
        import datasets
    except ImportError:
        raise DataError(
            f"{name}: no such file, and the hub needs the datasets library: pip install 'reviews-parsing[train]'"
        ) from None
    try:
        splits = datasets.load_dataset(name)
        rows = {str(split): (dataset.to_list(), dataset.features.to_dict()) for split, dataset in splits.items()}
    except Exception as error:  # the library lets through whatever its network and file layers raise
        raise DataError(_reason(name, error)) from error
    return {split: list(hf.reviews(*found, f"{name}/{split}")) for split, found in rows.items()}


def _reason(name: str, error: Exception) -> str:
    chain = [error, error.__cause__, error.__context__]
    kinds = {kind.__name__ for link in chain if link is not None for kind in type(link).__mro__}
    problem = f"{name}: no such file, and "
    first = str(error).strip().split("\n")[0]
    if "DatasetNotFoundError" not in kinds and kinds & _UNREACHABLE:
        return f"{problem}the Hugging Face hub cannot be reached ({first}): give a local file or folder"
    return f"{problem}not to be read from the Hugging Face hub ({first}): check the name"
