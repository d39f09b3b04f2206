"""The tracking store: where it is, what it knows of versions, and its errors as ours."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reviews_parsing.errors import ModelError, NoSuchAlias, ReviewsParsingError, TrackingError
from reviews_parsing.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

ARTIFACT = "ner_aspect"
MODEL_FOLDER = "parser"
SQLITE = "sqlite:///"
# Unset, MLflow goes on for four minutes where nobody answers and, where somebody is silent, for a quarter of an hour.
IMPATIENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
}


@dataclass(frozen=True, slots=True)
class Reference:
    """What `models:/NAME@ALIAS` or `models:/NAME/3` refers to; one of `alias` and `number` is None."""

    name: str
    alias: str | None
    number: str | None

    @classmethod
    def of(cls, uri: str) -> Reference:
        """Raises ModelError where the form is wrong."""
        match = re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))", uri)
        if match is None:
            raise ModelError(f"{uri} names no model; write models:/NAME@ALIAS or models:/NAME/VERSION")
        return cls(*match.groups())


@dataclass(frozen=True, slots=True)
class Resolved:
    """A version and the run that made it: two stores may both have a version 1, of different runs."""

    version: str
    run_id: str


@contextmanager
def tracking(patient: bool = True) -> Iterator[MlflowClient]:
    """A client of the configured tracking store. Errors of the store leave it as TrackingError or ModelError.

    Who is not patient gives up on a server within seconds, unless MLFLOW_HTTP_REQUEST_* say how long to try.
    """
    import logging

    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow
    from mlflow.exceptions import MlflowException

    # Importing MLflow sets its level to INFO; what it says of its tables and versions is not what the user asked.
    for name in ("alembic", "mlflow", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.ERROR)

    uri = tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        with _defaults({} if patient else IMPATIENT):
            yield mlflow.MlflowClient()
    except ReviewsParsingError:
        raise
    except (MlflowException, OSError) as error:
        reason = public(str(error).strip().splitlines()[0])[:300]
        if getattr(error, "error_code", "") in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND"):
            raise ModelError(f"{reason} (tracking store {public(uri)}); see `reviews-parsing models`") from error
        raise TrackingError(
            f"tracking store {public(uri)} cannot be used ({reason}); check MLFLOW_TRACKING_URI and that it is up"
        ) from error


def tracking_uri() -> str:
    """Return MLFLOW_TRACKING_URI, or SQLite in the local folder, which is made here. Raises TrackingError."""
    home = Settings().home
    if not Settings().tracking_uri:
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrackingError(f"{home} cannot be made ({error.strerror}); set REVIEWS_PARSING_HOME") from error
    return store_uri()


def store_uri() -> str:
    """Return what `tracking_uri` does, and make nothing."""
    settings = Settings()
    return settings.tracking_uri or f"{SQLITE}{settings.home.resolve() / 'mlflow.db'}"


def glance(wanted: Reference) -> Resolved | None:
    """Ask the store without MLflow, a hundred times faster, if it is a SQLite file of the known form; else return None.

    Raises NoSuchAlias if the store is not made yet, or has no such alias.
    """
    uri = store_uri()
    if not uri.startswith(SQLITE):
        return None
    file = Path(uri.removeprefix(SQLITE)).resolve()
    if not file.is_file():
        if wanted.alias and not Settings().tracking_uri:
            raise NoSuchAlias(_no_alias(wanted))
        return None
    query = """
        SELECT version, run_id FROM model_versions
        WHERE name = :name AND current_stage <> 'Deleted_Internal' AND version IN (
            SELECT CAST(:number AS INTEGER)
            UNION SELECT version FROM registered_model_aliases WHERE name = :name AND alias = :alias
        )
    """
    sought = {"name": wanted.name, "alias": wanted.alias, "number": wanted.number}
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=1)) as store:
            found = store.execute(query, sought).fetchall()
    except sqlite3.Error:
        return None
    if not found and wanted.alias:
        raise NoSuchAlias(_no_alias(wanted))
    return Resolved(str(found[0][0]), found[0][1] or "") if len(found) == 1 else None


def resolve(client: MlflowClient, wanted: Reference) -> Resolved:
    """What `wanted` means now. Raises ModelError where there is no such version."""
    from mlflow.exceptions import MlflowException

    try:
        if wanted.alias is None:
            found = client.get_model_version(wanted.name, wanted.number)
        else:
            found = client.get_model_version_by_alias(wanted.name, wanted.alias)
    except MlflowException as error:
        if wanted.alias and error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise NoSuchAlias(_no_alias(wanted)) from error
        raise
    return Resolved(str(found.version), found.run_id or "")


def _no_alias(wanted: Reference) -> str:
    return (
        f"model {wanted.name} has no {wanted.alias} yet (tracking store {public(store_uri())}); "
        "train one: reviews-parsing train, then reviews-parsing promote"
    )


def public(uri: str) -> str:
    """A URI without the password that it may hold."""
    return re.sub(r"//[^/@]+@", "//", uri)


@contextmanager
def _defaults(variables: dict[str, str]) -> Iterator[None]:
    """Environment variables for a while, where they are unset: MLflow reads them at each request."""
    ours = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)
