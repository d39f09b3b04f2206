"""Pipelines over training, evaluation and the registry: train, evaluate, publish, promote, retrain."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reviews_parsing.pipelines.evaluation import EvaluationReport, evaluate_model, log_evaluation
    from reviews_parsing.pipelines.gate import Verdict, promote, require
    from reviews_parsing.pipelines.publication import Published, publish, push_to_hub
    from reviews_parsing.pipelines.references import (
        ReferenceSet,
        add_reference_set,
        list_reference_sets,
        remove_reference_set,
    )
    from reviews_parsing.pipelines.retraining import Decision, RetrainingOutcome, Triggers, retrain
    from reviews_parsing.pipelines.training import TrainedRun, find_checkpoint, train

# Imported on first use: the gate works without the packages of training.
_MODULES = {
    "evaluation": ("EvaluationReport", "evaluate_model", "log_evaluation"),
    "gate": ("Verdict", "promote", "require"),
    "publication": ("Published", "publish", "push_to_hub"),
    "references": ("ReferenceSet", "add_reference_set", "list_reference_sets", "remove_reference_set"),
    "retraining": ("Decision", "RetrainingOutcome", "Triggers", "retrain"),
    "training": ("TrainedRun", "find_checkpoint", "train"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Decision",
    "EvaluationReport",
    "Published",
    "ReferenceSet",
    "RetrainingOutcome",
    "TrainedRun",
    "Triggers",
    "Verdict",
    "add_reference_set",
    "evaluate_model",
    "find_checkpoint",
    "list_reference_sets",
    "log_evaluation",
    "promote",
    "publish",
    "push_to_hub",
    "remove_reference_set",
    "require",
    "retrain",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
