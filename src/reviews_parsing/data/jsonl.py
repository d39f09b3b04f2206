"""Our own form: one review a line, as `Review.to_json` writes it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from reviews_parsing.errors import DataError
from reviews_parsing.io.files import decode_utf8, encode_utf8
from reviews_parsing.schema import Aspect, Opinion, Review

_ASPECT = frozenset(Aspect.__dataclass_fields__)
_OPINION = frozenset(Opinion.__dataclass_fields__)


def decode(data: bytes, name: str) -> Iterator[tuple[int, Review]]:
    """(line, review) of each line that is not blank. Raises DataError naming the line that cannot be read."""
    for number, (line, form) in enumerate(rows(data, name), start=1):
        try:
            _refuse_unknown(form)
            review = Review.from_json(form, default_id=f"#{number}")
        except DataError as error:
            raise DataError(f"{name}:{line}: {error}") from None
        yield line, review


def rows(data: bytes, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, object) of each line that is not blank; the lines of any JSONL file, whatever it holds."""
    # Not splitlines(): JSON strings may hold U+2028 and its like as they are.
    return objects(enumerate(decode_utf8(data, name).split("\n"), start=1), name)


def objects(lines: Iterable[tuple[int, str]], name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Numbered lines as numbered objects, blank lines left out. Raises DataError naming the line that holds none."""
    for line, row in lines:
        if row.strip():
            try:
                yield line, form_of(row)
            except DataError as error:
                raise DataError(f"{name}:{line}: {error}") from None


def form_of(row: str) -> dict[str, Any]:
    """The object in a line. Raises DataError saying why it holds none."""
    form = value_of(row, "mend or remove the line")
    if not isinstance(form, dict):
        raise DataError(f"a {type(form).__name__}, not an object: write one review a line")
    return form


def value_of(text: str, remedy: str) -> Any:
    """The JSON value in a text. Raises DataError saying why it holds none, and the remedy."""
    try:
        form = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
        if "\\u" in text:
            json.dumps(form, ensure_ascii=False).encode("utf-8")
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise DataError(f"not JSON ({error.msg} at {line}column {error.colno}): {remedy}") from None
    except UnicodeEncodeError:
        raise DataError("holds half of a surrogate pair: mend or remove the character") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON ({error}): {remedy}") from None
    return form


def encode(reviews: Sequence[Review]) -> bytes:
    """Raises DataError naming the review that JSON cannot hold."""
    lines = []
    for review in reviews:
        try:
            line = json.dumps(review.to_json(), ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise DataError(f"review {review.id}: JSON cannot hold it ({error}): change or remove that field") from None
        lines.append(encode_utf8(line, f"review {review.id}"))
    return b"".join(line + b"\n" for line in lines)


def _refuse_unknown(form: Mapping[str, Any]) -> None:
    """What a review says beside its fields becomes `meta`; what an aspect says would be lost, so it is refused."""
    aspects = form.get("aspects")
    for aspect in aspects if isinstance(aspects, list) else ():
        for part, known in ((aspect, _ASPECT), (aspect.get("opinion") if isinstance(aspect, dict) else None, _OPINION)):
            unknown = sorted(part.keys() - known) if isinstance(part, dict) else []
            if unknown:
                fields = "', '".join(unknown)
                raise DataError(f"an aspect has no field '{fields}': move it to the review, beside 'aspects'")


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _finite(number: str) -> float:
    if abs(value := float(number)) == float("inf"):
        raise ValueError(f"{number:.20} is too large a number")
    return value
