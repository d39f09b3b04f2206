"""Model folders from the registry: downloaded once, verified at every use, replaced if they are damaged."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from reviews_parsing import pretrained
from reviews_parsing.errors import (
    DataError,
    ModelError,
    ModelNotStored,
    ModelNotTrusted,
    NoSuchAlias,
    TrackingError,
)
from reviews_parsing.io.files import write_bytes
from reviews_parsing.registry.download import PARTIAL_PREFIX, bounded
from reviews_parsing.registry.integrity import (
    MAX_FILES,
    FileRecord,
    checksum_file,
    compare_files,
    decode_records,
    find_damage,
    missing_file,
    require_loadable,
    write_checksums,
)
from reviews_parsing.registry.resolution import (
    ModelReference,
    ResolvedVersion,
    load_resolution,
    lookup_in_sqlite,
    resolve,
    save_resolution,
)
from reviews_parsing.registry.signatures import SIGNATURE_FILE, download_signature, require_trusted, signature_file
from reviews_parsing.registry.store import ARTIFACT, DOWNLOAD_LIMITS, MODEL_FOLDER, redacted, store_uri, tracking
from reviews_parsing.settings import Settings

ABANDONED_SECONDS = 3600
"""Age from which a partial download belongs to a dead process."""
ATTEMPTS = 2
SHARED, OWN = "models", "unshared"
"""Folders of the home: `models` may be a volume that many share; `unshared` is used if that cannot be written to."""
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Artifact:
    """A model in the store: its URI for MLflow, what people call it, and its path below `models` or `unshared`."""

    uri: str
    title: str
    path: str

    @property
    def folders(self) -> list[Path]:
        """The local folders that it may be in, in the order of their use."""
        return [Settings().home / parent / self.path for parent in (SHARED, OWN)]

    @property
    def is_local(self) -> bool:
        """True if it was fetched before."""
        return any(folder.is_dir() for folder in self.folders)


def fetch(uri: str, *, stale_ok: bool = True, check_trust: bool = True) -> tuple[Path, str]:
    """Return the local folder and the version of `models:/NAME@ALIAS`, `models:/NAME/3` or `runs:/ID`.

    Versions never change, so each is downloaded once and needs no store from then on. While the store is unreachable,
    an alias means its last known version, if that was downloaded, and a warning says so; without `stale_ok` it does
    not. With a trust policy the signature is verified, unless `check_trust` is False because the model is to be signed.
    Raises ModelError if there is no such version, or it is damaged or not trusted, TrackingError if the store cannot be
    used.
    """
    if uri.startswith("runs:"):
        run = re.fullmatch(rf"runs:/(\w+)(/{ARTIFACT})?", uri)
        if run is None:
            raise ModelError(f"{uri} names no run; write runs:/ID")
        artifact = Artifact(f"runs:/{run[1]}/{ARTIFACT}", f"the model of run {run[1]}", f"runs/{run[1]}")
        return _verified(artifact, check_trust), run[1]
    reference = ModelReference.parse(uri)
    version = lookup_in_sqlite(reference) or (load_resolution(reference) if reference.version else None)
    if version is None or not _artifact(reference, version).is_local:
        version = _resolve_and_download(uri, reference, stale_ok, check_trust)
    return _verified(_artifact(reference, version), check_trust), version.version


def locate(
    source: str | Path | None = None, *, stale_ok: bool = True, check_trust: bool = True
) -> tuple[Path, str | None]:
    """Return the model folder that `source` names, and its version; None for a folder, which has none.

    `source` is a folder, `models:/NAME@ALIAS`, `models:/NAME/3`, `runs:/ID`, `pretrained` or `pretrained-fast`. Without
    it, the model is the champion, or the pretrained one if nothing is champion yet; a line of log says which.
    `stale_ok` and `check_trust` are as in `fetch`. With a trust policy a folder needs a signature beside it, and the
    pretrained models, which are part of this package, must be named. Raises ModelError if there is no such model, or it
    is not trusted, TrackingError if the store cannot be used.
    """
    if source is None:
        return _default(stale_ok)
    if str(source).startswith(("models:", "runs:")):
        return fetch(str(source), stale_ok=stale_ok, check_trust=check_trust)
    if source in pretrained.MODELS:
        return pretrained.model_folder(str(source)), str(source)
    folder = Path(source)
    if check_trust and folder.is_dir():
        require_trusted(folder, signature_file(folder), str(folder))
    return folder, None


def _default(stale_ok: bool) -> tuple[Path, str | None]:
    name = Settings().model_name
    try:
        folder, version = fetch(Settings().champion_uri, stale_ok=stale_ok)
    except NoSuchAlias:
        if not pretrained.is_installed() or Settings().trust is not None:
            raise
        _announce(f"no version of {name} is champion yet: the {pretrained.NAME} model of this package answers")
        return locate(pretrained.NAME)
    _announce(f"version {version} of {name}, the champion, answers")
    return folder, version


@cache
def _announce(line: str) -> None:
    """Log `line` once where a user sees it: without configuration Python prints warnings on stderr."""
    _log.warning(line)


def _artifact(reference: ModelReference, version: ResolvedVersion) -> Artifact:
    title = f"version {version.version} of {reference.name}"
    path = f"{reference.name}/{version.version}-{version.run_id[:12] or 'norun'}"
    return Artifact(f"models:/{reference.name}/{version.version}", title, path)


def _resolve_and_download(uri: str, reference: ModelReference, stale_ok: bool, check_trust: bool) -> ResolvedVersion:
    """Ask the store for the version and download it; fall back on the last known version if the store is down."""
    try:
        version = resolve(reference)
        if not _artifact(reference, version).is_local:
            artifact = _artifact(reference, version)
            _download(artifact, artifact.folders, check_trust)
    except TrackingError as error:
        last = load_resolution(reference) if stale_ok else None
        if last is None or not _artifact(reference, last).is_local:
            raise
        _log.warning("%s; %s stays version %s, its last known version", error, uri, last.version)
        return last
    for candidate in (reference, ModelReference(reference.name, None, version.version)):
        save_resolution(candidate, version)
    return version


def _verified(artifact: Artifact, check_trust: bool) -> Path:
    """Return the artifact's folder after verification; a missing or damaged folder is downloaded again.

    Raises ModelError naming the damage if it cannot be replaced, or if the model is not trusted; TrackingError if it
    cannot be replaced now.
    """
    damages: list[str] = []
    folders: list[Path] = []
    # A copy in the last folder is there because the first could not be used.
    for folder in reversed(artifact.folders):
        if folder.is_dir():
            damage = _find_damage(folder)
            if damage is None and (not check_trust or _keeps_signature(artifact, folder)):
                return folder
            if damage is None:
                continue
            damages.append(damage)
            _log.warning("%s: deleting it and fetching it again", damage)
            if not _delete(folder):
                continue
        folders.insert(0, folder)
    try:
        return _download(artifact, folders, check_trust)
    except TrackingError as error:
        raise TrackingError("; ".join([*damages, str(error)])) from error
    except ModelNotTrusted:
        raise
    except ModelError as error:
        if not damages:
            raise
        raise ModelError(f"{damages[0]}; it cannot be fetched again ({error}); delete {artifact.folders[0]}") from error


def _find_damage(folder: Path) -> str | None:
    """Return what is wrong with a folder as text, None if it is intact; one that cannot be read is damaged."""
    try:
        return find_damage(folder)
    except (OSError, ModelError) as error:
        return str(error)


def _keeps_signature(artifact: Artifact, folder: Path) -> bool:
    """Verify the signature of a downloaded folder, which may have been signed, or signed again, since.

    Returns False if the signature cannot be written beside the folder. Raises ModelNotTrusted.
    """
    target = signature_file(folder)
    try:
        require_trusted(folder, target, artifact.title)
    except ModelNotTrusted as error:
        with tempfile.TemporaryDirectory() as scratch:
            signature = Path(scratch) / SIGNATURE_FILE
            what = f"the signature of {artifact.title}"
            try:
                bounded(what, download_signature, artifact.uri, scratch, folder=Path(scratch))
            except (ModelError, TrackingError) as failure:
                raise ModelNotTrusted(f"{error}; {failure}") from failure
            require_trusted(folder, signature, artifact.title)
            try:
                write_bytes(target, signature.read_bytes())
            except DataError:
                return False
    return True


def _delete(folder: Path) -> bool:
    """Delete a model folder, first from its name, so that no other process takes half of it for a model.

    Returns False if it is still there, on a disk that cannot be written to.
    """
    condemned = folder.with_name(f"{PARTIAL_PREFIX}{folder.name}-{time.monotonic_ns()}")
    try:
        folder.rename(condemned)
        checksum_file(folder).unlink(missing_ok=True)
        signature_file(folder).unlink(missing_ok=True)
        shutil.rmtree(condemned)
    except FileNotFoundError:  # another process deletes it
        return True
    except OSError:
        return not folder.is_dir()
    return True


def _download(artifact: Artifact, folders: Sequence[Path], check_trust: bool) -> Path:
    """Download a model to the first of the folders that can be written to, and return that.

    Raises ModelError or TrackingError.
    """
    failures = []
    for folder in folders:
        try:
            _download_to(folder, artifact, check_trust)
        except ModelNotStored as error:
            failures.append(error)
        else:
            for failure in failures:
                _log.warning("%s; until then it is in %s", failure, folder.parent)
            return folder
    raise failures[0] if failures else ModelNotStored(f"{Settings().home} cannot be written to")


def _download_to(target: Path, artifact: Artifact, check_trust: bool) -> None:
    """Download a model atomically: verify checksums and signature, and load it before it gets its name.

    A download that fails verification is deleted and repeated once. Raises ModelError or TrackingError.
    """
    try:
        needs_signature = check_trust and Settings().trust is not None
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
        for attempt in range(1, ATTEMPTS + 1):
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=PARTIAL_PREFIX) as partial:
                folder, signature = Path(partial) / MODEL_FOLDER, Path(partial) / SIGNATURE_FILE
                arguments = (artifact.uri, artifact.title, partial, needs_signature)
                tags = bounded(artifact.title, download_model, *arguments, folder=Path(partial))
                records = decode_records(tags, artifact.title)
                if missing := missing_file(folder):
                    raise ModelError(f"{artifact.title} is incomplete: it has no {missing}; train again")
                try:
                    _require_intact(artifact, folder, records)
                    if check_trust:
                        require_trusted(folder, signature, artifact.title)
                    require_loadable(folder)
                except ModelNotTrusted:
                    raise
                except ModelError as error:
                    if attempt == ATTEMPTS:
                        raise ModelError(str(error).replace(str(folder), artifact.title)) from error
                    continue
                write_checksums(folder, target)
                if signature.is_file():
                    write_bytes(signature_file(target), signature.read_bytes())
                try:
                    folder.rename(target)
                except OSError:
                    # Another process was faster; its copy is as good.
                    if not target.is_dir():
                        raise
                return
    except (OSError, DataError) as error:
        raise _not_stored(artifact.title, target.parent, error) from error


def _not_stored(title: str, folder: Path, error: OSError | DataError) -> ModelNotStored:
    reason = getattr(error, "strerror", None) or error
    return ModelNotStored(
        f"{title} cannot be stored in {folder} ({reason}); free some space there, or set REVIEWS_PARSING_HOME"
    )


def _require_intact(artifact: Artifact, folder: Path, records: Mapping[str, FileRecord] | None) -> None:
    """Raise ModelError if the files of a download are not what was registered."""
    if records and (difference := compare_files(folder, records)):
        raise ModelError(
            f"{artifact.title} is damaged: {difference}; its artifacts in {redacted(store_uri())} are not what was "
            "registered: register the model again, or roll back"
        )


def download_model(uri: str, title: str, folder: str, needs_signature: bool) -> dict[str, str]:
    """Download the model folder of an artifact to `folder / MODEL_FOLDER`, with bounds on its files and bytes.

    Returns the tags of its version or run. With `needs_signature` the signature, if there is one, lies beside it.
    Raises ModelError if there is no such model, it is too large or cannot be stored, TrackingError if the store cannot
    be used.
    """
    limit = Settings().max_model_mb * 1_000_000
    prefix = f"artifacts/{MODEL_FOLDER}"
    with tracking() as client:
        name, version = uri.split("/")[1:]
        is_run = uri.startswith("runs:")
        tags = client.get_run(name).data.tags if is_run else client.get_model_version(name, version).tags
    with tracking(DOWNLOAD_LIMITS) as client:
        import mlflow
        from mlflow.exceptions import MlflowException

        files = mlflow.artifacts.list_artifacts(artifact_uri=f"{uri}/{prefix}")
        if not files:
            location = uri
            with suppress(Exception):  # only for the message
                location = client.get_model_version_download_uri(name, version)
            raise ModelError(
                f"{title} has no files at {redacted(location)}/{prefix}: it was not made by this project, or its "
                "artifacts were deleted or moved; train again"
            )
        size = sum(file.file_size or 0 for file in files)
        if size > limit or len(files) > MAX_FILES or any(file.is_dir for file in files):
            raise ModelError(
                f"{title} has {len(files)} files of {size / 1e6:,.0f} MB, more than {MAX_FILES} or than "
                f"{limit / 1e6:,.0f} MB, or folders; if that is right, raise REVIEWS_PARSING_MAX_MODEL_MB"
            )
        target = Path(folder) / MODEL_FOLDER
        try:
            target.mkdir()
            for file in files:
                # MLflow repeats the path of the artifact below the destination.
                copy = mlflow.artifacts.download_artifacts(f"{uri}/{prefix}/{Path(file.path).name}", dst_path=folder)
                Path(copy).rename(target / Path(file.path).name)
        except (OSError, MlflowException) as error:
            # MLflow keeps only the text of an error.
            number = re.search(r"^\[Errno (\d+)\]", str(error), re.MULTILINE)
            if number is None or int(number[1]) not in DISK_ERRORS:
                raise
            reason = OSError(int(number[1]), os.strerror(int(number[1])))
            raise _not_stored(title, target.parents[1], reason) from error
    if needs_signature:
        download_signature(uri, folder)
    return dict(tags)


def _sweep(folder: Path) -> None:
    """Remove partial downloads that killed processes left behind."""
    for partial in folder.glob(f"{PARTIAL_PREFIX}*"):
        with suppress(OSError):
            if time.time() - partial.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(partial)
