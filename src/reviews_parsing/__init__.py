"""Reads public reviews and returns their aspects: spans with category, polarity and a probability.

>>> from reviews_parsing import AspectParser
>>> AspectParser.load("models:/reviews-parsing-ner-aspects@champion").parse(["The pho was lovely."])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str
    from reviews_parsing.errors import DataError, ModelError, PromotionRefused, ReviewsParsingError, TrackingError
    from reviews_parsing.parser import AspectParser
    from reviews_parsing.schema import Aspect, Opinion, ParsedReview, Review, Taxonomy

_HOME = {
    "AspectParser": "parser",
    **dict.fromkeys(("Aspect", "Opinion", "ParsedReview", "Review", "Taxonomy"), "schema"),
    **dict.fromkeys(("DataError", "ModelError", "PromotionRefused", "ReviewsParsingError", "TrackingError"), "errors"),
}

__all__ = [
    "Aspect",
    "AspectParser",
    "DataError",
    "ModelError",
    "Opinion",
    "ParsedReview",
    "PromotionRefused",
    "Review",
    "ReviewsParsingError",
    "Taxonomy",
    "TrackingError",
]


def __getattr__(name: str) -> object:
    """Import a public name on first access, so that `import reviews_parsing` alone loads nothing heavy."""
    if name == "__version__":
        from importlib.metadata import version

        return version("reviews-parsing")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
