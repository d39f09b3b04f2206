"""Create users, rights, experiments and a champion in a new MLflow. Idempotent.

Reads MLFLOW_TRACKING_URI, _USERNAME and _PASSWORD (of an administrator), and for each role READER (the inference
server), TRAINER (retraining), GATE and PROMOTER (pipelines; optional) ROLE_USERNAME and ROLE_PASSWORD. All of them may
read; trainer and promoter may also change the registered model and the experiment, which holds the log of champions,
the trainer that of its retrainings. Only the administrator may create experiments and models: MLflow has workspaces
enabled, without which every user might.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import sys
import urllib.error
import urllib.request

from reviews_parsing import registry
from reviews_parsing.errors import ReviewsParsingError, TrackingError
from reviews_parsing.registry.runs import REFERENCE_SETS, RETRAINING, ensure_experiment, name_experiment
from reviews_parsing.registry.store import tracking
from reviews_parsing.settings import MODEL_NAME, Settings

COMMAND = [sys.executable, "-m", "reviews_parsing.cli"]
EXISTS = "RESOURCE_ALREADY_EXISTS"


def main() -> None:
    """Create the users, their rights and the first champion."""
    roles = [role for role in ("READER", "TRAINER", "GATE", "PROMOTER") if role == "READER" or name_of(role)]
    for role in roles:
        make_user(os.environ[f"{role}_USERNAME"], os.environ[f"{role}_PASSWORD"])
        for kind in ("experiment", "registered_model"):
            grant(name_of(role), kind, "*", "READ")
    champion = registry.champion()
    if champion is None:
        make_champion()
    else:
        print(f"champion of {MODEL_NAME}: version {champion}")
    with tracking() as client:
        names = (Settings().experiment, name_experiment(RETRAINING), name_experiment(REFERENCE_SETS))
        project, retraining, _ = (ensure_experiment(client, name) for name in names)
    for role in ("TRAINER", "PROMOTER"):
        if role in roles:
            grant(name_of(role), "registered_model", MODEL_NAME, "EDIT")
            grant(name_of(role), "experiment", project, "EDIT")
    if "TRAINER" in roles:
        grant(name_of("TRAINER"), "experiment", retraining, "EDIT")


def name_of(role: str) -> str:
    """Return the user of a role, empty without one."""
    return os.environ.get(f"{role}_USERNAME", "")


def make_user(name: str, password: str) -> None:
    """Make a user; an existing one gets this password: its Secret may be new."""
    user = {"username": name, "password": password}
    if _ask("POST", "users/create", user) == EXISTS:
        _ask("PATCH", "users/update-password", user)
    else:
        print(f"user {name} made")


def grant(user: str, kind: str, resource: str, permission: str) -> None:
    """Give a user a permission for a resource, or for all of its kind (`*`)."""
    right = {"username": user, "resource_type": kind, "resource_id": resource, "permission": permission}
    _ask("POST", "users/permissions/grant", right, version="3.0")


def make_champion() -> None:
    """Register the model that ships with the package and promote it, as `make up` does."""
    print("no champion yet: registering the pretrained model", flush=True)
    registered = subprocess.run([*COMMAND, "register", "--json"], stdout=subprocess.PIPE, text=True, check=False)
    if registered.returncode != 0:
        sys.exit(registered.returncode)
    promoted = subprocess.run([*COMMAND, "promote", "--version", json.loads(registered.stdout)["version"]], check=False)
    if promoted.returncode != 0:
        sys.exit(promoted.returncode)


def _ask(method: str, path: str, body: dict[str, str], version: str = "2.0") -> str | None:
    """Send a request about users or permissions; return the code of its error if the object exists, else None."""
    login = f"{os.environ['MLFLOW_TRACKING_USERNAME']}:{os.environ['MLFLOW_TRACKING_PASSWORD']}"
    request = urllib.request.Request(  # noqa: S310  (an address that we were given)
        f"{os.environ['MLFLOW_TRACKING_URI']}/api/{version}/mlflow/{path}",
        method=method,
        data=json.dumps(body).encode(),
        headers={
            "Authorization": f"Basic {base64.b64encode(login.encode()).decode()}",
            "Content-Type": "application/json",
        },
    )
    trust = ssl.create_default_context(cafile=os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH"))
    try:
        with urllib.request.urlopen(request, timeout=30, context=trust):  # noqa: S310
            return None
    except urllib.error.HTTPError as error:
        answer = error.read().decode(errors="replace")
        code = str(json.loads(answer).get("error_code")) if answer.startswith("{") else answer.strip()
        if code == EXISTS:
            return code
        raise TrackingError(f"MLflow refused {path}: {error.code} {code}") from error


if __name__ == "__main__":
    try:
        main()
    except ReviewsParsingError as error:
        sys.exit(f"error: {error}")
