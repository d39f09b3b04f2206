"""Runs, versions and the champion, on MLflow: the only room that talks to it.

Unset, tracking is SQLite and files under `REVIEWS_PARSING_HOME`; `MLFLOW_TRACKING_URI` moves it to a server.
"""

from __future__ import annotations

from reviews_parsing.registry.fetch import fetch, locate
from reviews_parsing.registry.store import ARTIFACT, MODEL_FOLDER, tracking, tracking_uri
from reviews_parsing.registry.versions import Version, challenger, champion, register, rollback, set_champion, versions

__all__ = [
    "ARTIFACT",
    "MODEL_FOLDER",
    "Version",
    "challenger",
    "champion",
    "fetch",
    "locate",
    "register",
    "rollback",
    "set_champion",
    "tracking",
    "tracking_uri",
    "versions",
]
