"""A walk along the tables of the Open Inference Protocol, and what is not in them: requirement, request, answer."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import openapi_spec_validator
import pytest
import tritonclient.grpc
from grpc import RpcError, StatusCode
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub as Stub

from reviews_parsing.parser import AspectParser
from reviews_parsing.serving.openapi import document
from reviews_parsing.settings import MODEL_NAME, Settings

from .client import DEADLINE, MODEL, Answer, Server, tensor
from .conftest import Start

INFER = f"{MODEL}/infer"
HEADER = "Inference-Header-Content-Length"
PAIR = ["A dull xylophone by the bar.", "The gnocchi were heavenly."]
COLUMN = {"inputs": [tensor(shape=[2, 1], data=[[text] for text in PAIR])]}
ROW = {"inputs": [tensor(shape=[2], data=PAIR)]}


# Health and metadata

READS: dict[str, tuple[str, object]] = {
    "server live": ("/v2/health/live", {"live": True}),
    "server ready": ("/v2/health/ready", {"live": True, "ready": True}),
    "model ready": (f"{MODEL}/ready", {"name": MODEL_NAME, "ready": True}),
    "model version ready": (f"{MODEL}/versions/1/ready", {"name": MODEL_NAME, "ready": True}),
    "the document of the server": ("/v2/docs/dataplane.json", document(Settings().max_texts)),
    "the document of the server, by its usual name": ("/openapi.json", document(Settings().max_texts)),
    "the document of the model": (f"{MODEL}/docs/dataplane.json", document(Settings().max_texts, MODEL_NAME)),
    "the document of the model version": (
        f"{MODEL}/versions/1/docs/dataplane.json",
        document(Settings().max_texts, MODEL_NAME, "1"),
    ),
}


@pytest.mark.parametrize(("path", "expected"), READS.values(), ids=READS)
def test_what_is_read_is_as_the_protocol_says(server: Server, path: str, expected: object) -> None:
    answer = server.get(path)
    assert (answer.status, answer.json) == (200, expected)
    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("model", [(), (MODEL_NAME,), (MODEL_NAME, "1")])
def test_the_openapi_document_is_valid(model: tuple[str, ...]) -> None:
    openapi_spec_validator.validate(document(16, *model))


def test_metadata_has_the_fields_of_the_protocol_and_their_types(server: Server) -> None:
    form = server.get("/v2").json
    assert {name: type(value) for name, value in form.items()} == {"name": str, "version": str, "extensions": list}
    assert server.get("/v2/").json == form
    model = server.get(MODEL).json
    assert {"name", "versions", "platform", "inputs", "outputs"} <= set(model)
    for described in (*model["inputs"], *model["outputs"]):
        assert set(described) == {"name", "datatype", "shape"}


@pytest.mark.parametrize("part", ["", "/ready", "/docs", "/docs/dataplane.json", "/versions/1", "/versions/1/ready"])
@pytest.mark.parametrize("name", ["nobody", "no%0Abody", "n" * 5000, "%00", "%F0%9F%A5%9F"])
def test_a_model_that_is_not_there_is_refused_in_one_line(server: Server, name: str, part: str) -> None:
    answer = server.get(f"/v2/models/{name}{part}")
    assert answer.status == 404
    assert_refusal(answer)


# Requests that are answered

REQUESTS: dict[str, Mapping[str, object]] = {
    "an id": {"id": "42"},
    "an id with nothing in it": {"id": ""},
    "an id that is long": {"id": "é" * 100_000},
    "an id that is null": {"id": None},
    "no parameters": {"parameters": {}},
    "parameters that are null": {"parameters": None},
    "parameters that nobody knows": {"parameters": {"a": "x", "b": 1, "c": 0.5, "d": True, "e": None, "f": [{}]}},
    "parameters of MLServer's": {"parameters": {"content_type": "pd", "headers": {"x": "y"}}},
    "parameters of Triton's": {"parameters": {"sequence_id": 7, "priority": 1, "timeout": 0}},
    "a min_score of none": {"parameters": {"min_score": 0.0}},
    "an output": {"outputs": [{"name": "predictions"}]},
    "the output twice": {"outputs": [{"name": "predictions"}] * 2},
    "no list of outputs": {"outputs": None},
    "an empty list of outputs": {"outputs": []},
    "an output with parameters that nobody knows": {"outputs": [{"name": "predictions", "parameters": {"a": [1]}}]},
    "an output that need not be binary": {"outputs": [{"name": "predictions", "parameters": {"binary_data": False}}]},
    "an output that says otherwise than the request": {
        "parameters": {"binary_data_output": True},
        "outputs": [{"name": "predictions", "parameters": {"binary_data": False}}],
    },
    "members that nobody knows": {"model_name": "another", "x": [1]},
    "a flat row": ROW,
    "a flat column": {"inputs": [tensor(shape=[2, 1], data=PAIR)]},
    "a column": COLUMN,
    "whole numbers with a point": {"inputs": [tensor(shape=[2.0], data=PAIR)]},
    "an input with parameters that nobody knows": {
        "inputs": [tensor(shape=[2], data=PAIR, parameters={"a": 1, "content_type": "str"})]
    },
    "an input with members that nobody knows": {"inputs": [tensor(shape=[2], data=PAIR, x=None)]},
}


@pytest.mark.parametrize("changes", REQUESTS.values(), ids=REQUESTS)
def test_a_valid_request_is_answered_by_every_field_of_the_protocol(
    server: Server, parser: AspectParser, changes: Mapping[str, object]
) -> None:
    answer = server.ask({**ROW, **changes})
    assert answer.predictions == [parsed.to_json() for parsed in parser.parse(PAIR)]
    form = answer.json
    assert set(form) == {"model_name", "model_version", "id", "outputs"}
    assert (form["model_name"], form["model_version"]) == (MODEL_NAME, "1")
    assert set(form["outputs"][0]) == {"name", "shape", "datatype", "data"}
    given = changes.get("id")
    assert form["id"] == given if given is not None else len(form["id"]) == 36


@pytest.mark.parametrize("shape", [[0], [0, 1]])
def test_an_empty_tensor_is_answered_by_one(server: Server, shape: list[int]) -> None:
    assert server.ask({"inputs": [tensor(shape=shape, data=[])]}).predictions == []


def test_as_many_texts_as_the_limit_are_answered(server: Server) -> None:
    assert len(server.infer(["Fine."] * Settings().max_texts).predictions) == Settings().max_texts


@pytest.mark.parametrize("text", ["", " ", "\0", "\u2028", "\ufeff", "é" * 3])
def test_a_text_of_nothing_has_no_aspects(server: Server, text: str) -> None:
    assert server.infer([text]).predictions == [[]]


# Requests that are refused

REFUSED: dict[str, tuple[object, str]] = {
    "an id that is no text": ({**ROW, "id": 3}, "id"),
    "parameters that are a list": ({**ROW, "parameters": []}, "parameters"),
    "parameters that are a text": ({**ROW, "parameters": "a"}, "parameters"),
    "headers that are none": ({**ROW, "parameters": {"headers": "a"}}, "headers"),
    "outputs that are no list": ({**ROW, "outputs": {"name": "predictions"}}, "outputs"),
    "outputs that are names": ({**ROW, "outputs": ["predictions"]}, "outputs"),
    "an output without a name": ({**ROW, "outputs": [{}]}, "outputs.0.name"),
    "an output whose name has two lines": ({**ROW, "outputs": [{"name": "a\nb"}]}, "'a b'"),
    "a binary_data that is no truth": (
        {**ROW, "outputs": [{"name": "predictions", "parameters": {"binary_data": 1}}]},
        "binary_data",
    ),
    "a binary_data_output that is no truth": ({**ROW, "parameters": {"binary_data_output": "true"}}, "binary_data"),
    "a binary_data_size without its header": ({"inputs": [tensor(parameters={"binary_data_size": 9})]}, HEADER),
    "no name": ({"inputs": [{"shape": [1], "datatype": "BYTES", "data": ["a"]}]}, "inputs.0.name"),
    "no shape": ({"inputs": [{"name": "text", "datatype": "BYTES", "data": ["a"]}]}, "inputs.0.shape"),
    "no datatype": ({"inputs": [{"name": "text", "shape": [1], "data": ["a"]}]}, "inputs.0.datatype"),
    "a datatype in small letters": ({"inputs": [tensor(datatype="bytes")]}, "datatype"),
    "a shape that is a number": ({"inputs": [tensor(shape=1)]}, "shape"),
    "a shape that is null": ({"inputs": [tensor(shape=None)]}, "shape"),
    "a shape in words": ({"inputs": [tensor(shape=["1"])]}, "shape"),
    "a shape of truths": ({"inputs": [tensor(shape=[True])]}, "shape"),
    "a shape of fractions": ({"inputs": [tensor(shape=[0.5])]}, "shape"),
    "a shape beyond any memory": ({"inputs": [tensor(shape=[2**63])]}, "holds 1 elements"),
    "a shape of a number beyond any integer": ({"inputs": [tensor(shape=[10**40])]}, "shape"),
    "a shape of very many dimensions": ({"inputs": [tensor(shape=[1] * 100_000)]}, "[n]"),
    "a column of pairs": ({"inputs": [tensor(shape=[2, 2], data=[PAIR, PAIR])]}, "[n, 1]"),
    "a column that is ragged": ({"inputs": [tensor(shape=[2, 1], data=[["a"], PAIR])]}, "element 1"),
    "a column of nothing": ({"inputs": [tensor(shape=[1, 1], data=[[]])]}, "element 0"),
    "a row of lists": ({"inputs": [tensor(shape=[2], data=[["a"], ["b"]])]}, "element 0"),
    "an object for a text": ({"inputs": [tensor(data=[{"a": "b"}])]}, "element 0"),
    "a truth for a text": ({"inputs": [tensor(data=[True])]}, "element 0"),
    "an object for data": ({"inputs": [tensor(data={"a": "b"})]}, "not a list"),
}


@pytest.mark.parametrize(("form", "phrase"), REFUSED.values(), ids=REFUSED)
def test_an_invalid_request_is_told_what_is_wrong(server: Server, form: object, phrase: str) -> None:
    answer = server.ask(form)
    assert answer.status == 400
    assert phrase in assert_refusal(answer)


def _nested(opening: bytes, depth: int, closing: bytes = b"") -> bytes:
    return opening * depth + b"1" + closing * depth


def _data(value: bytes) -> bytes:
    return json.dumps({"inputs": [tensor(data=["@"])]}).encode().replace(b'"@"', value)


HOSTILE: dict[str, tuple[bytes, int]] = {
    "10 MB of a text": (_data(b'"' + b"xylophone " * 1_000_000 + b'"'), 413),
    "10 MB of nothing": (b" " * 10_000_000, 413),
    "1 MB of a text": (_data(b'"' + b"xylophone " * 100_000 + b'"'), 413),
    "100,000 texts": (json.dumps({"inputs": [tensor(shape=[100_000], data=["xylophone"] * 100_000)]}).encode(), 413),
    "2,000,000 texts of nothing": (json.dumps({"inputs": [tensor(shape=[1], data=[""] * 1_500_000)]}).encode(), 413),
    "100,000 lists that open": (_nested(b"[", 100_000), 400),
    "100,000 lists": (_nested(b"[", 100_000, b"]"), 400),
    "100,000 objects": (_nested(b'{"inputs":', 100_000, b"}"), 400),
    "as many lists as JSON allows here": (_data(_nested(b"[", 1000, b"]")), 400),
    "UTF-16": (json.dumps(ROW).encode("utf-16"), 400),
    "Latin-1": (_data(b'"xylophone caf\xe9"'), 400),
    "a number that is none": (_data(b"NaN"), 400),
    "a number beyond any": (_data(b"1e999"), 400),
    "two documents": (json.dumps(ROW).encode() * 2, 400),
    "half a document": (json.dumps(ROW).encode()[:-30], 400),
    "a form": (b"text=xylophone", 400),
}


@pytest.mark.parametrize(("body", "status"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_body_is_refused_at_once(server: Server, body: bytes, status: int) -> None:
    answer = server.post(INFER, body)
    assert answer.status == status
    assert_refusal(answer)


# Content types

TYPES: dict[str, dict[str, str]] = {
    "what curl says": {"Content-Type": "application/x-www-form-urlencoded"},
    "JSON": {"Content-Type": "application/json; charset=utf-8"},
    "plain text": {"Content-Type": "text/plain"},
    "octets without the header of binary tensors": {"Content-Type": "application/octet-stream"},
    "what nobody knows": {"Content-Type": "a"},
    "an answer of another type": {"Accept": "text/html"},
    "an encoding in large letters": {"Content-Encoding": "Identity"},
    "an encoding of no name": {"Content-Encoding": ""},
}


@pytest.mark.parametrize("headers", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize("path", [INFER, "/v2/repository/index"])
def test_what_is_json_is_read_as_json(server: Server, path: str, headers: dict[str, str]) -> None:
    assert server.post(path, json.dumps(ROW).encode(), headers).status == 200


@pytest.mark.parametrize("path", [INFER, "/v2/repository/index"])
@pytest.mark.parametrize("size", [10, 10_000_000])
def test_the_parts_of_a_form_are_not(server: Server, path: str, size: int) -> None:
    answer = server.post(path, b"x" * size, {"Content-Type": "Multipart/form-data; boundary=x"})
    assert answer.status == 415
    assert "multipart" in assert_refusal(answer)


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {}, 200),
        (b"{}", {}, 200),
        (b'{"ready": true}', {}, 200),
        (b'{"ready": null}', {}, 200),
        (b'{"ready": 1}', {}, 400),
        (b"[]", {}, 400),
        (b"{", {}, 400),
        (b"[" * 100_000, {}, 400),
        (b"\xff", {"Content-Type": "application/json"}, 400),
        (b"plain", {"Content-Encoding": "gzip"}, 400),
        (gzip.compress(b"{}", mtime=0), {"Content-Encoding": "gzip"}, 200),
        (gzip.compress(b" " * 10_000_000, mtime=0), {"Content-Encoding": "gzip"}, 413),
        (b" " * 10_000_000, {}, 413),
        (b"{}", {"Content-Encoding": "br"}, 415),
    ],
)
def test_the_index_is_asked_for_as_strictly(server: Server, body: bytes, headers: dict[str, str], status: int) -> None:
    answer = server.post("/v2/repository/index", body, headers)
    assert answer.status == status
    if status == 200:
        assert [item["name"] for item in answer.json] == [MODEL_NAME]
    else:
        assert_refusal(answer)


# Binary tensors over REST


def binary(server: Server, tensors: bytes, size: object, length: object = None, **changes: object) -> Answer:
    """Return a request for PAIR, its texts sent as `tensors`."""
    form = {"name": "text", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": size}, **changes}
    header = json.dumps({"inputs": [form]}).encode()
    return server.post(INFER, header + tensors, {HEADER: str(len(header) if length is None else length)})


def pack(texts: Sequence[str]) -> bytes:
    return b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in texts)


PACKED = pack(PAIR)


def unpack(answer: Answer) -> tuple[Any, list[Any]]:
    """Return the JSON and the texts after it, which must be all of the body."""
    length = int(answer.headers[HEADER])
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    header, tensors = json.loads(answer.body[:length]), answer.body[length:]
    assert header["outputs"][0]["parameters"] == {"binary_data_size": len(tensors)}
    texts = []
    while tensors:
        size = struct.unpack_from("<I", tensors)[0] + 4
        texts.append(json.loads(tensors[4:size]))
        tensors = tensors[size:]
    return header, texts


BINARY: dict[str, Mapping[str, object]] = {
    "by the request": {"parameters": {"binary_data_output": True}},
    "by the output": {"outputs": [{"name": "predictions", "parameters": {"binary_data": True}}]},
    "by the output, against the request": {
        "parameters": {"binary_data_output": False},
        "outputs": [{"name": "predictions", "parameters": {"binary_data": True}}],
    },
    "with an id": {"id": "n° 1", "parameters": {"binary_data_output": True}},
    "of nothing": {"inputs": [tensor(shape=[0], data=[])], "parameters": {"binary_data_output": True}},
}


@pytest.mark.parametrize("changes", BINARY.values(), ids=BINARY)
def test_an_answer_is_binary_where_that_is_asked_for(
    server: Server, parser: AspectParser, changes: Mapping[str, object]
) -> None:
    answer = server.ask({**ROW, **changes})
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/octet-stream")
    header, texts = unpack(answer)
    texts_sent = [] if "inputs" in changes else PAIR
    assert texts == [parsed.to_json() for parsed in parser.parse(texts_sent)]
    assert set(header["outputs"][0]) == {"name", "shape", "datatype", "parameters"}
    assert header["outputs"][0]["shape"] == [len(texts)]
    assert header["id"] == changes.get("id", header["id"])


@pytest.mark.parametrize("changes", [{}, {"shape": [2, 1]}, {"data": []}])
def test_texts_may_be_binary(server: Server, parser: AspectParser, changes: dict[str, object]) -> None:
    answer = binary(server, PACKED, len(PACKED), **changes)
    assert answer.predictions == [parsed.to_json() for parsed in parser.parse(PAIR)]


REFUSED_BINARY: dict[str, tuple[Mapping[str, Any], str]] = {
    "no size": ({"size": None}, "belong to no input"),
    "too small a size": ({"size": len(PACKED) - 1}, "cut off"),
    "too large a size": ({"size": len(PACKED) + 1}, "binary_data_size"),
    "a negative size": ({"size": -1}, "binary_data_size"),
    "a size of truth": ({"size": True}, "binary_data_size"),
    "a size with a point": ({"size": float(len(PACKED))}, "binary_data_size"),
    "a size in words": ({"size": str(len(PACKED))}, "binary_data_size"),
    "more bytes than the size": ({"tensors": PACKED + b"abc"}, "3 bytes of binary data"),
    "data as well": ({"data": PAIR}, "both"),
    "a text beyond all": ({"tensors": struct.pack("<I", 2**32 - 1) + PACKED[4:]}, "cut off"),
    "texts that are not UTF-8": ({"tensors": PACKED.replace(b"bar", b"b\xe4r")}, "element 0"),
    "fewer texts than the shape says": ({"shape": [3]}, "holds 2 elements"),
    "no JSON before the tensors": ({"length": 0}, "JSON"),
    "half of the JSON": ({"length": 20}, "JSON"),
    "JSON into the tensors": ({"length": 150}, "JSON"),
    "numbers": ({"datatype": "INT32"}, "INT32"),
}


@pytest.mark.parametrize(("changes", "phrase"), REFUSED_BINARY.values(), ids=REFUSED_BINARY)
def test_binary_texts_that_do_not_fit_are_refused(server: Server, changes: Mapping[str, Any], phrase: str) -> None:
    answer = binary(server, **{"tensors": PACKED, "size": len(PACKED), **changes})
    assert answer.status == 400
    assert phrase in assert_refusal(answer)


# HTTP


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", INFER, "POST"),
        ("PUT", INFER, "POST"),
        ("POST", MODEL, "GET"),
        ("DELETE", MODEL, "GET"),
        ("POST", "/v2/health/live", "GET, HEAD"),
        ("GET", "/v2/repository/index", "POST"),
    ],
)
def test_a_method_that_is_not_there_is_told_which_are(server: Server, method: str, path: str, allowed: str) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", server.http, DEADLINE)) as connection:
        connection.request(method, path)
        response = connection.getresponse()
        assert response.status == 405
        assert sorted(response.headers["Allow"].split(", ")) == allowed.split(", ")
        assert json.loads(response.read())["error"]


def test_a_connection_outlives_refusals(server: Server) -> None:
    bodies = [b"{", b"x" * 10_000_000, json.dumps(ROW).encode()]
    with closing(http.client.HTTPConnection("127.0.0.1", server.http, DEADLINE)) as connection:
        connection.connect()
        held = connection.sock
        for body, status in zip(bodies, [400, 413, 200], strict=True):
            connection.request("POST", INFER, body)
            response = connection.getresponse()
            assert (response.status, connection.sock) == (status, held)
            response.read()


def test_a_client_that_waits_to_be_asked_for_its_body_is_asked(server: Server) -> None:
    body = json.dumps(ROW).encode()
    with closing(http.client.HTTPConnection("127.0.0.1", server.http, DEADLINE)) as connection:
        connection.putrequest("POST", INFER)
        connection.putheader("Content-Length", str(len(body)))
        connection.putheader("Expect", "100-continue")
        connection.endheaders()
        assert connection.sock.recv(12, socket.MSG_PEEK) == b"HTTP/1.1 100"
        connection.send(body)
        assert connection.getresponse().status == 200


# gRPC


@pytest.fixture
def grpc(server: Server) -> Iterator[Stub]:
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{server.grpc}") as client:
        yield Stub(client._channel)


def message(texts: Sequence[str] = PAIR, raw: bool = False, **fields: Any) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(**{"model_name": MODEL_NAME, **fields})
    sent = request.inputs.add(name="text", datatype="BYTES", shape=[len(texts)])
    if raw:
        request.raw_input_contents.append(pack(texts))
    else:
        sent.contents.bytes_contents.extend(text.encode() for text in texts)
    return request


def test_grpc_health_and_metadata_have_the_fields_of_the_protocol(grpc: Stub) -> None:
    assert grpc.ServerLive(pb.ServerLiveRequest()).live
    assert grpc.ServerReady(pb.ServerReadyRequest()).ready
    assert grpc.ModelReady(pb.ModelReadyRequest(name=MODEL_NAME)).ready
    assert grpc.ModelReady(pb.ModelReadyRequest(name=MODEL_NAME, version="1")).ready
    server = grpc.ServerMetadata(pb.ServerMetadataRequest())
    assert server.name
    assert server.version
    assert list(server.extensions) == ["binary_tensor_data"]
    model = grpc.ModelMetadata(pb.ModelMetadataRequest(name=MODEL_NAME, version="1"))
    assert (model.name, list(model.versions)) == (MODEL_NAME, ["1"])


@pytest.mark.parametrize("raw", [False, True])
def test_grpc_answers_in_the_representation_of_the_request(grpc: Stub, parser: AspectParser, raw: bool) -> None:
    response = grpc.ModelInfer(message(raw=raw, id="7", outputs=[{"name": "predictions"}]))
    [output] = response.outputs
    assert (response.model_name, response.model_version, response.id) == (MODEL_NAME, "1", "7")
    assert (output.name, output.datatype, list(output.shape)) == ("predictions", "BYTES", [2])
    assert (output.HasField("contents") and bool(output.contents.bytes_contents)) is not raw
    assert len(response.raw_output_contents) == raw
    elements = [
        json.dumps(parsed.to_json(), ensure_ascii=False, separators=(",", ":")) for parsed in parser.parse(PAIR)
    ]
    if raw:
        assert response.raw_output_contents[0] == pack(elements)
    else:
        assert [element.decode() for element in output.contents.bytes_contents] == elements


def _parameter(**value: object) -> dict[str, Any]:
    return {name: pb.InferParameter(**value) for name in ("unknown", "sequence_id", "binary_data_output")}


GRPC_REQUESTS: dict[str, dict[str, Any]] = {
    "no id": {"id": ""},
    "a long id": {"id": "n" * 100_000},
    "an id that is no header": {"id": "é\r\n\0"},
    "a version": {"model_version": "1"},
    "a truth": {"parameters": _parameter(bool_param=True)},
    "an integer": {"parameters": _parameter(int64_param=1)},
    "a text": {"parameters": _parameter(string_param="x")},
    "a number": {"parameters": _parameter(double_param=0.5)},
    "a large integer": {"parameters": _parameter(uint64_param=2**63)},
    "no value": {"parameters": _parameter()},
    "an output with parameters": {
        "outputs": [
            pb.ModelInferRequest.InferRequestedOutputTensor(name="predictions", parameters=_parameter(bool_param=True))
        ]
    },
}


@pytest.mark.parametrize("fields", GRPC_REQUESTS.values(), ids=GRPC_REQUESTS)
def test_grpc_answers_a_valid_request(grpc: Stub, fields: dict[str, Any]) -> None:
    response = grpc.ModelInfer(message(**fields))
    assert response.id == fields.get("id", "")
    assert len(response.outputs[0].contents.bytes_contents) == 2


def _changed(**fields: Any) -> pb.ModelInferRequest:
    """Return a message whose input has these fields instead."""
    request = message()
    sent = request.inputs[0]
    for name, value in fields.items():
        sent.ClearField(name)
        field = getattr(sent, name)
        if isinstance(value, dict):
            field.CopyFrom(pb.InferTensorContents(**value))
        elif isinstance(value, list):
            field.extend(value)
        else:
            setattr(sent, name, value)
    return request


GRPC_REFUSED: dict[str, tuple[str, Any, StatusCode]] = {
    "an unknown model": ("ModelInfer", message(model_name="nobody"), StatusCode.NOT_FOUND),
    "no model": ("ModelInfer", message(model_name=""), StatusCode.NOT_FOUND),
    "a model with a very long name": ("ModelInfer", message(model_name="n" * 100_000), StatusCode.NOT_FOUND),
    "an unknown version": ("ModelInfer", message(model_version="99"), StatusCode.NOT_FOUND),
    "whether an unknown model is ready": ("ModelReady", pb.ModelReadyRequest(name="nobody"), StatusCode.NOT_FOUND),
    "whether an unknown version is ready": (
        "ModelReady",
        pb.ModelReadyRequest(name=MODEL_NAME, version="99"),
        StatusCode.NOT_FOUND,
    ),
    "what an unknown model is": ("ModelMetadata", pb.ModelMetadataRequest(name="nobody"), StatusCode.NOT_FOUND),
    "raw and not raw": (
        "ModelInfer",
        message(raw_input_contents=[PACKED]),
        StatusCode.INVALID_ARGUMENT,
    ),
    "no contents": ("ModelInfer", _changed(contents={}), StatusCode.INVALID_ARGUMENT),
    "numbers": ("ModelInfer", _changed(contents={"int_contents": [1, 2]}), StatusCode.INVALID_ARGUMENT),
    "two contents": (
        "ModelInfer",
        _changed(contents={"bytes_contents": [b"a", b"b"], "bool_contents": [True]}),
        StatusCode.INVALID_ARGUMENT,
    ),
    "not UTF-8": ("ModelInfer", _changed(contents={"bytes_contents": [b"a", b"\xff"]}), StatusCode.INVALID_ARGUMENT),
    "a datatype that there is not": ("ModelInfer", _changed(datatype="TEXT"), StatusCode.INVALID_ARGUMENT),
    "no datatype": ("ModelInfer", _changed(datatype=""), StatusCode.INVALID_ARGUMENT),
    "no shape": ("ModelInfer", _changed(shape=[]), StatusCode.INVALID_ARGUMENT),
    "a negative shape": ("ModelInfer", _changed(shape=[-1]), StatusCode.INVALID_ARGUMENT),
    "a large shape": ("ModelInfer", _changed(shape=[2**62, 4]), StatusCode.INVALID_ARGUMENT),
    "a name of many lines": ("ModelInfer", _changed(name="a\nb" * 10_000), StatusCode.INVALID_ARGUMENT),
    "an unknown output": ("ModelInfer", message(outputs=[{"name": "logits"}]), StatusCode.INVALID_ARGUMENT),
    "100,000 texts": ("ModelInfer", message(["xylophone"] * 100_000), StatusCode.RESOURCE_EXHAUSTED),
    "1 MB of a text": ("ModelInfer", message(["xylophone " * 100_000], raw=True), StatusCode.RESOURCE_EXHAUSTED),
}


@pytest.mark.parametrize(("method", "request_", "status"), GRPC_REFUSED.values(), ids=GRPC_REFUSED)
def test_grpc_refuses_by_the_status_and_one_line(grpc: Stub, method: str, request_: Any, status: StatusCode) -> None:
    with pytest.raises(RpcError) as refused:
        getattr(grpc, method)(request_, timeout=DEADLINE)
    assert refused.value.code() == status
    details = refused.value.details()
    assert 0 < len(details) <= 300
    assert details.isprintable()
    assert "xylophone" not in details


@pytest.mark.parametrize("method", ["ModelReady", "ModelMetadata", "ModelInfer"])
def test_grpc_takes_what_is_no_message_for_the_clients_mistake(server: Server, method: str) -> None:
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{server.grpc}") as client:
        outcome = client._channel.unary_unary(f"/inference.GRPCInferenceService/{method}").future(b"\xff")
        assert outcome.code() == StatusCode.INVALID_ARGUMENT


def test_a_grpc_stream_is_answered_message_by_message(grpc: Stub, server: Server) -> None:
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{server.grpc}") as client:
        stream = client._channel.stream_stream(
            "/inference.GRPCInferenceService/ModelStreamInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )
        assert [response.id for response in stream(iter([message(id=str(n)) for n in range(3)]))] == ["0", "1", "2"]
        answers = stream(iter([message(id="0"), _changed(name="review"), message(id="2")]))
        assert next(answers).id == "0"
        with pytest.raises(RpcError) as refused:
            next(answers)
        assert refused.value.code() == StatusCode.INVALID_ARGUMENT


# What the server does without a model, and with the names of models that are not there


def test_a_server_without_a_model_lives_and_is_not_ready(start: Start) -> None:
    with start(REVIEWS_PARSING_MAX_TEXTS="2") as server:
        refused = server.infer(["Lovely."] * 3)
        assert refused.status == 413
        assert "REVIEWS_PARSING_MAX_TEXTS" in assert_refusal(refused)
        assert server.ask({}, f"/v2/repository/models/{MODEL_NAME}/unload").status == 200
        assert server.get("/v2/health/live").status == 200
        ready = server.get("/v2/health/ready")
        assert (ready.status, ready.json["ready"]) == (503, False)
        assert server.infer(["Lovely."]).status == 404
        with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{server.grpc}") as client:
            assert client.is_server_live()
            assert not client.is_server_ready()
        assert server.ask({}, f"/v2/repository/models/{MODEL_NAME}/load").status == 200
        assert server.get("/v2/health/ready").status == 200
        assert server.infer(["Lovely."]).predictions


def test_the_name_of_a_model_that_is_not_there_becomes_no_metric(server: Server, grpc: Stub) -> None:
    server.ask(ROW, "/v2/models/phantom/infer")
    server.ask(ROW, f"{MODEL}/versions/phantom/infer")
    server.get("/v2/models/phantom/ready")
    with pytest.raises(RpcError):
        grpc.ModelInfer(message(model_name="phantom"))
    metrics = server.get("/metrics", server.metrics).body.decode()
    assert "reviews_parsing" in metrics
    assert "phantom" not in metrics


def assert_refusal(answer: Answer) -> str:
    """Return the error, after a check that it follows the protocol, is one line, and quotes no text."""
    assert answer.headers["Content-Type"] == "application/json"
    assert 0 < len(answer.error) <= 300
    assert answer.error.isprintable()
    assert "xylophone" not in answer.error
    return answer.error
