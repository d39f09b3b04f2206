"""Corrections of predicted aspects: the store, and exchange with training data and Label Studio."""

from reviews_parsing.corrections.correction import Correction
from reviews_parsing.corrections.exchange import ImportReport, import_tasks, to_review, to_tasks
from reviews_parsing.corrections.store import (
    CorrectionConflict,
    CorrectionRevision,
    CorrectionStatus,
    CorrectionStore,
)

__all__ = [
    "Correction",
    "CorrectionConflict",
    "CorrectionRevision",
    "CorrectionStatus",
    "CorrectionStore",
    "ImportReport",
    "import_tasks",
    "to_review",
    "to_tasks",
]
