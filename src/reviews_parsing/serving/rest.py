"""The REST door. MLServer's own reads no binary tensors (which is how tritonclient sends them), bounds no body, and
answers a malformed one in FastAPI's form; the rest of the app is MLServer's.
"""

from __future__ import annotations

import zlib

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from mlserver import Settings as ServerSettings
from mlserver.codecs.json import encode_to_json_bytes
from mlserver.errors import MLServerError
from mlserver.handlers import DataPlane, ModelRepositoryHandlers
from mlserver.rest import app as original
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from reviews_parsing.serving.doors import max_bytes
from reviews_parsing.serving.request import TOO_LARGE
from reviews_parsing.serving.wire import HEADER_LENGTH, first, to_binary, to_event, to_json, to_payload, wants_binary
from reviews_parsing.serving.work import OVERLOADED

VERBS = ("infer", "generate", "infer_stream", "generate_stream")
BAD_REQUEST, UNSUPPORTED = 400, 415


def create_app(
    settings: ServerSettings, data_plane: DataPlane, model_repository_handlers: ModelRepositoryHandlers
) -> FastAPI:
    """MLServer's app, with this inference route before its own, and the protocol's form for every error."""
    app: FastAPI = original.create_app(settings, data_plane, model_repository_handlers)
    limit = max_bytes()

    async def infer(request: Request) -> Response:
        payload = to_payload(await body(request, limit), request.headers.get(HEADER_LENGTH))
        where = request.path_params
        result = await data_plane.infer(payload, where["model_name"], where.get("model_version"))
        if request.url.path.endswith("_stream"):
            return to_event(result)
        return to_binary(result) if wants_binary(payload) else to_json(result)

    paths = [
        f"/v2/models/{{model_name}}{version}/{verb}" for version in ("", "/versions/{model_version}") for verb in VERBS
    ]
    app.router.routes[:0] = [Route(path, infer, methods=["POST"]) for path in paths]
    for error in (MLServerError, RequestValidationError, HTTPException, ClientDisconnect, Exception):
        app.add_exception_handler(error, answer_error)
    return app


async def body(request: Request, limit: int) -> bytes:
    """The body, decompressed. Raises MLServerError: 413 beyond `limit` bytes, 415 or 400 where that cannot be done."""
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding not in ("identity", "gzip", "deflate"):
        raise MLServerError(
            f"content encoding '{encoding[:60]}' is not supported; send gzip, deflate or none", UNSUPPORTED
        )
    inflate = None if encoding == "identity" else zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    received = bytearray()
    async for chunk in request.stream():
        # Once too large it is read to its end and dropped: a client that is still sending reads no answer.
        if len(received) <= limit:
            try:
                received += inflate.decompress(chunk, limit + 1 - len(received)) if inflate else chunk
            except zlib.error:
                raise MLServerError(f"the body is not {encoding}") from None
            if inflate and inflate.unused_data:
                raise MLServerError(f"the body goes on after its {encoding} ends")
    if len(received) > limit:
        raise MLServerError(f"the request is larger than {limit} bytes; send fewer texts at a time", TOO_LARGE)
    if inflate and not inflate.eof:
        raise MLServerError(f"the body ends in the middle of its {encoding}")
    return bytes(received)


async def answer_error(_: Request, error: Exception) -> Response:
    """The protocol's error, whatever went wrong. None of them quotes a text."""
    status, message = 500, "the server failed at this request; its log says where"
    match error:
        case MLServerError():
            status, message = error.status_code, str(error)
        case RequestValidationError():
            status, message = BAD_REQUEST, first(error)
        case HTTPException():
            status, message = error.status_code, str(error.detail)
        case ClientDisconnect():
            status, message = BAD_REQUEST, "the client left before its request had come"
    headers = {"Retry-After": "1"} if status == OVERLOADED else None
    return Response(encode_to_json_bytes({"error": message}), status, headers, "application/json")
