"""Checks of labelled reviews: every defect with its file, line and review."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from reviews_parsing.data.duplicates import pairs
from reviews_parsing.data.labels import Severity, problems
from reviews_parsing.data.mapping import apply
from reviews_parsing.data.reading import Located, locate
from reviews_parsing.schema import Review


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One defect. `review` is the review's id; `line` its row in formats without lines.

    Kinds: offsets, opinion, overlap, inside-word, white-space, category, empty, tags, id, duplicate, near-duplicate.
    """

    file: str
    line: int
    review: str
    kind: str
    message: str
    severity: Severity = "error"

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.severity}: {self.kind}: review {self.review}: {self.message}"


def check(
    source: str | Path | Mapping[str, Sequence[Review]],
    mapping: Mapping[str, str | None] | None = None,
    format: str | None = None,
    categories: Collection[str] | None = None,
) -> list[Finding]:
    """What is wrong with the labelled reviews at `source`, as `read_splits` takes it, in the order of the data.

    Splits that are already read can be given too; their names then stand for files, positions for lines. Categories
    that are not among `categories` are errors where those are given. What one split repeats of another is an error
    (the test would measure memory); near-duplicates within one split are warnings. Raises DataError where the source
    cannot be read.
    """
    if isinstance(source, Mapping):
        splits = {
            split: [Located(split, line, apply(review, mapping or {})) for line, review in enumerate(reviews, start=1)]
            for split, reviews in source.items()
        }
    else:
        splits = locate(source, mapping, format)
    places = list(chain.from_iterable(splits.values()))
    found: list[Finding] = []
    for place in places:
        for kind, message, severity in problems(place.review, categories):
            found.append(Finding(place.file, place.line, place.review.id, kind, message, severity))
    groups = [split for split, members in splits.items() for _ in members]
    found += chain(_ids(places), _repeats(places, groups))
    position = {(place.file, place.line): position for position, place in enumerate(places)}
    return sorted(found, key=lambda finding: position[finding.file, finding.line])


def _ids(places: Sequence[Located]) -> Iterator[Finding]:
    """Ids given twice; ids that a reader gave by position (#1, #2) repeat from file to file and mean nothing."""
    first: dict[str, Located] = {}
    for place in places:
        review_id = place.review.id
        earlier = first.setdefault(review_id, place)
        positional = review_id.startswith("#") and review_id[1:].isdigit() and earlier.file != place.file
        if earlier is not place and not positional:
            message = f"the id is also that of {earlier.file}:{earlier.line}: give each review its own"
            yield Finding(place.file, place.line, review_id, "id", message)


def _repeats(places: Sequence[Located], groups: Sequence[str]) -> Iterator[Finding]:
    for later, earlier, similarity in pairs([place.review.text for place in places], groups):
        place, other = places[later], places[earlier]
        where = f"{other.file}:{other.line} (review {other.review.id})"
        leak = groups[later] != groups[earlier]
        across = f", which is in {groups[earlier]}" if leak else ""
        if similarity == 1.0:
            message = f"repeats {where}{across}: keep one of the two"
            yield Finding(place.file, place.line, place.review.id, "duplicate", message)
        else:
            message = f"{similarity:.0%} the same as {where}{across}: keep one of the two"
            severity: Severity = "error" if leak else "warning"
            yield Finding(place.file, place.line, place.review.id, "near-duplicate", message, severity)
