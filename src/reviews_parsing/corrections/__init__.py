"""Corrections: what people say a text's aspects are, beside what a model answered, and the store that keeps them."""

from reviews_parsing.corrections.correction import Correction
from reviews_parsing.corrections.exchange import Imported, as_review, as_tasks, import_tasks
from reviews_parsing.corrections.store import Saved, Store
from reviews_parsing.errors import CorrectionConflict

__all__ = [
    "Correction",
    "CorrectionConflict",
    "Imported",
    "Saved",
    "Store",
    "as_review",
    "as_tasks",
    "import_tasks",
]
