"""Which model is served. An alias is resolved once: what serves is a version, and stays that version."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from reviews_parsing import pretrained
from reviews_parsing.model_folder import CONFIG_FILE, MODEL_FILE, TOKENIZER_FILE, ParserConfig
from reviews_parsing.settings import Settings

if TYPE_CHECKING:
    from mlserver import ModelSettings


def pin(settings: ModelSettings, *, stale_ok: bool = True) -> None:
    """Replace the model's URI by a local folder, and set its version; done again, it changes nothing.

    The version is the registry's; of a run, its id; of a folder, `parameters.version` or a digest of its files. With
    `stale_ok` an alias means what it last meant where the registry cannot be reached.
    Raises ModelError where there is no such model, TrackingError where the registry cannot be reached.
    """
    from mlserver.settings import ModelParameters

    parameters = settings.parameters = settings.parameters or ModelParameters()
    from reviews_parsing import registry

    folder, version = registry.locate(_uri(settings), stale_ok=stale_ok)
    ParserConfig.read(folder)
    parameters.uri, parameters.version = str(folder), version or parameters.version or _digest(folder)


def _uri(settings: ModelSettings) -> str | None:
    """Return the URI in the model's settings, else the one in ours; None for the default model."""
    from mlserver.utils import to_absolute_path

    uri = settings.parameters.uri
    if uri and (uri == pretrained.NAME or uri.startswith(("models:", "runs:"))):
        return str(uri)
    folder = Path(to_absolute_path(settings, uri)) if uri else None
    # Unset, MLServer fills in the folder of model-settings.json, which may hold a model as well.
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
