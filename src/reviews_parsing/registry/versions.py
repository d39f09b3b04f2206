"""Registered versions: register a run's model, list versions, tag them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reviews_parsing.errors import ModelError
from reviews_parsing.registry.fetch import fetch, locate
from reviews_parsing.registry.integrity import CHECKSUM_TAG, describe_files, encode_records
from reviews_parsing.registry.resolution import ModelReference
from reviews_parsing.registry.runs import NOTE_TAG
from reviews_parsing.registry.signatures import SIGNATURE_FILE, sign, signature_file, signing_is_configured
from reviews_parsing.registry.store import ARTIFACT, tracking
from reviews_parsing.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

MAX_TAG_CHARACTERS = 5000
VERSIONS_TAG = "mlflow.modelVersions"
HEADLINE_METRICS = ("aggregated_f1", "span_f1", "with_polarity_f1")


@dataclass(frozen=True, slots=True)
class Version:
    """A registered version: its run, its aliases, its tags, and when it was created (milliseconds since 1970)."""

    version: str
    run_id: str
    aliases: tuple[str, ...]
    created: int
    tags: Mapping[str, str]


def register(run_id: str, name: str | None = None) -> str:
    """Register a run's model as a new version and return its number. Idempotent.

    The checksums of its files become a tag of the version. With a key, it is signed, unless it was when it was trained.
    `name` is the registered model (default: the configured one). Raises ModelError if there is no such run, or it has
    no model.
    """
    name = name or Settings().model_name
    with tracking() as client:
        run = client.get_run(run_id)
        existing = [v for v in client.search_model_versions(f"name = '{name}'") if v.run_id == run_id]
        if existing:
            return str(min(int(v.version) for v in existing))
        if not run.outputs or not run.outputs.model_outputs:
            raise ModelError(f"run {run_id} has no model {ARTIFACT}: it did not finish; train again")
        # A run of an earlier release has no checksums yet.
        checksums = run.data.tags.get(CHECKSUM_TAG) or encode_records(describe_files(_unsigned_model(run_id)))
        if signing_is_configured() and SIGNATURE_FILE not in {file.path for file in client.list_artifacts(run_id)}:
            _sign_run(client, run_id, _unsigned_model(run_id))
        metrics = {f"test_{key}": run.data.metrics.get(f"test_{key}") for key in HEADLINE_METRICS}
        tags = {key: f"{value:.4f}" for key, value in metrics.items() if value is not None}
        created = _create_version(client, name, run, {CHECKSUM_TAG: checksums, **tags})
        if note := run.data.tags.get(NOTE_TAG):
            client.update_model_version(name, created.version, note)
        return str(created.version)


def _create_version(client: MlflowClient, name: str, run: Run, tags: Mapping[str, str]) -> ModelVersion:
    """Create a version of the newest model of a run, and the registered model if it does not exist.

    `mlflow.register_model` always tries to create the registered model, which few users of a server may.
    """
    from mlflow.exceptions import MlflowException

    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        try:
            client.create_registered_model(name)
        except MlflowException as failure:
            if failure.error_code != "RESOURCE_ALREADY_EXISTS":  # by another process
                raise
    model_id = max(run.outputs.model_outputs, key=lambda output: output.step).model_id
    created = client.create_model_version(name, f"models:/{model_id}", run.info.run_id, dict(tags), model_id=model_id)
    # MLflow's pages show the versions of a run by this tag.
    known = json.loads(client.get_logged_model(model_id).tags.get(VERSIONS_TAG, "[]"))
    link = {"name": name, "version": created.version}
    client.set_logged_model_tags(model_id, {VERSIONS_TAG: json.dumps([*known, link])})
    return created


def sign_model(source: str) -> Path | str:
    """Sign a model folder, version or run by `REVIEWS_PARSING_SIGNING_KEY`; a former signature is replaced.

    Returns the file of a folder's signature, or the id of the run that keeps it. Raises ModelError or TrackingError.
    """
    folder, version = locate(source, check_trust=False)
    if not source.startswith(("models:", "runs:")):
        sign(folder, signature_file(folder))
        return signature_file(folder)
    with tracking() as client:
        run_id = version or ""
        if source.startswith("models:"):
            run_id = client.get_model_version(ModelReference.parse(source).name, run_id).run_id or ""
        if not run_id:
            raise ModelError(f"{source} has no run to keep its signature; register its model folder again")
        _sign_run(client, run_id, folder)
    return run_id


def _unsigned_model(run_id: str) -> Path:
    """Return the model folder of a run regardless of the trust policy, to describe or sign it."""
    return fetch(f"runs:/{run_id}", check_trust=False)[0]


def _sign_run(client: MlflowClient, run_id: str, folder: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / SIGNATURE_FILE
        sign(folder, file)
        client.log_artifact(run_id, str(file))


def versions(name: str | None = None) -> list[Version]:
    """Return all registered versions, newest first."""
    with tracking() as client:
        versions = client.search_model_versions(f"name = '{name or Settings().model_name}'")
        return sorted((_version(client, v) for v in versions), key=lambda v: -int(v.version))


def tag(version: str, tags: Mapping[str, str], name: str | None = None) -> None:
    """Set tags of a version."""
    with tracking() as client:
        for key, value in tags.items():
            client.set_model_version_tag(name or Settings().model_name, version, key, value[:MAX_TAG_CHARACTERS])


def run_of(version: str, name: str | None = None) -> str:
    """Return the id of the run that produced a version. Raises ModelError if there is no such version."""
    with tracking() as client:
        return client.get_model_version(name or Settings().model_name, version).run_id or ""


def _version(client: MlflowClient, version: ModelVersion) -> Version:
    # A search omits the aliases on some stores.
    full = client.get_model_version(version.name, version.version)
    return Version(str(full.version), full.run_id or "", tuple(full.aliases), full.creation_timestamp, dict(full.tags))
