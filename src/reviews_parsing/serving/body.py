"""The body of a request over REST: of a type that may be JSON, decompressed, and bounded."""

from __future__ import annotations

import zlib

from mlserver.errors import MLServerError
from starlette.requests import Request

from reviews_parsing.serving.request import TOO_LARGE

UNSUPPORTED = 415
FORM = "multipart/form-data"
ENCODINGS = ("identity", "gzip", "deflate")


async def read_body(request: Request, limit: int) -> bytes:
    """The body, decompressed, if it is of any type but a form's parts.

    Whoever types `curl -d` sends JSON as `application/x-www-form-urlencoded`, and many clients name no type at all;
    what is JSON is read whatever it is called.
    Raises MLServerError: 413 beyond `limit` bytes, 415 or 400 where it cannot be read; in any case not before the whole
    of it has come, for a client that is still sending reads no answer.
    """
    encoding = request.headers.get("Content-Encoding", "").strip().lower() or "identity"
    refusal = _refusal(request.headers.get("Content-Type", ""), encoding)
    inflate = None if encoding == "identity" else zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    received = bytearray()
    async for chunk in request.stream():
        if refusal:
            continue
        try:
            received += inflate.decompress(chunk, limit + 1 - len(received)) if inflate else chunk
        except zlib.error:
            refusal = MLServerError(f"the body is not {encoding}")
        if inflate and inflate.unused_data:
            refusal = MLServerError(f"the body goes on after its {encoding} ends")
        if len(received) > limit:
            refusal = MLServerError(f"the request is larger than {limit} bytes; send fewer texts at a time", TOO_LARGE)
    if inflate and not inflate.eof and not refusal:
        refusal = MLServerError(f"the body ends in the middle of its {encoding}")
    if refusal:
        raise refusal
    return bytes(received)


def _refusal(content_type: str, encoding: str) -> MLServerError | None:
    if content_type.partition(";")[0].strip().lower() == FORM:
        return MLServerError(f"content type '{FORM}' is not supported; send the JSON itself", UNSUPPORTED)
    if encoding not in ENCODINGS:
        return MLServerError(
            f"content encoding '{encoding[:60]}' is not supported; send gzip, deflate or none", UNSUPPORTED
        )
    return None
