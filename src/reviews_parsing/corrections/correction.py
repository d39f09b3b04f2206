"""What somebody says of a text that a model had answered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from reviews_parsing.data.labels import problems
from reviews_parsing.errors import DataError
from reviews_parsing.io.files import encode_utf8
from reviews_parsing.schema import Aspect, Review


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Correction:
    """`aspects` are those of the text as corrected, `answer` those that version `version` of `model` gave.

    `model` is None where none had answered, `version` where it has none (a folder), `author` where nobody said who they
    are. `at` is a time with its zone.
    """

    text: str
    aspects: tuple[Aspect, ...]
    answer: tuple[Aspect, ...]
    model: str | None = None
    version: str | None = None
    author: str | None = None
    at: datetime = field(default_factory=_now)

    def checked(self) -> Correction:
        """The correction as it is kept: a person's labels have no scores, and its time is UTC.

        Raises DataError where the text is blank or cannot be stored, where `text[start:end] == word` does not hold of
        an aspect or its opinion, or where two aspects share a character; two categories may share a span.
        """
        encode_utf8(self.text, "the correction")
        aspects = as_labelled(self.aspects)
        for problem in problems(Review("", self.text, aspects), None):
            if problem.severity == "error" or problem.kind == "overlap":
                raise DataError(f"the correction is not saved: {problem.message}")
        return replace(self, aspects=aspects, at=self.at.astimezone(UTC))


def as_labelled(aspects: Iterable[Aspect]) -> tuple[Aspect, ...]:
    """Aspects without the probabilities that only models give."""
    return tuple(replace(aspect, score=None, polarity_score=None) for aspect in aspects)
