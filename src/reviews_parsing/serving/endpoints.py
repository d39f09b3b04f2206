"""REST endpoints of the V2 protocol: health, metadata, documents, inference and management of models.

They replace those of MLServer, which read no binary tensors (tritonclient sends them), bound no body, and answer errors
in FastAPI's form.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Coroutine
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import orjson
from fastapi.openapi.docs import get_swagger_ui_html
from mlserver.codecs.json import encode_to_json_bytes
from mlserver.errors import MLServerError
from mlserver.types import InferenceResponse, RepositoryIndexRequest
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from reviews_parsing.serving import tracing
from reviews_parsing.serving.codec import decode, encode_binary, encode_event, encode_json, first_error, wants_binary
from reviews_parsing.serving.metrics import observed
from reviews_parsing.serving.model_registry import DataPlane, RepositoryHandlers
from reviews_parsing.serving.openapi import document
from reviews_parsing.serving.protocol import (
    CLIENT_CLOSED_REQUEST,
    HEADER_LENGTH,
    INTERNAL_ERROR,
    log_failure,
    max_body_bytes,
    one_line,
)
from reviews_parsing.settings import Settings

INFERENCE = ("infer", "generate", "infer_stream", "generate_stream")
ENCODINGS = ("identity", "gzip", "deflate")
FORM = "multipart/form-data"
TITLE = "Reviews Parsing"


class RestApp:
    """ASGI app of all endpoints."""

    def __init__(self, data_plane: DataPlane, repository: RepositoryHandlers) -> None:
        self._data_plane = data_plane
        self._repository = repository
        self._max_bytes = max_body_bytes()
        self._max_texts = Settings().max_texts
        self._router = Router(self._routes(), redirect_slashes=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        try:
            # With an app in its scope, the router raises HTTPException instead of answering in plain text.
            await self._router({**scope, "app": self}, receive, send)
        except Exception as error:
            await answer_error(error)(scope, receive, send)

    def _routes(self) -> list[Route]:
        routes = []
        for base in ("/v2/models/{model_name}", "/v2/models/{model_name}/versions/{model_version}"):
            for verb in INFERENCE:
                infer = partial(self.infer, route=f"{base}/{verb}", stream=verb.endswith("_stream"))
                routes.append(Route(f"{base}/{verb}", infer, methods=["POST"]))
            routes += [
                Route(f"{base}/ready", self.model_ready),
                Route(f"{base}/docs", self.model_docs),
                Route(f"{base}/docs/dataplane.json", self.model_document),
            ]
            metadata = Route(base, self.model_metadata)
            metadata.methods.discard("HEAD")  # type: ignore[union-attr]
            routes.append(metadata)
        return [
            *routes,
            # The protocol's text says /v2, its OpenAPI document /v2/.
            Route("/v2", self.metadata),
            Route("/v2/", self.metadata),
            Route("/v2/health/live", self.live),
            Route("/v2/health/ready", self.ready),
            Route("/v2/docs", self.docs),
            Route("/v2/docs/dataplane.json", self.document),
            Route("/openapi.json", self.document),
            Route("/v2/repository/index", self.index, methods=["POST"]),
            Route("/v2/repository/models/{model_name}/load", self.load, methods=["POST"]),
            Route("/v2/repository/models/{model_name}/unload", self.unload, methods=["POST"]),
        ]

    async def infer(self, request: Request, route: str, stream: bool) -> Response:
        """Answer an inference request, whatever happens to it."""
        with observed("rest") as outcome, tracing.rest_request(request.scope, route, outcome):
            try:
                response = await self._infer(request, stream)
            except asyncio.CancelledError:
                # The drain timeout has passed, or a second signal came.
                message = "the server shuts down; send the request again"
                response = answer_error(MLServerError(message, HTTPStatus.SERVICE_UNAVAILABLE))
            except Exception as error:
                response = answer_error(error)
            outcome.status = response.status_code
        return response

    async def _infer(self, request: Request, stream: bool) -> Response:
        model = _model(request)
        await self._data_plane.admit(*model)  # before any work on the body
        payload = decode(await read_body(request, self._max_bytes), request.headers.get(HEADER_LENGTH))
        binary = wants_binary(payload)
        result = await unless_disconnected(request, self._data_plane.infer(payload, *model))
        if stream:
            return encode_event(result)
        return encode_binary(result) if binary else encode_json(result)

    async def metadata(self, _: Request) -> Response:
        """Answer the metadata of the server."""
        return _json((await self._data_plane.metadata()).model_dump())

    async def live(self, _: Request) -> Response:
        """Answer the liveness probe."""
        return _json({"live": True})

    async def ready(self, _: Request) -> Response:
        """Answer the readiness probe; `live` is in the protocol's example."""
        return _readiness({"live": True}, await self._data_plane.ready())

    async def docs(self, _: Request) -> Response:
        """Answer a page that shows the OpenAPI document."""
        return get_swagger_ui_html(openapi_url="/v2/docs/dataplane.json", title=TITLE)

    async def document(self, _: Request) -> Response:
        """Answer the OpenAPI document of the server."""
        return _json(document(self._max_texts))

    async def model_metadata(self, request: Request) -> Response:
        """Answer the metadata of a model."""
        metadata = await self._data_plane.model_metadata(*_model(request))
        return _json(metadata.model_dump(exclude_none=True))

    async def model_ready(self, request: Request) -> Response:
        """Answer the readiness probe of a model."""
        name, version = _model(request)
        return _readiness({"name": name}, await self._data_plane.model_ready(name, version))

    async def model_docs(self, request: Request) -> Response:
        """Answer a page that shows the OpenAPI document of a model."""
        await self._data_plane.model_metadata(*_model(request))
        return get_swagger_ui_html(openapi_url=f"{quote(request.scope['path'])}/dataplane.json", title=TITLE)

    async def model_document(self, request: Request) -> Response:
        """Answer the OpenAPI document of a model."""
        model = _model(request)
        await self._data_plane.model_metadata(*model)
        return _json(document(self._max_texts, *model))

    async def index(self, request: Request) -> Response:
        """Answer the index of the model repository."""
        content = await read_body(request, self._max_bytes)
        try:
            query = RepositoryIndexRequest.model_validate(orjson.loads(content) if content else {}, strict=True)
        except orjson.JSONDecodeError as error:
            raise MLServerError(f"the body is not JSON: {error}") from None
        except ValidationError as error:
            raise MLServerError(first_error(error)) from None
        return _json((await self._repository.index(query)).model_dump())

    async def load(self, request: Request) -> Response:
        """Load the current version of a model."""
        await self._repository.load(_model(request)[0])
        return Response()

    async def unload(self, request: Request) -> Response:
        """Unload a model."""
        await self._repository.unload(_model(request)[0])
        return Response()


async def read_body(request: Request, limit: int) -> bytes:
    """Return the decompressed body. Any content type but a multipart form may be JSON.

    `curl -d` sends JSON as `application/x-www-form-urlencoded`, and many clients send no type.
    Raises MLServerError: 413 beyond `limit` bytes, 415 or 400 if it cannot be read. The whole body is received first,
    because a client that is still sending does not read the response.
    """
    encoding = request.headers.get("Content-Encoding", "").strip().lower() or "identity"
    error = _unsupported(request.headers.get("Content-Type", ""), encoding)
    inflate = None if encoding == "identity" else zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    body = bytearray()
    async for chunk in request.stream():
        if error:
            continue
        try:
            body += inflate.decompress(chunk, limit + 1 - len(body)) if inflate else chunk
        except zlib.error:
            error = MLServerError(f"the body is not {encoding}")
        if inflate and inflate.unused_data:
            error = MLServerError(f"the body continues after the end of its {encoding} stream")
        if len(body) > limit:
            message = f"the request is larger than {limit} bytes; send fewer texts at a time"
            error = MLServerError(message, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    if inflate and not inflate.eof and not error:
        error = MLServerError(f"the body ends before the end of its {encoding} stream")
    if error:
        raise error
    return bytes(body)


async def unless_disconnected(request: Request, inference: Coroutine[Any, Any, InferenceResponse]) -> InferenceResponse:
    """Return the result of `inference`, cancelled if the client disconnects. Raises ClientDisconnect then."""
    task = asyncio.ensure_future(inference)
    disconnect = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({task, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        disconnect.cancel()


def answer_error(error: Exception) -> Response:
    """Return the protocol's form of any error. No error quotes a text."""
    status, message, headers = int(HTTPStatus.INTERNAL_SERVER_ERROR), INTERNAL_ERROR, {}
    match error:
        case MLServerError():
            status, message = error.status_code, str(error)
        case HTTPException():
            # Its headers name, for example, the allowed methods.
            status, message, headers = error.status_code, str(error.detail), dict(error.headers or {})
        case ClientDisconnect():
            status, message = CLIENT_CLOSED_REQUEST, "the client disconnected before the response"
        case _:
            log_failure(error)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = "1"
    return Response(encode_to_json_bytes({"error": one_line(message)}), status, headers, "application/json")


def _unsupported(content_type: str, encoding: str) -> MLServerError | None:
    if content_type.partition(";")[0].strip().lower() == FORM:
        message = f"content type '{FORM}' is not supported; send the JSON itself"
    elif encoding not in ENCODINGS:
        message = f"content encoding '{encoding[:60]}' is not supported; send gzip, deflate or none"
    else:
        return None
    return MLServerError(message, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)


def _model(request: Request) -> tuple[str, str | None]:
    return request.path_params["model_name"], request.path_params.get("model_version")


def _readiness(form: dict[str, Any], ready: bool) -> Response:
    return _json({**form, "ready": ready}, HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE)


def _json(form: object, status: int = HTTPStatus.OK) -> Response:
    return Response(encode_to_json_bytes(form), status, media_type="application/json")
