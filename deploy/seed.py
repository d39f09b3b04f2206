"""What a new MLflow lacks: a user for the inference server, who may read, and a champion. What is there stays.

Reads MLFLOW_TRACKING_URI, _USERNAME and _PASSWORD (of an administrator), READER_USERNAME and READER_PASSWORD.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from mlflow.exceptions import RestException
from mlflow.server import get_app_client

from reviews_parsing import registry
from reviews_parsing.settings import MODEL_NAME

COMMAND = [sys.executable, "-m", "reviews_parsing.cli"]


def main() -> None:
    make_reader(os.environ["READER_USERNAME"], os.environ["READER_PASSWORD"])
    champion = registry.champion()
    if champion is None:
        # Trained on this machine, as `make up` does it, from the shipped corpus.
        print("no champion yet: training the default model", flush=True)
        trained = subprocess.run([*COMMAND, "train", "--json"], stdout=subprocess.PIPE, text=True, check=False)
        if trained.returncode != 0:
            sys.exit(trained.returncode)
        promoted = subprocess.run([*COMMAND, "promote", "--version", json.loads(trained.stdout)["version"]], check=False)
        if promoted.returncode != 0:
            sys.exit(promoted.returncode)
    else:
        print(f"champion of {MODEL_NAME}: version {champion.version}")


def make_reader(name: str, password: str) -> None:
    """A user, who may read what every user may; one that exists gets this password, in case its Secret was made anew."""
    users = get_app_client("basic-auth", tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    try:
        users.create_user(name, password)
        print(f"user {name} made")
    except RestException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        users.update_user_password(name, password)


if __name__ == "__main__":
    main()
