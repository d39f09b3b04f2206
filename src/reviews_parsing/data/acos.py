"""Reader and writer for ACOS quads (Cai et al., 2021): a tokenized sentence per line, then its aspects.

Each aspect is `a,b CATEGORY POLARITY c,d`: tokens [a, b) are the aspect, tokens [c, d) its opinion; -1,-1 or c,c stands
for an implicit one. The polarity is 0 (negative), 1 (neutral) or 2 (positive). Tabs separate the fields, single spaces
the tokens.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from itertools import pairwise

from reviews_parsing.data.labels import LabelWarning
from reviews_parsing.data.tokens import Bounds, split_words
from reviews_parsing.errors import DataError
from reviews_parsing.io.files import decode_utf8, encode_utf8
from reviews_parsing.schema import Aspect, Opinion, Review
from reviews_parsing.tagging import covering

POLARITIES = ("negative", "neutral", "positive")
_QUAD = re.compile(r"(-?\d+),(-?\d+) (\S+) ([012]) (-?\d+),(-?\d+)")
_IMPLICIT = (-1, -1)


def is_acos(text: str) -> bool:
    """Return True if a line is a sentence with quads, and no line has another field."""
    rows = [line.rstrip("\t\r").split("\t")[1:] for line in text.split("\n")]
    return any(rows) and all(_QUAD.fullmatch(quad) for quads in rows for quad in quads)


def decode(data: bytes, name: str) -> Iterator[tuple[int, Review]]:
    """Yield (line, review) for each non-blank line. Raises DataError naming the invalid line."""
    rows = decode_utf8(data, name).split("\n")
    _warn_of_empty_spans(rows, name)
    for line, row in enumerate(rows, start=1):
        text, *quads = row.rstrip("\t\r").split("\t")
        if text or quads:
            yield line, Review(f"#{line}", text, tuple(_decode_quad(text, quad, f"{name}:{line}") for quad in quads))


def encode(reviews: Sequence[Review]) -> bytes:
    """Return the file. Raises DataError naming a review without words, or with a category or polarity ACOS lacks."""
    return b"".join(encode_utf8(_encode_line(review), f"review {review.id}") + b"\n" for review in reviews)


def _warn_of_empty_spans(rows: Sequence[str], name: str) -> None:
    """Warn of spans such as 4,4: empty here, but one token where indices of last tokens are written."""
    spans = [span for row in rows for quad in row.split("\t")[1:] for span in re.findall(r"(\d+),(\d+)(?= |$)", quad)]
    if count := sum(first == stop for first, stop in spans):
        message = (
            f"{count} of {len(spans)} spans as words, which are empty (such as 4,4): the second number is exclusive"
        )
        warnings.warn(f"{name}: not read: {message}", LabelWarning, stacklevel=3)


def _decode_quad(text: str, quad: str, location: str) -> Aspect:
    match = _QUAD.fullmatch(quad)
    if not match:
        raise DataError(f"{location}: '{quad}' is not a quad: write START,END CATEGORY POLARITY START,END")
    span, opinion_span = (_decode_span(text, match[i], match[i + 1], location) for i in (1, 5))
    opinion = Opinion(text[slice(*opinion_span)], *opinion_span) if opinion_span else None
    start, end = span or (None, None)
    return Aspect(match[3], text[slice(*span)] if span else None, start, end, POLARITIES[int(match[4])], opinion)


def _decode_span(text: str, first: str, stop: str, location: str) -> tuple[int, int] | None:
    tokens = (int(first), int(stop))
    bounds = _token_bounds(text)
    if tokens == _IMPLICIT or 0 <= tokens[0] == tokens[1] <= len(bounds):
        return None
    if not 0 <= tokens[0] < tokens[1] <= len(bounds):
        raise DataError(f"{location}: tokens {first},{stop} are not among the {len(bounds)}: correct the quad")
    return bounds[tokens[0]][0], bounds[tokens[1] - 1][1]


def _token_bounds(text: str) -> Bounds:
    starts = [0, *(match.end() for match in re.finditer(" ", text)), len(text) + 1]
    return [(start, next_start - 1) for start, next_start in pairwise(starts)]


def _encode_line(review: Review) -> str:
    text, aspects = review.text, review.aspects
    opinions = [(a.opinion.start, a.opinion.end) if a.opinion else None for a in aspects]
    spans = [span for span in (*(aspect.span for aspect in aspects), *opinions) if span]
    bounds = _token_bounds(text)
    starts, ends = ({bound[side] for bound in bounds} for side in (0, 1))
    if re.search("[\t\r\n]", text) or not all(start in starts and end in ends for start, end in spans):
        bounds = split_words(text, (edge for span in spans for edge in span))
    tokens = [text[start:end] for start, end in bounds]
    if not any(tokens):
        raise DataError(f"review {review.id} has no words: ACOS cannot hold it; leave it out")

    def encode_span(span: tuple[int, int] | None) -> str:
        return "{},{}".format(*((span and covering(bounds, *span)) or _IMPLICIT))

    quads = []
    for aspect, opinion in zip(aspects, opinions, strict=True):
        if aspect.polarity not in POLARITIES:
            raise DataError(
                f"review {review.id}: ACOS has no polarity '{aspect.polarity}': give one of {', '.join(POLARITIES)}"
            )
        if not _QUAD.fullmatch(f"0,1 {aspect.entity_group} 0 0,1"):
            raise DataError(
                f"review {review.id}: ACOS cannot hold category '{aspect.entity_group}': map it to one word"
            )
        polarity = POLARITIES.index(aspect.polarity)
        quads.append(f"{encode_span(aspect.span)} {aspect.entity_group} {polarity} {encode_span(opinion)}")
    return "\t".join([" ".join(tokens), *quads])
