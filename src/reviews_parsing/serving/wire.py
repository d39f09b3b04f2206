"""V2 requests and responses as bytes: JSON, and after it such tensors as are binary (`binary_tensor_data`)."""

from __future__ import annotations

import re
import struct
from typing import Any

import orjson
from fastapi.exceptions import RequestValidationError
from mlserver.codecs.json import encode_to_json_bytes
from mlserver.errors import MLServerError
from mlserver.raw import extract_raw, inject_raw
from mlserver.types import InferenceRequest, InferenceResponse, Parameters
from pydantic import ValidationError
from starlette.responses import Response

from reviews_parsing.serving.doors import HEADER_LENGTH
from reviews_parsing.serving.request import DATATYPE


def to_payload(content: bytes, header_length: str | None) -> InferenceRequest:
    """A request of JSON, or of `header_length` bytes of JSON and then binary tensors. Raises MLServerError (400)."""
    length = len(content)
    if header_length is not None:
        if not re.fullmatch("[0-9]{1,12}", header_length) or int(header_length) > length:
            raise MLServerError(f"header {HEADER_LENGTH} must be a number of bytes, at most the {length} of the body")
        length = int(header_length)
    try:
        form = orjson.loads(content[:length])
        for tensor in form["inputs"]:
            if header_length is not None:
                tensor.setdefault("data", [])
            shape = tensor.get("shape")
            if isinstance(shape, list) and any(isinstance(size, bool | str) for size in shape):
                raise MLServerError("inputs: a shape must be a list of integers")
        payload = InferenceRequest.model_validate(form)
    except orjson.JSONDecodeError as error:
        raise MLServerError(f"the body is not JSON: {error}") from None
    except ValidationError as error:
        raise MLServerError(first(error)) from None
    except (AttributeError, KeyError, TypeError):
        raise MLServerError("the body has no list of inputs") from None
    if header_length is not None:
        inject(payload, content[length:])
    elif any(extra(tensor.parameters, "binary_data_size") is not None for tensor in payload.inputs):
        raise MLServerError(f"an input has a binary_data_size, and the request no header {HEADER_LENGTH}")
    return payload


def inject(payload: InferenceRequest, tensors: bytes) -> None:
    """Fill the inputs that have a `binary_data_size`, in order. Raises MLServerError (400) where they do not fit."""
    start = 0
    for tensor in payload.inputs:
        size = extra(tensor.parameters, "binary_data_size")
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
                inject_raw([tensor], [tensors[start : start + size]])
            except struct.error:
                raise MLServerError(f"the binary data of input '{tensor.name[:60]}' is cut off") from None
        start += size
    if start != len(tensors):
        raise MLServerError(f"the body has {len(tensors) - start} bytes of binary data that belong to no input")


def wants_binary(payload: InferenceRequest) -> bool:
    """Whether the answer shall be a binary tensor: as the requested output says, else as the request says.

    Raises MLServerError (400) where one of them says neither true nor false.
    """
    of_output = extra(payload.outputs[0].parameters, "binary_data") if payload.outputs else None
    of_request = extra(payload.parameters, "binary_data_output")
    for name, value in (("binary_data", of_output), ("binary_data_output", of_request)):
        if value is not None and not isinstance(value, bool):
            raise MLServerError(f"parameter '{name}' must be true or false")
    return bool(of_request if of_output is None else of_output)


def to_json(result: InferenceResponse) -> Response:
    return Response(encode_to_json_bytes(result.model_dump()), media_type="application/json")


def to_event(result: InferenceResponse) -> Response:
    """The answer as a stream of one event."""
    return Response(b"data: %b\n\n" % encode_to_json_bytes(result.model_dump()), media_type="text/event-stream")


def to_binary(result: InferenceResponse) -> Response:
    """The answer as JSON and then its tensors."""
    _, tensors = extract_raw(result.outputs)
    # The data that it would warn of, for it is a list now, is dropped.
    form = result.model_dump(warnings=False)
    for output, tensor in zip(form["outputs"], tensors, strict=True):
        del output["data"]
        output["parameters"] = {"binary_data_size": len(tensor)}
    header = encode_to_json_bytes(form)
    headers = {HEADER_LENGTH: str(len(header))}
    return Response(b"".join((header, *tensors)), headers=headers, media_type="application/octet-stream")


def first(error: ValidationError | RequestValidationError) -> str:
    """The first of the complaints, without the value that it is about."""
    complaint = error.errors()[0]
    return f"{'.'.join(map(str, complaint['loc'])) or 'the body'}: {complaint['msg']}"


def extra(parameters: Parameters | None, name: str) -> Any:
    return ((parameters and parameters.model_extra) or {}).get(name)
