"""Resolution of model references: which version an alias means, by SQLite lookup, by MLflow, or from the cache."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reviews_parsing.errors import DataError, ModelError, NoSuchAlias
from reviews_parsing.registry.download import bounded
from reviews_parsing.registry.store import redacted, sqlite_file, store_uri, tracking, tracking_uri
from reviews_parsing.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True, slots=True)
class ModelReference:
    """A parsed `models:/NAME@ALIAS` or `models:/NAME/3`; either `alias` or `version` is None."""

    name: str
    alias: str | None
    version: str | None

    @classmethod
    def parse(cls, uri: str) -> ModelReference:
        """Return the reference in a model address. Raises ModelError if it is malformed."""
        match = re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))", uri)
        if match is None:
            raise ModelError(f"{uri} names no model; write models:/NAME@ALIAS or models:/NAME/VERSION")
        return cls(*match.groups())

    def __str__(self) -> str:
        return f"models:/{self.name}{f'@{self.alias}' if self.alias else f'/{self.version}'}"


@dataclass(frozen=True, slots=True)
class ResolvedVersion:
    """A version and the run that produced it: two stores may both have a version 1, of different runs."""

    version: str
    run_id: str


def resolve(reference: ModelReference) -> ResolvedVersion:
    """Return the version that `reference` means now. Raises ModelError or TrackingError."""
    return lookup_in_sqlite(reference) or ResolvedVersion(
        **bounded(f"the version of {reference}", ask_server, reference.name, reference.alias, reference.version)
    )


def ask_server(name: str, alias: str | None, version: str | None) -> dict[str, str]:
    """Return the fields of the ResolvedVersion that a reference means. Raises ModelError or TrackingError."""
    with tracking() as client:
        return asdict(resolve_with_client(client, ModelReference(name, alias, version)))


def lookup_in_sqlite(reference: ModelReference) -> ResolvedVersion | None:
    """Query a SQLite store directly, a hundred times faster than through MLflow.

    Returns None if the store is not SQLite or the query fails. Raises NoSuchAlias if the store does not exist yet or
    has no such alias.
    """
    file = sqlite_file(store_uri())
    if file is None:
        return None
    if not file.is_file():
        if reference.alias and not Settings().tracking_uri:
            raise NoSuchAlias(_no_alias(reference))
        return None
    query = """
        SELECT version, run_id FROM model_versions
        WHERE name = :name AND current_stage <> 'Deleted_Internal' AND version IN (
            SELECT CAST(:version AS INTEGER)
            UNION SELECT version FROM registered_model_aliases WHERE name = :name AND alias = :alias
        )
    """
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=1)) as store:
            rows = store.execute(query, asdict(reference)).fetchall()
    except sqlite3.Error:
        return None
    if not rows and reference.alias:
        raise NoSuchAlias(_no_alias(reference))
    return ResolvedVersion(str(rows[0][0]), rows[0][1] or "") if len(rows) == 1 else None


def resolve_with_client(client: MlflowClient, reference: ModelReference) -> ResolvedVersion:
    """Ask MLflow for the version. Raises ModelError if it does not exist."""
    from mlflow.exceptions import MlflowException

    try:
        if reference.alias is None:
            version = client.get_model_version(reference.name, reference.version)
        else:
            version = client.get_model_version_by_alias(reference.name, reference.alias)
    except MlflowException as error:
        if reference.alias and error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise NoSuchAlias(_no_alias(reference)) from error
        raise
    return ResolvedVersion(str(version.version), version.run_id or "")


def save_resolution(reference: ModelReference, version: ResolvedVersion) -> None:
    """Cache the last answer of a tracking server for the time when it cannot be reached.

    One file per reference and server: `models/NAME/known/@champion-1f0e2d3c.json`. Without write permission nothing is
    cached; a SQLite store needs no cache, since it is a local file itself.
    """
    if sqlite_file(tracking_uri()) or load_resolution(reference) == version:
        return
    from reviews_parsing.io.files import write_bytes

    document = {"store": redacted(store_uri()), "name": reference.name, "alias": reference.alias, **asdict(version)}
    with suppress(DataError, OSError):
        file = _cache_file(reference)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(file, f"{json.dumps(document, indent=2)}\n".encode())


def load_resolution(reference: ModelReference) -> ResolvedVersion | None:
    """Return the cached answer of the tracking server, None if it was never asked."""
    try:
        document = json.loads(_cache_file(reference).read_text(encoding="utf-8"))
        return ResolvedVersion(document["version"], document["run_id"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _cache_file(reference: ModelReference) -> Path:
    store = hashlib.sha256(redacted(tracking_uri()).encode()).hexdigest()[:8]
    key = f"@{reference.alias}" if reference.alias else reference.version
    return Settings().home / "models" / reference.name / "known" / f"{key}-{store}.json"


def _no_alias(reference: ModelReference) -> str:
    return (
        f"model {reference.name} has no {reference.alias} yet (tracking store {redacted(store_uri())}); "
        "train one: reviews-parsing train, then reviews-parsing promote"
    )
