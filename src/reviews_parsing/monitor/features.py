"""Features of a review for drift detection: numbers from which the text cannot be reconstructed.

They describe the text (length, tokens, letters), the prediction (aspects, categories, polarities, scores) and the
position of the embedding along a few principal components.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from reviews_parsing.encoder import Logits
from reviews_parsing.parser import AspectParser, Prepared
from reviews_parsing.schema import ParsedReview, Taxonomy

Floats = npt.NDArray[np.floating[Any]]
Features = npt.NDArray[np.float32]
"""Features of reviews, [reviews, features]; nan where a feature is undefined for a review."""

TEXT_FEATURES = ("words", "tokens_per_word", "unknown_tokens", "capitals", "foreign_characters")
PREDICTION_FEATURES = ("aspects", "score", "polarity_score")
FOREIGN = "foreign"
"""1 if the text is in a language that the model does not read, else 0; nan if the model identifies no languages."""
COMPONENTS = 8
"""Principal components of the embedding that become features."""
CATEGORY_PREFIX, POLARITY_PREFIX = "category ", "polarity "
# Nearly all letters above this code point are caseless.
CASED_BELOW = 0x3000
IN_ALPHABET, UPPER, LOWER = 1, 2, 4


def is_binary(feature: str) -> bool:
    """Return whether the feature is 0 or 1: a foreign language, or the presence of a category or polarity."""
    return feature == FOREIGN or feature.startswith((CATEGORY_PREFIX, POLARITY_PREFIX))


@dataclass(frozen=True)
class FeatureExtractor:
    """Computes the features of reviews.

    `alphabet` holds common characters of the training reviews; `centre` [k] and `components` [d, k] are the mean and
    the principal components of their embeddings. d and k are 0 for a model without embeddings.
    """

    taxonomy: Taxonomy
    alphabet: str
    centre: Floats
    components: Floats

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the features, in the order of the columns."""
        components = [f"embedding_{i + 1}" for i in range(len(self.components))]
        return (
            *TEXT_FEATURES,
            *PREDICTION_FEATURES,
            FOREIGN,
            *components,
            *(["embedding_distance"] if components else []),
            *(f"{CATEGORY_PREFIX}{name}" for name in self._categories),
            *(f"{POLARITY_PREFIX}{name}" for name in self.taxonomy.polarities),
        )

    def extract(self, parser: AspectParser, texts: Iterable[str]) -> Features:
        """Parse the texts and return their features, [texts, features]."""
        batches = [
            self.from_predictions(parser, prepared, logits, parser.finish(prepared, logits))
            for prepared, logits in parser.encoded(texts)
        ]
        return np.concatenate(batches)

    def from_predictions(
        self, parser: AspectParser, prepared: Prepared, logits: Logits, reviews: Sequence[ParsedReview]
    ) -> Features:
        """Return the features of a parsed batch, float32 [texts, features]. Shares lie in [0, 1]."""
        parts = [
            _token_features(prepared, parser.unknown_id),
            self._character_features(prepared.texts),
            _prediction_features(reviews),
            _foreign_feature(reviews),
        ]
        if len(self.components):
            parts.append(self._embedding_features(parser.embeddings(prepared, logits)))
        return np.concatenate([*parts, self._presence_features(reviews)], axis=1, dtype=np.float32)

    @cached_property
    def _categories(self) -> list[str]:
        return sorted({*self.taxonomy.categories, *self.taxonomy.implicit})

    @cached_property
    def _character_flags(self) -> npt.NDArray[np.uint8]:
        """Bit flags (case, membership in the alphabet) by code point."""
        flags = np.zeros(0x110000, np.uint8)
        for code in range(CASED_BELOW):
            character = chr(code)
            flags[code] = UPPER if character.isupper() else LOWER if character.islower() else 0
        flags[[ord(character) for character in self.alphabet]] |= IN_ALPHABET
        return flags

    def _character_features(self, texts: Sequence[str]) -> Floats:
        """Return the share of capitals among cased letters, and of characters outside the alphabet."""
        codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
        flags = self._character_flags[codes]
        ends = np.cumsum([0, *map(len, texts)])

        def count(mask: npt.NDArray[np.bool_]) -> Floats:
            return np.diff(np.concatenate([[0], np.cumsum(mask)])[ends])

        upper, lower = count(flags & UPPER > 0), count(flags & LOWER > 0)
        foreign = count(flags & IN_ALPHABET == 0)
        return np.stack([_ratio(upper, upper + lower), _ratio(foreign, np.diff(ends))], axis=1)

    def _embedding_features(self, embeddings: Floats) -> Floats:
        centred = embeddings - self.centre
        coordinates = centred @ self.components.T
        residual = centred - coordinates @ self.components
        return np.concatenate([coordinates, np.linalg.norm(residual, axis=1, keepdims=True)], axis=1)

    def _presence_features(self, reviews: Sequence[ParsedReview]) -> Floats:
        columns = {name: i for i, name in enumerate(self._categories)}
        polarity_columns = {name: len(columns) + i for i, name in enumerate(self.taxonomy.polarities)}
        presence = np.zeros((len(reviews), len(columns) + len(polarity_columns)), np.float32)
        for row, review in zip(presence, reviews, strict=True):
            for aspect in review.aspects:
                row[columns[aspect.entity_group]] = 1
                if aspect.polarity is not None:
                    row[polarity_columns[aspect.polarity]] = 1
        return presence


def _token_features(prepared: Prepared, unknown_id: int | None) -> Floats:
    """Return the number of words, tokens per word, and the share of unknown tokens."""
    words = np.array([len(text.bounds) for text in prepared.tokenized], np.float32)
    tokens = np.array([len(text.ids) for text in prepared.tokenized], np.float32)
    unknown = np.array([text.ids.count(unknown_id) if unknown_id is not None else 0 for text in prepared.tokenized])
    return np.stack([words, _ratio(tokens, words), _ratio(unknown, tokens)], axis=1)


def _prediction_features(reviews: Sequence[ParsedReview]) -> Floats:
    """Return the number of aspects, their mean score, and their mean polarity score."""
    rows = []
    for review in reviews:
        scores = [a.score for a in review.aspects if a.score is not None]
        polarity_scores = [a.polarity_score for a in review.aspects if a.polarity_score is not None]
        rows.append((len(review.aspects), _mean(scores), _mean(polarity_scores)))
    return np.array(rows, np.float32).reshape(len(reviews), len(PREDICTION_FEATURES))


def _foreign_feature(reviews: Sequence[ParsedReview]) -> Floats:
    values = [float("nan") if review.language is None else float(review.foreign) for review in reviews]
    return np.array(values, np.float32)[:, None]


def _ratio(part: Floats, whole: Floats) -> Floats:
    """Divide element-wise; nan where `whole` is 0."""
    ratio: Floats = np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
    return ratio


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
