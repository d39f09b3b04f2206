"""Write-once logs: numbered entries that at most one process can write, on every store that MLflow has.

MLflow has no compare-and-set, but a parameter of a run can be logged once only. The parameters `PREFIX.000001`,
`PREFIX.000002`, ... of one run are therefore a log: of several writers of the next number, all but one are refused.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reviews_parsing.errors import ModelError

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOG_RUN_TAG = "champion_log_run"
"""Tag of a registered model: the run that holds its logs."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A document of a log and its number, counted from 1."""

    number: int
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class WriteOnceLog:
    """The log `prefix` of a run."""

    client: MlflowClient
    run_id: str
    prefix: str

    def newest(self) -> Entry | None:
        """Return the newest entry, None if the log is empty or the run was deleted for good."""
        from mlflow.exceptions import MlflowException

        try:
            parameters = self.client.get_run(self.run_id).data.params
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        numbers = [int(key.rpartition(".")[2]) for key in parameters if key.startswith(f"{self.prefix}.")]
        return Entry(max(numbers), json.loads(parameters[self._key(max(numbers))])) if numbers else None

    def append(self, number: int, document: dict[str, Any]) -> bool:
        """Write entry `number`; False if another process has written it."""
        from mlflow.exceptions import MlflowException

        try:
            # The token tells two processes apart that write the same document.
            value = json.dumps({**document, "token": secrets.token_hex(8)})
            self.client.log_param(self.run_id, self._key(number), value)
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            return False
        return True

    def _key(self, number: int) -> str:
        return f"{self.prefix}.{number:06d}"


def find_log_run(client: MlflowClient, name: str) -> str | None:
    """Return the run that holds the logs of a registered model, None if no log exists yet."""
    run_id = client.get_registered_model(name).tags.get(LOG_RUN_TAG)
    return str(run_id) if run_id else None


def choose_log_run(client: MlflowClient, name: str) -> str:
    """Return the run that the logs of a registered model are written to.

    If it does not exist or was deleted, it is the run of the oldest version, so that all processes choose the same.
    Raises ModelError if no version has a run.
    """
    run_id = find_log_run(client, name)
    if run_id and _is_active(client, run_id):
        return run_id
    versions = sorted(client.search_model_versions(f"name = '{name}'"), key=lambda version: int(version.version))
    for version in versions:
        if version.run_id and _is_active(client, version.run_id):
            client.set_registered_model_tag(name, LOG_RUN_TAG, version.run_id)
            return str(version.run_id)
    raise ModelError(f"no version of {name} has a run, which would keep the log of champions; register a trained model")


def _is_active(client: MlflowClient, run_id: str) -> bool:
    return bool(client.get_run(run_id).info.lifecycle_stage == "active")
