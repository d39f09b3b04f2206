"""Terms of the V2 protocol that REST and gRPC share: names, limits, the parse request, and errors."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from reviews_parsing.errors import RequestRefused
from reviews_parsing.settings import Settings

if TYPE_CHECKING:
    from mlserver.types import InferenceRequest, RequestInput

# Parameter of a request with the size of the largest answer that the client can receive.
MAX_ANSWER_BYTES = "max_answer_bytes"
INPUT, OUTPUT, DATATYPE = "text", "predictions", "BYTES"
# Parameter of a request for the languages of the texts, and of the response with them.
LANGUAGES = "languages"
# Header with the length of the JSON before binary tensors.
HEADER_LENGTH = "Inference-Header-Content-Length"
# Header of a review that another version has answered, for a comparison: no client waits for the answer.
COMPARISON_HEADER = "Reviews-Parsing-Comparison"
# nginx's status for a client that closed its connection before the response; http.HTTPStatus has none.
CLIENT_CLOSED_REQUEST = 499
# gRPC sends an error in a header, which may be small.
MAX_ERROR_CHARACTERS = 300
# A character takes at most 12 bytes of JSON (an escaped surrogate pair); the rest of a request is small.
BYTES_PER_CHARACTER, OTHER_BYTES = 12, 1 << 20
INTERNAL_ERROR = "the server failed at this request; its log says where"


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Maximum number of `texts` in a request, and of `characters` in all of them together."""

    texts: int
    characters: int


@dataclass(frozen=True, slots=True)
class ParseRequest:
    """Texts to parse, the threshold on the score of an aspect, and whether implicit aspects are omitted.

    With `languages`, the response has a parameter with the language of each text.
    `max_answer_bytes` is the size of the largest answer that the client can receive; None if it has no limit.
    """

    texts: list[str]
    min_score: float
    spans_only: bool
    languages: bool
    max_answer_bytes: int | None


def max_body_bytes() -> int:
    """Return the size of the largest request body that stays within the limit of characters."""
    return Settings().max_characters * BYTES_PER_CHARACTER + OTHER_BYTES


def read_request(payload: InferenceRequest, limits: RequestLimits) -> ParseRequest:
    """Return the parse request in a V2 request. Unknown parameters are ignored.

    Raises RequestRefused (400) if the request is not one BYTES input of shape [n] or [n, 1] with n texts in UTF-8, has
    an unknown output, a `min_score` outside [0, 1], a `spans_only` or `languages` that is not a boolean, or a
    `max_answer_bytes` that is not a positive integer; (413) beyond `limits`.
    """
    for output in payload.outputs or ():
        if output.name != OUTPUT:
            raise RequestRefused(f"unknown output {_quote(output.name)}; the output is '{OUTPUT}'")
    parameters = (payload.parameters and payload.parameters.model_extra) or {}
    min_score = _min_score(parameters)
    spans_only, languages = _flag(parameters, "spans_only"), _flag(parameters, LANGUAGES)
    max_answer_bytes = _max_answer_bytes(parameters)
    elements = _elements(_only_input(payload.inputs))
    _check_limit(len(elements), "texts", limits.texts)
    texts = [_text(i, element) for i, element in enumerate(elements)]
    _check_limit(sum(map(len, texts)), "characters", limits.characters)
    return ParseRequest(texts, min_score, spans_only, languages, max_answer_bytes)


def check_answer_size(size: int, limit: int | None) -> None:
    """Raise RequestRefused (413) if an answer of `size` bytes or more is larger than the client can receive."""
    if limit is not None and size > limit:
        raise RequestRefused(
            f"the answer is larger than {limit} bytes; gRPC clients accept 4 MiB by default. Send fewer texts or a "
            f"min_score, or raise the client's limit and name it in the parameter '{MAX_ANSWER_BYTES}' or in "
            "REVIEWS_PARSING_MAX_GRPC_ANSWER_BYTES",
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        )


def one_line(message: str) -> str:
    """Return `message` as a single printable line of at most MAX_ERROR_CHARACTERS, also if it quotes a client."""
    line = "".join(character if character.isprintable() else " " for character in message[: MAX_ERROR_CHARACTERS + 1])
    return line if len(line) <= MAX_ERROR_CHARACTERS else f"{line[: MAX_ERROR_CHARACTERS - 1]}…"


def log_failure(error: BaseException) -> None:
    """Log the type and the stack of an unexpected error, without its message, which may quote a text."""
    stack = "".join(traceback.format_tb(error.__traceback__))
    logging.getLogger("mlserver").error("a request failed with %s\n%s", type(error).__name__, stack)


def check_inputs(count: int) -> None:
    """Raise RequestRefused (400) unless a request has exactly one input."""
    if count != 1:
        raise RequestRefused(f"the request has {count} inputs; send one, '{INPUT}'")


def _only_input(inputs: Sequence[RequestInput]) -> RequestInput:
    check_inputs(len(inputs))
    tensor = inputs[0]
    if tensor.name != INPUT:
        raise RequestRefused(f"unknown input {_quote(tensor.name)}; the input is '{INPUT}'")
    if tensor.datatype != DATATYPE:
        raise RequestRefused(f"input '{INPUT}' has datatype {_quote(tensor.datatype)}; send {DATATYPE}")
    content_type = tensor.parameters and tensor.parameters.content_type
    if content_type not in (None, "str"):
        raise RequestRefused(f"input '{INPUT}' has content_type {_quote(content_type)}; send the texts themselves")
    return tensor


def _check_limit(count: int, unit: str, limit: int) -> None:
    if count > limit:
        raise RequestRefused(
            f"the request holds {count} {unit}, this server reads {limit} a request; send fewer texts at a time, "
            f"or raise REVIEWS_PARSING_MAX_{unit.upper()} on the server",
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        )


def _elements(tensor: RequestInput) -> list[object]:
    shape, elements = list(tensor.shape), tensor.data.root
    if not (len(shape) == 1 or shape[1:] == [1]) or shape[0] < 0:
        raise RequestRefused(f"input '{INPUT}' has shape {str(shape)[:60]}; send [n] or [n, 1]")
    if not isinstance(elements, list):
        raise RequestRefused(f"the data of input '{INPUT}' is not a list")
    if len(shape) == 2:  # [n, 1] may be nested or flat
        elements = [e[0] if isinstance(e, list) and len(e) == 1 else e for e in elements]
    if len(elements) != shape[0]:
        raise RequestRefused(f"input '{INPUT}' has shape {shape} and holds {len(elements)} elements")
    return elements


def _text(i: int, element: object) -> str:
    if isinstance(element, str):
        return element
    if not isinstance(element, bytes):
        raise RequestRefused(f"element {i} of input '{INPUT}' is not a text")
    try:
        return element.decode()
    except UnicodeDecodeError as error:
        raise RequestRefused(f"element {i} of input '{INPUT}' is not UTF-8 (at byte {error.start})") from None


def _min_score(parameters: Mapping[str, Any]) -> float:
    value = parameters.get("min_score", 0.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise RequestRefused("parameter 'min_score' must be a number in [0, 1]")
    return float(value)


def _flag(parameters: Mapping[str, Any], name: str) -> bool:
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise RequestRefused(f"parameter '{name}' must be true or false")
    return value


def _max_answer_bytes(parameters: Mapping[str, Any]) -> int | None:
    value = parameters.get(MAX_ANSWER_BYTES)
    if value is not None and (type(value) is not int or value < 1):
        raise RequestRefused(f"parameter '{MAX_ANSWER_BYTES}' must be a positive integer")
    return value


def _quote(value: Any) -> str:
    return f"'{str(value)[:60]}'"
