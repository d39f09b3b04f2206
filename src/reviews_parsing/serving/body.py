"""Request bodies, bounded in bytes, in time and in structure before anything is built from them."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterator
from http import HTTPStatus

from starlette.requests import Request

from reviews_parsing.errors import RequestRefused
from reviews_parsing.serving.limits import timed_out
from reviews_parsing.serving.structure import JsonStructure

ENCODINGS = ("identity", "gzip", "deflate")
FORM = "multipart/form-data"
# Size of the parts that are decompressed and counted; a larger body is read in a thread.
CHUNK_BYTES = 65_536
# A body may decompress to FREE_BYTES and MAX_RATIO times its size; reviews compress to a third, rarely to a tenth.
FREE_BYTES, MAX_RATIO = 1_000_000, 100

# Reserves bytes of memory; raises RequestRefused (503) if there are too many.
Reserve = Callable[[int], None]


async def receive_body(request: Request, limit: int, seconds: float, reserve: Reserve) -> bytes:
    """Return the body as it was sent.

    Raises RequestRefused: 408 after `seconds`, 413 beyond `limit` bytes, 415 if its type or encoding is not supported,
    and the errors of `reserve`. After an error the remaining bytes are received and dropped, because a client that is
    still sending does not read the response.
    """
    encoding = content_encoding(request)
    error = _unsupported(request.headers.get("Content-Type", ""), encoding)
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                if error:
                    continue
                try:
                    reserve(len(chunk))
                except RequestRefused as full:
                    error = full
                body += chunk
                if len(body) > limit:
                    error = too_large(limit)
                if error:
                    body.clear()
    except TimeoutError:
        error = error or timed_out("body", "body_seconds")
    if error:
        raise error
    return bytes(body)


def content_encoding(request: Request) -> str:
    """Return the encoding of the body in lower case; `identity` if it has none."""
    return request.headers.get("Content-Encoding", "").strip().lower() or "identity"


def read_body(
    body: bytes, encoding: str, limit: int, max_texts: int, json_length: int | None, reserve: Reserve
) -> bytes:
    """Return the decompressed body, of which the first `json_length` bytes, by default all, are JSON.

    Raises RequestRefused: 400 or 413 if it cannot be decompressed, is larger than `limit` or holds too
    many values.
    """
    structure = JsonStructure(max_texts)
    content = bytearray()
    for chunk in _decompressed(body, encoding):
        if encoding != "identity":
            reserve(len(chunk))
        end = len(chunk) if json_length is None else max(0, json_length - len(content))
        content += chunk
        if len(content) > limit:
            raise too_large(limit)
        if len(content) > FREE_BYTES + MAX_RATIO * len(body):
            message = f"the {len(body)} bytes of the body decompress to more than {MAX_RATIO} times that; send it plain"
            raise RequestRefused(message, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        structure.feed(chunk[:end])
    return bytes(content)


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """Return `body` decompressed. Raises RequestRefused: 413 beyond `limit` bytes, 400 if it is malformed."""
    content = bytearray()
    for chunk in _decompressed(body, encoding):
        content += chunk
        if len(content) > limit:
            raise too_large(limit)
    return bytes(content)


def too_large(limit: int) -> RequestRefused:
    """Return the error of a request that is larger than `limit` bytes."""
    message = f"the request is larger than {limit} bytes; send fewer texts at a time"
    return RequestRefused(message, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


def _decompressed(body: bytes, encoding: str) -> Iterator[bytes]:
    if encoding == "identity":
        for start in range(0, len(body), CHUNK_BYTES):
            yield body[start : start + CHUNK_BYTES]
        return
    inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    begin = 0
    try:
        while begin < len(body) and not inflate.eof:
            # A slice, because zlib copies the bytes that it has not consumed yet at each call.
            remaining = body[begin : begin + CHUNK_BYTES]
            begin += CHUNK_BYTES
            while remaining and not inflate.eof:
                yield inflate.decompress(remaining, CHUNK_BYTES)
                remaining = inflate.unconsumed_tail
        while not inflate.eof and (chunk := inflate.decompress(b"", CHUNK_BYTES)):
            yield chunk
    except zlib.error:
        raise RequestRefused(f"the body is not {encoding}") from None
    if not inflate.eof:
        raise RequestRefused(f"the body ends before the end of its {encoding} stream")
    if inflate.unused_data or begin < len(body):
        raise RequestRefused(f"the body continues after the end of its {encoding} stream")


def _unsupported(content_type: str, encoding: str) -> RequestRefused | None:
    if content_type.partition(";")[0].strip().lower() == FORM:
        message = f"content type '{FORM}' is not supported; send the JSON itself"
    elif encoding not in ENCODINGS:
        message = f"content encoding '{encoding[:60]}' is not supported; send gzip, deflate or none"
    else:
        return None
    return RequestRefused(message, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
