"""SemEval-2014 task 4: `<sentences>` with aspect terms (spans without a category) and aspect categories (implicit).

Pontiki et al., SemEval-2014 Task 4: Aspect Based Sentiment Analysis.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element

from reviews_parsing.data import xmltree
from reviews_parsing.data.semeval import (
    HEAD,
    Form,
    attributes_of,
    build_sentence,
    container,
    element_of,
    explicit,
    read_sentence,
    with_outer,
)
from reviews_parsing.data.tokens import UNCATEGORISED
from reviews_parsing.errors import DataError
from reviews_parsing.io.files import encode_utf8
from reviews_parsing.schema import Aspect, Review

ROOT = "sentences"


def decode(data: bytes, name: str) -> Iterator[tuple[int, Review]]:
    """(line, review) of each sentence. Raises DataError naming the line that cannot be read."""
    tree = xmltree.parse(data, name)
    if tree.root.tag != ROOT:
        raise DataError(f"{name}: the root is <{tree.root.tag}>, not <{ROOT}>: not SemEval-2014, give another format")
    for number, sentence in enumerate(tree.root, start=1):
        try:
            review = read_sentence(_FORM, sentence, number)
        except DataError as error:
            raise DataError(f"{name}:{tree.lines[sentence]}: {error}") from None
        yield tree.lines[sentence], with_outer(review, {ROOT: dict(tree.root.attrib)})


def encode(reviews: Sequence[Review]) -> bytes:
    """Raises DataError naming the review that XML cannot hold."""
    root = Element(ROOT, next(filter(None, (attributes_of(review, ROOT) for review in reviews)), {}))
    for number, review in enumerate(reviews, start=1):
        sentence = build_sentence(_FORM, review, number)
        try:
            xmltree.render(sentence)
        except DataError as error:
            raise DataError(f"review {review.id}: {error}") from None
        root.append(sentence)
    return encode_utf8(HEAD + xmltree.render(root) + "\n", "the reviews")


def _read(sentence: Element, text: str) -> tuple[Aspect, ...]:
    terms = sentence.findall("aspectTerms/aspectTerm")
    categories = sentence.findall("aspectCategories/aspectCategory")
    found = [explicit(term, UNCATEGORISED, term.get("term"), text) for term in terms]
    found += [Aspect(c.get("category", UNCATEGORISED), polarity=c.get("polarity")) for c in categories]
    return tuple(found)


def _build(aspects: Sequence[Aspect]) -> list[Element]:
    terms = [
        element_of("aspectTerm", term=a.word, polarity=a.polarity, from_=a.start, to=a.end)
        for a in aspects
        if a.span is not None or a.word is not None
    ]
    categories = [
        element_of("aspectCategory", category=a.entity_group, polarity=a.polarity)
        for a in aspects
        if a.span is None and a.word is None
    ]
    return container("aspectTerms", terms) + container("aspectCategories", categories)


_FORM = Form(frozenset({"aspectTerms", "aspectCategories"}), _read, _build)
