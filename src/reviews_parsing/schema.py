"""Data classes Review, Aspect, ParsedReview and Taxonomy, with their JSON and Arrow forms.

Offsets count Unicode code points of the original text, from 0, end exclusive: `text[start:end] == word`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from reviews_parsing.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

# IOB2 tags of opinion expressions: O, B, I.
OPINION_TAGS = 3
# Minimum number of labelled aspects from which unique mentions are inferred.
MIN_UNIQUE_ASPECTS = 1000


@dataclass(frozen=True, slots=True)
class Opinion:
    """Opinion expression: the words that judge an aspect."""

    word: str
    start: int
    end: int

    def to_json(self) -> dict[str, Any]:
        """Return the opinion as a JSON object."""
        return {"word": self.word, "start": self.start, "end": self.end}


@dataclass(frozen=True, slots=True)
class Aspect:
    """One judgement in a review: a category (`entity_group`), and usually a span, a polarity and an opinion.

    `word`, `start` and `end` are None for an implicit aspect ("Yum!"). `polarity` is None in data without polarities.
    `score` and `polarity_score` are probabilities in [0, 1], None in labels by people.
    """

    entity_group: str
    word: str | None = None
    start: int | None = None
    end: int | None = None
    polarity: str | None = None
    opinion: Opinion | None = None
    score: float | None = None
    polarity_score: float | None = None

    @property
    def span(self) -> tuple[int, int] | None:
        """(start, end), or None for an implicit aspect."""
        return None if self.start is None or self.end is None else (self.start, self.end)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form of a Hugging Face token-classification pipeline, with polarity and opinion if known."""
        form: dict[str, Any] = {"entity_group": self.entity_group}
        if self.score is not None:
            form["score"] = self.score
        form |= {"word": self.word, "start": self.start, "end": self.end}
        if self.polarity is not None:
            form["polarity"] = self.polarity
        if self.polarity_score is not None:
            form["polarity_score"] = self.polarity_score
        if self.opinion is not None:
            form["opinion"] = self.opinion.to_json()
        return form

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> Aspect:
        """Create an aspect from its JSON form. Raises DataError if a field is missing or has the wrong type."""
        if not isinstance(form, Mapping):
            raise DataError(f"an aspect must be an object, not {type(form).__name__}")
        group = _field(form, "entity_group", str)
        if group is None:
            raise DataError("an aspect has no 'entity_group'")
        opinion = _field(form, "opinion", Mapping)
        if opinion is not None:
            parts = (_field(opinion, "word", str), _field(opinion, "start", int), _field(opinion, "end", int))
            if None in parts:
                raise DataError("an aspect's 'opinion' needs 'word', 'start' and 'end'")
            opinion = Opinion(*parts)
        start, end = _field(form, "start", int), _field(form, "end", int)
        if (start is None) != (end is None):
            raise DataError(f"aspect {group}: 'start' and 'end' must be given together, or neither")
        score, polarity_score = (_field(form, name, (int, float)) for name in ("score", "polarity_score"))
        word, polarity = _field(form, "word", str), _field(form, "polarity", str)
        return cls(group, word, start, end, polarity, opinion, score, polarity_score)


@dataclass(frozen=True, slots=True)
class Review:
    """Text with its labelled aspects, if any; `meta` has the other fields of its source."""

    id: str
    text: str
    aspects: tuple[Aspect, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the review as a JSON object; fields of `meta` are at its top level."""
        return {"id": self.id, "text": self.text, "aspects": [a.to_json() for a in self.aspects], **self.meta}

    @classmethod
    def from_json(cls, form: Mapping[str, Any], default_id: str | None = None) -> Review:
        """Create a review from its JSON form; unknown keys become `meta`. Raises DataError if a field is invalid."""
        if not isinstance(form, Mapping):
            raise DataError(f"a review must be an object, not {type(form).__name__}")
        text = _field(form, "text", str)
        if text is None:
            raise DataError("a review has no 'text'")
        review_id = form.get("id", default_id)
        if review_id is None:
            raise DataError("a review has no 'id'")
        aspects = form.get("aspects", ())
        if not isinstance(aspects, list | tuple):
            raise DataError("'aspects' must be a list")
        meta = {key: value for key, value in form.items() if key not in ("id", "text", "aspects")}
        return cls(str(review_id), text, tuple(Aspect.from_json(a) for a in aspects), meta)


@dataclass(frozen=True, slots=True)
class ParsedReview:
    """Aspects of one text: explicit ones in text order, then implicit ones.

    `language` is an ISO 639 code, `und` if undetermined, or None if the model does not identify languages.
    The model does not read a `foreign` text: its aspects have scores of at most 0.5.
    """

    text: str
    aspects: tuple[Aspect, ...]
    language: str | None = field(default=None, compare=False)
    foreign: bool = field(default=False, compare=False)

    def only(self, min_score: float = 0.0, spans_only: bool = False) -> ParsedReview:
        """Return only aspects with a score of at least `min_score`; with `spans_only`, omit implicit aspects."""
        aspects = tuple(a for a in self.aspects if (a.score or 0.0) >= min_score and (a.span or not spans_only))
        return replace(self, aspects=aspects)

    def to_json(self) -> list[dict[str, Any]]:
        """Return the JSON forms of the aspects."""
        return [a.to_json() for a in self.aspects]


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """Sorted categories and polarities of labelled reviews or of a model trained on them.

    `categories` are those of explicit aspects, `implicit` those of implicit ones. `opinions` is true if aspects have
    opinion expressions, `multi_label` if a span may have several categories, `unique_mentions` if labels never repeat
    the same mention (`mention_key`) in a review.
    """

    categories: tuple[str, ...]
    polarities: tuple[str, ...] = ()
    implicit: tuple[str, ...] = ()
    opinions: bool = False
    multi_label: bool = False
    unique_mentions: bool = False

    @classmethod
    def of(cls, reviews: Iterable[Review]) -> Taxonomy:
        """Return the taxonomy of labelled reviews; its polarities are those of explicit aspects."""
        reviews = list(reviews)
        aspects = [a for review in reviews for a in review.aspects]
        return cls(
            tuple(sorted({a.entity_group for a in aspects if a.span})),
            tuple(sorted({a.polarity for a in aspects if a.span and a.polarity is not None})),
            tuple(sorted({a.entity_group for a in aspects if not a.span})),
            any(a.opinion for a in aspects),
            any(map(_is_multi_label, reviews)),
            len(aspects) >= MIN_UNIQUE_ASPECTS and all(map(_has_unique_mentions, reviews)),
        )

    def union(self, taxonomy: Taxonomy) -> Taxonomy:
        """Return the union with another taxonomy."""
        return Taxonomy(
            tuple(sorted({*self.categories, *taxonomy.categories})),
            tuple(sorted({*self.polarities, *taxonomy.polarities})),
            tuple(sorted({*self.implicit, *taxonomy.implicit})),
            self.opinions or taxonomy.opinions,
            self.multi_label or taxonomy.multi_label,
            self.unique_mentions and taxonomy.unique_mentions,
        )

    @property
    def tags(self) -> tuple[str, ...]:
        """IOB2 tags in the order of tag ids: O, then B- and I- of each category."""
        return ("O", *(f"{prefix}-{category}" for category in self.categories for prefix in "BI"))


def mention_key(aspect: Aspect) -> tuple[str, str, str | None]:
    """Return a key of repeated mentions: the words without case and plural, the category, the polarity."""
    words = (aspect.word or "").casefold().split()
    singular = " ".join(word.removesuffix("s") if len(word) > 3 else word for word in words)
    return singular, aspect.entity_group, aspect.polarity


def _has_unique_mentions(review: Review) -> bool:
    keys = [mention_key(aspect) for aspect in review.aspects if aspect.span]
    return len(set(keys)) == len(keys)


def _is_multi_label(review: Review) -> bool:
    pairs = {(a.span, a.entity_group) for a in review.aspects if a.span}
    return len({span for span, _ in pairs}) < len(pairs)


def aspects_arrow_type() -> pa.DataType:
    """Return the Arrow type of a column of parsed aspects: list<struct<entity_group, score, word, start, ...>>."""
    import pyarrow as pa

    words = [("word", pa.string()), ("start", pa.int32()), ("end", pa.int32())]
    aspect = [
        ("entity_group", pa.string()),
        ("score", pa.float32()),
        *words,
        ("polarity", pa.string()),
        ("polarity_score", pa.float32()),
        ("opinion", pa.struct(words)),
    ]
    return pa.list_(pa.struct(aspect))


def _field(form: Mapping[str, Any], name: str, kind: Any) -> Any:
    value = form.get(name)
    if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
        raise DataError(f"field '{name}' must not be {type(value).__name__} ({value!r:.60})")
    return value
