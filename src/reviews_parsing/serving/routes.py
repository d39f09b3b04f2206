"""What the REST door answers beside inference: what it is, whether it is ready, what it takes, which models it knows.

MLServer's own say that they are ready without the protocol's body, describe a server that takes less and refuses
otherwise, and fail at an index whose body is not what its headers say.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from mlserver.codecs.json import encode_to_json_bytes
from mlserver.errors import MLServerError
from mlserver.handlers import DataPlane, ModelRepositoryHandlers
from mlserver.types import RepositoryIndexRequest
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from reviews_parsing.serving.body import read_body
from reviews_parsing.serving.doors import max_bytes
from reviews_parsing.serving.openapi import document
from reviews_parsing.serving.wire import first
from reviews_parsing.serving.work import OVERLOADED
from reviews_parsing.settings import Settings

OK = 200


def routes(data_plane: DataPlane, repository: ModelRepositoryHandlers) -> list[Route]:
    """To go before MLServer's own of the same paths."""
    max_texts = Settings().max_texts
    limit = max_bytes()

    async def metadata(_: Request) -> Response:
        return _answer((await data_plane.metadata()).model_dump())

    async def live(_: Request) -> Response:
        return _answer({"live": True})

    async def ready(_: Request) -> Response:
        # The protocol's text has `live` here, as if by mistake.
        return _readiness({"live": True}, await data_plane.ready())

    async def model_ready(request: Request) -> Response:
        name, version = _model(request)
        return _readiness({"name": name}, await data_plane.model_ready(name, version))

    async def describe(_: Request) -> Response:
        return _answer(document(max_texts))

    async def describe_model(request: Request) -> Response:
        model = _model(request)
        await data_plane.model_metadata(*model)
        return _answer(document(max_texts, *model))

    async def index(request: Request) -> Response:
        content = await read_body(request, limit)
        try:
            asked = RepositoryIndexRequest.model_validate(orjson.loads(content) if content else {}, strict=True)
        except orjson.JSONDecodeError as error:
            raise MLServerError(f"the body is not JSON: {error}") from None
        except ValidationError as error:
            raise MLServerError(first(error)) from None
        return _answer((await repository.index(asked)).model_dump())

    model = "/v2/models/{model_name}"
    paths: list[tuple[str, Callable[[Request], Awaitable[Response]]]] = [
        # The protocol's text says /v2, its OpenAPI document /v2/.
        ("/v2", metadata),
        ("/v2/", metadata),
        ("/v2/health/live", live),
        ("/v2/health/ready", ready),
        ("/v2/docs/dataplane.json", describe),
        ("/openapi.json", describe),
    ]
    for base in (model, f"{model}/versions/{{model_version}}"):
        paths += [(f"{base}/ready", model_ready), (f"{base}/docs/dataplane.json", describe_model)]
    return [
        *(Route(path, endpoint, methods=["GET"]) for path, endpoint in paths),
        Route("/v2/repository/index", index, methods=["POST"]),
    ]


def _model(request: Request) -> tuple[str, str | None]:
    return request.path_params["model_name"], request.path_params.get("model_version")


def _readiness(form: dict[str, Any], ready: bool) -> Response:
    return _answer({**form, "ready": ready}, OK if ready else OVERLOADED)


def _answer(form: object, status: int = OK) -> Response:
    return Response(encode_to_json_bytes(form), status, media_type="application/json")
