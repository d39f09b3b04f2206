"""The OpenAPI document of the REST door: what this server takes and what it answers, no more and no less."""

from __future__ import annotations

from importlib.metadata import version as installed
from typing import Any
from urllib.parse import quote

from reviews_parsing.serving.doors import HEADER_LENGTH
from reviews_parsing.serving.request import DATATYPE, INPUT, LONGEST_LINE, OUTPUT
from reviews_parsing.settings import MODEL_NAME

JSON, BINARY, EVENTS = "application/json", "application/octet-stream", "text/event-stream"
BINARY_BODY = (
    f"as many bytes of JSON as header `{HEADER_LENGTH}` says, an InferenceRequest whose input has `binary_data_size` "
    "among its parameters in place of `data`; then so many bytes, each text after its length (4 bytes, little-endian)"
)
ABOUT = f"""\
The V2 (Open Inference) protocol for model `{MODEL_NAME}`: texts in, the aspects of each text out.

A body is read as JSON whatever its content type, but for `multipart/form-data` (415). It may be compressed
(`Content-Encoding: gzip` or `deflate`; another: 415). The number of elements in `data` must be that which `shape` says.
Every refusal is one line of the form `{{"error": "..."}}`.
"""
INFERENCE = {
    "infer": ("Aspects of texts", "The texts may be JSON or a binary tensor (extension `binary_tensor_data`)."),
    "generate": ("Aspects of texts", "Another name of `infer`."),
    "infer_stream": ("Aspects of texts, as an event", "As `infer`, answered by a stream of one event."),
    "generate_stream": ("Aspects of texts, as an event", "Another name of `infer_stream`."),
}
EXAMPLE = {
    "id": "42",
    "inputs": [
        {"name": INPUT, "shape": [1], "datatype": DATATYPE, "data": ["The lobster sandwich was fantastic!"]},
    ],
}


def document(max_texts: int, model: str | None = None, version: str | None = None) -> dict[str, Any]:
    """The whole server's document; with `model` that of this model alone, with `version` too that of this version."""
    title = "Reviews Parsing" if model is None else f"Reviews Parsing: {model} {version or ''}".rstrip()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": installed("reviews-parsing"),
            "description": ABOUT,
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "paths": {**({} if model else _server_paths()), **_model_paths(model, version)},
        "components": {"schemas": _schemas(max_texts), "responses": _refusals()},
    }


def _server_paths() -> dict[str, Any]:
    return {
        "/v2": {"get": _operation("server-metadata", "Server metadata", _json("ServerMetadata"))},
        "/v2/health/live": {"get": _operation("server-live", "Whether the server lives", _json("Live"))},
        "/v2/health/ready": {
            "get": _operation("server-ready", "Whether every model is ready", _json("Ready"), {"503": _json("Ready")})
        },
        "/v2/repository/index": {
            "post": {
                **_operation(
                    "index", "The models that can be served", _json("Index"), _may("400", "413", "415", "503")
                ),
                "requestBody": {"content": {JSON: {"schema": _ref("IndexRequest")}}},
            }
        },
        **{
            f"/v2/repository/models/{{model_name}}/{verb}": {
                "parameters": [_in_path("model_name")],
                "post": _operation(verb, what, {"description": "done"}, _may("404", "503")),
            }
            for verb, what in (("load", "Load what the model's address means now"), ("unload", "Serve it no longer"))
        },
    }


def _model_paths(model: str | None, version: str | None) -> dict[str, Any]:
    base = f"/v2/models/{quote(model, safe='') if model else '{model_name}'}"
    if version:
        return _paths_at(f"{base}/versions/{quote(version, safe='')}", [], "-version")
    if model:
        return _paths_at(base, [], "")
    name, number = _in_path("model_name"), _in_path("model_version")
    return {
        **_paths_at(base, [name], ""),
        **_paths_at(f"{base}/versions/{{model_version}}", [name, number], "-version"),
    }


def _paths_at(base: str, parameters: list[dict[str, Any]], suffix: str) -> dict[str, Any]:
    """Operations on one model; `suffix` keeps the ids of those on a version apart."""
    missing = _may("404")
    paths = {
        base: {"get": _operation(f"model{suffix}-metadata", "Model metadata", _json("ModelMetadata"), missing)},
        f"{base}/ready": {
            "get": _operation(
                f"model{suffix}-ready",
                "Whether the model is ready",
                _json("ModelReady"),
                {**missing, "503": _json("ModelReady")},
            )
        },
        **{f"{base}/{verb}": {"post": _inference(verb, suffix)} for verb in INFERENCE},
    }
    return {path: {"parameters": parameters, **item} for path, item in paths.items()}


def _inference(verb: str, suffix: str) -> dict[str, Any]:
    summary, description = INFERENCE[verb]
    answer = {
        "description": "what was found in each text, in their order",
        "content": {EVENTS: {"schema": _ref("Event")}}
        if verb.endswith("_stream")
        else {JSON: {"schema": _ref("InferenceResponse")}, BINARY: {"schema": {"type": "string", "format": "binary"}}},
        "headers": {
            HEADER_LENGTH: {"description": f"bytes of JSON, in {BINARY}", "schema": {"type": "integer", "minimum": 0}}
        },
    }
    return {
        **_operation(f"{verb}{suffix}", summary, answer, _may("400", "404", "413", "415", "500", "503")),
        "description": description,
        "requestBody": {
            "required": True,
            "content": {
                JSON: {"schema": _ref("InferenceRequest"), "example": EXAMPLE},
                BINARY: {"schema": {"type": "string", "format": "binary", "description": BINARY_BODY}},
            },
        },
    }


def _operation(name: str, summary: str, answer: dict[str, Any], others: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"operationId": name, "summary": summary, "responses": {"200": answer, **(others or {})}}


def _may(*statuses: str) -> dict[str, Any]:
    return {status: {"$ref": f"#/components/responses/{status}"} for status in statuses}


def _refusals() -> dict[str, Any]:
    reasons = {
        "400": "the request is not what this document says, or shape and data disagree",
        "404": "there is no such model or version",
        "413": "the request holds more than the server reads at a time",
        "415": "a content type or encoding that the server does not read",
        "500": "the server failed; its log says where",
        "503": "not ready, or too much is waiting; try again later",
    }
    retry = {"headers": {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}}
    return {
        status: {**_json("Error"), "description": reason, **(retry if status == "503" else {})}
        for status, reason in reasons.items()
    }


def _in_path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": "^[^/]+$"}}


def _json(schema: str) -> dict[str, Any]:
    return {"description": schema, "content": {JSON: {"schema": _ref(schema)}}}


def _ref(schema: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{schema}"}


def _schemas(max_texts: int) -> dict[str, Any]:
    text, boolean, names = {"type": "string"}, {"type": "boolean"}, {"type": "array", "items": {"type": "string"}}
    size = {"type": "integer", "minimum": 0}
    word = {"word": _or_null("string"), "start": _or_null("integer"), "end": _or_null("integer")}
    probability = {"type": "number", "minimum": 0, "maximum": 1}
    opinion = {"word": text, "start": size, "end": size}
    alone = {"type": "array", "items": text, "minItems": 1, "maxItems": 1}
    tensor = {"name": text, "datatype": text, "shape": {"type": "array", "items": {"type": "integer"}}}
    return {
        "Error": _object({"error": {**text, "maxLength": LONGEST_LINE}}, closed=True),
        "Live": _object({"live": boolean}, closed=True),
        "Ready": _object({"live": boolean, "ready": boolean}, closed=True),
        "ModelReady": _object({"name": text, "ready": boolean}, closed=True),
        "ServerMetadata": _object({"name": text, "version": text, "extensions": names}, closed=True),
        "ModelMetadata": _object(
            {
                "name": text,
                "versions": names,
                "platform": text,
                "inputs": {"type": "array", "items": _object(tensor)},
                "outputs": {"type": "array", "items": _object(tensor)},
            },
            {"parameters": {"type": "object"}},
            closed=True,
        ),
        "IndexRequest": _object({}, {"ready": {"type": ["boolean", "null"]}}),
        "Index": {
            "type": "array",
            "items": _object(
                {"name": text, "state": {"enum": ["READY", "UNAVAILABLE", "UNKNOWN"]}, "reason": text},
                {"version": text},
                closed=True,
            ),
        },
        "InferenceRequest": _object(
            {"inputs": {"type": "array", "minItems": 1, "maxItems": 1, "items": _ref("Input")}},
            {
                "id": _or_null("string"),
                "parameters": _parameters(
                    {
                        "min_score": probability,
                        "spans_only": {"type": "boolean"},
                        "binary_data_output": _or_null("boolean"),
                    }
                ),
                "outputs": {"type": ["array", "null"], "items": _ref("RequestedOutput")},
            },
        ),
        "Input": {
            "anyOf": [
                _input("[n], and n texts", [size], text, max_texts),
                _input(
                    "[n, 1], and n texts or lists of one", [size, {"const": 1}], {"anyOf": [text, alone]}, max_texts
                ),
            ]
        },
        "RequestedOutput": _object(
            {"name": {"const": OUTPUT}}, {"parameters": _parameters({"binary_data": _or_null("boolean")})}
        ),
        "InferenceResponse": _object(
            {
                "model_name": text,
                "model_version": text,
                "id": {**text, "description": "the request's; of one without, one made for it"},
                "outputs": {"type": "array", "minItems": 1, "maxItems": 1, "items": _ref("Output")},
            },
            closed=True,
        ),
        "Output": _object(
            {
                "name": {"const": OUTPUT},
                "datatype": {"const": DATATYPE},
                "shape": {"type": "array", "items": size, "minItems": 1, "maxItems": 1},
                "data": {
                    "type": "array",
                    "description": "element i: the aspects of text i, as JSON",
                    "items": {
                        **text,
                        "contentMediaType": JSON,
                        "contentSchema": {"type": "array", "items": _ref("Aspect")},
                    },
                },
            },
            closed=True,
        ),
        "Event": _object({"data": {**text, "contentMediaType": JSON, "contentSchema": _ref("InferenceResponse")}}),
        "Aspect": _object(
            {"entity_group": text, "score": probability, **word},
            {"polarity": text, "polarity_score": probability, "opinion": _object(opinion, closed=True)},
            closed=True,
        ),
    }


def _input(shapes: str, shape: list[dict[str, Any]], element: dict[str, Any], max_texts: int) -> dict[str, Any]:
    ranks = {"prefixItems": shape, "items": False, "minItems": len(shape)}
    return _object(
        {
            "name": {"const": INPUT},
            "datatype": {"const": DATATYPE},
            "shape": {"type": "array", "description": shapes, **ranks},
            "data": {"type": "array", "maxItems": max_texts, "items": element},
        },
        {"parameters": _parameters({"content_type": {"enum": ["str", None]}})},
    )


def _parameters(known: dict[str, Any]) -> dict[str, Any]:
    """Any others are ignored; `content_type` and `headers` have a type wherever they stand."""
    common = {"content_type": _or_null("string"), "headers": _or_null("object")}
    return {"type": ["object", "null"], "properties": {**common, **known}}


def _or_null(kind: str) -> dict[str, Any]:
    return {"type": [kind, "null"]}


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None, closed: bool = False) -> dict[str, Any]:
    """`closed` where nothing else can stand beside these."""
    form = {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}
    return {**form, "additionalProperties": False} if closed else form
