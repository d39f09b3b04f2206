"""Reader for JSON label files of other tools, recognised by the shape of their values and not by field names.

Three shapes are read. Spans: a list of offsets, words and names, as objects or arrays, beside a text. Tagged tokens:
a list of tokens and a list of IOB2 or BIOES tags of the same length. Flat records: a text, a word of it and a name.
A file that fits no shape, or several, is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from reviews_parsing.data import polarities
from reviews_parsing.data.conll import CHUNKS
from reviews_parsing.data.records import Record, read_records
from reviews_parsing.data.tokens import TAG, UNCATEGORISED, align, from_tokens
from reviews_parsing.errors import DataError
from reviews_parsing.schema import Aspect, Opinion, Review
from reviews_parsing.tagging import words

_TEXT_NAMES = ("text", "sentence", "review", "content", "raw", "body", "comment", "document", "sentence_text")
_LABEL_NAME = re.compile(r"(^|[._])(labels?|entity(_?(type|group))?|category|type|tags?|class|ner)$", re.IGNORECASE)
_WORD_NAME = re.compile(
    r"(^|[._])(text|value|word|surface|surface_form|term|span|aspect|target|aspect_term|mention)$", re.IGNORECASE
)
_OPINION_NAME = re.compile(r"opinion|expression|opinion_term", re.IGNORECASE)
_START_NAME = re.compile(r"(^|[._])(start|begin|from|first|offset|char_?start)", re.IGNORECASE)
_END_NAME = re.compile(r"(^|[._])(end|stop|to|last|char_?end)([._]|$|offset|char|_)", re.IGNORECASE)
_LENGTH_NAME = re.compile(r"(^|[._])(len|length|size)$", re.IGNORECASE)
_ORDINAL_NAME = re.compile(r"(^|[._])(ordinal|occurrence)$", re.IGNORECASE)
_NOT_OFFSET_NAME = re.compile(r"(^|[._])(id|user|annotator|token.*|.*_id|confidence|count)$", re.IGNORECASE)
_NULL = {"null", "none", ""}
# Keys of `meta` that the token formats use.
RESERVED_KEYS = frozenset(("tokens", "tags", "columns", "comments", "row", "tag_names"))
_STATUS = {"accept", "reject", "ignore"}
HINT = "name it with --labels-field, or write one review a line with 'text' and 'aspects'"

Item = dict[str, Any]
Read = Callable[[Record, str], Review]


class Fields(NamedTuple):
    """Names of the fields of the text and of the labels, None where they are inferred."""

    text: str | None = None
    labels: str | None = None


class _AmbiguityError(DataError):
    """Error for labels that fit a text in several ways, even if they fit another text of the record in one way."""


class Shape(NamedTuple):
    """A recognised shape: its reader, a description, and the fields of text and labels."""

    read: Read
    description: str
    text_field: str
    label_field: str


@dataclass(frozen=True, slots=True)
class _Roles:
    """Keys of an item and the parts of a label that they hold; `end_mode` is end, inclusive or length."""

    start: str | None = None
    end: str | None = None
    end_mode: str = "end"
    word: str | None = None
    category: str | None = None
    polarity: str | None = None
    opinion: str | None = None
    ordinal: str | None = None
    is_verified: bool = False


def decode(data: bytes, name: str, fields: Fields = Fields()) -> Iterator[tuple[int, Review]]:  # noqa: B008
    """Yield (line, review) for each record. Raises DataError naming the shape or the line that cannot be read."""
    yield from decode_records(read_records(data, name), name, fields)


def decode_records(
    numbered_records: Sequence[tuple[int, Record]],
    name: str,
    fields: Fields = Fields(),  # noqa: B008
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
        if shape.description == "flat records" and previous is not None and previous.text == review.text:
            joined = Review(previous.id, review.text, (*previous.aspects, *review.aspects), previous.meta)
            reviews[-1] = (reviews[-1][0], joined)
        else:
            reviews.append((line, review))
    if not any(review.aspects for _, review in reviews):
        raise DataError(f"{name}: not one label in '{shape.label_field}': {HINT}")
    yield from reviews


def infer_shape(records: Sequence[Record], fields: Fields = Fields()) -> Shape:  # noqa: B008
    """Return the shape of the records. Raises DataError saying what they seem to be."""
    for name in filter(None, fields):
        if not any(name in record for record in records):
            raise DataError(f"no field '{name}' among {', '.join(_field_names(records))}: correct the option")
    _check_status(records)
    reasons: list[str] = []
    for infer in (_infer_tagged, _infer_spans, _infer_flat):
        shape = infer(records, fields, reasons)
        if shape is not None:
            return shape
    names = ", ".join(_field_names(records))
    reason = f" ({'; '.join(dict.fromkeys(reasons))})" if reasons else ""
    raise DataError(f"no field of labels is recognised among {names}{reason}: {HINT}")


def _check_status(records: Sequence[Record]) -> None:
    """Reject records that an annotator did not accept, as Prodigy marks them."""
    for name in _field_names(records):
        values = [record.get(name) for record in records]
        if all(isinstance(value, str) and value in _STATUS for value in values):
            count = sum(value != "accept" for value in values)
            if count:
                raise DataError(
                    f"{count} of {len(records)} examples are not accepted ('{name}'), as in Prodigy: remove them"
                )


def _quote(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _field_names(records: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(key for record in records for key in record))


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


def _build_review(
    record: Record, default_id: str, text: str, aspects: Sequence[Aspect], used: Sequence[str], meta: Mapping[str, Any]
) -> Review:
    others = {
        f"source_{key}" if key in RESERVED_KEYS else key: value
        for key, value in record.items()
        if key not in {*used, "id", "text", "aspects"}
    }
    review_id = record.get("id")
    return Review(default_id if review_id is None else str(review_id), text, tuple(aspects), {**others, **meta})


# Tagged tokens


def _infer_tagged(records: Sequence[Record], fields: Fields, reasons: list[str]) -> Shape | None:
    names = [fields.labels] if fields.labels else _field_names(records)
    tag_fields = [name for name in names if _is_tag_column([_to_list(r.get(name)) for r in records])]
    if len(tag_fields) > 1:
        tag_fields = [name for name in tag_fields if not _is_chunk_column([_to_list(r[name]) for r in records])]
    if len(tag_fields) > 1:
        raise DataError(f"{_quote(tag_fields)} all hold tags: choose one with --labels-field")
    if tag_fields:
        return _infer_token_field(records, tag_fields[0], fields, reasons)
    for name in names:
        rows = [record.get(name) for record in records]
        if all(_is_row_list(row) for row in rows):
            shape = _infer_tagged_rows(records, name)
            if shape is not None:
                return shape
        numbers = [row for row in rows if isinstance(row, list) and row and all(type(tag) is int for tag in row)]
        if len(numbers) == len(rows) and any(
            all(_is_strings(r.get(key)) and len(r[key]) == len(r[name]) for r in records)
            for key in _field_names(records)
        ):
            reasons.append(f"'{name}' holds numbers of tags without their names")
    return None


def _to_list(value: Any) -> Any:
    return value.split() if isinstance(value, str) else value


def _is_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_row_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, list | dict) for row in value)


def _is_tag(value: str) -> bool:
    return TAG.fullmatch(value) is not None


def _is_tag_column(rows: Sequence[Any]) -> bool:
    if not all(_is_strings(row) and all(map(_is_tag, row)) for row in rows):
        return False
    return any("-" in tag[:2] for row in rows for tag in row) or any("B" in row and "O" in row for row in rows)


def _is_chunk_column(rows: Sequence[Sequence[str]]) -> bool:
    return {tag[2:] for row in rows for tag in row if len(tag) > 1} <= CHUNKS


def _infer_token_field(records: Sequence[Record], tag_field: str, fields: Fields, reasons: list[str]) -> Shape | None:
    candidates = [
        name
        for name in ([fields.text] if fields.text else _field_names(records))
        if name != tag_field
        and isinstance(records[0].get(name), type(records[0][tag_field]))
        and all(
            _is_strings(tokens := _to_list(r.get(name))) and len(tokens) == len(_to_list(r[tag_field])) for r in records
        )
    ]
    if len(candidates) > 1:
        candidates = [n for n in candidates if re.search("tok|word|form|text|sentence", n, re.IGNORECASE)]
    if len(candidates) != 1:
        reasons.append(f"'{tag_field}' holds tags, but no field holds as many tokens")
        return None
    (token_field,) = candidates

    def read(record: Record, default_id: str) -> Review:
        tokens, tags = _to_list(record[token_field]), _to_list(record[tag_field])
        texts = [v for k, v in record.items() if isinstance(v, str) and k != token_field and align(tokens, v)]
        text, aspects, meta = from_tokens(tokens, tags, texts[0] if texts else None)
        return _build_review(record, default_id, text, aspects, (token_field, tag_field), meta)

    return Shape(read, "tokens and tags", token_field, tag_field)


def _infer_tagged_rows(records: Sequence[Record], name: str) -> Shape | None:
    """Recognise a list of rows, each a token with its tag."""
    rows = [[_flatten(row) for row in record[name]] for record in records]
    keys = list(dict.fromkeys(key for table in rows for row in table for key in row))
    columns = {key: [[row.get(key) for row in table] for table in rows] for key in keys}
    tag_keys = [key for key in keys if _is_tag_column(columns[key])]
    token_keys = [key for key in keys if key not in tag_keys and all(map(_is_strings, columns[key]))]
    if len(token_keys) > 1:
        token_keys = [key for key in token_keys if re.search("tok|word|form|text|orth", key)]
    if len(tag_keys) != 1 or len(token_keys) != 1:
        return None

    def read(record: Record, default_id: str) -> Review:
        table = [_flatten(row) for row in record[name]]
        tokens, tags = [row[token_keys[0]] for row in table], [row[tag_keys[0]] for row in table]
        texts = [value for value in record.values() if isinstance(value, str) and align(tokens, value)]
        text, aspects, meta = from_tokens(tokens, tags, texts[0] if texts else None)
        return _build_review(record, default_id, text, aspects, (name,), meta)

    return Shape(read, "tokens and tags", name, name)


# Spans


def _infer_spans(records: Sequence[Record], fields: Fields, reasons: list[str]) -> Shape | None:
    names = _field_names(records)
    text_fields = [fields.text] if fields.text else _list_text_fields(records)
    label_fields = [fields.labels] if fields.labels else names
    has_tokens = any(all(_is_strings(r.get(name)) and len(r[name]) > 1 for r in records) for name in names)
    shapes: list[tuple[Shape, _Roles, list[Any]]] = []
    for label_field in label_fields:
        values = [record.get(label_field) for record in records]
        tables = [_to_items(value) for value in values]
        if any(table is None for table in tables) or not any(tables):
            if any(isinstance(value, list) and value for value in values):
                reasons.append(_describe_values(label_field, values))
            continue
        options: list[tuple[str, _Roles]] = []
        is_ambiguous = False
        for text_field in text_fields:
            if text_field == label_field:
                continue
            rows = [
                (i, str(r.get(text_field) or "")) for table, r in zip(tables, records, strict=True) for i in table or ()
            ]
            try:
                options.append((text_field, _infer_roles(rows, has_tokens)))
            except DataError as error:
                is_ambiguous = is_ambiguous or isinstance(error, _AmbiguityError)
                reasons.append(f"'{label_field}': {error}")
        chosen = _choose_text(options)
        if is_ambiguous and chosen is not None and chosen[0] != "text" and not chosen[1].is_verified:
            reasons.append(f"name the text of '{label_field}' with --text-field")
            continue
        if chosen is None:
            if len(options) > 1:
                fields_text = ", ".join(text_field for text_field, _ in options)
                raise DataError(f"the spans of '{label_field}' fit {fields_text}: name the text with --text-field")
            continue
        text_field, roles = chosen
        shape = Shape(_make_span_reader(text_field, label_field, roles), "spans", text_field, label_field)
        shapes.append((shape, roles, tables))
    return _choose_shape(records, shapes)


def _choose_shape(records: Sequence[Record], shapes: Sequence[tuple[Shape, _Roles, list[Any]]]) -> Shape | None:
    named = [entry for entry in shapes if entry[1].category or entry[1].polarity]
    if not named:
        named = [entry for entry in shapes if not _is_tokenization(records, entry[0], entry[2], entry[1])]
    if not named:
        return None
    first = named[0][0]
    for shape, *_ in named[1:]:
        try:
            is_same = all(
                set(first.read(record, "").aspects) == set(shape.read(record, "").aspects) for record in records
            )
        except DataError:
            is_same = False
        if not is_same:
            raise DataError(
                f"'{first.label_field}' and '{shape.label_field}' both hold labels: choose with --labels-field"
            )
    return first


def _is_tokenization(records: Sequence[Record], shape: Shape, tables: Sequence[Any], roles: _Roles) -> bool:
    """Return True if the spans are the tokens of the texts."""
    covered = sum(len(table or ()) for table in tables)
    return covered >= sum(len(str(record[shape.text_field]).split()) for record in records)


def _list_text_fields(records: Sequence[Record]) -> list[str]:
    names = [n for n in _field_names(records) if all(isinstance(r.get(n), str) for r in records)]
    return sorted(names, key=lambda name: (name != "text", name not in _TEXT_NAMES))


def _choose_text(options: Sequence[tuple[str, _Roles]]) -> tuple[str, _Roles] | None:
    verified = [option for option in options if option[1].is_verified]
    options = verified or options
    for known in _TEXT_NAMES:
        for option in options:
            if option[0] == known:
                return option
    return options[0] if len(options) == 1 else None


def _describe_values(name: str, values: Sequence[Any]) -> str:
    items = [item for value in values if isinstance(value, list) for item in value]
    if items and all(isinstance(item, str) for item in items):
        return f"'{name}' holds names for whole texts, or words without names"
    return f"'{name}' has another form"


def _to_items(value: Any) -> list[Item] | None:  # noqa: PLR0911
    """Return the items of a field of labels, each flattened; None if the value cannot be labels."""
    if value is None:
        return []
    if isinstance(value, list):
        if not all(isinstance(item, dict | list) for item in value):
            # One item without a list around it: [4, 13, "FOOD"].
            is_item = any(type(item) is int for item in value) and any(isinstance(item, str) for item in value)
            return [_flatten(value)] if is_item else None
        return [_flatten(item) for item in value]
    if not isinstance(value, dict):
        return None
    lists = list(value.values())
    if value and all(isinstance(member, list) for member in lists):
        is_table = len({len(member) for member in lists}) == 1 and any(
            type(item) is int for member in lists for item in member
        )
        if is_table and len(lists) > 1:
            return [dict(zip(value, row, strict=True)) for row in zip(*lists, strict=True)]
        items = []
        for label, members in value.items():
            is_span = bool(members) and all(type(member) is int for member in members)
            for member in [members] if is_span else members:
                items.append(
                    {"label": label, **_flatten(member if isinstance(member, list | dict) else {"text": member})}
                )
        return items
    return [_flatten(value)] if value else []


def _flatten(value: Any, prefix: str = "", depth: int = 0) -> Item:
    """Return the scalars of an object or array by dotted keys; a list of one object counts as that object."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict) and depth:
        value = value[0]
    if not isinstance(value, dict | list) or depth > 3:
        return {prefix: value}
    if isinstance(value, list) and depth and (not value or _is_strings(value)):
        return {prefix: value}
    members = value.items() if isinstance(value, dict) else ((str(i), item) for i, item in enumerate(value))
    item: Item = {}
    for key, member in members:
        item |= _flatten(member, f"{prefix}.{key}" if prefix else str(key), depth + 1)
    return item


def _to_int(value: Any) -> int | None:
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return int(value) if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,9}", value) else None


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.strip().casefold() in _NULL)


def _slice(text: str, start: int, end: int, mode: str) -> str | None:
    stop = {"end": end, "inclusive": end + 1, "length": start + end}[mode]
    return text[start:stop] if 0 <= start < stop <= len(text) else None


def _infer_roles(rows: Sequence[tuple[Item, str]], has_tokens: bool) -> _Roles:
    """Return the roles of the keys. Raises DataError if the items are not labels of the texts, or ambiguous."""
    keys = list(dict.fromkeys(key for item, _ in rows for key in item))
    ints = [
        key
        for key in keys
        if all(_to_int(item.get(key)) is not None for item, _ in rows) and not _NOT_OFFSET_NAME.search(key)
    ]
    strings = [
        key
        for key in keys
        if key not in ints
        and all(item.get(key) is None or isinstance(item[key], str) for item, _ in rows)
        and any(item.get(key) for item, _ in rows)
    ]
    lists = [key for key in keys if all(_is_strings(item.get(key)) and len(item[key]) for item, _ in rows)]
    for key in lists:
        if all(" ".join(item[key]) in text for item, text in rows):
            raise DataError(f"'{key}' holds tokens, so its offsets may count tokens")
    candidates = [key for key in strings if not polarities.are_polarities([i[key] for i, _ in rows if i.get(key)])]
    verified = _verify_offsets(rows, ints, candidates, is_only=not lists and len(candidates) == len(strings))
    if verified is not None:
        return _name_roles(rows, verified, strings, lists)
    for word in candidates:
        has_offsets = len([key for key in ints if not _ORDINAL_NAME.search(key)]) > 1
        if has_offsets and _WORD_NAME.search(word) and any(not _is_null(item.get(word)) for item, _ in rows):
            raise DataError(f"the offsets do not fit the words in '{word}'")
    fitting = [
        (start, end, mode)
        for start, end, mode in _list_offsets(ints)
        if mode != "inclusive"
        and (mode == "length") == bool(_LENGTH_NAME.search(end))
        and all(_slice(t, *_offsets(i, start, end), mode) for i, t in rows)
    ]
    named = [entry for entry in fitting if _START_NAME.search(entry[0]) and _is_end_name(entry[1])]
    fitting = named if len(named) == 1 else fitting
    if len(fitting) == 1:
        _check_alignment(rows, *fitting[0], has_tokens)
        return _name_roles(rows, _Roles(*fitting[0]), strings, lists)
    if len(fitting) > 1:
        raise DataError(f"{len(ints)} numbers may be offsets ({', '.join(ints)})")
    if len([key for key in ints if not _ORDINAL_NAME.search(key)]) > 1:
        raise DataError("the offsets lie outside the text")
    return _infer_words(rows, strings, lists, ints)


def _verify_offsets(
    rows: Sequence[tuple[Item, str]], ints: Sequence[str], candidates: Sequence[str], is_only: bool
) -> _Roles | None:
    """Return the roles of offsets that fit the words of a key, None if no key has such words.

    `is_only` tells that the candidates are the only keys of names. Raises DataError if several roles fit.
    """
    options: dict[tuple[tuple[int, str], ...], _Roles] = {}
    for word in sorted(candidates, key=lambda key: not _WORD_NAME.search(key)):
        if any(not isinstance(item.get(word), str) for item, _ in rows):
            continue
        for start, end, mode in _list_offsets(ints):
            if all(_slice(t, *_offsets(i, start, end), mode) == i[word] for i, t in rows):
                spans = tuple((_offsets(item, start, end)[0], item[word]) for item, _ in rows)
                options.setdefault(spans, _Roles(start, end, mode, word, is_verified=True))
    named = [roles for roles in options.values() if _WORD_NAME.search(roles.word or "")]
    choices = named or list(options.values())
    if not choices:
        return None
    if len(choices) > 1:
        raise _AmbiguityError(f"{_quote([roles.word or '' for roles in choices])} all fit the offsets")
    if len(candidates) == 1 and is_only and not named:
        if _LABEL_NAME.search(choices[0].word or ""):
            return None
        raise _AmbiguityError(f"it is unclear whether '{choices[0].word}' holds words or categories")
    return choices[0]


def _is_end_name(name: str) -> bool:
    return bool(_END_NAME.search(name) or _LENGTH_NAME.search(name))


def _list_offsets(ints: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    for mode in ("end", "inclusive", "length"):
        for start in ints:
            for end in ints:
                if start != end:
                    yield start, end, mode


def _offsets(item: Item, start: str, end: str) -> tuple[int, int]:
    return _to_int(item[start]) or 0, _to_int(item[end]) or 0


def _check_alignment(rows: Sequence[tuple[Item, str]], start: str, end: str, mode: str, has_tokens: bool) -> None:
    """Raise _AmbiguityError if offsets without words do not fall on words: they count something else."""
    misaligned = _count_misaligned(rows, start, end, mode)
    has_better = misaligned and mode == "end" and _count_misaligned(rows, start, end, "inclusive") < misaligned
    if misaligned and (has_tokens or has_better or 2 * misaligned > len(rows)):
        raise _AmbiguityError(
            f"{misaligned} of {len(rows)} spans cut words: they may count tokens or bytes, or include the last one"
        )
    if has_tokens:
        raise _AmbiguityError("the offsets may count tokens or characters")


def _count_misaligned(rows: Sequence[tuple[Item, str]], start: str, end: str, mode: str) -> int:
    """Return the number of spans with an edge inside a word or beside white space."""
    misaligned = 0
    for item, text in rows:
        first, last = _offsets(item, start, end)
        bounds = words(text)
        stop = {"end": last, "inclusive": last + 1, "length": first + last}[mode]
        # A span that ends in an apostrophe or hyphen inside a word.
        is_cut = not text[stop - 1 : stop].isalnum() and text[stop : stop + 1].isalnum()
        is_aligned = first in {bound[0] for bound in bounds} and stop in {bound[1] for bound in bounds}
        misaligned += is_cut or not is_aligned
    return misaligned


def _infer_words(
    rows: Sequence[tuple[Item, str]], strings: Sequence[str], lists: Sequence[str], ints: Sequence[str]
) -> _Roles:
    """Return the roles of items without offsets, whose words are located in the text."""
    in_text = [
        key
        for key in strings
        if all(_is_null(item.get(key)) or _occurrences(item[key], text) for item, text in rows)
        and any(not _is_null(item.get(key)) for item, _ in rows)
        and not polarities.are_polarities([item[key] for item, _ in rows if item.get(key)])
    ]
    if not in_text:  # implicit aspects only
        in_text = [k for k in strings if _WORD_NAME.search(k) and all(_is_null(item.get(k)) for item, _ in rows)]
    elif all(_OPINION_NAME.search(key) for key in in_text):
        in_text += [k for k in strings if _WORD_NAME.search(k) and all(_is_null(item.get(k)) for item, _ in rows)]
    found = [key for key in in_text if not _OPINION_NAME.search(key)]
    if len(found) > 1:
        found = [key for key in found if not _LABEL_NAME.search(key)]
    if len(found) > 1:
        found = [key for key in found if _WORD_NAME.search(key)]
    if len(found) != 1:
        problem = f"{_quote(in_text)} all hold words of the text" if in_text else "no offsets and no words"
        raise DataError(problem)
    if any(key not in in_text and _WORD_NAME.search(key) and not key.endswith("value") for key in strings):
        raise DataError("the words are not in the text")
    ordinal = next((key for key in ints if _ORDINAL_NAME.search(key)), None)
    return _name_roles(rows, _Roles(word=found[0], ordinal=ordinal, is_verified=True), strings, lists)


def _occurrences(word: str, text: str) -> list[int]:
    """Return the positions of a word or phrase in the text, not inside other words."""
    pattern = rf"(?<!\w){re.escape(word)}(?!\w)"
    return [match.start() for match in re.finditer(pattern, text)]


def _name_roles(
    rows: Sequence[tuple[Item, str]], roles: _Roles, strings: Sequence[str], lists: Sequence[str]
) -> _Roles:
    """Complete the roles: polarity, opinion and category."""
    others = [key for key in strings if key != roles.word]
    polarity_keys = [
        key for key in others if polarities.are_polarities([i[key] for i, _ in rows if not _is_null(i.get(key))])
    ]
    others = [key for key in others if key not in polarity_keys]
    opinions = [
        key
        for key in others
        if _OPINION_NAME.search(key)
        and all(_is_null(item.get(key)) or _occurrences(item[key], text) for item, text in rows)
    ]
    others = [key for key in [*others, *lists] if key not in opinions]
    named = [key for key in others if not key.endswith("id")]
    if others and not named:
        raise DataError(f"{_quote(others)} may be an id or a category")
    others = named
    if len(others) > 1:
        others = [key for key in others if _LABEL_NAME.search(key)]
        if len(others) != 1:
            raise DataError(f"it is unclear which of {', '.join([*strings, *lists])} is the category")
    if len(polarity_keys) > 1 or len(opinions) > 1:
        raise DataError(f"{_quote(polarity_keys if len(polarity_keys) > 1 else opinions)} have the same role")
    if (
        not others
        and not polarity_keys
        and any(
            _LABEL_NAME.search(key) and not isinstance(item.get(key), str | list) for item, _ in rows for key in item
        )
    ):
        raise DataError("its labels are numbers without names: export their names")
    return _Roles(
        roles.start,
        roles.end,
        roles.end_mode,
        roles.word,
        others[0] if others else None,
        polarity_keys[0] if polarity_keys else None,
        opinions[0] if opinions else None,
        roles.ordinal,
        roles.is_verified,
    )


def _make_span_reader(text_field: str, label_field: str, roles: _Roles) -> Read:
    def read(record: Record, default_id: str) -> Review:
        text = record[text_field]
        aspects = [
            aspect for item in _to_items(record.get(label_field)) or () for aspect in _read_item(item, text, roles)
        ]
        used = [text_field, *([label_field] if label_field != text_field else [])]
        return _build_review(record, default_id, text, aspects, used, {})

    return read


def _read_item(item: Item, text: str, roles: _Roles) -> Iterator[Aspect]:
    span: tuple[int, int] | None = None
    if roles.start is not None and roles.end is not None:
        start, end = _offsets(item, roles.start, roles.end)
        span = (start, {"end": end, "inclusive": end + 1, "length": start + end}[roles.end_mode])
    elif roles.word is not None and not _is_null(item.get(roles.word)):
        span = _locate(item[roles.word], text, _to_int(item.get(roles.ordinal)) if roles.ordinal else None)
    opinion = None
    if roles.opinion is not None and not _is_null(item.get(roles.opinion)):
        start, end = _locate(item[roles.opinion], text, None)
        opinion = Opinion(text[start:end], start, end)
    value = item.get(roles.category) if roles.category else None
    polarity_value = item.get(roles.polarity) if roles.polarity else None
    polarity = None if _is_null(polarity_value) else polarities.standardise(str(polarity_value))
    for category in value if isinstance(value, list) else [value]:
        name = UNCATEGORISED if _is_null(category) else str(category)
        if span is None:
            yield Aspect(name, polarity=polarity, opinion=opinion)
        else:
            yield Aspect(name, text[slice(*span)], *span, polarity, opinion)


def _locate(word: str, text: str, ordinal: int | None) -> tuple[int, int]:
    starts = _occurrences(word, text)
    if ordinal is not None and 0 <= ordinal < len(starts):
        return starts[ordinal], starts[ordinal] + len(word)
    if len(starts) != 1 or ordinal is not None:
        raise DataError(f"{word!r:.40} occurs {len(starts)} times in the text: give its offsets")
    return starts[0], starts[0] + len(word)


# Flat records


def _infer_flat(records: Sequence[Record], fields: Fields, reasons: list[str]) -> Shape | None:
    """Recognise a text, a word of it, and its category or polarity in one record."""
    names = _field_names(records)
    scalars = [n for n in names if all(isinstance(r.get(n), str | int) and type(r.get(n)) is not bool for r in records)]
    text_fields = [fields.text] if fields.text else _list_text_fields(records)
    for text_field in text_fields:
        if not all(isinstance(record.get(text_field), str) for record in records):
            continue
        keys = [name for name in scalars if name not in {text_field, "id"}]
        if not any(polarities.are_polarities([str(r[k]) for r in records]) or _LABEL_NAME.search(k) for k in keys):
            continue
        rows = [({key: record[key] for key in keys}, record[text_field]) for record in records]
        try:
            roles = _infer_roles(rows, has_tokens=False)
        except DataError as error:
            reasons.append(str(error))
            continue
        if roles.word is None or not (roles.category or roles.polarity):
            continue

        return Shape(
            _make_flat_reader(text_field, keys, roles),
            "flat records",
            text_field,
            roles.category or roles.polarity or roles.word,
        )
    return None


def _make_flat_reader(text_field: str, keys: Sequence[str], roles: _Roles) -> Read:
    def read(record: Record, default_id: str) -> Review:
        aspects = list(_read_item({key: record[key] for key in keys}, record[text_field], roles))
        return _build_review(record, default_id, record[text_field], aspects, [text_field, *keys], {})

    return read
