"""Checks of a labelled dataset as a whole: labels at all, spelling of names, size of splits, misnamed fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from reviews_parsing.data.labels import LabelProblem
from reviews_parsing.data.polarities import POLARITIES
from reviews_parsing.errors import DataError
from reviews_parsing.schema import Review

# Below this number of aspects the interval of F1 is wider than about ten points.
MIN_HELD_OUT_ASPECTS = 100
_LONG_NAME, _SHORT_NAME = 8, 4
_FIELDS = ("id", "text", "aspects")


def check_labelled(source: str, reviews: Sequence[Review]) -> None:
    """Raise DataError if the reviews do not hold one label."""
    if not any(review.aspects for review in reviews):
        raise DataError(f"{source}: not one label in {len(reviews)} reviews: {_suggest_field(reviews)}")


def find_dataset_problems(splits: Mapping[str, Sequence[Review]]) -> Iterator[LabelProblem]:
    """Yield the problems of the splits; "all" is a source without splits."""
    for name, reviews in splits.items():
        location = "" if name == "all" else f"the split {name} holds "
        count = sum(len(review.aspects) for review in reviews)
        if not count:
            message = f"{location}not one label in {len(reviews)} reviews: {_suggest_field(reviews)}"
            yield LabelProblem("unlabelled", message)
        elif name in ("validation", "test") and count < MIN_HELD_OUT_ASPECTS:
            message = (
                f"the split {name} holds {count} aspects: with less than {MIN_HELD_OUT_ASPECTS}, scores vary by chance"
            )
            yield LabelProblem("small-split", message, "warning")
    aspects = [aspect for reviews in splits.values() for review in reviews for aspect in review.aspects]
    yield from _find_similar_names("category", Counter(aspect.entity_group for aspect in aspects), ())
    polarities = Counter(aspect.polarity for aspect in aspects if aspect.polarity is not None)
    yield from _find_similar_names("polarity", polarities, POLARITIES)
    yield from _find_misnamed_fields(splits)


def _suggest_field(reviews: Sequence[Review]) -> str:
    fields = [name for review in reviews for name in review.meta if _is_similar(name.casefold(), "aspects")]
    if fields:
        return f"'{fields[0]}' was probably meant as 'aspects'"
    return "give a file of labelled reviews, or name the field with --labels-field"


def _find_similar_names(kind: str, counts: Counter[str], standard_names: Sequence[str]) -> Iterator[LabelProblem]:
    """Yield pairs of names that differ by case or a typing error; the rarer one is probably wrong."""
    names = sorted({*counts, *standard_names}, key=lambda name: (name not in standard_names, -counts[name], name))
    for first, second in combinations(names, 2):
        if counts[second] and _is_similar(first, second):
            frequency = f" ({counts[first]})" if counts[first] else ""
            message = (
                f"{kind} '{second}' ({counts[second]}) beside '{first}'{frequency}: rename one if they are the same"
            )
            yield LabelProblem("spelling", message, "warning")


def _find_misnamed_fields(splits: Mapping[str, Sequence[Review]]) -> Iterator[LabelProblem]:
    """Yield fields of reviews without aspects whose name resembles a field of the format."""
    fields = Counter(
        name
        for reviews in splits.values()
        for review in reviews
        if not review.aspects
        for name in review.meta
        if name not in _FIELDS and _is_similar(name.casefold(), "aspects")
    )
    for name, count in fields.items():
        yield LabelProblem(
            "field", f"{count} reviews have a field '{name}' and no labels: 'aspects' was probably meant"
        )


def _is_similar(first: str, second: str) -> bool:
    """Return True for names equal but for case, separators, one edit, or two edits in long names."""
    one, other = (_normalise(name) for name in (first, second))
    if one == other:
        return True
    shorter = min(len(one), len(other))
    digits = [[char for char in name if char.isdigit()] for name in (one, other)]
    if shorter < _SHORT_NAME or digits[0] != digits[1]:
        return False
    return _edit_distance(one, other) <= (2 if shorter >= _LONG_NAME else 1)


def _normalise(name: str) -> str:
    return "".join(char for char in name.casefold() if char.isalnum())


def _edit_distance(first: str, second: str) -> int:
    """Return the number of insertions, deletions, replacements and transpositions of neighbours."""
    if abs(len(first) - len(second)) > 2:
        return 3
    rows = [list(range(len(second) + 1))]
    for i, char in enumerate(first, start=1):
        row = [i]
        for j, other in enumerate(second, start=1):
            cost = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (char != other))
            if i > 1 and j > 1 and char == second[j - 2] and first[i - 2] == other:
                cost = min(cost, rows[-2][j - 2] + 1)
            row.append(cost)
        rows.append(row)
    return rows[-1][-1]
