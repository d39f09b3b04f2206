"""Reader for JSON label files of other tools, recognised by the shape of their values and not by field names.

Three shapes are read. Spans: a list of offsets, words and names, as objects or arrays, beside a text. Tagged tokens:
a list of tokens and a list of IOB2 or BIOES tags of the same length. Flat records: a text, a word of it and a name.
A file that fits no shape, or several, is refused.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence

from reviews_parsing.data.label_fields.flat import infer_flat
from reviews_parsing.data.label_fields.roles import count_labels
from reviews_parsing.data.label_fields.shapes import RESERVED_KEYS, Fields, Shape, field_names
from reviews_parsing.data.label_fields.spans import infer_spans
from reviews_parsing.data.label_fields.tagged import infer_tagged
from reviews_parsing.data.labels import LabelWarning
from reviews_parsing.data.records import Record, read_records
from reviews_parsing.data.tokens import UNCATEGORISED
from reviews_parsing.errors import DataError
from reviews_parsing.schema import Review

__all__ = ["HINT", "RESERVED_KEYS", "Fields", "Shape", "decode", "decode_records", "infer_shape"]
_STATUS = {"accept", "reject", "ignore"}
HINT = "name it with --labels-field, or write one review a line with 'text' and 'aspects'"


def decode(data: bytes, name: str, fields: Fields = Fields()) -> Iterator[tuple[int, Review]]:
    """Yield (line, review) for each record. Raises DataError naming the shape or the line that cannot be read."""
    yield from decode_records(read_records(data, name), name, fields)


def decode_records(
    numbered_records: Sequence[tuple[int, Record]],
    name: str,
    fields: Fields = Fields(),
) -> Iterator[tuple[int, Review]]:
    """Yield (line, review) like `decode`; flat records of one text in a row become one review."""
    numbered_records = [(line, _parse_embedded(record)) for line, record in numbered_records]
    try:
        shape = infer_shape([record for _, record in numbered_records], fields)
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    reviews: list[tuple[int, Review]] = []
    for number, (line, record) in enumerate(numbered_records, start=1):
        try:
            review = shape.read(record, f"#{number}")
        except DataError as error:
            raise DataError(f"{name}:{line}: {error}") from None
        previous = reviews[-1][1] if reviews else None
        if shape.is_flat and previous is not None and previous.text == review.text:
            joined = Review(previous.id, review.text, (*previous.aspects, *review.aspects), previous.meta)
            reviews[-1] = (reviews[-1][0], joined)
        else:
            reviews.append((line, review))
    if not any(review.aspects for _, review in reviews):
        raise DataError(f"{name}: not one label in '{shape.label_field}': {HINT}")
    if not fields.labels:
        _warn_of_unread(reviews, shape, name)
    yield from reviews


def _warn_of_unread(reviews: Sequence[tuple[int, Review]], shape: Shape, name: str) -> None:
    """Warn of lists of labels in other fields, such as relations, and of labels without a category among others."""
    unread: Counter[str] = Counter()
    for _, review in reviews:
        for field, value in review.meta.items():
            if field.removeprefix("source_") not in (*RESERVED_KEYS, *shape.equal_fields):
                unread[f"labels of the field '{field}'"] += count_labels(value)
    messages = [f"{count} {description}" for description, count in unread.items() if count]
    categories = Counter(aspect.entity_group for _, review in reviews for aspect in review.aspects)
    if len(categories) > 1 and (count := categories[UNCATEGORISED]):
        messages.append(f"the category of {count} of {categories.total()} labels, which have none")
    if messages:
        warnings.warn(f"{name}: not read: {', '.join(messages)}", LabelWarning, stacklevel=3)


def infer_shape(records: Sequence[Record], fields: Fields = Fields()) -> Shape:
    """Return the shape of the records. Raises DataError saying what they seem to be."""
    for name in filter(None, fields):
        if not any(name in record for record in records):
            raise DataError(f"no field '{name}' among {', '.join(field_names(records))}: correct the option")
    _check_status(records)
    reasons: list[str] = []
    for infer in (infer_tagged, infer_spans, infer_flat):
        shape = infer(records, fields, reasons)
        if shape is not None:
            return shape
    names = ", ".join(field_names(records))
    reason = f" ({'; '.join(dict.fromkeys(reasons))})" if reasons else ""
    raise DataError(f"no field of labels is recognised among {names}{reason}: {HINT}")


def _check_status(records: Sequence[Record]) -> None:
    """Reject records that an annotator did not accept, as Prodigy marks them."""
    for name in field_names(records):
        values = [record[name] for record in records if record.get(name) is not None]
        if values and all(isinstance(value, str) and value in _STATUS for value in values):
            count = sum(value != "accept" for value in values)
            if count:
                raise DataError(
                    f"{count} of {len(records)} examples are not accepted ('{name}'), as in Prodigy: remove them"
                )


def _parse_embedded(record: Record) -> Record:
    """Parse fields whose string is a JSON list, as tables store them."""
    parsed = dict(record)
    for key, value in record.items():
        if isinstance(value, str) and value.lstrip().startswith(("[{", "[[", '["')):
            try:
                parsed[key] = json.loads(value)
            except (ValueError, RecursionError):
                continue
    return parsed
