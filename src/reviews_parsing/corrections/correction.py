"""Correction record: the labels a person gave a text, next to the model's prediction."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from reviews_parsing.data.labels import find_label_problems
from reviews_parsing.errors import DataError
from reviews_parsing.io.files import encode_utf8
from reviews_parsing.schema import Aspect, Review


@dataclass(frozen=True, slots=True)
class Correction:
    """Corrected aspects of a text, and the aspects that `version` of `model` predicted.

    `model` is None if there was no prediction, `version` if the model is an unregistered folder, `author` if the
    author is anonymous. `corrected_at` is timezone-aware.
    """

    text: str
    aspects: tuple[Aspect, ...]
    predicted_aspects: tuple[Aspect, ...]
    model: str | None = None
    version: str | None = None
    author: str | None = None
    corrected_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def normalize(self) -> Correction:
        """Validate the correction; return it with its time in UTC and without scores on the corrected aspects.

        Raises DataError if the text is blank or not encodable, if `text[start:end] != word` for an aspect or its
        opinion, or if two aspects overlap. Two aspects of different categories may share one span.
        """
        encode_utf8(self.text, "the correction")
        aspects = tuple(replace(aspect, score=None, polarity_score=None) for aspect in self.aspects)
        for problem in find_label_problems(Review("", self.text, aspects), categories=None):
            if problem.severity == "error" or problem.kind == "overlap":
                raise DataError(f"the correction is not saved: {problem.message}")
        return replace(self, aspects=aspects, corrected_at=self.corrected_at.astimezone(UTC))
