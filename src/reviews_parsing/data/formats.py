"""Table of the label file formats: name, file endings, decoder and encoder, and detection by ending and content."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from reviews_parsing.data import acos, conll, jsonl, labelstudio, parquet, semeval
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
}
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


def detect_format(path: Path, data: bytes) -> str:
    """Return the format of a file, by its ending and content. Raises DataError if it is unknown."""
    start = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    ending = path.suffix.lower()
    by_ending = FORMAT_BY_ENDING.get(ending)
    if parquet.is_arrow(data):
        return "hf"
    if ending == ".xml" or (by_ending is None and start.startswith(b"<")):
        return _detect_xml_format(path, data)
    if by_ending == "jsonl" or (by_ending is None and (start.startswith(b"{") or labelstudio.is_export(start))):
        return "label-studio" if labelstudio.is_export(start) else _detect_jsonl_format(path, data)
    if by_ending in ("conll", None) and acos.is_acos(decode_utf8(data, str(path))):
        return "acos"
    if by_ending is None and not conll.is_conll(decode_utf8(data, str(path))):
        raise DataError(f"{path}: unknown format: give one of {', '.join(FORMATS)}")
    return by_ending or "conll"


def _detect_xml_format(path: Path, data: bytes) -> str:
    root = semeval.parse_xml(data, str(path))[0].tag
    if root not in (semeval.ROOT_2014, semeval.ROOT_2016):
        raise DataError(f"{path}: XML with the root <{root}>: only SemEval's <sentences> and <Reviews> can be read")
    return "semeval14" if root == semeval.ROOT_2014 else "semeval16"


def _detect_jsonl_format(path: Path, data: bytes) -> str:
    _, first_object = next(iter(jsonl.decode_objects(data, str(path))), (0, {}))
    return "hf" if "tokens" in first_object and "text" not in first_object else "jsonl"
