"""Reading of labelled reviews from files, folders, the Hugging Face hub and the shipped corpus."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from reviews_parsing.data import folders, formats, parquet
from reviews_parsing.data.combined_names import describe_mixed, split_polarities
from reviews_parsing.data.huggingface import decode_rows
from reviews_parsing.data.label_fields import Fields
from reviews_parsing.data.labels import LabelWarning
from reviews_parsing.data.mapping import map_categories
from reviews_parsing.errors import DataError
from reviews_parsing.io.encoded_values import encoded_type
from reviews_parsing.io.files import read_bytes
from reviews_parsing.io.formats import EXCEL, HEAD_BYTES, describe_unreadable, detect_binary, detect_packing
from reviews_parsing.io.mojibake import MojibakeCount, MojibakeWarning
from reviews_parsing.schema import Review

CORPUS_FOLDER = Path(__file__).parent / "corpus"
"""The shipped corpus: train.jsonl, validation.jsonl, test.jsonl."""
UNLABELLED_FILE = CORPUS_FOLDER / "unlabelled.jsonl"
"""Reviews without labels, written together with the corpus."""
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_NETWORK_ERRORS = {"ConnectionError", "OfflineModeIsEnabled", "TimeoutError", "TransportError"}


class LocatedReview(NamedTuple):
    """A review with its file and line; in formats without lines `line` is the row number."""

    file: str
    line: int
    review: Review


def read(
    path: str | Path,
    mapping: Mapping[str, str | None] | None = None,
    format: str | None = None,
    fields: Fields = Fields(),
) -> list[Review]:
    """Read the reviews of one labelled file, or of one saved dataset split, in order.

    `mapping` renames categories, or drops those that map to None. `format` (jsonl, conll, hf, semeval14, semeval16,
    acos, label-studio, json-labels, sentence-lines) overrides the detection by ending and content; `fields` name the
    fields of text and labels in JSON files of other tools. Raises DataError naming the file and line that cannot be
    read.
    """
    splits = read_splits(path, mapping, format, fields)
    if len(splits) > 1:
        raise DataError(f"{path} holds several splits ({', '.join(splits)}): give the file of one")
    return next(iter(splits.values()))


def read_splits(
    source: str | Path,
    mapping: Mapping[str, str | None] | None = None,
    format: str | None = None,
    fields: Fields = Fields(),
) -> dict[str, list[Review]]:
    """Read the reviews of each split of a dataset: train, validation and test, as far as they exist.

    `source` is a folder with files named after their splits (dev and val mean validation), a folder that
    `save_to_disk` wrote, the name of a dataset on the hub, the word `corpus` for the shipped corpus, or a single file,
    which becomes the split "all". Raises DataError if there is nothing to read or a file cannot be read.
    """
    splits = read_located_splits(source, mapping, format, fields)
    return {split: [member.review for member in members] for split, members in splits.items()}


def read_located_splits(
    source: str | Path,
    mapping: Mapping[str, str | None] | None = None,
    format: str | None = None,
    fields: Fields = Fields(),
) -> dict[str, list[LocatedReview]]:
    """Read splits like `read_splits`, with the file and line of each review."""
    if format is not None:
        formats.get_format(format)
    splits = _read_source(source, format, fields)
    for split, members in splits.items():
        if not members:
            raise DataError(f"{source}: {split} holds no reviews: give a file of labelled reviews")
    if not mapping:
        return splits
    return {
        split: [LocatedReview(file, line, map_categories(review, mapping)) for file, line, review in members]
        for split, members in splits.items()
    }


def _read_source(source: str | Path, format: str | None, fields: Fields) -> dict[str, list[LocatedReview]]:
    path = CORPUS_FOLDER if source == "corpus" else Path(source)
    if path.is_dir() and not parquet.is_saved_dataset(path):
        files = folders.find_splits(path)
        return {
            split: [review for file in files[split] for review in _read_file(file, format, fields)] for split in files
        }
    if not path.exists() and (_is_hub_name(str(source)) or (format == "hf" and len(path.parts) == 1)):
        return _read_hub_dataset(str(source))
    return {"all": _read_file(path, format, fields)}


def _read_file(path: Path, format: str | None, fields: Fields) -> list[LocatedReview]:
    if path.is_dir():
        return [LocatedReview(str(path), *row) for row in parquet.read_saved_dataset(path)]
    data = read_bytes(path)
    _refuse_other_files(data, str(path))
    name = format or formats.detect_format(path, data, fields)
    located_reviews = [LocatedReview(str(path), *row) for row in formats.get_decoder(name, fields)(data, str(path))]
    if name != "jsonl":
        located_reviews = _split_polarities(located_reviews)
    if not located_reviews:
        raise DataError(f"{path} holds no reviews: give a file of labelled reviews")
    _check_texts(located_reviews)
    return located_reviews


def _refuse_other_files(data: bytes, name: str) -> None:
    """Raise DataError for a compressed file, a spreadsheet, or content that is often mistaken for a file of labels."""
    advice = "write JSON lines with offsets, or export CoNLL, Parquet or Label Studio's JSON"
    if detect_binary(data[:HEAD_BYTES]) is EXCEL:
        raise DataError(f"{name} is a spreadsheet, which has no offsets of labels: {advice}")
    if packing := detect_packing(data):
        raise DataError(
            f"{name} is compressed ({packing}): unpack it and give the file of labelled reviews; only `parse` and "
            "`insights` read compressed files"
        )
    description = "" if parquet.is_arrow(data) else describe_unreadable(data[:HEAD_BYTES])
    if description and not description.startswith("XML"):
        raise DataError(f"{name} is {description.partition(':')[0]}: {advice}")


def _check_texts(located_reviews: list[LocatedReview]) -> None:
    """Warn of texts in a wrong encoding. Raises DataError if all texts are objects or lists as strings."""
    mojibake = MojibakeCount()
    for file, line, review in located_reviews:
        mojibake.add(review.text, file, line)
    if message := mojibake.describe():
        warnings.warn(message, MojibakeWarning, stacklevel=2)
    file, line, first = located_reviews[0]
    kind = encoded_type(first.text)
    if kind and all(encoded_type(review.text) for _, _, review in located_reviews):
        raise DataError(f"{file}:{line}: the text is {kind} as a string, as are all others: give the texts themselves")


def _split_polarities(located_reviews: list[LocatedReview]) -> list[LocatedReview]:
    """Return the reviews with polarities apart from categories; warn if only some of the categories hold one."""
    originals = [review for _, _, review in located_reviews]
    reviews = split_polarities(originals)
    if reviews == originals and (message := describe_mixed(originals)):
        file = located_reviews[0].file
        warnings.warn(f"{file}: not read: {message}", LabelWarning, stacklevel=2)
    return [entry._replace(review=review) for entry, review in zip(located_reviews, reviews, strict=True)]


def _is_hub_name(source: str) -> bool:
    """Return True if a path that does not exist looks like owner/name on the hub rather than a mistyped path."""
    path = Path(source)
    is_file = path.suffix.lower() in formats.FORMAT_BY_ENDING
    return bool(_HUB_NAME.fullmatch(source)) and not path.parent.exists() and not is_file


def _read_hub_dataset(name: str) -> dict[str, list[LocatedReview]]:
    """Download a dataset from the hub. Raises DataError if `datasets` is missing or the dataset cannot be loaded."""
    try:
        import datasets
    except ImportError:
        raise DataError(
            f"{name}: no such file, and the hub needs the datasets library: pip install 'reviews-parsing[train]'"
        ) from None
    try:
        hub_splits = datasets.load_dataset(name)
        rows = {str(split): (dataset.to_list(), dataset.features.to_dict()) for split, dataset in hub_splits.items()}
    except Exception as error:  # the library raises the exceptions of its network and file layers unchanged
        raise DataError(f"{name}: no such file, and {_describe_hub_error(error)}") from error
    located_reviews = {
        split: [LocatedReview(f"{name}/{split}", *row) for row in decode_rows(*table, f"{name}/{split}")]
        for split, table in rows.items()
    }
    splits = folders.group_by_split({split: _split_polarities(rows) for split, rows in located_reviews.items()})
    if not splits:
        raise DataError(
            f"{name} has no train, validation or test split, only {', '.join(located_reviews)}: give a file"
        )
    return {split: [review for part in parts for review in part] for split, parts in splits.items()}


def _describe_hub_error(error: Exception) -> str:
    errors = [error, error.__cause__, error.__context__]
    names = {cls.__name__ for link in errors if link is not None for cls in type(link).__mro__}
    reason = str(error).strip().split("\n")[0]
    if "DatasetNotFoundError" not in names and names & _NETWORK_ERRORS:
        return f"the Hugging Face hub cannot be reached ({reason}): give a local file or folder"
    return f"the Hugging Face hub cannot provide it ({reason}): check the name"


def detect_file_format(path: str | Path) -> str | None:
    """Return the format of a file by ending and content, None for anything that is not a file."""
    file = Path(path)
    return formats.detect_format(file, read_bytes(file)) if file.is_file() else None


def check_own_format(path: str | Path) -> None:
    """Raise DataError for a file with the labels of another tool, which is converted and checked before it is added."""
    file_format = detect_file_format(path)
    if file_format in formats.FOREIGN_FORMATS:
        raise DataError(
            f"{path}: labels in the form of another tool ({file_format}): convert them with "
            "`reviews-parsing data convert`, look at the result, and add that"
        )
