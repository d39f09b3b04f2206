"""What the SemEval forms share: a `<sentence>` with its text, and aspects in containers of the form's own.

Each sentence becomes a review. Attributes that a review has no field for are kept in `meta["attributes"]`, by element;
a sentence that says more than the form's own elements would (unknown attributes, half-given offsets, empty containers)
is kept as it stands in `meta["xml"]`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from xml.etree.ElementTree import Element, SubElement

from reviews_parsing.data import xmltree
from reviews_parsing.errors import DataError
from reviews_parsing.schema import Aspect, Review

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'


@dataclass(frozen=True, slots=True)
class Form:
    """How one form reads the aspects of a sentence, and builds the containers that hold them."""

    containers: frozenset[str]
    read: Callable[[Element, str], tuple[Aspect, ...]]
    build: Callable[[Sequence[Aspect]], list[Element]]


def read_sentence(form: Form, sentence: Element, number: int) -> Review:
    """The review that the `number`th sentence of a file is. Raises DataError without a place."""
    if sentence.tag != "sentence":
        raise DataError(f"<{sentence.tag}> where a <sentence> belongs: take it out")
    text = _text(sentence)
    default = f"#{number}"
    attributes = {key: value for key, value in sentence.attrib.items() if key != "id" or value == default}
    meta = {"attributes": {"sentence": attributes}} if attributes else {}
    review = Review(sentence.get("id", default), text, form.read(sentence, text), meta)
    if not xmltree.same(build_sentence(form, review, number), sentence):
        return replace(review, meta={**meta, "xml": xmltree.render(sentence, None)})
    return review


def build_sentence(form: Form, review: Review, number: int) -> Element:
    """The `number`th sentence of a file; the source's own where it still says what the review says."""
    default, own = f"#{number}", attributes_of(review, "sentence")
    source = _source(review)
    if source is not None and (_text(source), form.read(source, review.text)) == (review.text, review.aspects):
        if source.get("id", default) != review.id:
            source.set("id", review.id)
        return source
    sentence = Element("sentence", {} if review.id == default else {"id": review.id})
    sentence.attrib.update(own)
    SubElement(sentence, "text").text = review.text
    sentence.extend(form.build(review.aspects))
    if source is not None:
        sentence.extend(child for child in source if child.tag not in {"text", *form.containers})
    return sentence


def attributes_of(review: Review, tag: str) -> dict[str, str]:
    """What the source said in the attributes of the element `tag` around the review."""
    attributes = review.meta.get("attributes")
    own = attributes.get(tag) if isinstance(attributes, dict) else None
    return {str(key): str(value) for key, value in own.items()} if isinstance(own, dict) else {}


def with_outer(review: Review, outer: dict[str, dict[str, str]], group: str | None = None) -> Review:
    """The review with the attributes of the elements around it, and the review that it is a sentence of."""
    attributes = {tag: own for tag, own in outer.items() if own} | dict(review.meta.get("attributes", {}))
    kept: dict[str, Any] = {} if group is None else {"review": group}
    kept |= review.meta
    return replace(review, meta=kept | {"attributes": attributes} if attributes else kept)


def offsets(element: Element) -> tuple[int, int] | None:
    """The `from` and `to` of an element, or None where it has neither."""
    start, end = element.get("from"), element.get("to")
    if start is None and end is None:
        return None
    try:
        return int(start or ""), int(end or "")
    except ValueError:
        raise DataError(f"<{element.tag}> has from={start!r} and to={end!r}: give two whole numbers") from None


def explicit(element: Element, group: str, word: str | None, text: str) -> Aspect:
    """An aspect with the offsets that the element gives, right or wrong; `check` reports the wrong ones."""
    span, polarity = offsets(element), element.get("polarity")
    if span is None:
        return Aspect(group, word, polarity=polarity)
    return Aspect(group, text[slice(*span)] if word is None else word, *span, polarity=polarity)


def element_of(tag: str, **values: str | int | None) -> Element:
    """An element with those attributes that are not None; a trailing underscore frees a name from Python."""
    return Element(tag, {key.rstrip("_"): str(value) for key, value in values.items() if value is not None})


def container(tag: str, children: Sequence[Element]) -> list[Element]:
    """The element around its children, or nothing where there are none."""
    parent = Element(tag)
    parent.extend(children)
    return [parent] if children else []


def _text(sentence: Element) -> str:
    texts = sentence.findall("text")
    if len(texts) != 1:
        raise DataError(f"a <sentence> with {len(texts)} <text> elements: give it one")
    return "".join(texts[0].itertext())


def _source(review: Review) -> Element | None:
    source = review.meta.get("xml")
    if not isinstance(source, str):
        return None
    try:
        root = xmltree.parse(source.encode("utf-8"), "meta xml").root
        _text(root)
    except (DataError, ValueError):
        return None
    return root if root.tag == "sentence" else None
