"""Tokens with tags <-> a text with aspects; what the token formats (CoNLL, Hugging Face) share.

A review keeps its tokens and tags in `meta` only where text and aspects do not say them already: other tokens than our
own splitter makes, or tags that are not the IOB2 of the aspects.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from reviews_parsing.errors import DataError
from reviews_parsing.schema import Aspect, Review
from reviews_parsing.tagging import WordSpan, covering, tags_to_spans, words

UNCATEGORISED = "ASPECT"
# IOB2, and the letters of IOBES and BILOU; a bare B or I tags an aspect that has no category.
TAG = re.compile(r"O|[BIESULM](?:-.*)?", re.DOTALL)

Bounds = list[tuple[int, int]]


def from_tokens(
    tokens: Sequence[str], tags: Sequence[str], text: str | None = None
) -> tuple[str, tuple[Aspect, ...], dict[str, Any]]:
    """Text, aspects and what goes into `meta`. Without a text that the tokens make up, one space joins the tokens.

    Raises DataError where there are not as many tags as tokens, or a tag is of no known form.
    """
    if len(tokens) != len(tags):
        raise DataError(f"{len(tokens)} tokens but {len(tags)} tags: give each token one tag")
    bounds = align(tokens, text) if text is not None else None
    if text is None or bounds is None:
        text = " ".join(tokens)
        bounds = align(tokens, text) or []
    aspects = tuple(Aspect(group, text[start:end], start, end) for start, end, group in spans(bounds, tags))
    return text, aspects, residue(text, aspects, tokens, tags)


def residue(text: str, aspects: Sequence[Aspect], tokens: Sequence[str], tags: Sequence[str]) -> dict[str, Any]:
    """The part of `tokens` and `tags` that text and aspects do not say."""
    kept: dict[str, Any] = {}
    bounds = _split(text, aspects)
    if [text[start:end] for start, end in bounds] != list(tokens):
        kept["tokens"] = list(tokens)
        bounds = align(tokens, text) or []
    if _tags(bounds, aspects) != list(tags):
        kept["tags"] = list(tags)
    return kept


def to_tokens(review: Review) -> tuple[list[str], list[str]]:
    """Tokens and tags of a review: those that its source had, as long as text and aspects still agree with them.

    Of aspects that overlap the first is tagged; implicit ones are not.
    """
    tokens, tags = _strings(review.meta.get("tokens")), _strings(review.meta.get("tags"))
    bounds = align(tokens, review.text) if tokens is not None else None
    if tokens is None or bounds is None:
        bounds = _split(review.text, review.aspects)
        tokens = [review.text[start:end] for start, end in bounds]
    if tags is not None and len(tags) == len(bounds) and all(map(TAG.fullmatch, tags)):
        explicit = {(*a.span, a.entity_group) for a in review.aspects if a.span is not None}
        if set(spans(bounds, tags)) == explicit:
            return tokens, tags
    return tokens, _tags(bounds, review.aspects)


def align(tokens: Sequence[str], text: str) -> Bounds | None:
    """(start, end) of each token in the text, or None where the text is not these tokens and white space."""
    if text == " ".join(tokens):
        starts = [0]
        for token in tokens:
            starts.append(starts[-1] + len(token) + 1)
        return [(start, after - 1) for start, after in pairwise(starts)]
    bounds, at = [], 0
    for token in tokens:
        while not text.startswith(token, at) and at < len(text) and text[at].isspace():
            at += 1
        if not text.startswith(token, at):
            return None
        bounds.append((at, at + len(token)))
        at += len(token)
    return bounds if not text[at:].strip() else None


def spans(bounds: Bounds, tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """(start, end, category) of what the tags mark. Raises DataError naming a tag of no known form."""
    for tag in tags:
        if not TAG.fullmatch(tag):
            raise DataError(f"'{tag}' is not an IOB2 tag: tags are O, B-CATEGORY and I-CATEGORY")
    groups = list(dict.fromkeys(_group(tag) for tag in tags))
    ids = [0 if tag == "O" else 2 * groups.index(_group(tag)) + (1 if tag[0] in "BSU" else 2) for tag in tags]
    found: list[WordSpan] = tags_to_spans(ids)
    return [(bounds[first][0], bounds[stop - 1][1], groups[category]) for first, stop, category in found]


def _group(tag: str) -> str:
    return tag[2:] if len(tag) > 1 else UNCATEGORISED


def _tags(bounds: Bounds, aspects: Sequence[Aspect]) -> list[str]:
    tags = ["O"] * len(bounds)
    for aspect in aspects:
        start, end = aspect.span or (0, 0)
        touched = covering(bounds, start, end) if start < end else None
        if touched is not None and all(tag == "O" for tag in tags[slice(*touched)]):
            first, stop = touched
            tags[first:stop] = [f"B-{aspect.entity_group}"] + [f"I-{aspect.entity_group}"] * (stop - first - 1)
    return tags


def _split(text: str, aspects: Sequence[Aspect]) -> Bounds:
    """The words of the text, cut also where an aspect begins or ends inside one."""
    return cut(text, (edge for a in aspects if a.span is not None for edge in a.span))


def cut(text: str, edges: Iterable[int]) -> Bounds:
    """The words of the text, cut also at those `edges` that are inside one."""
    ordered = sorted(set(edges))
    bounds: Bounds = []
    for start, end in words(text):
        bounds += pairwise([start, *(edge for edge in ordered if start < edge < end), end])
    return bounds


def _strings(value: Any) -> list[str] | None:
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return list(value)
    return None
