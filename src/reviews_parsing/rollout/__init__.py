"""A registered version onto a cluster: KServe's InferenceService, canary, promotion, undo.

Nothing of the Kubernetes client is imported before it is needed. How it works: docs/how-to/rollout.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from reviews_parsing.rollout.plan import Canary, Plan, Predictor

if TYPE_CHECKING:
    from reviews_parsing.rollout.cluster import Service
    from reviews_parsing.rollout.prometheus import Prometheus
    from reviews_parsing.rollout.steps import Status, promote, start, status, undo
    from reviews_parsing.rollout.watch import duration, hold

_HOME = {
    "Service": "cluster",
    "Prometheus": "prometheus",
    **dict.fromkeys(("Status", "promote", "start", "status", "undo"), "steps"),
    **dict.fromkeys(("duration", "hold"), "watch"),
}

__all__ = [
    "Canary",
    "Plan",
    "Predictor",
    "Prometheus",
    "Service",
    "Status",
    "duration",
    "hold",
    "promote",
    "start",
    "status",
    "undo",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
