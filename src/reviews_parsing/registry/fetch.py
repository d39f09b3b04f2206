"""Model folders from the registry, fetched once, and checked whenever they are asked for."""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from reviews_parsing import pretrained
from reviews_parsing.errors import ModelError, NoSuchAlias, TrackingError
from reviews_parsing.model_folder import CONFIG_FILE, MODEL_FILE, TOKENIZER_FILE
from reviews_parsing.registry.known import recall, remember
from reviews_parsing.registry.store import ARTIFACT, MODEL_FOLDER, Reference, Resolved, glance, resolve, tracking
from reviews_parsing.settings import Settings

HALF = ".fetching-"
# Seconds after which nobody is still working on a fetch.
ABANDONED = 3600


def fetch(uri: str, *, stale_ok: bool = True) -> tuple[Path, str]:
    """The model folder behind `models:/NAME@ALIAS`, `models:/NAME/3` or `runs:/ID`, and its version.

    Versions never change, so each is fetched once into the local folder and needs no store from then on. While the
    store cannot be used, an alias means what it last meant, where that was fetched, and a warning says so; without
    `stale_ok` it means nothing.
    Raises ModelError where there is no such version or it is damaged, TrackingError where the store cannot be used.
    """
    if uri.startswith("runs:"):
        run = re.fullmatch(rf"runs:/(\w+)(/{ARTIFACT})?", uri)
        if run is None:
            raise ModelError(f"{uri} names no run; write runs:/ID")
        run_id = run[1]
        folder = _models() / "runs" / run_id
        if not folder.is_dir():
            _download(f"runs:/{run_id}/{ARTIFACT}", folder)
        return _whole(folder), run_id
    wanted = Reference.of(uri)
    found = glance(wanted) or (recall(wanted) if wanted.number else None)
    if found is None or not _folder(wanted, found).is_dir():
        found = _ask(uri, wanted, stale_ok)
    return _whole(_folder(wanted, found)), found.version


def locate(source: str | Path | None = None, *, stale_ok: bool = True) -> tuple[Path, str | None]:
    """Return the model folder that `source` names, and its version; None for a folder, which has none.

    `source` is a folder, `models:/NAME@ALIAS`, `models:/NAME/3`, `runs:/ID` or `pretrained`. Without it, the model is
    the champion, or the pretrained one if nothing is champion yet; a line of log says which. `stale_ok` is as in
    `fetch`. Raises ModelError if there is no such model, TrackingError if the store cannot be used.
    """
    if source is None:
        return _default(stale_ok)
    if source == pretrained.NAME:
        return pretrained.model_folder(), pretrained.NAME
    if str(source).startswith(("models:", "runs:")):
        return fetch(str(source), stale_ok=stale_ok)
    return Path(source), None


def _default(stale_ok: bool) -> tuple[Path, str]:
    name = Settings().model_name
    try:
        folder, version = fetch(Settings().champion_uri, stale_ok=stale_ok)
    except NoSuchAlias:
        if not pretrained.is_installed():
            raise
        folder, version = pretrained.model_folder(), pretrained.NAME
        _announce(f"no version of {name} is champion yet: the {version} model of this package answers")
    else:
        _announce(f"version {version} of {name}, the champion, answers")
    return folder, version


@cache
def _announce(line: str) -> None:
    """Log `line` where a user sees it: without any configuration Python shows warnings on stderr."""
    logging.getLogger(__name__).warning(line)


def _ask(uri: str, wanted: Reference, stale_ok: bool) -> Resolved:
    """What the store answers; its version is fetched then."""
    try:
        with tracking(patient=False) as client:
            found = resolve(client, wanted)
        if not _folder(wanted, found).is_dir():
            _download(f"models:/{wanted.name}/{found.version}", _folder(wanted, found))
    except TrackingError as error:
        last = recall(wanted) if stale_ok else None
        if last is None or not _folder(wanted, last).is_dir():
            raise
        logging.getLogger(__name__).warning("%s; %s stays version %s, as it was last seen", error, uri, last.version)
        return last
    for reference in (wanted, Reference(wanted.name, None, found.version)):
        remember(reference, found)
    return found


def _download(uri: str, target: Path) -> None:
    """Fetch the model folder of an artifact, whole or not at all, and note its checksums."""
    with tracking():
        import mlflow

        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=HALF) as half:
            mlflow.artifacts.download_artifacts(uri, dst_path=half)
            found = next(Path(half).rglob(MODEL_FOLDER), None)
            if found is None:
                raise ModelError(f"{uri} holds no {MODEL_FOLDER}: it was not made by this project; train again")
            _require_files(found, f"{uri} is incomplete", "train again")
            _note_checksums(found, target)
            try:
                found.rename(target)
            except OSError:
                # Another process was faster; its copy is as good.
                if not target.is_dir():
                    raise


def _sweep(place: Path) -> None:
    """Remove what fetches that were killed have left."""
    for half in place.glob(f"{HALF}*"):
        with suppress(OSError):
            if time.time() - half.stat().st_mtime > ABANDONED:
                shutil.rmtree(half)


def _require_files(folder: Path, what: str, advice: str) -> None:
    for name in (MODEL_FILE, TOKENIZER_FILE, CONFIG_FILE):
        if not (folder / name).is_file():
            raise ModelError(f"{what}: it has no {name}; {advice}")


def _note_checksums(folder: Path, target: Path) -> None:
    from reviews_parsing.io.files import write_bytes

    lines = [f"{_digest(file)}  {file.name}\n" for file in sorted(folder.iterdir()) if file.is_file()]
    write_bytes(_checksums(target), "".join(lines).encode())


def _whole(folder: Path) -> Path:
    """`folder`, if it holds what was fetched. Raises ModelError naming what is damaged and how to fetch it again."""
    advice = f"delete {folder}, and it is fetched again"
    _require_files(folder, f"{folder} is incomplete", advice)
    if _checksums(folder).is_file():
        for line in _checksums(folder).read_text(encoding="utf-8").splitlines():
            digest, _, name = line.partition("  ")
            if not (folder / name).is_file() or _digest(folder / name) != digest:
                raise ModelError(f"{folder / name} is damaged: it is not what was fetched; {advice}")
    return folder


def _checksums(folder: Path) -> Path:
    """Beside the folder, in the form of sha256sum: inside it would be part of the model."""
    return folder.with_name(f"{folder.name}.sha256")


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _models() -> Path:
    return Settings().home / "models"


def _folder(wanted: Reference, found: Resolved) -> Path:
    return _models() / wanted.name / f"{found.version}-{found.run_id[:12] or 'norun'}"
