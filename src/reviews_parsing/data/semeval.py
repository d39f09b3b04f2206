"""Reader for SemEval XML: sentences with aspects, in the forms of 2014 (task 4) and of 2015 and 2016 (subtask 1).

Each sentence becomes a review. Attributes of a sentence, and of the elements around it, go to `meta["attributes"]`.

Pontiki et al., SemEval-2014 Task 4: Aspect Based Sentiment Analysis; SemEval-2016 Task 5: Aspect Based Sentiment
Analysis.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from reviews_parsing.data.tokens import UNCATEGORISED
from reviews_parsing.errors import DataError
from reviews_parsing.io.files import decode_utf8
from reviews_parsing.schema import Aspect, Review

ROOT_2014, ROOT_2016 = "sentences", "Reviews"
_IMPLICIT_TARGET = "NULL"
_ID_ATTRIBUTES = {"Review": "rid", "sentence": "id"}
_MAX_DEPTH = 64
# Elements that hold labels: the element of each label, and its attributes besides offsets.
_LABELS_2014 = {
    "aspectTerms": ("aspectTerm", ("term", "category", "polarity")),
    "aspectCategories": ("aspectCategory", ("category", "polarity")),
}
_LABELS_2016 = {"Opinions": ("Opinion", ("target", "category", "polarity"))}
_LABEL_ATTRIBUTES = {"term", "target", "category", "polarity", "sentiment"}

AspectReader = Callable[[Element, str], tuple[Aspect, ...]]
"""Reads the aspects of a sentence element with that text."""


def decode_2014(data: bytes, name: str) -> Iterator[tuple[int, Review]]:
    """Yield (line, review) for each sentence. Raises DataError naming the invalid line.

    Aspect terms have a span and no category; aspect categories become implicit aspects.
    """
    root, lines = _parse_root(data, name, ROOT_2014)
    for number, sentence in enumerate(root, start=1):
        yield lines[sentence], _read_sentence([root, sentence], number, _read_terms, f"{name}:{lines[sentence]}")


def decode_2016(data: bytes, name: str) -> Iterator[tuple[int, Review]]:
    """Yield (line, review) for each sentence. Raises DataError naming the invalid line, or for review-level labels.

    The target NULL is an implicit aspect. `meta["review"]` is the id of the review that holds the sentence, unless
    they have the same id.
    """
    root, lines = _parse_root(data, name, ROOT_2016)
    number = 0
    for position, group in enumerate(root, start=1):
        if group.tag != "Review" or [child.tag for child in group] != ["sentences"]:
            children = ", ".join(child.tag for child in group)
            raise DataError(
                f"{name}:{lines[group]}: <{group.tag}> holds ({children}), not just <sentences>: "
                f"labels of whole reviews cannot be read, give sentence labels"
            )
        group_id = group.get("rid", f"#{position}")
        for sentence in group[0]:
            number += 1
            path = [root, group, group[0], sentence]
            review = _read_sentence(path, number, _read_opinions, f"{name}:{lines[sentence]}")
            if review.id != group_id:
                review = replace(review, meta={"review": group_id, **review.meta})
            yield lines[sentence], review


def parse_xml(data: bytes, name: str) -> tuple[Element, dict[Element, int]]:
    """Return the root and the line of each element. Raises DataError if it is not XML or declares a document type.

    Document types are rejected because their entities can expand to gigabytes or read other files.
    """
    head = data[:200]
    encoding = re.search(rb"<\?xml[^>]*encoding\s*=\s*[\"']([\w.-]+)", head)
    if not head.startswith((b"\xff\xfe", b"\xfe\xff")) and (not encoding or encoding[1].lower() in (b"utf-8", b"utf8")):
        decode_utf8(data, name)
    builder, parser = TreeBuilder(), expat.ParserCreate()
    lines: dict[Element, int] = {}
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _MAX_DEPTH:
            raise DataError(f"{name}:{parser.CurrentLineNumber}: nested deeper than {_MAX_DEPTH}: flatten it")
        lines[builder.start(tag, attributes)] = parser.CurrentLineNumber

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def reject(*_: object) -> NoReturn:
        raise DataError(
            f"{name}:{parser.CurrentLineNumber}: declares a document type or entities: remove the <!DOCTYPE>"
        )

    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = reject
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        problem = expat.ErrorString(error.code)
        raise DataError(
            f"{name}:{error.lineno}: not XML ({problem} at column {error.offset + 1}): correct it"
        ) from None
    except (LookupError, ValueError) as error:
        raise DataError(f"{name}: its encoding cannot be read ({error}): save the file as UTF-8") from None
    return builder.close(), lines


def _parse_root(data: bytes, name: str, tag: str) -> tuple[Element, dict[Element, int]]:
    root, lines = parse_xml(data, name)
    if root.tag != tag:
        raise DataError(f"{name}: the root is <{root.tag}>, not <{tag}>: give another format")
    return root, lines


def _read_sentence(path: list[Element], number: int, read_aspects: AspectReader, location: str) -> Review:
    """Read the last element of the path from the root. Raises DataError with the location."""
    sentence = path[-1]
    if sentence.tag != "sentence":
        raise DataError(f"{location}: <{sentence.tag}> where a <sentence> belongs: remove it")
    texts = sentence.findall("text")
    if len(texts) != 1:
        raise DataError(f"{location}: a <sentence> with {len(texts)} <text> elements: give it one")
    text = "".join(texts[0].itertext())
    try:
        _check_elements(sentence, read_aspects)
        aspects = read_aspects(sentence, text)
    except DataError as error:
        raise DataError(f"{location}: {error}") from None
    attributes: dict[str, dict[str, str]] = {}
    for element in path:
        values = {key: value for key, value in element.attrib.items() if key != _ID_ATTRIBUTES.get(element.tag)}
        attributes |= {element.tag: values} if values else {}
    meta: dict[str, Any] = {"attributes": attributes} if attributes else {}
    return Review(sentence.get("id", f"#{number}"), text, aspects, meta)


def _check_elements(sentence: Element, read_aspects: AspectReader) -> None:
    """Raise DataError for labels in elements or attributes that are not read."""
    forms = _LABELS_2014 if read_aspects is _read_terms else _LABELS_2016
    for container in sentence:
        name, attributes = forms.get(container.tag, ("", ()))
        for element in container.iter():
            known = attributes if element.tag == name else ()
            unread = [key for key in element.attrib if key.casefold() in _LABEL_ATTRIBUTES and key not in known]
            if unread:
                examples = " or ".join(f"<{outer}><{tag} {keys[0]} ...>" for outer, (tag, keys) in forms.items())
                raise DataError(f"<{element.tag} {unread[0]}> in <{container.tag}> is not read: write {examples}")


def _read_terms(sentence: Element, text: str) -> tuple[Aspect, ...]:
    """Read the aspect terms and aspect categories of the 2014 form."""
    terms = sentence.iterfind("aspectTerms/aspectTerm")
    categories = sentence.iterfind("aspectCategories/aspectCategory")
    return (
        *(_read_explicit(t, t.get("category", UNCATEGORISED), t.get("term"), text) for t in terms),
        *(Aspect(c.get("category", UNCATEGORISED), polarity=c.get("polarity")) for c in categories),
    )


def _read_opinions(sentence: Element, text: str) -> tuple[Aspect, ...]:
    """Read the opinions of the 2016 form."""
    aspects = []
    for opinion in sentence.iterfind("Opinions/Opinion"):
        category, target, span = opinion.get("category", UNCATEGORISED), opinion.get("target"), _read_span(opinion)
        # NULL may also be a word of the text.
        is_null = target == _IMPLICIT_TARGET and (span is None or text[slice(*span)] != _IMPLICIT_TARGET)
        if is_null or (target is None and span is None):
            aspects.append(Aspect(category, polarity=opinion.get("polarity")))
        else:
            aspects.append(_read_explicit(opinion, category, target, text))
    return tuple(aspects)


def _read_explicit(element: Element, category: str, word: str | None, text: str) -> Aspect:
    """Read an aspect with its offsets as given; `data.check` reports misaligned ones."""
    span, polarity = _read_span(element), element.get("polarity")
    if span is None:
        return Aspect(category, word, polarity=polarity)
    return Aspect(category, text[slice(*span)] if word is None else word, *span, polarity=polarity)


def _read_span(element: Element) -> tuple[int, int] | None:
    """Return (from, to) of an element, None if it has neither."""
    start, end = element.get("from"), element.get("to")
    if start is None and end is None:
        return None
    try:
        return int(start or ""), int(end or "")
    except ValueError:
        raise DataError(f"<{element.tag}> has from={start!r} and to={end!r}: give two whole numbers") from None
