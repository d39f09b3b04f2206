"""Codec of V2 requests and responses over REST: JSON, optionally followed by binary tensors (`binary_tensor_data`)."""

from __future__ import annotations

import re
import struct
from typing import Any

import orjson
from fastapi.exceptions import RequestValidationError
from mlserver.codecs.json import encode_to_json_bytes
from mlserver.errors import MLServerError
from mlserver.raw import extract_raw
from mlserver.types import InferenceRequest, InferenceResponse, Parameters, TensorData
from pydantic import ValidationError
from starlette.responses import Response

from reviews_parsing.serving.body import Reserve, read_body
from reviews_parsing.serving.protocol import DATATYPE, HEADER_LENGTH, check_inputs
from reviews_parsing.serving.structure import unpack_texts


def decode(
    body: bytes, encoding: str, header_length: str | None, limit: int, max_texts: int, reserve: Reserve
) -> InferenceRequest:
    """Return the request in `body`: JSON, or `header_length` bytes of JSON and then binary tensors.

    Raises MLServerError or RequestRefused: 413 if it is larger than `limit` bytes or holds too many values, 400 if it
    is malformed.
    """
    json_length = _json_length(header_length)
    content = read_body(body, encoding, limit, max_texts, json_length, reserve)
    length = len(content)
    if json_length is not None:
        if json_length > length:
            raise _wrong_length(length)
        length = json_length
    try:
        form = orjson.loads(memoryview(content)[:length])
        inputs = form["inputs"]
        if isinstance(inputs, list):
            check_inputs(len(inputs))
        for tensor in inputs:
            if header_length is not None:
                tensor.setdefault("data", [])
            shape = tensor.get("shape")
            if isinstance(shape, list) and any(isinstance(size, bool | str) for size in shape):
                raise MLServerError("inputs: a shape must be a list of integers")
        payload = InferenceRequest.model_validate(form)
    except orjson.JSONDecodeError as error:
        raise MLServerError(f"the body is not JSON: {error}") from None
    except ValidationError as error:
        raise MLServerError(first_error(error)) from None
    except (AttributeError, KeyError, TypeError):
        raise MLServerError("the body has no list of inputs") from None
    if header_length is not None:
        inject(payload, content[length:], max_texts)
    elif any(_parameter(tensor.parameters, "binary_data_size") is not None for tensor in payload.inputs):
        raise MLServerError(f"an input has a binary_data_size, and the request no header {HEADER_LENGTH}")
    return payload


def _json_length(header: str | None) -> int | None:
    if header is None:
        return None
    if not re.fullmatch("[0-9]{1,12}", header):
        raise _wrong_length(None)
    return int(header)


def _wrong_length(size: int | None) -> MLServerError:
    limit = f", at most the {size} of the body" if size is not None else ""
    return MLServerError(f"header {HEADER_LENGTH} must be a number of bytes{limit}")


def inject(payload: InferenceRequest, tensors: bytes, max_texts: int) -> None:
    """Fill the inputs that have a `binary_data_size`, in order.

    Raises MLServerError (400) if the sizes do not fit, RequestRefused (413) if there are too many elements.
    """
    start = 0
    for tensor in payload.inputs:
        size = _parameter(tensor.parameters, "binary_data_size")
        if size is None:
            continue
        if tensor.data.root:
            raise MLServerError(f"input '{tensor.name[:60]}' has both data and a binary_data_size; send one of them")
        if type(size) is not int or not 0 <= size <= len(tensors) - start:
            raise MLServerError(
                f"input '{tensor.name[:60]}' has a binary_data_size beyond the {len(tensors)} bytes sent"
            )
        if tensor.datatype == DATATYPE:
            try:
                tensor.data = TensorData(unpack_texts(tensors[start : start + size], max_texts))
            except struct.error:
                raise MLServerError(f"the binary data of input '{tensor.name[:60]}' is cut off") from None
        start += size
    if start != len(tensors):
        raise MLServerError(f"the body has {len(tensors) - start} bytes of binary data that belong to no input")


def wants_binary(payload: InferenceRequest) -> bool:
    """Return whether the response is a binary tensor: a parameter of the requested output, else of the request.

    Raises MLServerError (400) if one of them is not a boolean.
    """
    output = _parameter(payload.outputs[0].parameters, "binary_data") if payload.outputs else None
    request = _parameter(payload.parameters, "binary_data_output")
    for name, value in (("binary_data", output), ("binary_data_output", request)):
        if value is not None and not isinstance(value, bool):
            raise MLServerError(f"parameter '{name}' must be true or false")
    return bool(request if output is None else output)


def encode_json(result: InferenceResponse) -> Response:
    """Return the response as JSON."""
    return Response(encode_to_json_bytes(result.model_dump()), media_type="application/json")


def encode_event(result: InferenceResponse) -> Response:
    """Return the response as a stream of one event."""
    return Response(b"data: %b\n\n" % encode_to_json_bytes(result.model_dump()), media_type="text/event-stream")


def encode_binary(result: InferenceResponse) -> Response:
    """Return the response as JSON followed by its tensors."""
    _, tensors = extract_raw(result.outputs)
    # extract_raw leaves data of another type, which pydantic cannot serialise.
    form = result.model_dump(exclude={"outputs": {"__all__": {"data"}}})
    for output, tensor in zip(form["outputs"], tensors, strict=True):
        output["parameters"] = {"binary_data_size": len(tensor)}
    header = encode_to_json_bytes(form)
    headers = {HEADER_LENGTH: str(len(header))}
    return Response(b"".join((header, *tensors)), headers=headers, media_type="application/octet-stream")


def first_error(error: ValidationError | RequestValidationError) -> str:
    """Return the first validation error, without the invalid value."""
    detail = error.errors()[0]
    return f"{'.'.join(map(str, detail['loc'])) or 'the body'}: {detail['msg']}"


def _parameter(parameters: Parameters | None, name: str) -> Any:
    return ((parameters and parameters.model_extra) or {}).get(name)
