"""The REST door. MLServer's own reads no binary tensors (which is how tritonclient sends them), bounds no body, and
answers a malformed one in FastAPI's form; the rest of the app is MLServer's.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from mlserver import Settings as ServerSettings
from mlserver.codecs.json import encode_to_json_bytes
from mlserver.errors import MLServerError
from mlserver.handlers import DataPlane, ModelRepositoryHandlers
from mlserver.raw import extract_raw, inject_raw
from mlserver.rest import app as original
from mlserver.types import InferenceRequest, InferenceResponse, Parameters
from mlserver.utils import extract_headers
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from reviews_parsing.serving.doors import max_bytes, sendable
from reviews_parsing.serving.request import DATATYPE, TOO_LARGE

VERBS = ("infer", "generate", "infer_stream", "generate_stream")
HEADER_LENGTH = "Inference-Header-Content-Length"
BAD_REQUEST, UNSUPPORTED, OVERLOADED = 400, 415, 503


def create_app(settings: ServerSettings, data_plane: DataPlane, model_repository_handlers: ModelRepositoryHandlers) -> FastAPI:
    """MLServer's app, with this inference route before its own, and the protocol's form for every error."""
    app = original.create_app(settings, data_plane, model_repository_handlers)

    async def infer(request: Request) -> Response:
        payload = to_payload(await body(request), request.headers.get(HEADER_LENGTH))
        where = request.path_params
        result = await data_plane.infer(payload, where["model_name"], where.get("model_version"))
        if request.url.path.endswith("_stream"):
            return Response(b"data: " + encode_to_json_bytes(result.model_dump()) + b"\n\n", media_type="text/event-stream")
        return to_response(result, wants_binary(payload))

    paths = [f"/v2/models/{{model_name}}{version}/{verb}" for version in ("", "/versions/{model_version}") for verb in VERBS]
    app.router.routes[:0] = [Route(path, infer, methods=["POST"]) for path in paths]
    for error in (MLServerError, RequestValidationError, HTTPException, ClientDisconnect, Exception):
        app.add_exception_handler(error, answer_error)
    return app


async def body(request: Request) -> bytes:
    """The body, decompressed. Raises MLServerError: 413 beyond `max_bytes`, 415 and 400 for what it cannot decompress."""
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding not in ("identity", "gzip", "deflate"):
        raise MLServerError(f"content encoding '{encoding[:60]}' is not supported; send gzip, deflate or none", UNSUPPORTED)
    inflate = None if encoding == "identity" else zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    limit, received = max_bytes(), bytearray()
    async for chunk in request.stream():
        # Once too large it is read to its end and dropped: a client that is still sending reads no answer.
        if len(received) <= limit:
            try:
                received += inflate.decompress(chunk, limit + 1 - len(received)) if inflate else chunk
            except zlib.error:
                raise MLServerError(f"the body is not {encoding}") from None
    if len(received) > limit:
        raise MLServerError(f"the request is larger than {limit} bytes; send fewer texts at a time", TOO_LARGE)
    if inflate and not inflate.eof:
        raise MLServerError(f"the body ends before its {encoding} does")
    return bytes(received)


def to_payload(content: bytes, header_length: str | None) -> InferenceRequest:
    """A request of JSON, or of `header_length` bytes of JSON and then binary tensors. Raises MLServerError (400)."""
    length = len(content)
    if header_length is not None:
        if not header_length.isdecimal() or int(header_length) > length:
            raise MLServerError(f"header {HEADER_LENGTH} must be a number of bytes, at most the {length} of the body")
        length = int(header_length)
    try:
        form = orjson.loads(content[:length])
        for tensor in form["inputs"] if length < len(content) or header_length else ():
            tensor.setdefault("data", [])
        payload = InferenceRequest.model_validate(form)
    except orjson.JSONDecodeError as error:
        raise MLServerError(f"the body is not JSON: {error}") from None
    except ValidationError as error:
        raise MLServerError(first(error)) from None
    except (AttributeError, KeyError, TypeError):
        raise MLServerError("the body has no list of inputs") from None
    if header_length is not None:
        inject(payload, content[length:])
    return payload


def inject(payload: InferenceRequest, tensors: bytes) -> None:
    """Fill the inputs that have a `binary_data_size` from `tensors`. Raises MLServerError (400) where they do not fit."""
    start = 0
    for tensor in payload.inputs:
        size = extra(tensor.parameters, "binary_data_size")
        if size is None:
            continue
        if not isinstance(size, int) or not 0 <= size <= len(tensors) - start:
            raise MLServerError(f"input '{tensor.name[:60]}' has a binary_data_size beyond the {len(tensors)} bytes sent")
        if tensor.datatype == DATATYPE:
            try:
                inject_raw([tensor], [tensors[start : start + size]])
            except struct.error:
                raise MLServerError(f"the binary data of input '{tensor.name[:60]}' is cut off") from None
        start += size
    if start != len(tensors):
        raise MLServerError(f"the body has {len(tensors) - start} bytes of binary data that belong to no input")


def wants_binary(payload: InferenceRequest) -> bool:
    """Whether the answer shall be a binary tensor: as the requested output says, else as the request says."""
    asked = extra(payload.outputs[0].parameters, "binary_data") if payload.outputs else None
    return bool(extra(payload.parameters, "binary_data_output") if asked is None else asked)


def to_response(result: InferenceResponse, binary: bool) -> Response:
    headers = sendable(extract_headers(result))
    if not binary:
        return Response(encode_to_json_bytes(result.model_dump()), headers=headers, media_type="application/json")
    _, tensors = extract_raw(result.outputs)
    form = result.model_dump()
    for output, tensor in zip(form["outputs"], tensors, strict=True):
        del output["data"]
        output["parameters"] = {"binary_data_size": len(tensor)}
    header = encode_to_json_bytes(form)
    headers[HEADER_LENGTH] = str(len(header))
    return Response(b"".join((header, *tensors)), headers=headers, media_type="application/octet-stream")


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


def first(error: ValidationError | RequestValidationError) -> str:
    """The first of the complaints, without the value that it is about."""
    complaint = error.errors()[0]
    return f"{'.'.join(map(str, complaint['loc'])) or 'the body'}: {complaint['msg']}"


def extra(parameters: Parameters | None, name: str) -> Any:
    return ((parameters and parameters.model_extra) or {}).get(name)
