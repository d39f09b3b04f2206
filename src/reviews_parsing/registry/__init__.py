"""Runs, registered versions and the champion, on MLflow; no other package talks to MLflow.

By default the store is SQLite and files under `REVIEWS_PARSING_HOME`; `MLFLOW_TRACKING_URI` names a server instead.
"""

from __future__ import annotations

from reviews_parsing.registry.champion import challenger, champion, read_champion, rollback, set_champion
from reviews_parsing.registry.fetch import fetch, locate
from reviews_parsing.registry.runs import mark_killed_runs
from reviews_parsing.registry.store import ARTIFACT, MODEL_FOLDER, tracking, tracking_uri
from reviews_parsing.registry.versions import Version, register, sign_model, versions

__all__ = [
    "ARTIFACT",
    "MODEL_FOLDER",
    "Version",
    "challenger",
    "champion",
    "fetch",
    "locate",
    "mark_killed_runs",
    "read_champion",
    "register",
    "rollback",
    "set_champion",
    "sign_model",
    "tracking",
    "tracking_uri",
    "versions",
]
