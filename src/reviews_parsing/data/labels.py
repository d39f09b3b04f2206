"""What can be wrong with the labels of one review."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import combinations, pairwise
from typing import Literal, NamedTuple

from reviews_parsing.schema import Aspect, Opinion, Review
from reviews_parsing.tagging import words

Severity = Literal["error", "warning"]


class Problem(NamedTuple):
    """An error makes a label wrong or unusable; a warning is worth a look."""

    kind: str
    message: str
    severity: Severity = "error"


def problems(review: Review, categories: Collection[str] | None) -> Iterator[Problem]:
    """Everything that is wrong within the review; unknown categories only where `categories` are given."""
    if not review.text.strip():
        yield Problem("empty", "the text is empty: remove the review or give its text")
    inner = {at for start, end in words(review.text) for at in range(start + 1, end)} if review.aspects else set()
    for aspect in review.aspects:
        yield from _target(review.text, aspect, inner)
        if aspect.opinion is not None:
            yield from _span("opinion", "opinion", review.text, aspect.opinion)
        if categories is not None and aspect.entity_group not in categories:
            yield Problem("category", f"category '{aspect.entity_group}' is not one of {', '.join(sorted(categories))}")
    yield from _overlaps(review.aspects)
    yield from _tags(review)


def _target(text: str, aspect: Aspect, inner: set[int]) -> Iterator[Problem]:
    if aspect.start is None or aspect.end is None:
        if aspect.word is not None:
            yield Problem("offsets", f"'{aspect.word}' has no offsets: give its start and end, or no word")
        return
    wrong = list(_span("offsets", aspect.entity_group, text, Opinion(aspect.word or "", aspect.start, aspect.end)))
    yield from wrong
    if wrong:
        return
    word = text[aspect.start : aspect.end]
    place = f"{aspect.entity_group} {word!r} at {aspect.start}:{aspect.end}"
    if word != word.strip():
        yield Problem("white-space", f"{place} begins or ends with white space: leave it out", "warning")
    cut = [side for side, at in (("begins", aspect.start), ("ends", aspect.end)) if at in inner]
    if cut:
        yield Problem("inside-word", f"{place} {' and '.join(cut)} inside a word: take the whole word", "warning")


def _span(kind: str, what: str, text: str, words: Opinion) -> Iterator[Problem]:
    word, start, end = words.word, words.start, words.end
    place = f"{what} {word!r} at {start}:{end}"
    if not 0 <= start < end <= len(text):
        where = "is empty" if start == end else f"lies outside the text of {len(text)} characters"
        yield Problem(kind, f"{place} {where}{_elsewhere(text, word)}")
    elif text[start:end] != word:
        yield Problem(kind, f"{place} is misaligned, {text[start:end]!r} stands there{_elsewhere(text, word)}")


def _elsewhere(text: str, word: str | None) -> str:
    """Where the word really is, if it is in the text once."""
    if word and text.count(word) == 1:
        return f": it is at {text.index(word)}:{text.index(word) + len(word)}"
    return ": correct the offsets"


def _overlaps(aspects: tuple[Aspect, ...]) -> Iterator[Problem]:
    explicit = [(aspect, aspect.span) for aspect in aspects if aspect.span is not None]
    for (a, span), (b, other) in combinations(explicit, 2):
        names = " and ".join(f"{x.entity_group} {x.word!r} at {x.start}:{x.end}" for x in (a, b))
        if span == other:
            if a.entity_group == b.entity_group:
                yield Problem("overlap", f"{names} share one span: only the first can be learned", "warning")
        elif max(span[0], other[0]) < min(span[1], other[1]):
            yield Problem("overlap", f"{names} overlap: keep one, or make the other implicit")


def _tags(review: Review) -> Iterator[Problem]:
    """Tags kept from the source that are not IOB2."""
    tags = review.meta.get("tags")
    if not isinstance(tags, list):
        return
    for number, (before, tag) in enumerate(pairwise(["O", *map(str, tags)]), start=1):
        continues = before in (f"B{tag[1:]}", f"I{tag[1:]}")
        if not (tag.startswith(("O", "B")) or (tag.startswith("I") and continues)):
            yield Problem("tags", f"token {number}: {tag} after {before} is not IOB2: say which was meant", "warning")
