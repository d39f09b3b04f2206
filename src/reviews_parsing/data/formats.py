"""The formats by name: how each is recognised, read and written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from reviews_parsing.data import acos, arrow, conll, jsonl, labelstudio, semeval14, semeval16, xmltree
from reviews_parsing.errors import DataError
from reviews_parsing.io.files import decode_utf8
from reviews_parsing.schema import Review


@dataclass(frozen=True, slots=True)
class Format:
    """`decode(data, name)` gives (line, review); `encode` gives the bytes of a file. `name` is for messages."""

    decode: Callable[[bytes, str], Iterable[tuple[int, Review]]]
    encode: Callable[[Sequence[Review]], bytes]


FORMATS = {
    "jsonl": Format(jsonl.decode, jsonl.encode),
    "conll": Format(conll.decode, conll.encode),
    "hf": Format(arrow.decode, arrow.encode),
    "semeval14": Format(semeval14.decode, semeval14.encode),
    "semeval16": Format(semeval16.decode, semeval16.encode),
    "acos": Format(acos.decode, acos.encode),
    "label-studio": Format(labelstudio.decode, labelstudio.encode),
}
# The form of 2016 holds all that the form of 2014 does, so it is the one that `.xml` means on the way out.
_BY_SUFFIX = {
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), "jsonl"),
    **dict.fromkeys((".conll", ".iob", ".iob2", ".bio", ".tsv", ".txt"), "conll"),
    **dict.fromkeys((".parquet", ".arrow"), "hf"),
    ".xml": "semeval16",
    ".acos": "acos",
}
SUFFIXES = frozenset(_BY_SUFFIX)


def named(name: str) -> Format:
    """Raises DataError listing the formats where there is none of that name."""
    if name not in FORMATS:
        raise DataError(f"unknown format '{name}': give one of {', '.join(FORMATS)}")
    return FORMATS[name]


def for_writing(path: Path) -> str:
    """The format that the name of a new file means; a name without an ending is a Hugging Face folder."""
    suffix = path.suffix.lower()
    if not suffix or path.is_dir():
        return "hf"
    if suffix not in _BY_SUFFIX:
        raise DataError(f"{path}: the ending '{suffix}' says no format: give one of {', '.join(FORMATS)}")
    return _BY_SUFFIX[suffix]


def of_content(path: Path, data: bytes) -> str:
    """The format of a file, by its ending and content. Raises DataError where neither tells."""
    start = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    by_suffix = _BY_SUFFIX.get(path.suffix.lower())
    if data.startswith((arrow.PARQUET, arrow.ARROW, arrow.ARROW_STREAM)):
        return "hf"
    if path.suffix.lower() == ".xml" or (by_suffix is None and start.startswith(b"<")):
        root = xmltree.parse(data, str(path)).root.tag
        for name, tag in (("semeval14", semeval14.ROOT), ("semeval16", semeval16.ROOT)):
            if root == tag:
                return name
        raise DataError(f"{path}: XML with the root <{root}>: only SemEval's <sentences> and <Reviews> can be read")
    if by_suffix == "jsonl" or (by_suffix is None and (start.startswith(b"{") or labelstudio.looks_like(start))):
        return "label-studio" if labelstudio.looks_like(start) else _of_lines(data, str(path))
    if by_suffix in ("conll", None) and acos.looks_like(decode_utf8(data, str(path))):
        return "acos"
    if by_suffix is not None:
        return by_suffix
    if conll.looks_like(decode_utf8(data, str(path))):
        return "conll"
    raise DataError(f"{path}: its format is unknown: give one of {', '.join(FORMATS)}")


def _of_lines(data: bytes, name: str) -> str:
    _, first = next(iter(jsonl.rows(data, name)), (0, {}))
    return "hf" if "tokens" in first and "text" not in first else "jsonl"
