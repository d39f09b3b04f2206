"""Model folders from the registry, fetched once."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from reviews_parsing.errors import ModelError
from reviews_parsing.registry.store import MODEL_FOLDER, resolve, tracking
from reviews_parsing.settings import Settings


def fetch(uri: str) -> tuple[Path, str]:
    """The model folder behind `models:/NAME@ALIAS`, `models:/NAME/3` or `runs:/ID/ner_aspect`, and its version.

    Versions never change, so each is fetched once into the local folder. Raises ModelError where there is none.
    """
    with tracking() as client:
        if uri.startswith("runs:"):
            version = uri.split("/")[1]
            return _download(uri, Settings().home / "models" / "runs" / version), version
        name, number = resolve(client, uri)
        # Two stores may both have a version 1: the run that made it tells them apart.
        run_id = client.get_model_version(name, number).run_id or "norun"
        return _download(
            f"models:/{name}/{number}", Settings().home / "models" / name / f"{number}-{run_id[:12]}"
        ), number


def _download(uri: str, target: Path) -> Path:
    """The model folder of an artifact, fetched whole or not at all."""
    import mlflow

    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetching-") as half:
            mlflow.artifacts.download_artifacts(uri, dst_path=half)
            found = next(Path(half).rglob(MODEL_FOLDER), None)
            if found is None:
                raise ModelError(f"{uri} holds no {MODEL_FOLDER}: it was not made by this project; train again")
            try:
                found.rename(target)
            except OSError:
                # Another process was faster; its copy is as good.
                if not target.is_dir():
                    shutil.copytree(found, target)
    return target
