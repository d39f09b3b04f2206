"""SemEval-2015 task 12 and SemEval-2016 task 5, subtask 1: `<Reviews>` of sentences with opinions.

A target of NULL is an implicit aspect. `meta["review"]` is the review that a sentence belongs to, where that is not the
sentence itself. Pontiki et al., SemEval-2016 Task 5: Aspect Based Sentiment Analysis.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any
from xml.etree.ElementTree import Element, SubElement

from reviews_parsing.data import xmltree
from reviews_parsing.data.semeval import (
    HEAD,
    Form,
    attributes_of,
    build_sentence,
    container,
    element_of,
    explicit,
    offsets,
    read_sentence,
    with_outer,
)
from reviews_parsing.data.tokens import UNCATEGORISED
from reviews_parsing.errors import DataError
from reviews_parsing.io.files import encode_utf8
from reviews_parsing.schema import Aspect, Review

ROOT, GROUP, LIST = "Reviews", "Review", "sentences"
_NULL = "NULL"


def decode(data: bytes, name: str) -> Iterator[tuple[int, Review]]:
    """(line, review) of each sentence; a review without sentences says nothing and is not kept.

    Raises DataError naming the line that cannot be read, also where whole reviews are labelled (subtask 2).
    """
    tree = xmltree.parse(data, name)
    if tree.root.tag != ROOT:
        raise DataError(f"{name}: the root is <{tree.root.tag}>, not <{ROOT}>: not SemEval-2016, give another format")
    number = 0
    for position, group in enumerate(tree.root, start=1):
        if group.tag != GROUP or [child.tag for child in group] != [LIST]:
            inside = ", ".join(child.tag for child in group)
            raise DataError(
                f"{name}:{tree.lines[group]}: <{group.tag}> holds ({inside}), not just <{LIST}>: "
                f"labels of whole reviews cannot be read, give sentence labels"
            )
        default = f"#{position}"
        rid = group.get("rid", default)
        outer = {
            ROOT: dict(tree.root.attrib),
            GROUP: {key: value for key, value in group.attrib.items() if key != "rid" or value == default},
            LIST: dict(group[0].attrib),
        }
        for sentence in group[0]:
            number += 1
            try:
                review = read_sentence(_FORM, sentence, number)
            except DataError as error:
                raise DataError(f"{name}:{tree.lines[sentence]}: {error}") from None
            yield tree.lines[sentence], with_outer(review, outer, None if review.id == rid else rid)


def encode(reviews: Sequence[Review]) -> bytes:
    """Neighbours of the same review stand in one element. Raises DataError naming the review that XML cannot hold."""
    root = Element(ROOT, next(filter(None, (attributes_of(review, ROOT) for review in reviews)), {}))
    numbered = enumerate(reviews, start=1)
    for position, ((rid, group, outer), members) in enumerate(groupby(numbered, key=_group), start=1):
        parent = SubElement(root, GROUP, {} if rid == f"#{position}" else {"rid": rid})
        parent.attrib.update(group)
        sentences = SubElement(parent, LIST, outer)
        for number, review in members:
            sentence = build_sentence(_FORM, review, number)
            try:
                xmltree.render(sentence)
            except DataError as error:
                raise DataError(f"review {review.id}: {error}") from None
            sentences.append(sentence)
    return encode_utf8(HEAD + xmltree.render(root) + "\n", "the reviews")


def _group(numbered: tuple[int, Review]) -> tuple[str, Any, Any]:
    review = numbered[1]
    return str(review.meta.get("review", review.id)), attributes_of(review, GROUP), attributes_of(review, LIST)


def _read(sentence: Element, text: str) -> tuple[Aspect, ...]:
    found = []
    for opinion in sentence.findall("Opinions/Opinion"):
        group, target, span = opinion.get("category", UNCATEGORISED), opinion.get("target"), offsets(opinion)
        implicit = target == _NULL and (span is None or text[slice(*span)] != _NULL)
        if implicit or (target is None and span is None):
            found.append(Aspect(group, polarity=opinion.get("polarity")))
        else:
            found.append(explicit(opinion, group, target, text))
    return tuple(found)


def _build(aspects: Sequence[Aspect]) -> list[Element]:
    opinions = []
    for a in aspects:
        implicit = a.span is None and a.word is None
        word, start, end = (_NULL, 0, 0) if implicit else (a.word, a.start, a.end)
        opinions.append(
            element_of("Opinion", target=word, category=a.entity_group, polarity=a.polarity, from_=start, to=end)
        )
    return container("Opinions", opinions)


_FORM = Form(frozenset({"Opinions"}), _read, _build)
