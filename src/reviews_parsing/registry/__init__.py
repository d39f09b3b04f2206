"""Runs, versions and the champion, on MLflow: the only room that talks to it.

Unset, tracking is SQLite and files under `REVIEWS_PARSING_HOME`; `MLFLOW_TRACKING_URI` moves it to a server.
"""

from reviews_parsing.registry.fetch import fetch
from reviews_parsing.registry.gate import Verdict, promote, require
from reviews_parsing.registry.hub import push_to_hub
from reviews_parsing.registry.runs import RunLog, train
from reviews_parsing.registry.store import ARTIFACT, MODEL_FOLDER, tracking, tracking_uri
from reviews_parsing.registry.versions import Version, champion, crown, register, rollback, versions

__all__ = [
    "ARTIFACT",
    "MODEL_FOLDER",
    "RunLog",
    "Verdict",
    "Version",
    "champion",
    "crown",
    "fetch",
    "promote",
    "push_to_hub",
    "register",
    "require",
    "rollback",
    "tracking",
    "tracking_uri",
    "train",
    "versions",
]
