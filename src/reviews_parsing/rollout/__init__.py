"""Rollout of a registered version to a cluster: KServe's InferenceService, canary, promotion, undo.

The Kubernetes client is imported on first use. The how-to is docs/how-to/rollout.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from reviews_parsing.rollout.plan import Canary, Predictor, RolloutPlan

if TYPE_CHECKING:
    from reviews_parsing.rollout.cluster import Service
    from reviews_parsing.rollout.comparison import (
        Agreement,
        compared_version,
        read_agreement,
        start_comparison,
        stop_comparison,
    )
    from reviews_parsing.rollout.deployment import CanaryDeployment
    from reviews_parsing.rollout.prometheus import Prometheus
    from reviews_parsing.rollout.steps import Status, promote, start, status, undo
    from reviews_parsing.rollout.watch import duration, watch_canary

_HOME = {
    "Service": "cluster",
    **dict.fromkeys(
        ("Agreement", "compared_version", "read_agreement", "start_comparison", "stop_comparison"), "comparison"
    ),
    "CanaryDeployment": "deployment",
    "Prometheus": "prometheus",
    **dict.fromkeys(("Status", "promote", "start", "status", "undo"), "steps"),
    **dict.fromkeys(("duration", "watch_canary"), "watch"),
}

__all__ = [
    "Agreement",
    "Canary",
    "CanaryDeployment",
    "Predictor",
    "Prometheus",
    "RolloutPlan",
    "Service",
    "Status",
    "compared_version",
    "duration",
    "promote",
    "read_agreement",
    "start",
    "start_comparison",
    "status",
    "stop_comparison",
    "undo",
    "watch_canary",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
