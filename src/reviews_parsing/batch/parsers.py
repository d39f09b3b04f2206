"""Protocols of the parsers that batch runs use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

from reviews_parsing.schema import ParsedReview


class ReviewParser(Protocol):
    """Anything that parses a stream of texts: `AspectParser`, or the client of a server."""

    def parse_iter(
        self, texts: Iterable[str], min_score: float = ..., spans_only: bool = ...
    ) -> Iterator[ParsedReview]:
        """Yield the review of each text, in their order."""


def identifies_languages(parser: ReviewParser) -> bool:
    """Return whether the reviews of a parser have a language; a parser that does not say so has none."""
    return bool(getattr(parser, "identifies_languages", False))


@runtime_checkable
class StoredParser(Protocol):
    """A parser whose model is a folder, which identifies it when a run is resumed and goes to the workers of Ray."""

    folder: Path
    version: str | None

    @property
    def engine(self) -> str:
        """Name of the inference engine."""
