"""The one table of file formats: endings, and the first bytes by which content is recognised."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True, slots=True)
class FileFormat:
    """A format of tables; text formats may be compressed, and have no first bytes of their own."""

    name: str
    title: str
    endings: tuple[str, ...]
    is_text: bool = True


@dataclass(frozen=True, slots=True)
class Compression:
    """A compression of whole files."""

    name: str
    ending: str
    magic: bytes


CSV = FileFormat("csv", "CSV", (".csv", ".tsv", ".tab"))
JSON_LINES = FileFormat("jsonl", "JSON lines", (".jsonl", ".ndjson"))
JSON = FileFormat("json", "JSON", (".json",))
TEXT = FileFormat("text", "plain text", (".txt",))
PARQUET = FileFormat("parquet", "Parquet", (".parquet",), is_text=False)
EXCEL = FileFormat("excel", "spreadsheet", (".xlsx", ".xlsm"), is_text=False)
FORMATS = {entry.name: entry for entry in (CSV, JSON_LINES, JSON, TEXT, PARQUET, EXCEL)}

COMPRESSIONS = {
    entry.name: entry
    for entry in (
        Compression("gzip", ".gz", b"\x1f\x8b"),
        Compression("zstd", ".zst", b"\x28\xb5\x2f\xfd"),
        Compression("bzip2", ".bz2", b"BZh"),
        Compression("xz", ".xz", b"\xfd7zXZ\x00"),
    )
}
TAB_ENDINGS = (".tsv", ".tab")
HEAD_BYTES = 4096
"""Bytes at the beginning of a file that are enough for `detect_binary`."""

_PARQUET_MAGIC, _ZIP_MAGIC = b"PAR1", b"PK\x03\x04"
# Content that is often mistaken for a table, and what to do with it.
_UNREADABLE = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old or encrypted Office file: save it as .xlsx"),
    (b"%PDF", "a PDF: export the table as CSV"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"SQLite format 3\x00", "an SQLite database: export a table as CSV"),
    (b"ARROW1", "an Arrow file: save it as Parquet"),
    (b"\x80\x04\x95", "a Python pickle: save it as Parquet"),
    (b"\x80\x05\x95", "a Python pickle: save it as Parquet"),
    (b"{\\rtf", "a document (RTF): save it as plain text"),
    (b"Rar!", "a RAR archive: unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it"),
    (b"Obj\x01", "an Avro file: save it as Parquet"),
    (b"ORC", "an ORC file: save it as Parquet"),
)


def split_endings(name: str) -> tuple[str, str]:
    """Return the ending that tells the format and the ending of the compression, in lower case; absent ones are ''."""
    path = PurePosixPath(name)
    last = path.suffix.lower()
    if last in {entry.ending for entry in COMPRESSIONS.values()}:
        return PurePosixPath(path.stem).suffix.lower(), last
    return last, ""


def format_of_ending(ending: str) -> FileFormat | None:
    """Return the format of an ending, None if the ending is unknown."""
    return next((entry for entry in FORMATS.values() if ending in entry.endings), None)


def is_readable_name(name: str) -> bool:
    """Return True if files of that name are read from folders: any format but plain text, which need not be reviews."""
    ending, compression = split_endings(name)
    entry = format_of_ending(ending)
    return entry is not None and entry is not TEXT and (entry.is_text or not compression)


def readable_endings() -> str:
    """Return the endings that are read from folders, for messages."""
    return ", ".join(ending for entry in FORMATS.values() if entry is not TEXT for ending in entry.endings)


def detect_compression(head: bytes) -> Compression | None:
    """Return the compression of a file that begins with `head`."""
    return next((entry for entry in COMPRESSIONS.values() if head.startswith(entry.magic)), None)


def detect_packing(head: bytes) -> str | None:
    """Return the name of the compression or archive of a file that begins with `head`."""
    compression = detect_compression(head)
    return compression.name if compression else "zip" if head.startswith(_ZIP_MAGIC) else None


def detect_binary(head: bytes) -> FileFormat | None:
    """Return Parquet or spreadsheet if a file that begins with `head` is one, None otherwise."""
    if head.startswith(_PARQUET_MAGIC):
        return PARQUET
    is_document = any(part in head for part in (b"word/", b"ppt/", b"workbook.bin", b"opendocument"))
    is_workbook = b"xl/" in head or b"[Content_Types].xml" in head
    return EXCEL if head.startswith(_ZIP_MAGIC) and is_workbook and not is_document else None


def describe_unreadable(head: bytes) -> str:
    """Return a description of a file that cannot be read as a table, from its first bytes; '' if it may be text."""
    for magic, description in _UNREADABLE:
        if head.startswith(magic):
            return description
    if head.startswith(_ZIP_MAGIC):
        is_sheet = b"workbook.bin" in head or b"opendocument.spreadsheet" in head
        return "a workbook of another kind: save it as .xlsx" if is_sheet else "a ZIP archive: unpack it"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:200].lower()
    if start.startswith((b"<!doctype html", b"<html", b"<table")):
        return "an HTML page: save the table as CSV"
    if start.startswith(b"<?xml"):
        return "XML: save the table as CSV or JSON"
    return ""
