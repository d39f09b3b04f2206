"""The REST door. MLServer's own reads no binary tensors (which is how tritonclient sends them), bounds no body, and
answers a malformed one in FastAPI's form; the rest of the app is MLServer's.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from mlserver import Settings as ServerSettings
from mlserver.codecs.json import encode_to_json_bytes
from mlserver.errors import MLServerError
from mlserver.handlers import ModelRepositoryHandlers
from mlserver.rest import app as original
from mlserver.types import InferenceResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from reviews_parsing.serving import traces
from reviews_parsing.serving.body import read_body
from reviews_parsing.serving.doors import HEADER_LENGTH, max_bytes
from reviews_parsing.serving.failures import MESSAGE, log_failure
from reviews_parsing.serving.metrics import observed
from reviews_parsing.serving.plane import Plane
from reviews_parsing.serving.request import one_line
from reviews_parsing.serving.routes import routes
from reviews_parsing.serving.wire import first, to_binary, to_event, to_json, to_payload, wants_binary
from reviews_parsing.serving.work import OVERLOADED

INFER = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/(infer|generate)(_stream)?")
BAD_REQUEST, CLIENT_GONE = 400, 499


def create_app(settings: ServerSettings, data_plane: Plane, model_repository_handlers: ModelRepositoryHandlers) -> Door:
    """MLServer's app behind this inference route and those of `routes`, and the protocol's form for every error."""
    app: FastAPI = original.create_app(settings, data_plane, model_repository_handlers)
    app.router.routes[:0] = routes(data_plane, model_repository_handlers)
    for error in (MLServerError, RequestValidationError, HTTPException, ClientDisconnect, Exception):
        app.add_exception_handler(error, answer_error)
    traces.start()
    return Door(app, data_plane)


class Door:
    """An ASGI app that infers by itself, past the middleware of the app behind it, and leaves it everything else."""

    def __init__(self, app: FastAPI, data_plane: Plane) -> None:
        self._app = app
        self._data_plane = data_plane
        self._limit = max_bytes()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = INFER.fullmatch(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if path is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        with observed("rest") as outcome, traces.over_rest(scope, path.groups(), outcome):
            try:
                response = await self._infer(request, *path.groups())
            except asyncio.CancelledError:
                # By the server, which ends and has waited long enough.
                response = await answer_error(request, MLServerError("the server ends; ask again", OVERLOADED))
            except Exception as error:
                response = await answer_error(request, error)
            outcome.status = response.status_code
        await response(scope, receive, send)

    async def _infer(self, request: Request, name: str, version: str | None, _: str, stream: str | None) -> Response:
        await self._data_plane.admit(name, version)  # before any work on what it says
        payload = to_payload(await read_body(request, self._limit), request.headers.get(HEADER_LENGTH))
        binary = wants_binary(payload)
        result = await unless_gone(request, self._data_plane.infer(payload, name, version))
        if stream:
            return to_event(result)
        return to_binary(result) if binary else to_json(result)


async def unless_gone(request: Request, work: Coroutine[Any, Any, InferenceResponse]) -> InferenceResponse:
    """The outcome of `work`, which is cancelled when the client goes. Raises ClientDisconnect then."""
    working = asyncio.ensure_future(work)
    going = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({working, going}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        going.cancel()


async def answer_error(_: Request, error: Exception) -> Response:
    """The protocol's error, whatever went wrong. None of them quotes a text."""
    status, message, headers = 500, MESSAGE, {}
    match error:
        case MLServerError():
            status, message = error.status_code, str(error)
        case RequestValidationError():
            status, message = BAD_REQUEST, first(error)
        case HTTPException():
            # Such as the methods that there are, where it was another.
            status, message, headers = error.status_code, str(error.detail), dict(error.headers or {})
        case ClientDisconnect():
            status, message = CLIENT_GONE, "the client left before its answer came"
        case _:
            log_failure(error)
    if status == OVERLOADED:
        headers["Retry-After"] = "1"
    return Response(encode_to_json_bytes({"error": one_line(message)}), status, headers, "application/json")
