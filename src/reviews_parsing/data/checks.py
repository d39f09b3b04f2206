"""Checks of labelled datasets: each finding has a file, a line and a review."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from reviews_parsing.data.dataset_problems import find_dataset_problems
from reviews_parsing.data.duplicates import find_duplicates
from reviews_parsing.data.formats import FOREIGN_FORMATS
from reviews_parsing.data.label_fields import Fields
from reviews_parsing.data.labels import LabelWarning, Severity, find_label_problems
from reviews_parsing.data.mapping import map_categories
from reviews_parsing.data.reading import LocatedReview, detect_file_format, read_located_splits, read_splits
from reviews_parsing.io.mojibake import MojibakeWarning
from reviews_parsing.schema import Review

# Formats whose polarities are in the names of the tags, if there are any.
_TAG_FORMATS = ("conll", "hf")


@dataclass(frozen=True, slots=True, order=True)
class LabelFinding:
    """A defect of a dataset. `review` is the id of the review; `line` is its row in formats without lines.

    A finding about a whole file has no review and the line 0. Kinds: offsets, opinion, overlap, inside-word,
    white-space, category, empty, text, encoding, tags, id, duplicate, near-duplicate; for files: unlabelled, spelling,
    polarity, small-split, field, format, not-read.
    """

    file: str
    line: int
    review: str
    kind: str
    message: str
    severity: Severity = "error"

    def __str__(self) -> str:
        if not self.line:
            return f"{self.file}: {self.severity}: {self.kind}: {self.message}"
        return f"{self.file}:{self.line}: {self.severity}: {self.kind}: review {self.review}: {self.message}"


def check(
    source: str | Path | Mapping[str, Sequence[Review]],
    mapping: Mapping[str, str | None] | None = None,
    format: str | None = None,
    categories: Collection[str] | None = None,
    fields: Fields = Fields(),
) -> list[LabelFinding]:
    """Return the defects of the reviews of a dataset, in the order of its reviews.

    `source` is as in `read_splits`, or a mapping of splits; then split names replace files, and positions lines. If
    `categories` are given, other categories are errors. Duplicates across splits leak test reviews into training, so
    they are errors; near-duplicates within a split are warnings. Raises DataError if the source cannot be read.
    """
    if isinstance(source, Mapping):
        splits = {
            split: [
                LocatedReview(split, line, map_categories(review, mapping or {}))
                for line, review in enumerate(reviews, start=1)
            ]
            for split, reviews in source.items()
        }
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LabelWarning)  # `check_dataset` reports them
            warnings.simplefilter("ignore", MojibakeWarning)  # each text is reported
            splits = read_located_splits(source, mapping, format, fields)
    located_reviews = list(chain.from_iterable(splits.values()))
    groups = [split for split, members in splits.items() for _ in members]
    findings = [
        LabelFinding(file, line, review.id, *problem)
        for file, line, review in located_reviews
        for problem in find_label_problems(review, categories)
    ]
    findings += chain(_check_ids(located_reviews), _check_duplicates(located_reviews, groups))
    order = {(file, line): position for position, (file, line, _) in enumerate(located_reviews)}
    return sorted(findings, key=lambda finding: order[finding.file, finding.line])


def check_dataset(
    source: str | Path,
    mapping: Mapping[str, str | None] | None = None,
    format: str | None = None,
    fields: Fields = Fields(),
) -> list[LabelFinding]:
    """Return the defects of a dataset as a whole: splits without labels, misspelt names, small splits, unread parts.

    Also names the form of a file of another tool. Raises DataError if the source cannot be read.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", LabelWarning)
        splits = read_splits(source, mapping, format, fields)
    messages = [str(warning.message) for warning in caught if issubclass(warning.category, LabelWarning)]
    findings = [LabelFinding(str(source), 0, "", "not-read", message, "warning") for message in messages]
    file_format = format or (None if str(source) == "corpus" else detect_file_format(source))
    if file_format in FOREIGN_FORMATS:
        message = (
            f"labels in the form of another tool, read as {file_format}: look at them with `data convert` to JSON lines"
        )
        findings.append(LabelFinding(str(source), 0, "", "format", message, "warning"))
    aspects = [aspect for reviews in splits.values() for review in reviews for aspect in review.aspects]
    if file_format in _TAG_FORMATS and aspects and all(aspect.polarity is None for aspect in aspects):
        message = f"no tag has a polarity in its name (B-FOOD-positive): {len(aspects)} labels have none"
        findings.append(LabelFinding(str(source), 0, "", "polarity", message, "warning"))
    return findings + [LabelFinding(str(source), 0, "", *problem) for problem in find_dataset_problems(splits)]


def _check_ids(located_reviews: Sequence[LocatedReview]) -> Iterator[LabelFinding]:
    """Find repeated ids, but not the positional ids (#1, #2) that readers assign per file."""
    first_with_id: dict[str, LocatedReview] = {}
    for member in located_reviews:
        file, line, review = member
        first = first_with_id.setdefault(review.id, member)
        is_positional = review.id.startswith("#") and review.id[1:].isdigit() and first.file != file
        # Compare identities, since several reviews can be on one line.
        if first is not member and not is_positional:
            message = f"the id is also that of {first.file}:{first.line}: give each review its own"
            yield LabelFinding(file, line, review.id, "id", message)


def _check_duplicates(located_reviews: Sequence[LocatedReview], groups: Sequence[str]) -> Iterator[LabelFinding]:
    for later, earlier, similarity in find_duplicates([review.text for _, _, review in located_reviews], groups):
        file, line, review = located_reviews[later]
        is_leak = groups[later] != groups[earlier]
        earlier_file, earlier_line, earlier_review = located_reviews[earlier]
        original = f"{earlier_file}:{earlier_line} (review {earlier_review.id})"
        original += f", which is in {groups[earlier]}" if is_leak else ""
        if similarity == 1.0:
            message = f"repeats {original}: keep one of the two"
            yield LabelFinding(file, line, review.id, "duplicate", message)
        else:
            message = f"{similarity:.0%} the same as {original}: keep one of the two"
            yield LabelFinding(file, line, review.id, "near-duplicate", message, "error" if is_leak else "warning")
