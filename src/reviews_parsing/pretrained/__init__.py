"""Pretrained model of the package: `model/` for parsing, `checkpoint/` as the foundation of further training.

`make pretrained` writes both, and the checksums of their files to `SHA256SUMS`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from reviews_parsing.errors import ModelError

NAME = "pretrained"
CHECKSUMS = "SHA256SUMS"
FOLDER = Path(__file__).parent


def is_installed() -> bool:
    """Return whether the model is installed; the serving image omits it."""
    return (FOLDER / "model").is_dir()


def model_folder() -> Path:
    """Return the verified model folder. Raises ModelError if it is not installed or a file is damaged."""
    return _verified("model")


def checkpoint() -> Path:
    """Return the verified checkpoint (fp16, without embeddings, which are the backbone's).

    Raises ModelError if it is not installed or a file is damaged.
    """
    return _verified("checkpoint")


def write_checksums(folder: Path = FOLDER) -> None:
    """Write the checksums of `folder / "model"` and `folder / "checkpoint"` in the format of sha256sum."""
    files = sorted(file for part in ("model", "checkpoint") for file in (folder / part).iterdir())
    lines = [f"{_digest(file)}  {file.parent.name}/{file.name}\n" for file in files]
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def _verified(part: str) -> Path:
    folder = FOLDER / part
    if not folder.is_dir():
        raise ModelError(f"the {NAME} {part} is not installed here; name another one, or reinstall reviews-parsing")
    for line in (FOLDER / CHECKSUMS).read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        if name.startswith(f"{part}/") and (not (FOLDER / name).is_file() or _digest(FOLDER / name) != digest):
            raise ModelError(f"{FOLDER / name} is damaged; reinstall reviews-parsing")
    return folder


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
