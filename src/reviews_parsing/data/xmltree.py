"""XML in and out: parsed with the line of each element, without document types; written so that nothing changes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from reviews_parsing.errors import DataError
from reviews_parsing.io.files import decode_utf8

_MAX_DEPTH = 64
_FORBIDDEN = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}


@dataclass(frozen=True, slots=True)
class Tree:
    """A parsed document; `lines` gives the line on which each element begins."""

    root: Element
    lines: dict[Element, int]


def parse(data: bytes, name: str) -> Tree:
    """Raises DataError, with the line, where the data is not XML or declares a document type.

    Document types are refused because their entities can grow a small file into gigabytes or read other files.
    """
    head = data[:200]
    declared = re.search(rb"<\?xml[^>]*encoding\s*=\s*[\"']([\w.-]+)", head)
    if not head.startswith((b"\xff\xfe", b"\xfe\xff")) and (not declared or declared[1].lower() in (b"utf-8", b"utf8")):
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

    def refuse(*_: object) -> NoReturn:
        raise DataError(
            f"{name}:{parser.CurrentLineNumber}: declares a document type or entities: remove the <!DOCTYPE>"
        )

    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        problem = expat.ErrorString(error.code)
        raise DataError(f"{name}:{error.lineno}: not XML ({problem} at column {error.offset + 1}): mend it") from None
    except (LookupError, ValueError) as error:
        raise DataError(f"{name}: its encoding cannot be read ({error}): save the file as UTF-8") from None
    return Tree(builder.close(), lines)


def render(element: Element, depth: int | None = 0) -> str:
    """The element as XML, one element a line, or all on one line where `depth` is None.

    White space is added only between elements that hold no text of their own. Raises DataError where a character
    cannot stand in XML.
    """
    attributes = "".join(f' {key}="{_escape(value, _ESCAPES)}"' for key, value in element.attrib.items())
    tag = element.tag + attributes
    text = element.text or ""
    parts = (text, *(child.tail for child in element))
    if not len(element) or element.tag == "text" or any(part and part.strip() for part in parts):
        inner = _escape(text) + "".join(render(child, None) + _escape(child.tail or "") for child in element)
        return f"<{tag}>{inner}</{element.tag}>" if inner else f"<{tag}/>"
    deeper = None if depth is None else depth + 1
    gap, last = ("", "") if depth is None else ("\n" + "\t" * (depth + 1), "\n" + "\t" * depth)
    return f"<{tag}>" + "".join(gap + render(child, deeper) for child in element) + f"{last}</{element.tag}>"


def same(a: Element, b: Element) -> bool:
    """Whether two elements say the same; white space between elements says nothing."""
    if (a.tag, a.attrib, len(a)) != (b.tag, b.attrib, len(b)):
        return False
    texts = [(x.text or "", *((child.tail or "").strip() for child in x)) for x in (a, b)]
    if len(a):
        texts = [(text.strip(), *tails) for text, *tails in texts]
    return texts[0] == texts[1] and all(map(same, a, b))


def _escape(text: str, escapes: dict[str, str] | None = None) -> str:
    forbidden = _FORBIDDEN.search(text)
    if forbidden:
        raise DataError(f"XML cannot hold the character U+{ord(forbidden[0]):04X}: remove it or write jsonl instead")
    # A bare carriage return would come back as a line feed, and so would any line break in an attribute.
    escapes = escapes or {char: _ESCAPES[char] for char in "&<>\r"}
    return "".join(escapes.get(char, char) for char in text) if any(char in text for char in escapes) else text
