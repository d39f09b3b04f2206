"""Integrity of model folders: SHA-256 of each file, required files, and a trial load."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reviews_parsing.errors import ModelError
from reviews_parsing.model_folder import (
    CONFIG_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
    ParserConfig,
    short_reason,
)

CHECKSUM_TAG = "reviews_parsing.files"
"""Tag of a run and of a version: its model files as JSON, `{name: {"sha256": ..., "bytes": ...}}`."""
MAX_FILES = 50


@dataclass(frozen=True, slots=True)
class FileRecord:
    """Digest (hexadecimal) and size of one file; a signature names no sizes."""

    sha256: str
    bytes: int | None = None


def describe_files(folder: Path) -> dict[str, FileRecord]:
    """Return the record of each file in a model folder."""
    return {file.name: _record(file) for file in sorted(folder.iterdir()) if file.is_file()}


def encode_records(records: Mapping[str, FileRecord]) -> str:
    """Return the value of the tag `CHECKSUM_TAG`."""
    return json.dumps({name: asdict(record) for name, record in records.items()}, sort_keys=True)


def decode_records(tags: Mapping[str, Any], subject: str) -> dict[str, FileRecord] | None:
    """Return the records in the tags of a run or version, None if it was registered without them.

    Raises ModelError if the tag is damaged.
    """
    if CHECKSUM_TAG not in tags:
        return None
    try:
        return {name: FileRecord(**record) for name, record in json.loads(tags[CHECKSUM_TAG]).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"{subject}: its tag {CHECKSUM_TAG} is damaged ({error}); register the model again") from error


def compare_files(folder: Path, records: Mapping[str, FileRecord], origin: str = "registered") -> str | None:
    """Return the first difference between a folder and the records in a few words, None if they match."""
    for name, record in records.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if record.bytes is not None and (size := (folder / name).stat().st_size) != record.bytes:
            return f"{name} has {size:,} bytes instead of {record.bytes:,}"
        if (digest := _record(folder / name).sha256) != record.sha256:
            return f"{name} has SHA-256 {digest[:12]}... instead of {record.sha256[:12]}..."
    extra = sorted(path.name for path in folder.iterdir() if path.name not in records)
    return f"{extra[0]} was not {origin}" if extra else None


def write_checksums(folder: Path, target: Path) -> None:
    """Write the checksums of `folder` beside `target`, in the format of sha256sum. Raises DataError."""
    from reviews_parsing.io.files import write_bytes

    lines = [f"{record.sha256}  {name}\n" for name, record in describe_files(folder).items()]
    write_bytes(checksum_file(target), "".join(lines).encode())


def checksum_file(folder: Path) -> Path:
    """Return the path of the checksums, beside the folder, because a file inside would be part of the model."""
    return folder.with_name(f"{folder.name}.sha256")


def find_damage(folder: Path) -> str | None:
    """Return the difference between a folder and its checksums, as text, or None if it is intact."""
    if missing := missing_file(folder):
        return f"{folder} is incomplete: it has no {missing}"
    try:
        lines = checksum_file(folder).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return f"{folder} has no readable checksum file {checksum_file(folder).name}"
    digests = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name in sorted({*digests, *(path.name for path in folder.iterdir())}):
        if not (folder / name).is_file() or _record(folder / name).sha256 != digests.get(name):
            return f"{folder / name} is damaged: it is not what was fetched"
    return None


def missing_file(folder: Path) -> str | None:
    """Return the name of the first required file that a model folder lacks."""
    return next((name for name in (MODEL_FILE, TOKENIZER_FILE, CONFIG_FILE) if not (folder / name).is_file()), None)


def require_loadable(folder: Path) -> None:
    """Load every part of a model folder once. Raises ModelError if it is incomplete, too large or damaged."""
    if missing := missing_file(folder):
        raise ModelError(f"{folder} is incomplete: it has no {missing}")
    ParserConfig.read(folder)
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

    try:
        Tokenizer.from_file(str(folder / TOKENIZER_FILE))
        InferenceSession(str(folder / MODEL_FILE), providers=["CPUExecutionProvider"])
    except Exception as error:  # both libraries raise bare exceptions of their own
        raise ModelError(f"{folder}: the model is damaged ({short_reason(error)})") from error


def _record(file: Path) -> FileRecord:
    try:
        with file.open("rb") as content:
            return FileRecord(hashlib.file_digest(content, "sha256").hexdigest(), file.stat().st_size)
    except OSError as error:
        raise ModelError(f"{file} cannot be read ({error.strerror})") from error
