"""What is kept of a review: numbers, from which its text cannot be told.

Of the text its length, its tokens and its letters; of the answer how many aspects, which categories and polarities, how
sure; of the embedding where it lies along a few directions, and how far from all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from reviews_parsing.encoder import Logits
from reviews_parsing.parser import AspectParser, Prepared
from reviews_parsing.schema import ParsedReview, Taxonomy

Floats = npt.NDArray[np.floating[Any]]
# Of reviews, [reviews, names of the gauge]; nan where a review has none of that kind.
Numbers = npt.NDArray[np.float32]

OF_TEXT = ("words", "tokens_per_word", "unknown_tokens", "capitals", "foreign_characters")
OF_ANSWER = ("aspects", "score", "polarity_score")
DIRECTIONS = 8
CATEGORY, POLARITY = "category ", "polarity "
# Letters beyond have no case, but for a few that nobody writes.
CASED_BELOW = 0x3000
KNOWN, UPPER, LOWER = 1, 2, 4


@dataclass(frozen=True)
class Gauge:
    """What it takes to measure reviews: `alphabet` are the usual characters of the training reviews, `centre` [k] and
    `directions` [d, k] those of their embeddings; d and k are 0 for a model that gives none.
    """

    taxonomy: Taxonomy
    alphabet: str
    centre: Floats
    directions: Floats

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of the numbers, in their order."""
        along = [f"embedding_{i + 1}" for i in range(len(self.directions))]
        return (
            *OF_TEXT,
            *OF_ANSWER,
            *along,
            *(["embedding_distance"] if along else []),
            *(f"{CATEGORY}{name}" for name in self._categories),
            *(f"{POLARITY}{name}" for name in self.taxonomy.polarities),
        )

    def measure(
        self, parser: AspectParser, prepared: Prepared, logits: Logits, reviews: Sequence[ParsedReview]
    ) -> npt.NDArray[np.float32]:
        """Numbers of the texts of `prepared`, float32 [texts, names]; nan where a review has none of that kind.

        Categories and polarities are 1 where the review has an aspect of them, else 0; shares lie in [0, 1].
        """
        parts = [_of_tokens(prepared, parser.unknown_id), self._of_characters(prepared.texts), _of_answers(reviews)]
        if len(self.directions):
            parts.append(self._of_embeddings(parser.embeddings(prepared, logits)))
        return np.concatenate([*parts, self._mentions(reviews)], axis=1, dtype=np.float32)

    @cached_property
    def _categories(self) -> list[str]:
        return sorted({*self.taxonomy.categories, *self.taxonomy.implicit})

    @cached_property
    def _table(self) -> npt.NDArray[np.uint8]:
        """What is known of each code point."""
        table = np.zeros(0x110000, np.uint8)
        for code in range(CASED_BELOW):
            character = chr(code)
            table[code] = UPPER if character.isupper() else LOWER if character.islower() else 0
        table[[ord(character) for character in self.alphabet]] |= KNOWN
        return table

    def _of_characters(self, texts: Sequence[str]) -> Floats:
        """Share of capitals among letters that have a case, and of characters outside the alphabet."""
        codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
        kinds = self._table[codes]
        ends = np.cumsum([0, *map(len, texts)])

        def count(which: npt.NDArray[np.bool_]) -> Floats:
            return np.diff(np.concatenate([[0], np.cumsum(which)])[ends])

        upper, lower = count(kinds & UPPER > 0), count(kinds & LOWER > 0)
        return np.stack([_share(upper, upper + lower), _share(count(kinds & KNOWN == 0), np.diff(ends))], axis=1)

    def _of_embeddings(self, embeddings: Floats) -> Floats:
        off = embeddings - self.centre
        along = off @ self.directions.T
        rest = off - along @ self.directions
        return np.concatenate([along, np.linalg.norm(rest, axis=1, keepdims=True)], axis=1)

    def _mentions(self, reviews: Sequence[ParsedReview]) -> Floats:
        names = [*self._categories, *self.taxonomy.polarities]
        at = {name: i for i, name in enumerate(self._categories)}
        polarities = {name: len(at) + i for i, name in enumerate(self.taxonomy.polarities)}
        found = np.zeros((len(reviews), len(names)), np.float32)
        for row, review in zip(found, reviews, strict=True):
            for aspect in review.aspects:
                row[at[aspect.entity_group]] = 1
                if aspect.polarity is not None:
                    row[polarities[aspect.polarity]] = 1
        return found


def _of_tokens(prepared: Prepared, unknown: int | None) -> Floats:
    """Words, tokens in a word, and the share of tokens that stand for what the vocabulary lacks."""
    words = np.array([len(text.bounds) for text in prepared.tokenized], np.float32)
    tokens = np.array([len(text.ids) for text in prepared.tokenized], np.float32)
    strange = np.array([text.ids.count(unknown) if unknown is not None else 0 for text in prepared.tokenized])
    return np.stack([words, _share(tokens, words), _share(strange, tokens)], axis=1)


def _of_answers(reviews: Sequence[ParsedReview]) -> Floats:
    """How many aspects, and how sure of them and of their polarities, on average."""
    rows = []
    for review in reviews:
        scores = [a.score for a in review.aspects if a.score is not None]
        polarity_scores = [a.polarity_score for a in review.aspects if a.polarity_score is not None]
        rows.append((len(review.aspects), _mean(scores), _mean(polarity_scores)))
    return np.array(rows, np.float32).reshape(len(reviews), len(OF_ANSWER))


def _share(part: Floats, whole: Floats) -> Floats:
    """nan of nothing."""
    shares: Floats = np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
    return shares


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
