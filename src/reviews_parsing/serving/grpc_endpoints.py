"""gRPC endpoints of the V2 protocol.

MLServer's answer malformed tensors with INTERNAL and overload with UNKNOWN, log a traceback for each error of a client,
and drop parameters of type double.
"""

from __future__ import annotations

import asyncio
import math
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial, wraps
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
from mlserver.settings import Settings as ServerSettings
from mlserver.types import InferenceRequest, Parameters

from reviews_parsing.errors import RequestRefused
from reviews_parsing.serving import tracing
from reviews_parsing.serving.body import CHUNK_BYTES, decompress
from reviews_parsing.serving.clients import ClientIdentity, current_client
from reviews_parsing.serving.limits import ByteBudget
from reviews_parsing.serving.metrics import observed
from reviews_parsing.serving.model_control import ModelControl
from reviews_parsing.serving.model_registry import DataPlane, RepositoryHandlers
from reviews_parsing.serving.pace import RefusalPace
from reviews_parsing.serving.protocol import (
    CLIENT_CLOSED_REQUEST,
    DATATYPE,
    INPUT,
    INTERNAL_ERROR,
    MAX_ANSWER_BYTES,
    log_failure,
    max_body_bytes,
    one_line,
)
from reviews_parsing.serving.structure import OTHER_VALUES, check_message, unpack_texts
from reviews_parsing.settings import Settings

STATUS_CODES: dict[int, StatusCode] = {
    HTTPStatus.OK: StatusCode.OK,
    HTTPStatus.BAD_REQUEST: StatusCode.INVALID_ARGUMENT,
    HTTPStatus.UNAUTHORIZED: StatusCode.UNAUTHENTICATED,
    HTTPStatus.FORBIDDEN: StatusCode.PERMISSION_DENIED,
    HTTPStatus.NOT_FOUND: StatusCode.NOT_FOUND,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: StatusCode.RESOURCE_EXHAUSTED,
    CLIENT_CLOSED_REQUEST: StatusCode.CANCELLED,
    HTTPStatus.INTERNAL_SERVER_ERROR: StatusCode.INTERNAL,
    HTTPStatus.SERVICE_UNAVAILABLE: StatusCode.UNAVAILABLE,
}
# Fields of InferParameter that MLServer's copy of the protocol predates.
DOUBLE_PARAM, UINT64_PARAM = 4, 5
# First bytes of compressed messages; as protocol buffers they would be an unknown wire type, and field 15.
GZIP_BEGIN, ZLIB_BEGINS = b"\x1f\x8b", (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")

Method = Callable[[Any, Any, Any], Awaitable[Any]]


def status_code(status: int) -> StatusCode:
    """Return the gRPC status code of an HTTP status."""
    return STATUS_CODES.get(status, StatusCode.UNKNOWN)


def answered(method: Method) -> Method:
    """Read a message, and answer errors as status codes, at the pace of refusals."""

    @wraps(method)
    async def answer(self: Servicer, message: Any, context: Any) -> Any:
        with self.identity.of_grpc(context):
            try:
                request = await message.read() if isinstance(message, Message) else message
                return await method(self, request, context)
            except RequestRefused as refused:
                status, reason = refused.status, one_line(str(refused))
            except MLServerError as error:
                status, reason = error.status_code, one_line(str(error))
            except Exception as error:
                log_failure(error)
                status, reason = HTTPStatus.INTERNAL_SERVER_ERROR, INTERNAL_ERROR
            size = message.size if isinstance(message, Message) else 0
            await self.pace.wait(current_client().address, status, size)
        return await context.abort(status_code(status), reason)

    return answer


class Servicer(InferenceServicer):  # type: ignore[misc]
    """The methods of the protocol that concern models."""

    def __init__(
        self, data_plane: DataPlane, repository: RepositoryHandlers, budget: ByteBudget, pace: RefusalPace
    ) -> None:
        super().__init__(data_plane, repository)
        self._budget = budget
        self.pace = pace
        settings = Settings()
        self._control = ModelControl(settings)
        self.identity = ClientIdentity(settings)
        self._max_texts, self._max_answer_bytes = settings.max_texts, settings.max_grpc_answer_bytes
        self.last_call = -math.inf

    def _decoded(self, request: Any) -> InferenceRequest:
        payload = decode(request, self._max_texts)
        if payload.parameters is None:
            payload.parameters = Parameters()
        payload.parameters.model_extra.setdefault(MAX_ANSWER_BYTES, self._max_answer_bytes)
        return payload

    def _check_control(self, context: Any) -> None:
        """Raise RequestRefused unless the call may manage models."""
        metadata = dict(context.invocation_metadata() or ())
        self._control.check(metadata.get("authorization"))

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
        self.last_call = time.monotonic()
        with observed("grpc") as outcome, tracing.grpc_request(context, outcome, status_code):
            try:
                model = request.model_name, request.model_version or None
                await self._data_plane.admit(*model)  # before any work on the tensors
                with self._budget.reservation() as reserve:
                    reserve(request.ByteSize())
                    result = await self._data_plane.infer(self._decoded(request), *model)
            except MLServerError as error:
                outcome.status = error.status_code
                raise
            except RequestRefused as refused:
                outcome.status = refused.status
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
        self._check_control(context)
        return await super().RepositoryIndex(request, context)

    @answered
    async def RepositoryModelLoad(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Load the current version of a model."""
        self._check_control(context)
        await self._model_repository_handlers.load(request.model_name)
        return RepositoryModelLoadResponse()

    @answered
    async def RepositoryModelUnload(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Unload a model."""
        self._check_control(context)
        await self._model_repository_handlers.unload(request.model_name)
        return RepositoryModelUnloadResponse()

    async def ModelStreamInfer(self, requests: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """Answer a stream of requests in order. Not in the protocol; MLServer's reads only the first request."""
        async for request in requests:
            yield await self.ModelInfer(request, context)


class GrpcServer(MLServerGrpcServer):  # type: ignore[misc]
    """gRPC server with the limits of the REST endpoints."""

    def __init__(
        self,
        settings: ServerSettings,
        data_plane: DataPlane,
        repository: RepositoryHandlers,
        budget: ByteBudget,
        pace: RefusalPace,
    ) -> None:
        super().__init__(settings, data_plane, repository)
        self._servicer = Servicer(data_plane, repository, budget, pace)

    @property
    def last_call(self) -> float:
        """Time of the last inference request on the monotonic clock."""
        return self._servicer.last_call

    async def start(self) -> None:
        """Serve until stopped."""
        self._server = aio.server(options=self._get_options(), maximum_concurrent_rpcs=Settings().max_connections)
        add_GRPCInferenceServiceServicer_to_server(self._servicer, _BoundedServer(self._server))
        address = f"{self._settings.host}:{self._settings.grpc_port}"
        self._server.add_insecure_port(address)
        await self._server.start()
        logger.info("gRPC server running on http://%s", address)
        await self._server.wait_for_termination()

    async def stop(self, grace: float) -> None:
        """Reject new calls and wait `grace` seconds for those in progress."""
        await self._server.stop(grace)

    def _get_options(self) -> list[tuple[str, Any]]:
        options = {
            "grpc.max_receive_message_length": max_body_bytes(),
            # gRPC would decompress a message of any size; `Message.read` stops at the limit.
            "grpc.per_message_decompression": 0,
        }
        return list({**options, **dict(super()._get_options())}.items())


class _BoundedServer:
    """Registers methods whose messages are read within the limits of a request."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, _: Any) -> None:
        """Ignore the handlers; they are registered again by name."""

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        """Register handlers whose deserializer keeps the message as it was sent."""
        limit, max_texts = max_body_bytes(), Settings().max_texts
        bounded = {
            name: handler._replace(
                request_deserializer=partial(
                    Message, parse=handler.request_deserializer, limit=limit, max_texts=max_texts
                )
            )
            for name, handler in handlers.items()
        }
        self._server.add_generic_rpc_handlers((method_handlers_generic_handler(service, bounded),))


class Message:
    """A message as it was sent: an error in a deserializer would be logged with a traceback."""

    def __init__(self, content: bytes, parse: Callable[[bytes], Any], limit: int, max_texts: int) -> None:
        self._content = content
        self._parse = parse
        self._limit = limit
        self._max_texts = max_texts
        self.size = len(content)

    async def read(self) -> Any:
        """Return the parsed message; a large or compressed one is read in a thread. Raises RequestRefused."""
        content = self._content
        if len(content) > CHUNK_BYTES or content.startswith((GZIP_BEGIN, *ZLIB_BEGINS)):
            return await asyncio.to_thread(self.parse)
        return self.parse()

    def parse(self) -> Any:
        """Return the parsed message. Raises RequestRefused."""
        content = _decompressed(self._content, self._limit)
        self.size = len(content)
        check_message(content, self._max_texts)
        try:
            return self._parse(content)
        except DecodeError:
            raise RequestRefused("the request is not a message of the protocol") from None


def _decompressed(content: bytes, limit: int) -> bytes:
    """Return the message that a client may have compressed. No message of the protocol begins like these formats."""
    if content.startswith(GZIP_BEGIN):
        return decompress(content, "gzip", limit)
    if content.startswith(ZLIB_BEGINS):
        return decompress(content, "deflate", limit)
    return content


def decode(request: Any, max_texts: int) -> InferenceRequest:
    """Return the request as MLServer's type.

    Raises MLServerError (400) if tensors do not fit datatype and shape, RequestRefused (413) if they hold too much.
    """
    raw = request.raw_input_contents
    if raw and (len(raw) != len(request.inputs) or any(tensor.HasField("contents") for tensor in request.inputs)):
        raise MLServerError("raw_input_contents must hold every input, and no input have contents beside it")
    try:
        for tensor, content in zip(request.inputs, raw, strict=False):
            if tensor.datatype == DATATYPE:
                unpack_texts(content, max_texts)
            elif len(content) > OTHER_VALUES:
                raise MLServerError(f"input '{INPUT}' has datatype '{tensor.datatype[:60]}'; send {DATATYPE}")
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
