"""gRPC endpoints of the V2 protocol.

MLServer's answer malformed tensors with INTERNAL and overload with UNKNOWN, log a traceback for each error of a client,
and drop parameters of type double.
"""

from __future__ import annotations

import asyncio
import math
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial, wraps
from http import HTTPStatus
from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from grpc import StatusCode, aio, method_handlers_generic_handler, stream_unary_rpc_method_handler
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
from reviews_parsing.serving.body import CHUNK_BYTES, Reserve, decompress
from reviews_parsing.serving.clients import ClientIdentity, current_client
from reviews_parsing.serving.limits import ByteBudget, limit_log, timed_out
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
    HTTPStatus.REQUEST_TIMEOUT: StatusCode.DEADLINE_EXCEEDED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: StatusCode.RESOURCE_EXHAUSTED,
    CLIENT_CLOSED_REQUEST: StatusCode.CANCELLED,
    HTTPStatus.INTERNAL_SERVER_ERROR: StatusCode.INTERNAL,
    HTTPStatus.SERVICE_UNAVAILABLE: StatusCode.UNAVAILABLE,
}
# Fields of InferParameter that MLServer's copy of the protocol predates.
DOUBLE_PARAM, UINT64_PARAM = 4, 5
# First bytes of compressed messages; as protocol buffers they would be an unknown wire type, and field 15.
GZIP_BEGIN, ZLIB_BEGINS = b"\x1f\x8b", (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")

# Of connections, in milliseconds: no limit.
MAX_AGE_MS = 2**31 - 1
# Calls at the same time for each connection of the limit, in all; more are refused.
CALLS_PER_CONNECTION = 8

Method = Callable[[Any, Any, Any], Awaitable[Any]]


def status_code(status: int) -> StatusCode:
    """Return the gRPC status code of an HTTP status."""
    return STATUS_CODES.get(status, StatusCode.UNKNOWN)


def answered(method: Method) -> Method:
    """Receive and read a message, and answer errors as status codes, at the pace of refusals."""

    @wraps(method)
    async def answer(self: Servicer, messages: Any, context: Any) -> Any:
        message = None
        try:
            message = await self.calls.next_message(messages)
            if message is None:
                raise RequestRefused("the call has no message")
            with self.budget.reservation() as reserve:
                return await method(self, await message.read(reserve), context)
        except RequestRefused as refused:
            status, reason = refused.status, one_line(str(refused))
        except MLServerError as error:
            status, reason = error.status_code, one_line(str(error))
        except Exception as error:
            log_failure(error)
            status, reason = HTTPStatus.INTERNAL_SERVER_ERROR, INTERNAL_ERROR
        await self.pace.wait(current_client().address, status, message.size if message else 0)
        return await context.abort(status_code(status), reason)

    return answer


class Servicer(InferenceServicer):  # type: ignore[misc]
    """The methods of the protocol that concern models."""

    def __init__(
        self, data_plane: DataPlane, repository: RepositoryHandlers, budget: ByteBudget, pace: RefusalPace
    ) -> None:
        super().__init__(data_plane, repository)
        self.budget = budget
        self.pace = pace
        settings = Settings()
        self.calls = WaitingCalls(settings.max_connections, settings.body_seconds)
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
        while True:
            with self.identity.of_grpc(context):
                try:
                    message = await self.calls.next_message(requests)
                except RequestRefused as refused:
                    await context.abort(status_code(refused.status), str(refused))
                if message is None:
                    return
                response = await self.ModelInfer(_only(message), context)
                end_answer = self.calls.begin_answer()
            try:
                yield response
            finally:
                end_answer()


class WaitingCalls:
    """Calls that wait for their client to send a message or to take one, at most `limit`, each at most `seconds`.

    Beyond the limit, the call that has waited longest of the address with most such calls ends.
    """

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit = limit
        self._seconds = seconds
        # Address, and a function that ends the call; the oldest first.
        self._calls: dict[object, tuple[str, Callable[[], object]]] = {}

    async def next_message(self, messages: AsyncIterator[Message]) -> Message | None:
        """Return the next message; None at the end. Raises RequestRefused: 408 if it is late, 503 if the call ends."""
        loop, timeout = asyncio.get_running_loop(), asyncio.timeout(self._seconds)
        key = object()
        try:
            async with timeout:
                self._add(key, lambda: timeout.reschedule(loop.time()))
                return await anext(aiter(messages), None)
        except TimeoutError:
            if key in self._calls:
                raise timed_out("message", "body_seconds") from None
            message = "too many calls wait for a message of their client; send it at once"
            raise RequestRefused(message, HTTPStatus.SERVICE_UNAVAILABLE) from None
        finally:
            self._calls.pop(key, None)

    def begin_answer(self) -> Callable[..., None]:
        """End the call unless its client takes a message in time; return a function to call once it has."""
        task = asyncio.current_task()
        assert task is not None
        key = object()
        timer = asyncio.get_running_loop().call_later(self._seconds, self._end_late, task)
        self._add(key, task.cancel)

        def end(*_: object) -> None:
            timer.cancel()
            self._calls.pop(key, None)

        return end

    @staticmethod
    def _end_late(task: asyncio.Task[Any]) -> None:
        limit_log.record("body_seconds")
        task.cancel()

    def _add(self, key: object, end: Callable[[], object]) -> None:
        self._calls[key] = (current_client().address, end)
        if len(self._calls) > self._limit:
            limit_log.record("max_connections")
            [(heaviest, _)] = Counter(address for address, _ in self._calls.values()).most_common(1)
            oldest = next(key for key, (address, _) in self._calls.items() if address == heaviest)
            self._calls.pop(oldest)[1]()


async def _only(message: Message) -> AsyncIterator[Message]:
    yield message


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
        # Beyond the limit of `WaitingCalls`: gRPC also counts calls that have ended, but whose clients take no answer.
        limit = CALLS_PER_CONNECTION * Settings().max_connections
        self._server = aio.server(options=self._get_options(), maximum_concurrent_rpcs=limit)
        add_GRPCInferenceServiceServicer_to_server(self._servicer, _BoundedServer(self._server, self._servicer))
        address = f"{self._settings.host}:{self._settings.grpc_port}"
        self._server.add_insecure_port(address)
        await self._server.start()
        logger.info("gRPC server running on http://%s", address)
        await self._server.wait_for_termination()

    async def stop(self, grace: float) -> None:
        """Reject new calls and wait `grace` seconds for those in progress."""
        await self._server.stop(grace)

    def _get_options(self) -> list[tuple[str, Any]]:
        settings = Settings()
        options = {
            "grpc.max_allowed_incoming_connections": max(1, settings.max_connections // 2),
            "grpc.server_handshake_timeout_ms": round(settings.header_seconds * 1000),
            # Without a call; clients connect again.
            "grpc.max_connection_idle_ms": round(settings.body_seconds * 1000),
            "grpc.max_receive_message_length": max_body_bytes(),
            # A server that ends cancels calls that meet its GOAWAY. That of age loses none, and reaches each connection
            # during the pause of the drain; gRPC varies the age by a tenth.
            "grpc.max_connection_age_ms": round(settings.drain_pause_seconds * 800) or MAX_AGE_MS,
            # gRPC would decompress a message of any size; `Message.read` stops at the limit.
            "grpc.per_message_decompression": 0,
        }
        return list({**options, **dict(super()._get_options())}.items())


class _BoundedServer:
    """Registers methods that receive and read their messages themselves, within the limits of a request."""

    def __init__(self, server: Any, servicer: Servicer) -> None:
        self._server = server
        self._servicer = servicer

    def add_generic_rpc_handlers(self, _: Any) -> None:
        """Ignore the handlers; they are registered again by name."""

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        """Register handlers whose deserializer keeps the message as it was sent."""
        limit, max_texts = max_body_bytes(), Settings().max_texts
        bounded = {}
        for name, handler in handlers.items():
            read = partial(Message, parse=handler.request_deserializer, limit=limit, max_texts=max_texts)
            bounded[name] = (
                handler._replace(request_deserializer=read)
                if handler.request_streaming
                else stream_unary_rpc_method_handler(
                    self._bounded(handler.unary_unary), read, handler.response_serializer
                )
            )
        self._server.add_generic_rpc_handlers((method_handlers_generic_handler(service, bounded),))

    def _bounded(self, method: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
        identity, calls = self._servicer.identity, self._servicer.calls

        async def call(messages: Any, context: Any) -> Any:
            with identity.of_grpc(context):
                response = await method(messages, context)
                context.add_done_callback(calls.begin_answer())
                return response

        return call


class Message:
    """A message as it was sent: an error in a deserializer would be logged with a traceback."""

    def __init__(self, content: bytes, parse: Callable[[bytes], Any], limit: int, max_texts: int) -> None:
        self._content = content
        self._parse = parse
        self._limit = limit
        self._max_texts = max_texts
        self.size = len(content)

    async def read(self, reserve: Reserve) -> Any:
        """Return the parsed message, once; a large or compressed one is read in a thread. Raises RequestRefused."""
        reserve(self.size)
        if self.size > CHUNK_BYTES or self._content.startswith((GZIP_BEGIN, *ZLIB_BEGINS)):
            return await asyncio.to_thread(self.parse, reserve)
        return self.parse(reserve)

    def parse(self, reserve: Reserve) -> Any:
        """Return the parsed message, once. Raises RequestRefused."""
        # gRPC keeps the message until the call ends.
        sent, self._content = self._content, b""
        content = _decompressed(sent, self._limit)
        if content is not sent:
            self.size = len(content)
            reserve(len(content))
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
