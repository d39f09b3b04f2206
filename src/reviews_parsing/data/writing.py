"""Writing of labelled reviews to a file, or to a folder of Parquet files that `datasets.load_dataset` reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from reviews_parsing.data import parquet
from reviews_parsing.data.conversion_loss import count_losses
from reviews_parsing.data.formats import get_encoder, get_format, infer_target_format
from reviews_parsing.errors import DataError
from reviews_parsing.io.files import replacing, write_bytes
from reviews_parsing.schema import Review


def write(reviews: Iterable[Review], path: str | Path, format: str | None = None) -> Counter[str]:
    """Write reviews atomically; return what the format could not hold, counted by kind.

    The format follows from the ending of `path`; without an ending it is a folder with the file train.parquet. The
    losses are found by decoding the encoded reviews.

    >>> write(reviews, "reviews.conll")
    Counter({'polarities': 31, 'implicit aspects': 4})

    Raises DataError if there are no reviews, the format cannot hold a text, or writing fails.
    """
    return write_splits({"all": list(reviews)}, path, format)


def write_splits(splits: Mapping[str, Sequence[Review]], path: str | Path, format: str | None = None) -> Counter[str]:
    """Write splits to a folder with a Parquet file each, or a single split to a file, like `write`.

    The split "all" becomes train.parquet, as `datasets.load_dataset` names a dataset without splits. Raises DataError
    as `write` does, if several splits are to go to one file, or if the folder holds other files.
    """
    path = Path(path)
    if not splits or not all(splits.values()):
        raise DataError(f"no reviews to write to {path}: give at least one")
    format = format or infer_target_format(path)
    if format == "hf" and path.suffix.lower() != ".parquet":
        return _write_folder(splits, path)
    if len(splits) > 1:
        raise DataError(f"{path} is one file, for splits {', '.join(splits)}: name one with --split, or give a folder")
    (reviews,) = splits.values()
    data = get_encoder(format)(reviews)
    losses = count_losses(reviews, [review for _, review in get_format(format).decode(data, str(path))])
    write_bytes(path, data)
    return losses


def _write_folder(splits: Mapping[str, Sequence[Review]], folder: Path) -> Counter[str]:
    files = {"train" if split == "all" else split: reviews for split, reviews in splits.items()}
    encoded_files = {f"{split}.parquet": data for split, data in parquet.encode_splits(files).items()}
    # An older file of another split would have another schema.
    if folder.exists() and not (folder.is_dir() and {file.name for file in folder.iterdir()} <= encoded_files.keys()):
        raise DataError(f"{folder} exists and holds more than {', '.join(encoded_files)}: give a new folder")
    losses: Counter[str] = Counter()
    for (name, data), reviews in zip(encoded_files.items(), files.values(), strict=True):
        losses += count_losses(reviews, [review for _, review in parquet.decode(data, f"{folder}/{name}")])
    with replacing(folder) as temporary:
        temporary.mkdir()
        for name, data in encoded_files.items():
            (temporary / name).write_bytes(data)
    return losses
