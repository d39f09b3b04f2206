"""What a V2 request asks for, transport left aside. Pure; every refusal is one line and never holds a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reviews_parsing.errors import RequestRefused

if TYPE_CHECKING:
    from mlserver.types import InferenceRequest, RequestInput

INPUT, OUTPUT, DATATYPE = "text", "predictions", "BYTES"
NOT_FOUND, TOO_LARGE = 404, 413
# Of a refusal, in characters: over gRPC it travels in a header, which may be small.
LONGEST_LINE = 300


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may hold at most: `texts`, and `characters` in all of them together."""

    texts: int
    characters: int


@dataclass(frozen=True, slots=True)
class ParseCall:
    """Texts to parse, the least probability of an aspect that is returned, and whether only spans are."""

    texts: list[str]
    min_score: float
    spans_only: bool


def read(payload: InferenceRequest, limits: Limits) -> ParseCall:
    """The call that a V2 request makes. Parameters that it does not know are ignored.

    Raises RequestRefused (400) where it is not one BYTES input of shape [n] or [n, 1] that holds n texts in UTF-8, asks
    for an output that there is not, or has a `min_score` outside [0, 1] or a `spans_only` that is no boolean; (413)
    beyond `limits`.
    """
    for output in payload.outputs or ():
        if output.name != OUTPUT:
            raise RequestRefused(f"unknown output {_name(output.name)}; the output is '{OUTPUT}'")
    parameters = (payload.parameters and payload.parameters.model_extra) or {}
    min_score, spans_only = _min_score(parameters), _spans_only(parameters)
    elements = _elements(_only(payload.inputs))
    _bound(len(elements), "texts", limits.texts)
    texts = [_text(i, element) for i, element in enumerate(elements)]
    _bound(sum(map(len, texts)), "characters", limits.characters)
    return ParseCall(texts, min_score, spans_only)


def one_line(message: str) -> str:
    """A refusal fit for a line and a header, whatever name of the client's it quotes."""
    line = "".join(character if character.isprintable() else " " for character in message[: LONGEST_LINE + 1])
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 1]}…"


def _only(inputs: Sequence[RequestInput]) -> RequestInput:
    if len(inputs) != 1:
        raise RequestRefused(f"the request has {len(inputs)} inputs; send one, '{INPUT}'")
    tensor = inputs[0]
    if tensor.name != INPUT:
        raise RequestRefused(f"unknown input {_name(tensor.name)}; the input is '{INPUT}'")
    if tensor.datatype != DATATYPE:
        raise RequestRefused(f"input '{INPUT}' has datatype {_name(tensor.datatype)}; send {DATATYPE}")
    content_type = tensor.parameters and tensor.parameters.content_type
    if content_type not in (None, "str"):
        raise RequestRefused(f"input '{INPUT}' has content_type {_name(content_type)}; send the texts themselves")
    return tensor


def _bound(number: int, things: str, limit: int) -> None:
    if number > limit:
        raise RequestRefused(
            f"the request holds {number} {things}, this server reads {limit} a request; send fewer texts at a time, "
            f"or raise REVIEWS_PARSING_MAX_{things.upper()} on the server",
            TOO_LARGE,
        )


def _elements(tensor: RequestInput) -> list[object]:
    shape, elements = list(tensor.shape), tensor.data.root
    if not (len(shape) == 1 or shape[1:] == [1]) or shape[0] < 0:
        raise RequestRefused(f"input '{INPUT}' has shape {str(shape)[:60]}; send [n] or [n, 1]")
    if not isinstance(elements, list):
        raise RequestRefused(f"the data of input '{INPUT}' is not a list")
    if len(shape) == 2:  # [n, 1] may come nested or flattened
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


def _spans_only(parameters: Mapping[str, Any]) -> bool:
    value = parameters.get("spans_only", False)
    if not isinstance(value, bool):
        raise RequestRefused("parameter 'spans_only' must be true or false")
    return value


def _name(value: Any) -> str:
    return f"'{str(value)[:60]}'"
