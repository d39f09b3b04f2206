"""Registered versions, and which of them is champion."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reviews_parsing.errors import ModelError
from reviews_parsing.registry.store import ARTIFACT, tracking
from reviews_parsing.settings import CHAMPION, Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

HISTORY = "champions_before"


def register(run_id: str) -> str:
    """Register the run's artifact as a new version, or find the version it has; returns the version.

    Raises ModelError where there is no such run or it has no artifact.
    """
    name = Settings().model_name
    with tracking() as client:
        import mlflow

        run = client.get_run(run_id)
        for version in client.search_model_versions(f"name = '{name}'"):
            if version.run_id == run_id:
                return str(version.version)
        if not run.outputs or not run.outputs.model_outputs:
            raise ModelError(f"run {run_id} has no model {ARTIFACT}: it did not finish; train again")
        created = mlflow.register_model(f"runs:/{run_id}/{ARTIFACT}", name)
        metrics = {key: run.data.metrics.get(f"test_{key}") for key in ("aggregated_f1", "span_f1", "with_polarity_f1")}
        for key, value in metrics.items():
            if value is not None:
                client.set_model_version_tag(name, created.version, f"test_{key}", f"{value:.4f}")
        return str(created.version)


@dataclass(frozen=True, slots=True)
class Version:
    """One registered version: where it comes from, how good it was, whether it is champion."""

    version: str
    run_id: str
    aliases: tuple[str, ...]
    created: int
    tags: Mapping[str, str]


def versions() -> list[Version]:
    """All registered versions, newest first."""
    with tracking() as client:
        found = client.search_model_versions(f"name = '{Settings().model_name}'")
        return sorted((_version(client, v) for v in found), key=lambda v: -int(v.version))


def champion() -> str | None:
    """The version that is champion, or None."""
    with tracking() as client:
        return _champion(client)


def challenger() -> str | None:
    """The newest version, if it is newer than the champion: what the gate has to decide about. None: nothing to do."""
    newest = next(iter(versions()), None)
    if newest is None or int(newest.version) <= int(champion() or 0):
        return None
    return newest.version


def set_champion(version: str, tags: Mapping[str, str]) -> str | None:
    """Make `version` the champion, tagged with why; returns the champion before, which `rollback` returns to."""
    name = Settings().model_name
    with tracking() as client:
        client.get_model_version(name, version)
        before = _champion(client)
        for key, value in tags.items():
            client.set_model_version_tag(name, version, key, value[:5000])
        if before != version:
            if before is not None:
                _set_history(client, [*_history(client), before])
            client.set_registered_model_alias(name, CHAMPION, version)
        return before


def tag(version: str, tags: Mapping[str, str]) -> None:
    """Write tags on a version."""
    name = Settings().model_name
    with tracking() as client:
        for key, value in tags.items():
            client.set_model_version_tag(name, version, key, value[:5000])


def rollback() -> tuple[str, str]:
    """Return to the champion before; (version that was, version that is). Raises ModelError where there is none."""
    with tracking() as client:
        now, history = _champion(client), _history(client)
        if now is None or not history:
            raise ModelError("there is no champion before this one to return to; see `reviews-parsing models`")
        client.set_registered_model_alias(Settings().model_name, CHAMPION, history[-1])
        _set_history(client, history[:-1])
        return now, history[-1]


def run_of(version: str) -> str:
    """The id of the run that made a version. Raises ModelError where there is no such version."""
    with tracking() as client:
        return client.get_model_version(Settings().model_name, version).run_id or ""


def _champion(client: MlflowClient) -> str | None:
    from mlflow.exceptions import MlflowException

    try:
        return str(client.get_model_version_by_alias(Settings().model_name, CHAMPION).version)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def _history(client: MlflowClient) -> list[str]:
    known = client.get_registered_model(Settings().model_name).tags.get(HISTORY, "[]")
    return list(json.loads(known))


def _set_history(client: MlflowClient, history: list[str]) -> None:
    client.set_registered_model_tag(Settings().model_name, HISTORY, json.dumps(history))


def _version(client: MlflowClient, version: ModelVersion) -> Version:
    # A search leaves the aliases out on some stores.
    full = client.get_model_version(version.name, version.version)
    return Version(str(full.version), full.run_id or "", tuple(full.aliases), full.creation_timestamp, dict(full.tags))
