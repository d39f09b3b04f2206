"""ACOS quads (Cai et al., 2021): a sentence of tokens a line, then `a,b CATEGORY polarity c,d` for each aspect.

a,b and c,d are the tokens [a, b) of the aspect and [c, d) of its opinion, -1,-1 (or c,c) for none; polarity is 0
(negative), 1 (neutral) or 2 (positive). Fields are parted by tabs, tokens by single spaces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from reviews_parsing.data.tokens import Bounds, cut
from reviews_parsing.errors import DataError
from reviews_parsing.io.files import decode_utf8, encode_utf8
from reviews_parsing.schema import Aspect, Opinion, Review
from reviews_parsing.tagging import covering

POLARITIES = ("negative", "neutral", "positive")
_QUAD = re.compile(r"(-?\d+),(-?\d+) (\S+) ([012]) (-?\d+),(-?\d+)")
_NONE = (-1, -1)


def looks_like(text: str) -> bool:
    """Whether the first line that is not blank is one of quads."""
    _, *quads = next((line for line in text.splitlines() if line.strip()), "").split("\t")
    return bool(quads) and all(_QUAD.fullmatch(quad) for quad in quads)


def decode(data: bytes, name: str) -> Iterator[tuple[int, Review]]:
    """(line, review) of each line that is not blank. Raises DataError naming the line that cannot be read."""
    for line, row in enumerate(decode_utf8(data, name).split("\n"), start=1):
        text, *quads = row.removesuffix("\r").split("\t")
        if text or quads:
            yield line, Review(f"#{line}", text, tuple(_aspect(text, quad, f"{name}:{line}") for quad in quads))


def _aspect(text: str, quad: str, place: str) -> Aspect:
    found = _QUAD.fullmatch(quad)
    if not found:
        raise DataError(f"{place}: '{quad}' is no quad: write START,END CATEGORY POLARITY START,END")
    span, words = (_span(text, found[i], found[i + 1], place) for i in (1, 5))
    opinion = Opinion(text[slice(*words)], *words) if words else None
    start, end = span or (None, None)
    return Aspect(found[3], text[slice(*span)] if span else None, start, end, POLARITIES[int(found[4])], opinion)


def _span(text: str, first: str, stop: str, place: str) -> tuple[int, int] | None:
    tokens = (int(first), int(stop))
    bounds = _bounds(text)
    if tokens == _NONE or 0 <= tokens[0] == tokens[1] <= len(bounds):
        return None
    if not 0 <= tokens[0] < tokens[1] <= len(bounds):
        raise DataError(f"{place}: tokens {first},{stop} are none of the {len(bounds)}: mend the quad")
    return bounds[tokens[0]][0], bounds[tokens[1] - 1][1]


def _bounds(text: str) -> Bounds:
    """(start, end) of what single spaces part."""
    starts = [0, *(found.end() for found in re.finditer(" ", text)), len(text) + 1]
    return [(start, after - 1) for start, after in pairwise(starts)]


def encode(reviews: Sequence[Review]) -> bytes:
    """Raises DataError naming the review that has no words, or a category or polarity that the form cannot hold."""
    return b"".join(encode_utf8(_line(review), f"review {review.id}") + b"\n" for review in reviews)


def _line(review: Review) -> str:
    text, spans = review.text, [span for a in review.aspects for span in (a.span, _of(a.opinion)) if span]
    bounds = _bounds(text)
    starts, stops = ({pair[side] for pair in bounds} for side in (0, 1))
    if "\t" in text or "\n" in text or "\r" in text or not all(s in starts and e in stops for s, e in spans):
        bounds = cut(text, (edge for span in spans for edge in span))
    tokens = [text[start:end] for start, end in bounds]
    if not any(tokens):
        raise DataError(f"review {review.id} has no words: ACOS cannot hold it; leave it out")

    def place(span: tuple[int, int] | None) -> str:
        return "{},{}".format(*((span and covering(bounds, *span)) or _NONE))

    quads = []
    for aspect in review.aspects:
        if aspect.polarity not in POLARITIES:
            known = ", ".join(POLARITIES)
            raise DataError(f"review {review.id}: ACOS has no polarity '{aspect.polarity}': give one of {known}")
        if not _QUAD.fullmatch(f"0,1 {aspect.entity_group} 0 0,1"):
            raise DataError(
                f"review {review.id}: ACOS cannot hold category '{aspect.entity_group}': map it to one word"
            )
        polarity = POLARITIES.index(aspect.polarity)
        quads.append(f"{place(aspect.span)} {aspect.entity_group} {polarity} {place(_of(aspect.opinion))}")
    return "\t".join([" ".join(tokens), *quads])


def _of(opinion: Opinion | None) -> tuple[int, int] | None:
    return (opinion.start, opinion.end) if opinion else None
