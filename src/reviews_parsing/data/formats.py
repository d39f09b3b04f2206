"""Table of the label file formats: name, file endings, decoder and encoder, and detection by ending and content."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from reviews_parsing.data import acos, conll, jsonl, label_fields, labelstudio, parquet, semeval, sentence_lines
from reviews_parsing.data.huggingface import TAGS
from reviews_parsing.data.label_fields import Fields
from reviews_parsing.data.records import Record, read_records
from reviews_parsing.data.unreadable import describe_form
from reviews_parsing.errors import DataError
from reviews_parsing.io.files import decode_utf8
from reviews_parsing.io.formats import JSON, JSON_LINES, PARQUET
from reviews_parsing.schema import Review


@dataclass(frozen=True, slots=True)
class Format:
    """Decoder, encoder and file endings of a format; formats that are only read have no encoder.

    `decode(data, name)` yields (line, review); `name` is the file in error messages.
    """

    decode: Callable[[bytes, str], Iterable[tuple[int, Review]]]
    encode: Callable[[Sequence[Review]], bytes] | None
    endings: tuple[str, ...] = ()


FORMATS = {
    "jsonl": Format(jsonl.decode, jsonl.encode, (*JSON_LINES.endings, *JSON.endings)),
    "conll": Format(conll.decode, conll.encode, (".conll", ".iob", ".iob2", ".bio", ".tsv", ".txt")),
    "hf": Format(parquet.decode, parquet.encode, (*PARQUET.endings, ".arrow")),
    "semeval14": Format(semeval.decode_2014, None),
    "semeval16": Format(semeval.decode_2016, None, (".xml",)),
    "acos": Format(acos.decode, acos.encode, (".acos",)),
    "label-studio": Format(labelstudio.decode, labelstudio.encode),
    "json-labels": Format(label_fields.decode, None),
    "sentence-lines": Format(sentence_lines.decode, None),
}
# Formats with the labels of other tools in fields of any name.
FOREIGN_FORMATS = ("json-labels", "sentence-lines")
FORMAT_BY_ENDING = {ending: name for name, entry in FORMATS.items() for ending in entry.endings}
_WRITABLE_FORMATS = ", ".join(name for name, entry in FORMATS.items() if entry.encode)
_WRITABLE_ENDINGS = ", ".join(entry.endings[0] for entry in FORMATS.values() if entry.encode and entry.endings)


def get_format(name: str) -> Format:
    """Return the format of that name. Raises DataError listing the formats if it does not exist."""
    if name not in FORMATS:
        raise DataError(f"unknown format '{name}': give one of {', '.join(FORMATS)}")
    return FORMATS[name]


def get_encoder(name: str) -> Callable[[Sequence[Review]], bytes]:
    """Return the encoder of a format. Raises DataError if the format does not exist or is only read."""
    encode = get_format(name).encode
    if encode is None:
        raise DataError(f"format '{name}' can be read but not written: give one of {_WRITABLE_FORMATS}")
    return encode


def infer_target_format(path: Path) -> str:
    """Return the format to write to a new file, by its ending; a path without an ending is a folder of Parquet files.

    Raises DataError if the ending is unknown or belongs to a format that is only read.
    """
    ending = path.suffix.lower()
    if not ending or path.is_dir():
        return "hf"
    if ending not in FORMAT_BY_ENDING:
        raise DataError(f"{path}: unknown ending '{ending}': give one of {_WRITABLE_ENDINGS}, or name the format")
    name = FORMAT_BY_ENDING[ending]
    if FORMATS[name].encode is None or ending == ".arrow":
        raise DataError(f"{path}: {ending} files can be read but not written: give one of {_WRITABLE_ENDINGS}")
    return name


def get_decoder(name: str, fields: Fields) -> Callable[[bytes, str], Iterable[tuple[int, Review]]]:
    """Return the decoder of a format. Raises DataError if fields are named for a format without fields."""
    decode = get_format(name).decode
    if name == "json-labels":
        return partial(label_fields.decode, fields=fields)
    if name == "label-studio":
        if fields.labels:
            raise DataError("Label Studio's labels are chosen by the names of its controls: leave out --labels-field")
        return partial(labelstudio.decode, text_field=fields.text)
    if any(fields):
        raise DataError(f"format '{name}' has no fields: leave out --text-field and --labels-field")
    return decode


def detect_format(path: Path, data: bytes, fields: Fields = Fields()) -> str:
    """Return the format of a file, by its ending and content; `fields` name fields of JSON.

    Raises DataError if it is unknown.
    """
    start = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    ending = path.suffix.lower()
    by_ending = FORMAT_BY_ENDING.get(ending)
    if parquet.is_arrow(data):
        return "hf"
    if ending == ".xml" or (by_ending is None and start.startswith(b"<")):
        return _detect_xml_format(path, data)
    if by_ending == "jsonl" or (by_ending is None and start.startswith((b"{", b"[{", b"[\n", b"[ "))):
        return _detect_json_format(path, data, fields)
    if by_ending in ("conll", None):
        return _detect_text_format(path, decode_utf8(data, str(path)), by_ending)
    return by_ending


def _detect_text_format(path: Path, text: str, by_ending: str | None) -> str:
    if sentence_lines.is_sentence_lines(text):
        return "sentence-lines"
    if acos.is_acos(text):
        return "acos"
    if conll.is_conll(text):
        return "conll"
    form = describe_form(text)
    if form is not None and by_ending is None:
        raise DataError(f"{path}: unknown format: give one of {', '.join(FORMATS)}; it seems to be {form}")
    if form is not None:
        raise DataError(f"{path}: it seems to be {form}")
    if by_ending is None:
        raise DataError(f"{path}: unknown format: give one of {', '.join(FORMATS)}")
    return by_ending


def _detect_xml_format(path: Path, data: bytes) -> str:
    root = semeval.parse_xml(data, str(path))[0].tag
    if root not in (semeval.ROOT_2014, semeval.ROOT_2016):
        raise DataError(f"{path}: XML with the root <{root}>: only SemEval's <sentences> and <Reviews> can be read")
    return "semeval14" if root == semeval.ROOT_2014 else "semeval16"


def _detect_json_format(path: Path, data: bytes, fields: Fields) -> str:
    """Return the format of a JSON file; a damaged one belongs to the format whose reader names the damage."""
    if labelstudio.is_export(data):
        return "label-studio"
    try:
        records = [record for _, record in read_records(data, str(path))]
    except DataError:
        return "jsonl"
    if not any(fields):
        if not records or _is_own_form(records):
            _check_other_labels(records, str(path))
            return "jsonl"
        if all("tokens" in record and TAGS in record for record in records):
            return "hf"
    return "json-labels"


def _is_own_form(records: Sequence[Record]) -> bool:
    """Return True for records of our JSON form: with `aspects` whose items have an `entity_group`, or without items."""
    lists = [record["aspects"] for record in records if "aspects" in record]
    items = [item for aspects in lists if isinstance(aspects, list) for item in aspects]
    is_damaged = any(not isinstance(aspects, list) for aspects in lists)
    return is_damaged or (bool(lists) and not items) or any(isinstance(i, dict) and "entity_group" in i for i in items)


def _check_other_labels(records: Sequence[Record], name: str) -> None:
    """Raise DataError if another field holds the labels of all records, or of those without `aspects`."""
    others = records
    if any(record.get("aspects") for record in records):
        others = [record for record in records if record.get("aspects") is None]
    if not others:
        return
    ignored = {"aspects", *label_fields.RESERVED_KEYS}
    try:
        shape = label_fields.infer_shape(
            [{key: value for key, value in record.items() if key not in ignored} for record in others]
        )
    except DataError:
        return
    if shape.is_flat:
        return
    if others is records:
        raise DataError(
            f"{name}: 'aspects' is empty, but '{shape.label_field}' holds labels: name it with --labels-field"
        )
    raise DataError(
        f"{name}: {len(others)} of {len(records)} reviews have no 'aspects', but labels in '{shape.label_field}': "
        "rename the field"
    )
