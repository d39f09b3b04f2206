"""The gRPC door. MLServer's own answers malformed tensors with INTERNAL and overload with UNKNOWN, logs a traceback for
each mistake of a client, and loses parameters of type double; the rest of the server is MLServer's.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import wraps
from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from grpc import StatusCode, method_handlers_generic_handler
from mlserver.errors import MLServerError
from mlserver.grpc.converters import (
    ModelInferRequestConverter,
    ModelInferResponseConverter,
    ModelMetadataResponseConverter,
)
from mlserver.grpc.dataplane_pb2 import RepositoryModelLoadResponse, RepositoryModelUnloadResponse
from mlserver.grpc.dataplane_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from mlserver.grpc.server import GRPCServer
from mlserver.grpc.servicers import InferenceServicer
from mlserver.types import InferenceRequest

from reviews_parsing.serving import traces
from reviews_parsing.serving.doors import max_bytes
from reviews_parsing.serving.failures import MESSAGE, log_failure
from reviews_parsing.serving.metrics import observed
from reviews_parsing.serving.request import one_line

OK, CLIENT_GONE = 200, 499
STATUS = {
    OK: StatusCode.OK,
    400: StatusCode.INVALID_ARGUMENT,
    404: StatusCode.NOT_FOUND,
    413: StatusCode.RESOURCE_EXHAUSTED,
    CLIENT_GONE: StatusCode.CANCELLED,
    500: StatusCode.INTERNAL,
    503: StatusCode.UNAVAILABLE,
}
# Of InferParameter; newer than MLServer's copy of the protocol.
DOUBLE_PARAM, UINT64_PARAM = 4, 5

Method = Callable[[Any, Any, Any], Awaitable[Any]]


def answered(method: Method) -> Method:
    """Errors as status codes."""

    @wraps(method)
    async def answer(self: Any, request: Any, context: Any) -> Any:
        if request is None:
            await context.abort(StatusCode.INVALID_ARGUMENT, "the request is no message of the protocol")
        try:
            return await method(self, request, context)
        except MLServerError as error:
            await context.abort(code(error.status_code), one_line(str(error)))
        except Exception as error:
            log_failure(error)
            await context.abort(StatusCode.INTERNAL, MESSAGE)

    return answer


def code(status: int) -> StatusCode:
    """gRPC's for an HTTP status."""
    return STATUS.get(status, StatusCode.UNKNOWN)


class Servicer(InferenceServicer):  # type: ignore[misc]
    """The methods of the protocol that concern models."""

    @answered
    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await super().ModelReady(request, context)

    @answered
    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        metadata = await self._data_plane.model_metadata(request.name, request.version or None)
        return ModelMetadataResponseConverter.from_types(metadata)

    @answered
    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        with observed("grpc") as outcome, traces.over_grpc(context, outcome, code):
            try:
                model = request.model_name, request.model_version or None
                await self._data_plane.admit(*model)  # before any work on what it says
                result = await self._data_plane.infer(to_payload(request), *model)
            except MLServerError as error:
                outcome.status = error.status_code
                raise
            except asyncio.CancelledError:
                outcome.status = CLIENT_GONE
                raise
            answer = ModelInferResponseConverter.from_types(result, use_raw=bool(request.raw_input_contents))
            outcome.status = OK
            return answer

    @answered
    async def RepositoryIndex(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await super().RepositoryIndex(request, context)

    @answered
    async def RepositoryModelLoad(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._model_repository_handlers.load(request.model_name)
        return RepositoryModelLoadResponse()

    @answered
    async def RepositoryModelUnload(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._model_repository_handlers.unload(request.model_name)
        return RepositoryModelUnloadResponse()

    async def ModelStreamInfer(self, requests: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """Not of the protocol: one answer after the other. MLServer's own reads the first request only."""
        async for request in requests:
            yield await self.ModelInfer(request, context)


class Server(GRPCServer):  # type: ignore[misc]
    """Takes messages as large as the REST door does, and counts calls as that door does."""

    def _create_server(self) -> Any:
        # MLServer's own counting of calls takes as long as the rest of the door.
        self._settings: Any = self._settings.model_copy(update={"metrics_endpoint": None})
        return super()._create_server()

    def _get_options(self) -> list[tuple[str, Any]]:
        return list({"grpc.max_receive_message_length": max_bytes(), **dict(super()._get_options())}.items())


def add_servicer(servicer: Servicer, server: Any) -> None:
    """As MLServer's; but bytes that are no message come to the methods as None, and gRPC logs no traceback for them."""
    add_GRPCInferenceServiceServicer_to_server(servicer, _Lenient(server))


class _Lenient:
    def __init__(self, server: Any) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, _: Any) -> None:
        """The same come once more, by their names."""

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        lenient = {
            name: handler._replace(request_deserializer=_or_none(handler.request_deserializer))
            for name, handler in handlers.items()
        }
        self._server.add_generic_rpc_handlers((method_handlers_generic_handler(service, lenient),))


def _or_none(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def attempt(content: bytes) -> Any:
        try:
            return decode(content)
        except DecodeError:
            return None

    return attempt


def to_payload(request: Any) -> InferenceRequest:
    """Raises MLServerError (400) where tensors are not what their datatype and shape say."""
    raw = request.raw_input_contents
    if raw and (len(raw) != len(request.inputs) or any(tensor.HasField("contents") for tensor in request.inputs)):
        raise MLServerError("raw_input_contents must hold every input, and no input have contents beside it")
    try:
        payload = ModelInferRequestConverter.to_types(request)
    except (struct.error, ValueError):
        raise MLServerError("an input is not what its datatype and shape say, or a parameter not of its type") from None
    for name, parameter in request.parameters.items():
        for field in UnknownFieldSet(parameter):
            if field.field_number == DOUBLE_PARAM:
                payload.parameters.model_extra[name] = struct.unpack("<d", struct.pack("<Q", field.data))[0]
            elif field.field_number == UINT64_PARAM:
                payload.parameters.model_extra[name] = field.data
    return payload
