"""The gRPC door. MLServer's own answers malformed tensors with INTERNAL and overload with UNKNOWN, logs a traceback for
each mistake of a client, and loses parameters of type double; the rest of the server is MLServer's.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from google.protobuf.unknown_fields import UnknownFieldSet
from grpc import StatusCode
from mlserver.errors import MLServerError
from mlserver.grpc.converters import (
    ModelInferRequestConverter,
    ModelInferResponseConverter,
    ModelMetadataResponseConverter,
)
from mlserver.grpc.server import GRPCServer
from mlserver.grpc.servicers import InferenceServicer
from mlserver.grpc.utils import to_metadata
from mlserver.types import InferenceRequest
from mlserver.utils import extract_headers

from reviews_parsing.serving.doors import max_bytes, sendable
from reviews_parsing.serving.failures import MESSAGE, log_failure
from reviews_parsing.serving.metrics import observed

OK = 200
STATUS = {
    400: StatusCode.INVALID_ARGUMENT,
    404: StatusCode.NOT_FOUND,
    413: StatusCode.RESOURCE_EXHAUSTED,
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
        try:
            return await method(self, request, context)
        except MLServerError as error:
            await context.abort(STATUS.get(error.status_code, StatusCode.UNKNOWN), str(error))
        except Exception as error:
            log_failure(error)
            await context.abort(StatusCode.INTERNAL, MESSAGE)

    return answer


class Servicer(InferenceServicer):  # type: ignore[misc]
    """The methods of the protocol that concern a model."""

    @answered
    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await super().ModelReady(request, context)

    @answered
    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        metadata = await self._data_plane.model_metadata(request.name, request.version or None)
        return ModelMetadataResponseConverter.from_types(metadata)

    @answered
    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        with observed("grpc") as outcome:
            try:
                payload = to_payload(request)
                result = await self._data_plane.infer(payload, request.model_name, request.model_version or None)
            except MLServerError as error:
                outcome.status = error.status_code
                raise
            headers = sendable(extract_headers(result))
            context.set_trailing_metadata(to_metadata(headers))
            outcome.status = OK
            return ModelInferResponseConverter.from_types(result, use_raw=bool(request.raw_input_contents))


class Server(GRPCServer):  # type: ignore[misc]
    """Takes messages as large as the REST door does, and counts calls as that door does."""

    def _create_server(self) -> Any:
        # MLServer's own counting of calls takes as long as the rest of the door.
        self._settings = self._settings.model_copy(update={"metrics_endpoint": None})
        return super()._create_server()

    def _get_options(self) -> list[tuple[str, Any]]:
        return list({"grpc.max_receive_message_length": max_bytes(), **dict(super()._get_options())}.items())


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
