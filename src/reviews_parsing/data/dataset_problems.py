"""Checks of a labelled dataset as a whole: labels at all, spelling of names, size of splits, misnamed fields."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from reviews_parsing.data.labels import LabelProblem, LabelWarning
from reviews_parsing.data.polarities import POLARITIES, standardise
from reviews_parsing.data.similarity import is_similar
from reviews_parsing.errors import DataError
from reviews_parsing.schema import Aspect, Review

# Below this number of aspects the interval of F1 is wider than about ten points.
MIN_HELD_OUT_ASPECTS = 100
# Share of labels with wrong offsets from which a file is refused.
MAX_MISALIGNED = 0.05
_FIELDS = ("id", "text", "aspects")


def check_labelled(source: str, reviews: Sequence[Review]) -> None:
    """Raise DataError if the reviews do not hold one label, or too many labels without their words in the text.

    Warns of fewer such labels.
    """
    if not any(review.aspects for review in reviews):
        raise DataError(f"{source}: not one label in {len(reviews)} reviews: {_suggest_field(reviews)}")
    check_offsets(source, reviews)


def check_offsets(source: str, reviews: Sequence[Review]) -> None:
    """Raise DataError if too many labels do not have their words at their offsets; warn of fewer such labels."""
    labels = [(review, *label) for review in reviews for aspect in review.aspects for label in _list_spans(aspect)]
    wrong = [label for label in labels if not _is_at(label[0].text, *label[2:])]
    if not wrong:
        return
    review, name, _, start, end = wrong[0]
    message = (
        f"{source}: {len(wrong)} of {len(labels)} labels are not at their offsets (such as {name} at {start}:{end} in "
        f"review {review.id}): see `reviews-parsing data check`"
    )
    if len(wrong) > MAX_MISALIGNED * len(labels):
        raise DataError(message)
    warnings.warn(message, LabelWarning, stacklevel=2)


def _list_spans(aspect: Aspect) -> Iterator[tuple[str, str | None, int, int]]:
    """Yield name, word and offsets of an aspect and of its opinion, as far as they have a span."""
    if aspect.span is not None:
        yield aspect.entity_group, aspect.word, *aspect.span
    if aspect.opinion is not None:
        yield "an opinion", aspect.opinion.word, aspect.opinion.start, aspect.opinion.end


def _is_at(text: str, word: str | None, start: int, end: int) -> bool:
    """Return True if the words of a label are at its offsets, apart from case and white space."""
    span = text[start:end] if start >= 0 else ""
    word = span if word is None else word
    return bool(span) and "".join(span.casefold().split()) == "".join(word.casefold().split())


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
    yield from _find_polarity_problems(aspects, polarities)
    if polarities and (missing := len(aspects) - polarities.total()):
        message = f"{missing} of {len(aspects)} labels have no polarity: add it, or leave out all polarities"
        yield LabelProblem("polarity", message, "warning")
    yield from _find_misnamed_fields(splits)


def _suggest_field(reviews: Sequence[Review]) -> str:
    fields = [name for review in reviews for name in review.meta if is_similar(name.casefold(), "aspects")]
    if fields:
        return f"'{fields[0]}' was probably meant as 'aspects'"
    return "give a file of labelled reviews, or name the field with --labels-field"


def _find_similar_names(kind: str, counts: Counter[str], standard_names: Sequence[str]) -> Iterator[LabelProblem]:
    """Yield pairs of names that differ by case or a typing error; the rarer one is probably wrong."""
    names = sorted({*counts, *standard_names}, key=lambda name: (name not in standard_names, -counts[name], name))
    for first, second in combinations(names, 2):
        is_number = kind == "polarity" and not any(char.isalpha() for char in second)
        if counts[second] and not is_number and is_similar(first, second):
            frequency = f" ({counts[first]})" if counts[first] else ""
            message = (
                f"{kind} '{second}' ({counts[second]}) beside '{first}'{frequency}: rename one if they are the same"
            )
            yield LabelProblem("spelling", message, "warning")


def _find_polarity_problems(aspects: Sequence[Aspect], polarities: Counter[str]) -> Iterator[LabelProblem]:
    """Yield short forms of polarities beside others, numbers, and categories that are polarities."""
    for name in sorted(polarities):
        standard = standardise(name)
        if name.strip().lstrip("+-").isdecimal():
            message = f"polarity '{name}' ({polarities[name]}) is a number: write the name of the polarity"
            yield LabelProblem("spelling", message, "warning")
        elif standard not in (None, name) and not is_similar(name, standard or ""):
            message = f"polarity '{name}' ({polarities[name]}) is short for '{standard}': models know the long name"
            yield LabelProblem("spelling", message, "warning")
    categories = Counter(aspect.entity_group for aspect in aspects if standardise(aspect.entity_group))
    for name, count in sorted(categories.items()):
        yield LabelProblem("spelling", f"category '{name}' ({count}) is the name of a polarity", "warning")


def _find_misnamed_fields(splits: Mapping[str, Sequence[Review]]) -> Iterator[LabelProblem]:
    """Yield fields of reviews without aspects whose name resembles a field of the format."""
    fields = Counter(
        name
        for reviews in splits.values()
        for review in reviews
        if not review.aspects
        for name in review.meta
        if name not in _FIELDS and is_similar(name.casefold(), "aspects")
    )
    for name, count in fields.items():
        yield LabelProblem(
            "field", f"{count} reviews have a field '{name}' and no labels: 'aspects' was probably meant"
        )
