"""Checks of the labels of one review: offsets, overlaps, categories, tags."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import combinations, pairwise
from typing import Literal, NamedTuple

from reviews_parsing.io.encoded_values import encoded_type
from reviews_parsing.io.mojibake import find_mojibake
from reviews_parsing.schema import Aspect, Review
from reviews_parsing.tagging import words

Severity = Literal["error", "warning"]


class LabelWarning(UserWarning):
    """A part of a file of labels that is not read."""


class LabelProblem(NamedTuple):
    """A problem of a label; an error makes the label wrong or unusable, a warning needs a look."""

    kind: str
    message: str
    severity: Severity = "error"


def find_label_problems(review: Review, categories: Collection[str] | None) -> Iterator[LabelProblem]:
    """Yield all problems within the review; unknown categories are problems only if `categories` are given."""
    if not review.text.strip():
        yield LabelProblem("empty", "the text is empty: remove the review or give its text")
    if kind := encoded_type(review.text):
        yield LabelProblem("text", f"the text is {kind} as a string: give the text itself")
    if description := find_mojibake(review.text):
        message = f"the text holds characters of a wrong encoding ({description}): export the file as UTF-8 again"
        yield LabelProblem("encoding", message, "warning")
    inside_words = {i for start, end in words(review.text) for i in range(start + 1, end)} if review.aspects else set()
    for aspect in review.aspects:
        yield from _check_aspect(review.text, aspect, inside_words)
        if not aspect.entity_group.strip() or (aspect.polarity is not None and not aspect.polarity.strip()):
            kind = "category" if not aspect.entity_group.strip() else "polarity"
            yield LabelProblem(
                "category", f"{aspect.word!r} has an empty {kind}: give its name, or leave the label out"
            )
        if aspect.opinion is not None:
            opinion = aspect.opinion
            yield from _check_span("opinion", "opinion", review.text, opinion.word, opinion.start, opinion.end)
        if categories is not None and aspect.entity_group not in categories:
            names = ", ".join(sorted(categories))
            yield LabelProblem("category", f"category '{aspect.entity_group}' is not one of {names}")
    yield from _check_overlaps(review.aspects)
    yield from _check_tags(review)


def _check_aspect(text: str, aspect: Aspect, inside_words: set[int]) -> Iterator[LabelProblem]:
    if aspect.start is None or aspect.end is None:
        if aspect.word is not None:
            yield LabelProblem("offsets", f"'{aspect.word}' has no offsets: give its start and end, or no word")
        return
    if aspect.word is None:
        message = f"{aspect.entity_group} at {aspect.start}:{aspect.end} has no 'word': give the words of the span"
        yield LabelProblem("offsets", message)
        return
    problems = list(_check_span("offsets", aspect.entity_group, text, aspect.word, aspect.start, aspect.end))
    if problems:
        yield from problems
        return
    word = text[aspect.start : aspect.end]
    location = f"{aspect.entity_group} {word!r} at {aspect.start}:{aspect.end}"
    if word != word.strip():
        yield LabelProblem("white-space", f"{location} begins or ends with white space: leave it out", "warning")
    cuts = [side for side, edge in (("begins", aspect.start), ("ends", aspect.end)) if edge in inside_words]
    if cuts:
        message = f"{location} {' and '.join(cuts)} inside a word: take the whole word"
        yield LabelProblem("inside-word", message, "warning")


def _check_span(kind: str, label: str, text: str, word: str, start: int, end: int) -> Iterator[LabelProblem]:
    location = f"{label} {word!r} at {start}:{end}"
    occurrence = text.index(word) if word and text.count(word) == 1 else None
    remedy = "correct the offsets" if occurrence is None else f"it is at {occurrence}:{occurrence + len(word)}"
    if not 0 <= start < end <= len(text):
        problem = "is empty" if start == end else f"lies outside the text of {len(text)} characters"
        yield LabelProblem(kind, f"{location} {problem}: {remedy}")
    elif text[start:end] != word:
        yield LabelProblem(kind, f"{location} is misaligned, {text[start:end]!r} stands there: {remedy}")


def _check_overlaps(aspects: tuple[Aspect, ...]) -> Iterator[LabelProblem]:
    explicit_aspects = [(aspect, aspect.span) for aspect in aspects if aspect.span is not None]
    for (a, span_a), (b, span_b) in combinations(explicit_aspects, 2):
        names = " and ".join(f"{x.entity_group} {x.word!r} at {x.start}:{x.end}" for x in (a, b))
        if span_a == span_b:
            if a.entity_group == b.entity_group:
                yield LabelProblem("overlap", f"{names} share one span: only the first can be learned", "warning")
        elif max(span_a[0], span_b[0]) < min(span_a[1], span_b[1]):
            yield LabelProblem("overlap", f"{names} overlap: keep one, or make the other implicit")


def _check_tags(review: Review) -> Iterator[LabelProblem]:
    """Check that the tags of the source are valid IOB2, or consistent BIOES or BILOU."""
    tags = review.meta.get("tags")
    if not isinstance(tags, list) or _is_span_scheme(list(map(str, tags))):
        return
    for number, (previous, tag) in enumerate(pairwise(["O", *map(str, tags)]), start=1):
        continues = previous in (f"B{tag[1:]}", f"I{tag[1:]}")
        if not (tag.startswith(("O", "B")) or (tag.startswith("I") and continues)):
            message = f"token {number}: {tag} after {previous} is not IOB2: correct the tag"
            yield LabelProblem("tags", message, "warning")


def _is_span_scheme(tags: list[str]) -> bool:
    """Return True if every span begins with B and ends with E or L, or has the single tag S or U."""
    open_category: str | None = None
    for tag in tags:
        letter, category = tag[:1], tag[1:]
        if (open_category is None) == (letter in "IELM") or (letter in "IELM" and category != open_category):
            return False
        open_category = category if letter in "BIM" else None
    return open_category is None
