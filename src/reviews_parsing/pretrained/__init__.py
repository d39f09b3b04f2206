"""Pretrained models of the package: `model/`, the smaller and faster `fast/`, and the checkpoint of the former.

`checkpoint/` is the foundation of further training. `make pretrained` and `make pretrained-fast` write them, and the
checksums of their files to `SHA256SUMS`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from reviews_parsing.errors import ModelError

NAME, FAST_NAME = "pretrained", "pretrained-fast"
# Folders of the models by name.
MODELS = {NAME: "model", FAST_NAME: "fast"}
CHECKSUMS = "SHA256SUMS"
FOLDER = Path(__file__).parent


def is_installed() -> bool:
    """Return whether the model is installed; the serving image omits it."""
    return (FOLDER / "model").is_dir()


def model_folder(name: str = NAME) -> Path:
    """Return the verified folder of a model. Raises ModelError if it is not installed or a file is damaged."""
    return _verified(MODELS[name], f"{name} model")


def checkpoint() -> Path:
    """Return the verified checkpoint (fp16, without embeddings, which are the backbone's).

    Raises ModelError if it is not installed or a file is damaged.
    """
    return _verified("checkpoint", f"{NAME} checkpoint")


def write_checksums(folder: Path = FOLDER) -> None:
    """Write the checksums of the models and the checkpoint in `folder` in the format of sha256sum."""
    files = sorted(file for part in (*MODELS.values(), "checkpoint") for file in (folder / part).iterdir())
    lines = [f"{_digest(file)}  {file.parent.name}/{file.name}\n" for file in files]
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def _verified(part: str, title: str) -> Path:
    folder = FOLDER / part
    if not folder.is_dir():
        raise ModelError(f"the {title} is not installed here; name another one, or reinstall reviews-parsing")
    for line in (FOLDER / CHECKSUMS).read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        if name.startswith(f"{part}/") and (not (FOLDER / name).is_file() or _digest(FOLDER / name) != digest):
            raise ModelError(f"{FOLDER / name} is damaged; reinstall reviews-parsing")
    return folder


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
