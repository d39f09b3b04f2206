"""Resolution of a model's URI to a local folder and a version. An alias is resolved once, when a model is loaded."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from reviews_parsing import pretrained, registry
from reviews_parsing.model_folder import CONFIG_FILE, MODEL_FILE, TOKENIZER_FILE, ParserConfig
from reviews_parsing.settings import Settings

if TYPE_CHECKING:
    from mlserver import ModelSettings


def resolve(settings: ModelSettings, *, stale_ok: bool = True) -> None:
    """Replace the URI in `settings` by a local folder, and set the version. Idempotent.

    The version is that of the registry, the id of a run, or, for a folder, `parameters.version` or a digest of its
    files. With `stale_ok`, an alias falls back to the version it last had if the registry cannot be reached.
    Raises ModelError if there is no such model, TrackingError if the registry cannot be reached.
    """
    from mlserver.settings import ModelParameters

    parameters = settings.parameters = settings.parameters or ModelParameters()
    folder, version = registry.locate(_uri(settings), stale_ok=stale_ok)
    ParserConfig.read(folder)
    parameters.uri, parameters.version = str(folder), version or parameters.version or _digest(folder)


def _uri(settings: ModelSettings) -> str | None:
    """Return the URI in the model's settings, else the one in ours; None for the default model."""
    from mlserver.utils import to_absolute_path

    uri = settings.parameters.uri
    if uri and (uri in pretrained.MODELS or uri.startswith(("models:", "runs:"))):
        return str(uri)
    folder = Path(to_absolute_path(settings, uri)) if uri else None
    # Without a URI MLServer sets the folder of model-settings.json, which may hold a model as well.
    unset = folder is None or (settings._source and folder == Path(settings._source).parent)
    if folder is None or (unset and not (folder / CONFIG_FILE).is_file()):
        return Settings().model_uri
    return str(folder)


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in (CONFIG_FILE, TOKENIZER_FILE, MODEL_FILE):
        if (folder / name).is_file():
            with (folder / name).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]
