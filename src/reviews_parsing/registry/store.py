"""The tracking store: where it is, and its errors as ours."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from reviews_parsing.errors import ModelError, ReviewsParsingError, TrackingError
from reviews_parsing.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

ARTIFACT = "ner_aspect"
MODEL_FOLDER = "parser"


@contextmanager
def tracking() -> Iterator[MlflowClient]:
    """A client of the configured tracking store. Errors of the store leave it as TrackingError or ModelError."""
    import logging

    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow
    from mlflow.exceptions import MlflowException

    # Importing MLflow sets its level to INFO; what it says of its tables and versions is not what the user asked.
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)

    uri = tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
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
    """MLFLOW_TRACKING_URI, or SQLite in the local folder, which is made here."""
    settings = Settings()
    if settings.tracking_uri:
        return settings.tracking_uri
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrackingError(f"{settings.home} cannot be made ({error.strerror}); set REVIEWS_PARSING_HOME") from error
    return f"sqlite:///{settings.home.resolve() / 'mlflow.db'}"


def resolve(client: MlflowClient, uri: str) -> tuple[str, str]:
    """(name, version) of a `models:/` URI. Raises ModelError where the form is wrong or there is no such version."""
    match = re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))", uri)
    if match is None:
        raise ModelError(f"{uri} names no model; write models:/NAME@ALIAS or models:/NAME/VERSION")
    name, alias, number = match.groups()
    if number is not None:
        return name, number
    from mlflow.exceptions import MlflowException

    try:
        return name, str(client.get_model_version_by_alias(name, alias).version)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise ModelError(
                f"model {name} has no {alias} yet (tracking store {public(tracking_uri())}); "
                "train one: reviews-parsing train, then reviews-parsing promote"
            ) from error
        raise


def public(uri: str) -> str:
    """A URI without the password that it may hold."""
    return re.sub(r"//[^/@]+@", "//", uri)
