"""Connection to the tracking store: its address, a client with time limits, and its errors as one line.

`ARTIFACT` and `MODEL_FOLDER` are named by the code that is stored in every registered model (`pyfunc.py`).
"""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from reviews_parsing.errors import ModelError, ReviewsParsingError, TrackingError
from reviews_parsing.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

ARTIFACT = "ner_aspect"
MODEL_FOLDER = "parser"
SQLITE = "sqlite:///"
CONNECT_TIMEOUT_SECONDS = 8.0
DEFAULT_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306}
MAX_REASON_CHARACTERS = 300
CLIENT_ENVIRONMENT = {
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Standard output is a command's own, and often JSON.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # An MLflow server on an object store would hand out the store's own addresses, which clients outside its network
    # cannot reach. Artifacts pass through the server instead.
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
}
# MLflow's defaults retry a dead server for four minutes and wait for a silent one for fifteen.
TIME_LIMITS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
}
# The server is up, but may itself have to fetch a file before it sends the first byte.
DOWNLOAD_LIMITS = {**TIME_LIMITS, "MLFLOW_HTTP_REQUEST_TIMEOUT": "60"}
_NOT_FOUND = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND")
_ADVICE = {
    "database is locked": "another process is writing to it: try again",
    "not a database|malformed|disk image": "the file is damaged: restore a backup, or move it away to start anew",
    "disk is full|No space left": "free some disk space",
    "readonly|unable to open|Permission denied": "check that you may write there",
    "Can't locate revision|Detected out-of-date": "another MLflow release wrote it: install that release",
    "CERTIFICATE_VERIFY_FAILED|certificate verify failed": (
        "set MLFLOW_TRACKING_SERVER_CERT_PATH to the file of its authority's certificate"
    ),
}
_ARTIFACT_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
_environment_lock = threading.RLock()


@contextmanager
def tracking(limits: Mapping[str, str] = TIME_LIMITS) -> Iterator[MlflowClient]:
    """Yield a client of the configured tracking store.

    A store that is down or silent is reported within 15 seconds, unless `MLFLOW_HTTP_REQUEST_*` set other limits.
    Without `limits` only the connection is checked; MLflow's own retries then carry a training run over a short outage.
    Raises TrackingError if the store cannot be used, ModelError if it lacks what was asked for.
    """
    import logging

    for variable, value in CLIENT_ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    uri = tracking_uri()
    require_reachable(uri)
    if uri == default_uri():
        relocate_artifacts(Settings().home)
    import alembic.util
    import mlflow
    import sqlalchemy.exc
    from mlflow.exceptions import MlflowException

    # Importing MLflow sets its level to INFO; its log of migrations and versions is not for users.
    for logger in ("alembic", "mlflow", "urllib3.connectionpool"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    _select_store(uri)
    try:
        with _environment_defaults(limits):
            yield mlflow.MlflowClient()
    except ReviewsParsingError:
        raise
    except (MlflowException, OSError, sqlalchemy.exc.SQLAlchemyError, alembic.util.CommandError) as error:
        raise _translate(error, uri) from error


def tracking_uri() -> str:
    """Return `MLFLOW_TRACKING_URI`, or that of the local store, whose folder is created. Raises TrackingError."""
    home = Settings().home
    if not Settings().tracking_uri:
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrackingError(f"{home} cannot be created ({error.strerror}); set REVIEWS_PARSING_HOME") from error
    return store_uri()


def store_uri() -> str:
    """Return the same as `tracking_uri` without creating anything."""
    return Settings().tracking_uri or default_uri()


def default_uri() -> str:
    """Return the URI of the local store: SQLite in the home folder."""
    return f"{SQLITE}{Settings().home.resolve() / 'mlflow.db'}"


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a SQLite store, None for other stores."""
    return Path(uri.removeprefix(SQLITE)).resolve() if uri.startswith(SQLITE) else None


def artifact_location() -> str | None:
    """Return the artifact location of new experiments in the local store; None leaves it to the server."""
    return None if Settings().tracking_uri else (Settings().home.resolve() / "artifacts").as_uri()


def redacted(uri: str) -> str:
    """Return a URI, or a text with URIs, without passwords."""
    return re.sub(r"//[^/@\s]+@", "//", uri)


def relocate_artifacts(home: Path) -> None:
    """Rewrite the artifact paths in the local store if its home folder was copied or moved.

    MLflow stores absolute paths. Experiments that an earlier release located outside the home folder get their new
    artifacts inside it; artifacts that exist elsewhere stay. A store that cannot be written to is left unchanged.
    """
    home = home.resolve()
    database, artifacts = home / "mlflow.db", home / "artifacts"
    if not database.is_file():
        return
    with suppress(sqlite3.Error), closing(sqlite3.connect(database, timeout=5)) as store, store:
        rows = store.execute("SELECT name, artifact_location FROM experiments").fetchall()
        local = {name: _local_path(location) for name, location in rows if re.match("file:/|/", location or "")}
        outside = {name: path for name, path in local.items() if not path.is_relative_to(home)}
        former_homes = {path.parent for path in outside.values() if path.name == "artifacts" and artifacts.is_dir()}
        for former in former_homes:
            for old, new in (
                (former.as_uri(), home.as_uri()),
                (f"file://{former}", home.as_uri()),
                (str(former), str(home)),
            ):
                for table, column in _ARTIFACT_COLUMNS:
                    store.execute(
                        f"UPDATE {table} SET {column} = :new || SUBSTR({column}, LENGTH(:old) + 1) "
                        f"WHERE SUBSTR({column} || '/', 1, LENGTH(:old) + 11) = :old || '/artifacts/'",
                        {"old": old, "new": new},
                    )
        store.executemany(
            "UPDATE experiments SET artifact_location = ? WHERE name = ?",
            [(artifacts.as_uri(), name) for name, path in outside.items() if path.parent not in former_homes],
        )


def _local_path(location: str) -> Path:
    return Path(urllib.request.url2pathname(location.removeprefix("file://")))


def require_reachable(uri: str) -> None:
    """Raise TrackingError if a SQLite store is damaged or no server listens at `uri`.

    MLflow would retry both for minutes.
    """
    if file := sqlite_file(uri):
        try:
            if file.is_file():
                with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=5)) as store:
                    store.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        except sqlite3.Error as error:
            raise _translate(error, uri) from error
        return
    address = urlsplit(uri)
    port = address.port or DEFAULT_PORTS.get(address.scheme.split("+")[0])
    proxies = urllib.request.getproxies()
    uses_proxy = address.scheme in proxies and not urllib.request.proxy_bypass(address.hostname or "")
    if not address.hostname or port is None or uses_proxy or "MLFLOW_HTTP_REQUEST_MAX_RETRIES" in os.environ:
        return
    failure: list[str] = [f"no answer within {CONNECT_TIMEOUT_SECONDS:g} seconds"]

    def connect() -> None:
        try:
            socket.create_connection((address.hostname, port), CONNECT_TIMEOUT_SECONDS).close()
            failure.clear()
        except OSError as error:
            failure[:] = [error.strerror or str(error)]

    # A thread, because the time limit of a socket does not cover the resolution of its name.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(CONNECT_TIMEOUT_SECONDS + 1)
    if failure:
        raise TrackingError(_unusable(uri, f"{address.hostname}:{port}: {failure[0]}"))


def _translate(error: Exception, uri: str) -> ReviewsParsingError:
    """Return the error of a store as ModelError or TrackingError."""
    if getattr(error, "error_code", "") in _NOT_FOUND:
        return ModelError(f"{_reason(error)} (tracking store {redacted(uri)}); see `reviews-parsing models`")
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        return TrackingError(f"{error.filename}: {error.strerror}; {_advice(str(error)) or 'check that it is there'}")
    return TrackingError(_unusable(uri, _reason(error)))


def _unusable(uri: str, reason: str) -> str:
    advice = _advice(reason) or "check MLFLOW_TRACKING_URI and that the server is up"
    return f"tracking store {redacted(uri)} cannot be used ({reason}); {advice}"


def _reason(error: Exception) -> str:
    """Return the telling line of an error's text, by default the first, shortened at a word.

    Of a failed request it is the cause, which stands after the address.
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    line = next((line for line in lines if _advice(line)), lines[0])
    line = re.sub(r".*\(Caused by (.+)\)$", r"\1", line)
    return shorten(redacted(line), MAX_REASON_CHARACTERS, placeholder=" ...")


def _advice(text: str) -> str | None:
    return next((advice for pattern, advice in _ADVICE.items() if re.search(pattern, text)), None)


def _select_store(uri: str) -> None:
    """Select the store for MLflow's functions without a client.

    MLflow exports the URI to the environment as well, where `Settings` would take it for the user's choice.
    """
    import mlflow

    with _environment_lock:
        previous_uri = os.environ.get("MLFLOW_TRACKING_URI")
        mlflow.set_tracking_uri(uri)
        if previous_uri is None:
            os.environ.pop("MLFLOW_TRACKING_URI", None)
        else:
            os.environ["MLFLOW_TRACKING_URI"] = previous_uri


@contextmanager
def _environment_defaults(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables that are unset, for the block; MLflow reads them at each request."""
    with _environment_lock:
        added = {name: value for name, value in variables.items() if name not in os.environ}
        os.environ.update(added)
    try:
        yield
    finally:
        with _environment_lock:
            for name in added:
                os.environ.pop(name, None)
