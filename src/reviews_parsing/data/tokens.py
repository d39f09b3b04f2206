"""Conversion between tokens with IOB2 tags and a text with aspects, for the token formats (CoNLL, Hugging Face).

The tokens and tags of the source go to `meta` only if text and aspects do not determine them: if the tokens differ from
those of our word splitter, or the tags are not the IOB2 tags of the aspects.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from reviews_parsing.data.labels import LabelWarning
from reviews_parsing.errors import DataError
from reviews_parsing.schema import Aspect, Review
from reviews_parsing.tagging import covering, tags_to_spans, words

UNCATEGORISED = "ASPECT"
# IOB2 with the additional letters of IOBES and BILOU; a bare B or I tags an aspect without a category.
TAG = re.compile(r"O|[BIESULM](?:-.*)?", re.DOTALL)

Bounds = list[tuple[int, int]]
"""Character offsets (start, end) of tokens."""


def from_tokens(
    tokens: Sequence[str], tags: Sequence[str], text: str | None = None
) -> tuple[str, tuple[Aspect, ...], dict[str, Any]]:
    """Return text, aspects and `meta` of tagged tokens. If `text` does not align with them, spaces join the tokens.

    Raises DataError if the numbers of tokens and tags differ, or a tag is invalid.
    """
    if len(tokens) != len(tags):
        raise DataError(f"{len(tokens)} tokens but {len(tags)} tags: give each token one tag")
    bounds = align(tokens, text) if text is not None else None
    if text is None or bounds is None:
        text = " ".join(tokens)
        bounds = align(tokens, text) or []
    spans = _decode_tags(bounds, tags)
    aspects = tuple(Aspect(category, text[start:end], start, end) for start, end, category in spans)
    return text, aspects, build_token_meta(text, aspects, tokens, tags)


def build_token_meta(
    text: str, aspects: Sequence[Aspect], tokens: Sequence[str], tags: Sequence[str]
) -> dict[str, Any]:
    """Return the entries of `meta` for tokens and tags that text and aspects do not determine."""
    meta: dict[str, Any] = {}
    bounds = _split_at_aspects(text, aspects)
    if [text[start:end] for start, end in bounds] != list(tokens):
        meta["tokens"] = list(tokens)
        bounds = align(tokens, text) or []
    if _encode_tags(bounds, aspects) != list(tags):
        meta["tags"] = list(tags)
    return meta


def to_tokens(review: Review) -> tuple[list[str], list[str]]:
    """Return tokens and tags of a review; those in `meta` are used if they are consistent with text and aspects.

    Of overlapping aspects only the first is tagged. Implicit aspects are not tagged.
    """
    tokens, tags = _string_list(review.meta.get("tokens")), _string_list(review.meta.get("tags"))
    bounds = align(tokens, review.text) if tokens is not None else None
    if tokens is None or bounds is None:
        bounds = _split_at_aspects(review.text, review.aspects)
        tokens = [review.text[start:end] for start, end in bounds]
    if tags is not None and len(tags) == len(bounds) and all(map(TAG.fullmatch, tags)):
        spans = {(*aspect.span, aspect.entity_group) for aspect in review.aspects if aspect.span is not None}
        if set(_decode_tags(bounds, tags)) == spans:
            return tokens, tags
    return tokens, _encode_tags(bounds, review.aspects)


def align(tokens: Sequence[str], text: str) -> Bounds | None:
    """Return the bounds of each token in the text, None if the text is not the tokens with white space between.

    Markup and invisible characters, which are not words, may also stand between the words of the text.
    """
    if text == " ".join(tokens):
        starts = [0]
        for token in tokens:
            starts.append(starts[-1] + len(token) + 1)
        return [(start, next_start - 1) for start, next_start in pairwise(starts)]
    in_words = {i for start, end in words(text) for i in range(start, end)}

    def is_gap(position: int) -> bool:
        return text[position].isspace() or position not in in_words

    bounds, position = [], 0
    for token in tokens:
        while not text.startswith(token, position) and position < len(text) and is_gap(position):
            position += 1
        if not text.startswith(token, position):
            return None
        bounds.append((position, position + len(token)))
        position += len(token)
    return bounds if all(map(is_gap, range(position, len(text)))) else None


def warn_of_replaced_texts(name: str, locations: Sequence[str]) -> None:
    """Warn of texts that do not hold their tokens, for which `from_tokens` takes the tokens instead."""
    if locations:
        message = f"{name}: not read: {len(locations)} texts that do not hold their tokens (the first: {locations[0]})"
        warnings.warn(f"{message}: the tokens with spaces between are the texts", LabelWarning, stacklevel=3)


def split_words(text: str, edges: Iterable[int]) -> Bounds:
    """Return the bounds of the words of the text; a word with one of the `edges` inside is split there."""
    sorted_edges = sorted(set(edges))
    bounds: Bounds = []
    for start, end in words(text):
        bounds += pairwise([start, *(edge for edge in sorted_edges if start < edge < end), end])
    return bounds


def _split_at_aspects(text: str, aspects: Sequence[Aspect]) -> Bounds:
    return split_words(text, (edge for aspect in aspects if aspect.span is not None for edge in aspect.span))


def _decode_tags(bounds: Bounds, tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """Return (start, end, category) of the tagged spans. Raises DataError naming an invalid tag."""
    for tag in tags:
        if not TAG.fullmatch(tag):
            raise DataError(f"'{tag}' is not an IOB2 tag: tags are O, B-CATEGORY and I-CATEGORY")
        if re.search(r"[|,;+/&][BIESULM]-", tag):
            raise DataError(f"'{tag}' holds several tags, of nested labels: keep one tag a token")
    categories = list(dict.fromkeys(map(_category_of, tags)))
    ids = [0 if tag == "O" else 2 * categories.index(_category_of(tag)) + (1 if tag[0] in "BSU" else 2) for tag in tags]
    return [(bounds[first][0], bounds[stop - 1][1], categories[index]) for first, stop, index in tags_to_spans(ids)]


def _category_of(tag: str) -> str:
    return tag[2:] if len(tag) > 1 else UNCATEGORISED


def _encode_tags(bounds: Bounds, aspects: Sequence[Aspect]) -> list[str]:
    """Return the IOB2 tags of the aspects that have a span and do not overlap an earlier one."""
    tags = ["O"] * len(bounds)
    for aspect in aspects:
        start, end = aspect.span or (0, 0)
        tokens = covering(bounds, start, end) if start < end else None
        if tokens is not None and all(tag == "O" for tag in tags[slice(*tokens)]):
            first, stop = tokens
            tags[first:stop] = [f"B-{aspect.entity_group}"] + [f"I-{aspect.entity_group}"] * (stop - first - 1)
    return tags


def _string_list(value: Any) -> list[str] | None:
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return list(value)
    return None
