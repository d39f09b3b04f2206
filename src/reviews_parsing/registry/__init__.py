"""Runs, versions and the champion, on MLflow: the only room that talks to it.

Unset, tracking is SQLite and files under `REVIEWS_PARSING_HOME`; `MLFLOW_TRACKING_URI` moves it to a server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from reviews_parsing.registry.fetch import fetch
from reviews_parsing.registry.store import ARTIFACT, MODEL_FOLDER, tracking, tracking_uri
from reviews_parsing.registry.versions import Version, challenger, champion, crown, register, rollback, versions

if TYPE_CHECKING:
    from reviews_parsing.registry.gate import Verdict, promote, require
    from reviews_parsing.registry.hub import push_to_hub
    from reviews_parsing.registry.runs import RunLog, log_evaluation, train

# Loaded when asked for: serving needs none of these, and what they import takes longer than to find a version.
_HOME = {
    **dict.fromkeys(("Verdict", "promote", "require"), "gate"),
    "push_to_hub": "hub",
    **dict.fromkeys(("RunLog", "log_evaluation", "train"), "runs"),
}

__all__ = [
    "ARTIFACT",
    "MODEL_FOLDER",
    "RunLog",
    "Verdict",
    "Version",
    "challenger",
    "champion",
    "crown",
    "fetch",
    "log_evaluation",
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


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
