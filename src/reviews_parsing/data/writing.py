"""Labelled reviews to a file, or to a folder that the `datasets` library reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from reviews_parsing.data import arrow, formats
from reviews_parsing.data.loss import compare
from reviews_parsing.errors import DataError
from reviews_parsing.io.files import write_bytes
from reviews_parsing.schema import Review


def write(reviews: Iterable[Review], path: str | Path, format: str | None = None) -> Counter[str]:
    """Write the reviews whole, or nothing, and say what the format could not hold, by kind ({} is nothing).

    The format follows from the ending of `path`; `.xml` is semeval16, no ending a Hugging Face folder. What could not
    be held is found by reading back what is about to be written, so it cannot be forgotten.

    >>> write(reviews, "reviews.conll")
    Counter({'polarities': 31, 'implicit aspects': 4})

    Raises DataError where there is nothing to write, a text cannot be written in that format, or writing fails.
    """
    path, reviews = Path(path), list(reviews)
    if not reviews:
        raise DataError(f"no reviews to write to {path}: give at least one")
    name = format or formats.for_writing(path)
    chosen = formats.named(name)
    data = chosen.encode(reviews)
    lost = compare(reviews, [review for _, review in chosen.decode(data, str(path))])
    if name == "hf" and path.suffix != ".parquet":
        arrow.write_saved(reviews, path)
    else:
        write_bytes(path, data)
    return lost
