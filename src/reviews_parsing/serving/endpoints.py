"""REST endpoints of the V2 protocol: health, metadata, documents, inference and management of models.

They replace those of MLServer, which read no binary tensors (tritonclient sends them), bound no body, and answer errors
in FastAPI's form.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import orjson
from fastapi.openapi.docs import get_swagger_ui_html
from mlserver.codecs.json import encode_to_json_bytes
from mlserver.errors import MLServerError
from mlserver.types import InferenceRequest, InferenceResponse, RepositoryIndexRequest
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route, Router
from starlette.types import Message, Receive, Scope, Send

from reviews_parsing.errors import RequestRefused
from reviews_parsing.serving import tracing
from reviews_parsing.serving.api_docs import SCRIPT, STYLE, swagger_ui_folder
from reviews_parsing.serving.body import CHUNK_BYTES, Reserve, content_encoding, read_body, receive_body
from reviews_parsing.serving.clients import ClientIdentity, current_client
from reviews_parsing.serving.codec import decode, encode_binary, encode_event, encode_json, first_error, wants_binary
from reviews_parsing.serving.limits import ByteBudget, limit_log
from reviews_parsing.serving.metrics import RequestOutcome, observed
from reviews_parsing.serving.model_control import ModelControl
from reviews_parsing.serving.model_registry import DataPlane, RepositoryHandlers
from reviews_parsing.serving.openapi import document
from reviews_parsing.serving.pace import RefusalPace
from reviews_parsing.serving.protocol import (
    CLIENT_CLOSED_REQUEST,
    COMPARISON_HEADER,
    HEADER_LENGTH,
    INTERNAL_ERROR,
    log_failure,
    max_body_bytes,
    one_line,
)
from reviews_parsing.settings import Settings, split

INFERENCE = ("infer", "generate", "infer_stream", "generate_stream")
# Methods of requests that change nothing and cost little.
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
TITLE = "Reviews Parsing"


class RestApp:
    """ASGI app of all endpoints."""

    def __init__(
        self, data_plane: DataPlane, repository: RepositoryHandlers, budget: ByteBudget, pace: RefusalPace
    ) -> None:
        self._data_plane = data_plane
        self._repository = repository
        self._settings = settings = Settings()
        self._max_bytes = max_body_bytes()
        self._max_texts = settings.max_texts
        self._budget = budget
        self._pace = pace
        self._control = ModelControl(settings)
        self._identity = ClientIdentity(settings)
        self._origins = split(settings.allowed_origins)
        self._router = Router(self._routes(), redirect_slashes=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._router(scope, receive, send)
            return

        async def send_and_close(message: Message) -> None:
            # The client opens its next connection, which leads to a server that is not draining.
            if message["type"] == "http.response.start" and self._data_plane.draining:
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        request = Request(scope)
        with self._identity.of_rest(request):
            try:
                self._check(request)
                # With an app in its scope, the router raises HTTPException instead of answering in plain text.
                await self._router({**scope, "app": self}, receive, send_and_close)
            except Exception as error:
                response = answer_error(error)
                await self._pace.wait(current_client().address, response.status_code)
                await response(scope, receive, send_and_close)

    def _check(self, request: Request) -> None:
        """Raise RequestRefused: 431 if the headers are too large, 403 if a page of another origin sends the request."""
        scope = request.scope
        size = len(scope["raw_path"]) + len(scope["query_string"])
        if size + sum(len(name) + len(value) for name, value in scope["headers"]) > self._settings.max_header_bytes:
            limit_log.record("max_header_bytes")
            message = f"the headers are larger than {self._settings.max_header_bytes} bytes; send fewer or shorter ones"
            raise RequestRefused(message, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        origin = request.headers.get("Origin", "")
        foreign = origin and origin not in self._origins and origin.partition("://")[2] != request.headers.get("Host")
        if foreign and scope["method"] not in SAFE_METHODS:
            message = f"pages of '{origin[:60]}' may not send requests; add it to REVIEWS_PARSING_ALLOWED_ORIGINS"
            raise RequestRefused(message, HTTPStatus.FORBIDDEN)

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
            *(Route(f"/v2/docs/{name}", partial(self.docs_file, name=name)) for name in (SCRIPT, STYLE)),
            Route("/openapi.json", self.document),
            *self._management_routes(),
        ]

    def _management_routes(self) -> list[Route]:
        return [
            Route("/v2/repository/index", self.index, methods=["POST"]),
            Route("/v2/repository/models/{model_name}/load", self.load, methods=["POST"]),
            Route("/v2/repository/models/{model_name}/unload", self.unload, methods=["POST"]),
        ]

    async def infer(self, request: Request, route: str, stream: bool) -> Response:
        """Answer an inference request, and observe its outcome, errors included."""
        # The server that compares counts it: it would distort failures and latencies of requests.
        is_counted = COMPARISON_HEADER not in request.headers
        with observed("rest", is_counted) as outcome, tracing.rest_request(request.scope, route, outcome):
            try:
                response = await self._infer(request, stream, outcome)
            except asyncio.CancelledError:
                # The drain timeout has passed, or a second signal came.
                message = "the server shuts down; send the request again"
                response = answer_error(MLServerError(message, HTTPStatus.SERVICE_UNAVAILABLE))
            except Exception as error:
                response = answer_error(error)
            outcome.status = response.status_code
        if response.status_code != HTTPStatus.OK:
            await self._pace.wait(current_client().address, response.status_code, outcome.bytes)
        return response

    async def _infer(self, request: Request, stream: bool, outcome: RequestOutcome) -> Response:
        model = _model(request)
        runtime = await self._data_plane.admit(*model)  # before any work on the body
        if COMPARISON_HEADER in request.headers and runtime.is_busy:
            message = "requests of clients wait; a comparison is shed first"
            raise RequestRefused(message, HTTPStatus.SERVICE_UNAVAILABLE)
        with self._budget.reservation() as reserve:

            def count_and_reserve(size: int) -> None:
                outcome.bytes += size
                reserve(size)

            payload = await self._payload(request, count_and_reserve)
            return await self._answer(request, payload, model, stream)

    async def _payload(self, request: Request, reserve: Reserve) -> InferenceRequest:
        body = await self._body(request, reserve)
        encoding, header_length = content_encoding(request), request.headers.get(HEADER_LENGTH)
        read = partial(decode, body, encoding, header_length, self._max_bytes, self._max_texts, reserve)
        # A large or compressed body is read in a thread, so that the event loop answers others meanwhile.
        return await asyncio.to_thread(read) if encoding != "identity" or len(body) > CHUNK_BYTES else read()

    async def _body(self, request: Request, reserve: Reserve) -> bytes:
        return await receive_body(request, self._max_bytes, self._settings.body_seconds, reserve)

    async def _answer(
        self, request: Request, payload: InferenceRequest, model: tuple[str, str | None], stream: bool
    ) -> Response:
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
        live = await self._data_plane.live()
        return _json({"live": live}, HTTPStatus.OK if live else HTTPStatus.SERVICE_UNAVAILABLE)

    async def ready(self, _: Request) -> Response:
        """Answer the readiness probe; `live` is in the protocol's example."""
        return _readiness({"live": True}, await self._data_plane.ready())

    async def docs(self, _: Request) -> Response:
        """Answer a page that shows the OpenAPI document."""
        return _docs_page("/v2/docs/dataplane.json")

    async def docs_file(self, _: Request, name: str) -> Response:
        """Answer a file of that page."""
        return FileResponse(swagger_ui_folder() / name)

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
        return _docs_page(f"{quote(request.scope['path'])}/dataplane.json")

    async def model_document(self, request: Request) -> Response:
        """Answer the OpenAPI document of a model."""
        model = _model(request)
        await self._data_plane.model_metadata(*model)
        return _json(document(self._max_texts, *model))

    def _check_control(self, request: Request) -> None:
        """Raise RequestRefused unless the request may manage models."""
        self._control.check_request(request)

    async def index(self, request: Request) -> Response:
        """Answer the index of the model repository."""
        self._check_control(request)
        with self._budget.reservation() as reserve:
            body = await self._body(request, reserve)
            content = read_body(body, content_encoding(request), self._max_bytes, 0, None, reserve)
        try:
            query = RepositoryIndexRequest.model_validate(orjson.loads(content) if content else {}, strict=True)
        except orjson.JSONDecodeError as error:
            raise MLServerError(f"the body is not JSON: {error}") from None
        except ValidationError as error:
            raise MLServerError(first_error(error)) from None
        return _json((await self._repository.index(query)).model_dump())

    async def load(self, request: Request) -> Response:
        """Load the current version of a model."""
        self._check_control(request)
        await self._repository.load(_model(request)[0])
        return Response()

    async def unload(self, request: Request) -> Response:
        """Unload a model."""
        self._check_control(request)
        await self._repository.unload(_model(request)[0])
        return Response()


class ManagementApp(RestApp):
    """ASGI app of the local socket: management of models, permitted by the mode of the socket."""

    def _routes(self) -> list[Route]:
        return self._management_routes()

    def _check_control(self, request: Request) -> None:
        pass


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
        case RequestRefused():
            status, message = error.status, str(error)
        case HTTPException():
            # Its headers name, for example, the allowed methods.
            status, message, headers = error.status_code, str(error.detail), dict(error.headers or {})
        case ClientDisconnect():
            status, message = CLIENT_CLOSED_REQUEST, "the client disconnected before the response"
        case _:
            log_failure(error)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = "1"
    if status == HTTPStatus.REQUEST_TIMEOUT:
        headers["Connection"] = "close"
    return Response(encode_to_json_bytes({"error": one_line(message)}), status, headers, "application/json")


def _model(request: Request) -> tuple[str, str | None]:
    return request.path_params["model_name"], request.path_params.get("model_version")


def _docs_page(document_url: str) -> Response:
    """Return the page that shows a document; its files come from this server, and the icon is empty."""
    return get_swagger_ui_html(
        openapi_url=document_url,
        title=TITLE,
        swagger_js_url=f"/v2/docs/{SCRIPT}",
        swagger_css_url=f"/v2/docs/{STYLE}",
        swagger_favicon_url="data:,",
    )


def _readiness(form: dict[str, Any], ready: bool) -> Response:
    return _json({**form, "ready": ready}, HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE)


def _json(form: object, status: int = HTTPStatus.OK) -> Response:
    return Response(encode_to_json_bytes(form), status, media_type="application/json")
