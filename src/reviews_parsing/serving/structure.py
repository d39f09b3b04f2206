"""Bounds on the structure of a request, counted in its bytes before any object is built from them.

A small compressed body may hold millions of empty objects, which cost seconds and gigabytes as Python objects. A legal
request holds one tensor with at most `max_texts` elements and little else.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from http import HTTPStatus

from reviews_parsing.errors import RequestRefused

# Values of a legal request beside its texts: names, shapes, parameters. Small excesses get a more exact refusal later.
OTHER_VALUES = 4096
MAX_DEPTH = 64
# Nested messages of ModelInferRequest by field number. PACKED is a list of numbers in one field.
PACKED = object()
CONTENTS = dict.fromkeys((1, 2, 3, 4, 5, 6, 7), PACKED)
PARAMETER: Mapping[int, object] = {2: {}}
TENSOR: Mapping[int, object] = {3: PACKED, 4: PARAMETER, 5: CONTENTS}
REQUEST: Mapping[int, object] = {4: PARAMETER, 5: TENSOR, 6: {2: PARAMETER}}


class JsonStructure:
    """Counter of the values and the depth of a JSON document that arrives in chunks.

    It does not validate: a document that is not JSON may pass, and is refused by the parser.
    """

    def __init__(self, max_texts: int) -> None:
        self._max_texts = max_texts
        self._brackets_and_commas = self._quotes = self._depth = 0
        self._in_string = False
        self._carry = b""

    def feed(self, chunk: bytes) -> None:
        """Count a chunk. Raises RequestRefused: 413 for too many texts, 400 for other values or depth."""
        chunk = self._carry + chunk
        trailing = len(chunk) - len(chunk.rstrip(b"\\"))
        # A backslash at the end escapes the first byte of the next chunk.
        self._carry = b"\\" if trailing % 2 else b""
        if self._carry:
            chunk = chunk[:-1]
        # Runs of backslashes pair up from their start, so after these replacements every quote delimits a string.
        plain = chunk.replace(b"\\\\", b"__").replace(b'\\"', b"__")
        self._quotes += plain.count(b'"')
        self._check()
        for segment in plain.split(b'"'):
            if not self._in_string and segment:
                self._descend(segment)
                self._brackets_and_commas += segment.count(b",") + segment.count(b"{") + segment.count(b"[")
                self._check()
            self._in_string = not self._in_string
        # The last segment ends with the chunk, not with a quote.
        self._in_string = not self._in_string

    @property
    def values(self) -> int:
        """Number of strings, lists, objects and commas."""
        return self._brackets_and_commas + self._quotes // 2

    def _check(self) -> None:
        # An element of shape [n, 1] counts three times: its list, its string and its comma.
        limit = 3 * self._max_texts + OTHER_VALUES
        if self.values > limit and 4 * (self._quotes // 2) < self.values:
            raise RequestRefused(
                f"the body holds more than {limit} values that are not texts; send one input of shape [n] or [n, 1]"
            )
        check_values(self.values, limit, self._max_texts)

    def _descend(self, segment: bytes) -> None:
        opened = segment.count(b"[") + segment.count(b"{")
        self._depth += opened - segment.count(b"]") - segment.count(b"}")
        if self._depth > MAX_DEPTH:
            raise RequestRefused(f"the body nests deeper than {MAX_DEPTH} levels; a V2 request is JSON with four")


def check_values(count: int, limit: int, max_texts: int) -> None:
    """Raise RequestRefused (413) if a request has more than `limit` values, given the limit of texts."""
    if count > limit:
        raise RequestRefused(
            f"the request holds more than {limit} values, this server reads {max_texts} texts a request; send fewer "
            "texts at a time, or raise REVIEWS_PARSING_MAX_TEXTS on the server",
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        )


def unpack_texts(raw: bytes, max_texts: int) -> list[bytes]:
    """Return the elements of a binary BYTES tensor: for each its length, as 4 bytes in little-endian order, and itself.

    Raises RequestRefused (413) beyond the limit of texts, struct.error if the tensor is cut off.
    """
    elements: list[bytes] = []
    offset = 0
    while offset < len(raw):
        check_values(len(elements), max_texts + OTHER_VALUES, max_texts)
        (size,) = struct.unpack_from("<I", raw, offset)
        offset += 4
        if size > len(raw) - offset:
            raise struct.error("an element ends after the tensor")
        elements.append(raw[offset : offset + size])
        offset += size
    return elements


def check_message(content: bytes, max_texts: int) -> None:
    """Raise RequestRefused (413) if a serialized ModelInferRequest holds more values than a legal one.

    Bytes that are not a message pass; the parser of protocol buffers refuses them.
    """
    limit = max_texts + OTHER_VALUES
    # Messages that are still to be read: start, end and fields.
    pending: list[tuple[int, int, Mapping[int, object]]] = [(0, len(content), REQUEST)]
    count = 0
    try:
        while pending:
            offset, end, fields = pending.pop()
            while offset < end:
                count += 1
                check_values(count, limit, max_texts)
                key, offset = _varint(content, offset)
                match key & 7:  # the wire type
                    case 0:
                        _, offset = _varint(content, offset)
                    case 1:
                        offset += 8
                    case 5:
                        offset += 4
                    case 2:
                        size, offset = _varint(content, offset)
                        field = fields.get(key >> 3)
                        if field is PACKED:
                            count += size
                            check_values(count, limit, max_texts)
                        elif isinstance(field, dict):
                            pending.append((offset, min(offset + size, end), field))
                        offset += size
                    case _:
                        return
    except IndexError:
        return


def _varint(content: bytes, offset: int) -> tuple[int, int]:
    """Return a variable-length integer and the offset after it. Raises IndexError if it is cut off or too long."""
    value = 0
    for shift in range(0, 70, 7):
        byte = content[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, offset
    raise IndexError
