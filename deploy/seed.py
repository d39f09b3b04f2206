"""What a new MLflow lacks: a user for the inference server, who may read, and a champion. What is there stays.

Reads MLFLOW_TRACKING_URI, _USERNAME and _PASSWORD (of an administrator), READER_USERNAME and READER_PASSWORD.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request

from reviews_parsing import registry
from reviews_parsing.errors import ReviewsParsingError, TrackingError
from reviews_parsing.settings import MODEL_NAME

COMMAND = [sys.executable, "-m", "reviews_parsing.cli"]


def main() -> None:
    make_reader(os.environ["READER_USERNAME"], os.environ["READER_PASSWORD"])
    champion = registry.champion()
    if champion is None:
        make_champion()
    else:
        print(f"champion of {MODEL_NAME}: version {champion}")


def make_reader(name: str, password: str) -> None:
    """A user, who may read what every user may; one that is there gets this password: its Secret may be new."""
    user = {"username": name, "password": password}
    if _ask("POST", "create", user) == "RESOURCE_ALREADY_EXISTS":
        _ask("PATCH", "update-password", user)
    else:
        print(f"user {name} made")


def make_champion() -> None:
    """Trained on this machine from the shipped corpus, as `make up` does it."""
    print("no champion yet: training the default model", flush=True)
    trained = subprocess.run([*COMMAND, "train", "--json"], stdout=subprocess.PIPE, text=True, check=False)
    if trained.returncode != 0:
        sys.exit(trained.returncode)
    promoted = subprocess.run([*COMMAND, "promote", "--version", json.loads(trained.stdout)["version"]], check=False)
    if promoted.returncode != 0:
        sys.exit(promoted.returncode)


def _ask(method: str, what: str, body: dict[str, str]) -> str | None:
    """A request about MLflow's users; the code of its error where there is one that may be."""
    login = f"{os.environ['MLFLOW_TRACKING_USERNAME']}:{os.environ['MLFLOW_TRACKING_PASSWORD']}"
    request = urllib.request.Request(  # noqa: S310  (an address that we were given)
        f"{os.environ['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/users/{what}",
        method=method,
        data=json.dumps(body).encode(),
        headers={
            "Authorization": f"Basic {base64.b64encode(login.encode()).decode()}",
            "Content-Type": "application/json",
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=30):  # noqa: S310
            return None
    except urllib.error.HTTPError as error:
        said = error.read().decode(errors="replace")
        code = str(json.loads(said).get("error_code")) if said.startswith("{") else said.strip()
        if code == "RESOURCE_ALREADY_EXISTS":
            return code
        raise TrackingError(f"MLflow refused users/{what}: {error.code} {code}") from error


if __name__ == "__main__":
    try:
        main()
    except ReviewsParsingError as error:
        sys.exit(f"error: {error}")
