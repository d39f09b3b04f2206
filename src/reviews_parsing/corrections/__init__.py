"""Corrections: what people say a text's aspects are, beside what a model answered, and the store that keeps them."""

from reviews_parsing.corrections.correction import Correction
from reviews_parsing.corrections.store import Saved, Store
from reviews_parsing.errors import CorrectionConflict

__all__ = ["Correction", "CorrectionConflict", "Saved", "Store"]
