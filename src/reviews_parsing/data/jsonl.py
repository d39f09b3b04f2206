"""Reader and writer for JSONL: one review per line, in the form of `Review.to_json`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from reviews_parsing.errors import DataError
from reviews_parsing.io.files import decode_utf8, encode_utf8
from reviews_parsing.io.json_errors import LONE_SURROGATE, not_json
from reviews_parsing.schema import Aspect, Opinion, Review

_ASPECT_FIELDS = frozenset(Aspect.__dataclass_fields__)
_OPINION_FIELDS = frozenset(Opinion.__dataclass_fields__)


def decode(data: bytes, name: str) -> Iterator[tuple[int, Review]]:
    """Yield (line, review) for each non-blank line. Raises DataError naming the invalid line."""
    for number, (line, record) in enumerate(decode_objects(data, name), start=1):
        try:
            _check_fields(record)
            review = Review.from_json(record, default_id=f"#{number}")
        except DataError as error:
            raise DataError(f"{name}:{line}: {error}") from None
        yield line, review


def encode(reviews: Sequence[Review]) -> bytes:
    """Return the file. Raises DataError naming the review that JSON cannot hold."""
    return b"".join(encode_object(review.to_json(), f"review {review.id}") + b"\n" for review in reviews)


def decode_objects(data: bytes, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line, object) for each non-blank line of any JSONL file. Raises DataError naming the invalid line.

    Also reads an array of objects, whose positions replace lines, and a pretty-printed object.
    """
    document = _parse_document(data, name)
    if document is not None:
        yield from enumerate(document, start=1)
        return
    # str.splitlines() would also split at U+2028 and U+0085, which JSON strings may contain unescaped.
    for line, text in enumerate(decode_utf8(data, name).split("\n"), start=1):
        if text.strip():
            try:
                yield line, parse_object(text)
            except DataError as error:
                raise DataError(f"{name}:{line}: {error}") from None


def _parse_document(data: bytes, name: str) -> list[dict[str, Any]] | None:
    """Return the objects of an array, or of one object on several lines; None for any other file."""
    head = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not head.startswith(b"[") and not re.match(rb"\{\s*\n", head):
        return None
    try:
        document = parse_json(decode_utf8(data, name), "correct it")
    except DataError:
        if re.match(rb"\[\s*\{", head):
            raise
        return None
    objects = document if isinstance(document, list) else [document]
    return objects if all(isinstance(item, dict) for item in objects) else None


def parse_object(text: str) -> dict[str, Any]:
    """Parse a line as a JSON object. Raises DataError."""
    value = parse_json(text, "correct or remove the line")
    if not isinstance(value, dict):
        raise DataError(f"a {type(value).__name__}, not an object: write one review a line")
    return value


def parse_json(text: str, remedy: str) -> Any:
    """Parse a JSON text strictly. Raises DataError with the position and the remedy.

    Rejects NaN, infinities and lone surrogates, which the standard library accepts.
    """
    try:
        value = json.loads(text, parse_constant=_reject_constant, parse_float=_parse_finite)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise DataError(LONE_SURROGATE) from None
    except (ValueError, RecursionError) as error:
        raise not_json(error, remedy) from None
    return value


def encode_object(record: Mapping[str, Any], name: str) -> bytes:
    """Return a record as one line of JSON in UTF-8. Raises DataError if JSON cannot hold it."""
    try:
        text = json.dumps(record, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{name}: JSON cannot hold it ({error}): change or remove that field") from None
    return encode_utf8(text, name)


def _check_fields(record: Mapping[str, Any]) -> None:
    """Reject unknown fields of aspects and opinions; unlike those of the review, they have no place in `meta`."""
    aspects = record.get("aspects")
    for aspect in aspects if isinstance(aspects, list) else ():
        opinion = aspect.get("opinion") if isinstance(aspect, dict) else None
        for part, fields in ((aspect, _ASPECT_FIELDS), (opinion, _OPINION_FIELDS)):
            unknown_fields = sorted(part.keys() - fields) if isinstance(part, dict) else []
            if unknown_fields:
                names = "', '".join(unknown_fields)
                meant = get_close_matches(unknown_fields[0].casefold(), sorted(fields), n=1, cutoff=0.75)
                hint = f" ('{meant[0]}' was probably meant)" if meant else ""
                raise DataError(f"an aspect has no field '{names}'{hint}: move it to the review, beside 'aspects'")


def _reject_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not a number")


def _parse_finite(number: str) -> float:
    if abs(value := float(number)) == float("inf"):
        raise ValueError(f"{number:.20} is too large a number")
    return value
