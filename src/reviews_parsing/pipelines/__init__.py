"""Pipelines: what joins training, evaluation and the registry."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reviews_parsing.pipelines.hub import push_to_hub
    from reviews_parsing.pipelines.promotion import Verdict, promote, require
    from reviews_parsing.pipelines.publication import Published, publish
    from reviews_parsing.pipelines.training import TrainedRun, foundation_checkpoint, log_evaluation, train

# Imported on first use: the gate needs none of what training imports.
_HOME = {
    "push_to_hub": "hub",
    **dict.fromkeys(("Verdict", "promote", "require"), "promotion"),
    **dict.fromkeys(("Published", "publish"), "publication"),
    **dict.fromkeys(("TrainedRun", "foundation_checkpoint", "log_evaluation", "train"), "training"),
}

__all__ = [
    "Published",
    "TrainedRun",
    "Verdict",
    "foundation_checkpoint",
    "log_evaluation",
    "promote",
    "publish",
    "push_to_hub",
    "require",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
