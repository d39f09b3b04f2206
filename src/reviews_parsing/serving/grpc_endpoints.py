"""gRPC endpoints of the V2 protocol.

MLServer's answer malformed tensors with INTERNAL and overload with UNKNOWN, log a traceback for each error of a client,
and drop parameters of type double.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import wraps
from http import HTTPStatus
from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from grpc import StatusCode, aio, method_handlers_generic_handler
from mlserver.errors import MLServerError
from mlserver.grpc.converters import (
    ModelInferRequestConverter,
    ModelInferResponseConverter,
    ModelMetadataResponseConverter,
)
from mlserver.grpc.dataplane_pb2 import RepositoryModelLoadResponse, RepositoryModelUnloadResponse
from mlserver.grpc.dataplane_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from mlserver.grpc.server import GRPCServer as MLServerGrpcServer
from mlserver.grpc.servicers import InferenceServicer
from mlserver.logging import logger
from mlserver.types import InferenceRequest

from reviews_parsing.serving import tracing
from reviews_parsing.serving.metrics import observed
from reviews_parsing.serving.protocol import (
    CLIENT_CLOSED_REQUEST,
    INTERNAL_ERROR,
    log_failure,
    max_body_bytes,
    one_line,
)

STATUS_CODES: dict[int, StatusCode] = {
    HTTPStatus.OK: StatusCode.OK,
    HTTPStatus.BAD_REQUEST: StatusCode.INVALID_ARGUMENT,
    HTTPStatus.NOT_FOUND: StatusCode.NOT_FOUND,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: StatusCode.RESOURCE_EXHAUSTED,
    CLIENT_CLOSED_REQUEST: StatusCode.CANCELLED,
    HTTPStatus.INTERNAL_SERVER_ERROR: StatusCode.INTERNAL,
    HTTPStatus.SERVICE_UNAVAILABLE: StatusCode.UNAVAILABLE,
}
# Fields of InferParameter that MLServer's copy of the protocol predates.
DOUBLE_PARAM, UINT64_PARAM = 4, 5

Method = Callable[[Any, Any, Any], Awaitable[Any]]


def status_code(status: int) -> StatusCode:
    """Return the gRPC status code of an HTTP status."""
    return STATUS_CODES.get(status, StatusCode.UNKNOWN)


def answered(method: Method) -> Method:
    """Answer errors as status codes."""

    @wraps(method)
    async def answer(self: Any, request: Any, context: Any) -> Any:
        if request is None:
            await context.abort(StatusCode.INVALID_ARGUMENT, "the request is not a message of the protocol")
        try:
            return await method(self, request, context)
        except MLServerError as error:
            await context.abort(status_code(error.status_code), one_line(str(error)))
        except Exception as error:
            log_failure(error)
            await context.abort(StatusCode.INTERNAL, INTERNAL_ERROR)

    return answer


class Servicer(InferenceServicer):  # type: ignore[misc]
    """The methods of the protocol that concern models."""

    @answered
    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Answer the readiness of a model."""
        return await super().ModelReady(request, context)

    @answered
    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Answer the metadata of a model."""
        metadata = await self._data_plane.model_metadata(request.name, request.version or None)
        return ModelMetadataResponseConverter.from_types(metadata)

    @answered
    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Answer an inference request."""
        with observed("grpc") as outcome, tracing.grpc_request(context, outcome, status_code):
            try:
                model = request.model_name, request.model_version or None
                await self._data_plane.admit(*model)  # before any work on the tensors
                result = await self._data_plane.infer(decode(request), *model)
            except MLServerError as error:
                outcome.status = error.status_code
                raise
            except asyncio.CancelledError:
                outcome.status = CLIENT_CLOSED_REQUEST
                raise
            response = ModelInferResponseConverter.from_types(result, use_raw=bool(request.raw_input_contents))
            outcome.status = HTTPStatus.OK
            return response

    @answered
    async def RepositoryIndex(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Answer the index of the model repository."""
        return await super().RepositoryIndex(request, context)

    @answered
    async def RepositoryModelLoad(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Load the current version of a model."""
        await self._model_repository_handlers.load(request.model_name)
        return RepositoryModelLoadResponse()

    @answered
    async def RepositoryModelUnload(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Unload a model."""
        await self._model_repository_handlers.unload(request.model_name)
        return RepositoryModelUnloadResponse()

    async def ModelStreamInfer(self, requests: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """Answer a stream of requests in order. Not in the protocol; MLServer's reads only the first request."""
        async for request in requests:
            yield await self.ModelInfer(request, context)


class GrpcServer(MLServerGrpcServer):  # type: ignore[misc]
    """gRPC server with the message limit of the REST endpoints."""

    async def start(self) -> None:
        """Serve until stopped."""
        self._server = aio.server(options=self._get_options())
        servicer = Servicer(self._data_plane, self._model_repository_handlers)
        add_GRPCInferenceServiceServicer_to_server(servicer, _LenientServer(self._server))
        address = f"{self._settings.host}:{self._settings.grpc_port}"
        self._server.add_insecure_port(address)
        await self._server.start()
        logger.info("gRPC server running on http://%s", address)
        await self._server.wait_for_termination()

    async def stop(self, grace: float) -> None:
        """Reject new calls and wait `grace` seconds for those in progress."""
        await self._server.stop(grace)

    def _get_options(self) -> list[tuple[str, Any]]:
        return list({"grpc.max_receive_message_length": max_body_bytes(), **dict(super()._get_options())}.items())


class _LenientServer:
    """Registers methods so that bytes that are no message reach them as None, without a traceback in gRPC's log."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, _: Any) -> None:
        """Ignore the handlers; they are registered again by name."""

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        """Register handlers whose deserializer never fails."""
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


def decode(request: Any) -> InferenceRequest:
    """Return the request as MLServer's type. Raises MLServerError (400) if tensors do not fit datatype and shape."""
    raw = request.raw_input_contents
    if raw and (len(raw) != len(request.inputs) or any(tensor.HasField("contents") for tensor in request.inputs)):
        raise MLServerError("raw_input_contents must hold every input, and no input have contents beside it")
    try:
        payload = ModelInferRequestConverter.to_types(request)
    except (struct.error, ValueError):
        raise MLServerError("an input does not fit its datatype and shape, or a parameter its type") from None
    for name, parameter in request.parameters.items():
        for field in UnknownFieldSet(parameter):
            if field.field_number == DOUBLE_PARAM:
                payload.parameters.model_extra[name] = struct.unpack("<d", struct.pack("<Q", field.data))[0]
            elif field.field_number == UINT64_PARAM:
                payload.parameters.model_extra[name] = field.data
    return payload
