"""tritonclient, as it is: binary tensors over REST, which are its default, and raw ones over gRPC."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from reviews_parsing.parser import AspectParser
from reviews_parsing.settings import MODEL_NAME

from .client import MODEL, Server, tensor
from .conftest import Start
from .texts import TEXTS

CLIENTS = {"http": tritonclient.http, "grpc": tritonclient.grpc}
STATUS = {"http": "400", "grpc": "StatusCode.INVALID_ARGUMENT"}
NOT_FOUND = {"http": "404", "grpc": "StatusCode.NOT_FOUND"}


@pytest.fixture(params=CLIENTS)
def door(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def client(server: Server, door: str) -> Iterator[Any]:
    port = {"http": server.http, "grpc": server.grpc}[door]
    with CLIENTS[door].InferenceServerClient(f"127.0.0.1:{port}") as connected:
        yield connected


def given(door: str, elements: Sequence[str | bytes], shape: Sequence[int] | None = None, name: str = "text") -> Any:
    array = np.array(elements, dtype=np.object_).reshape(shape or [len(elements)])
    tensor = CLIENTS[door].InferInput(name, list(array.shape), "BYTES")
    tensor.set_data_from_numpy(array)
    return tensor


def predictions(result: Any) -> list[Any]:
    return [json.loads(element) for element in result.as_numpy("predictions")]


def test_it_is_live_ready_and_says_what_it_is(client: Any, door: str) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL_NAME)
    assert client.is_model_ready(MODEL_NAME, "1")
    as_json = {"as_json": True} if door == "grpc" else {}
    assert client.get_server_metadata(**as_json)["extensions"] == ["binary_tensor_data"]
    form = client.get_model_metadata(MODEL_NAME, **as_json)
    assert (form["name"], form["versions"], form["platform"]) == (MODEL_NAME, ["1"], "onnxruntime_onnx")
    tensors = [(t["name"], t["datatype"], [int(n) for n in t["shape"]]) for t in (*form["inputs"], *form["outputs"])]
    assert tensors == [("text", "BYTES", [-1]), ("predictions", "BYTES", [-1])]


@pytest.mark.parametrize("columns", [[], [1]])
def test_answers_are_the_parsers(client: Any, door: str, parser: AspectParser, columns: list[int]) -> None:
    result = client.infer(MODEL_NAME, [given(door, TEXTS, [len(TEXTS), *columns])], request_id="a-7")
    assert result.as_numpy("predictions").shape == (len(TEXTS),)
    assert predictions(result) == [parsed.to_json() for parsed in parser.parse(TEXTS)]
    response = result.get_response()
    id_, version = (
        (response["id"], response["model_version"]) if door == "http" else (response.id, response.model_version)
    )
    assert (id_, version) == ("a-7", "1")


def test_no_texts_no_answers(client: Any, door: str) -> None:
    assert predictions(client.infer(MODEL_NAME, [given(door, [], [0])])) == []


@pytest.mark.parametrize("binary", [True, False])
def test_a_requested_output_comes_as_it_was_asked_for(server: Server, binary: bool) -> None:
    asked = [tritonclient.http.InferRequestedOutput("predictions", binary_data=binary)]
    with tritonclient.http.InferenceServerClient(f"127.0.0.1:{server.http}") as client:
        result = client.infer(MODEL_NAME, [given("http", TEXTS)], outputs=asked)
    assert ("data" in result.get_output("predictions")) is not binary
    assert len(predictions(result)) == len(TEXTS)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_binary_tensors_may_be_compressed(server: Server, algorithm: str) -> None:
    with tritonclient.http.InferenceServerClient(f"127.0.0.1:{server.http}") as client:
        result = client.infer(
            MODEL_NAME,
            [given("http", TEXTS * 9)],
            request_compression_algorithm=algorithm,
            response_compression_algorithm=algorithm,
        )
    assert len(predictions(result)) == len(TEXTS) * 9


@pytest.mark.parametrize("min_score", [0, 0.9, 1])
def test_min_score_is_a_parameter_on_both_doors(client: Any, door: str, parser: AspectParser, min_score: float) -> None:
    result = client.infer(MODEL_NAME, [given(door, TEXTS)], parameters={"min_score": min_score})
    assert predictions(result) == [parsed.to_json() for parsed in parser.parse(TEXTS, min_score)]


def test_spans_only_is_a_parameter_on_both_doors(client: Any, door: str, parser: AspectParser) -> None:
    result = client.infer(MODEL_NAME, [given(door, ["Never again."])], parameters={"spans_only": True})
    assert predictions(result) == [[]] != [parsed.to_json() for parsed in parser.parse(["Never again."])]


@pytest.mark.parametrize("min_score", [2, -0.5, "0.5", True])
def test_a_min_score_that_is_none_is_refused(client: Any, door: str, min_score: object) -> None:
    with pytest.raises(InferenceServerException, match="min_score") as refused:
        client.infer(MODEL_NAME, [given(door, ["Lovely."])], parameters={"min_score": min_score})
    assert refused.value.status() == STATUS[door]


def wrong(door: str) -> dict[str, tuple[dict[str, Any], str]]:
    numbers = CLIENTS[door].InferInput("text", [1], "INT32")
    numbers.set_data_from_numpy(np.array([4], dtype=np.int32))
    text = given(door, ["Lovely."])
    return {
        "not UTF-8": ({"inputs": [given(door, ["Lovely.", b"caf\xe9"])]}, "element 1 .* not UTF-8"),
        "an unknown input": ({"inputs": [given(door, ["Lovely."], name="review")]}, "'review'"),
        "two inputs": ({"inputs": [text, given(door, ["Lovely."], name="more")]}, "2 inputs"),
        "no inputs": ({"inputs": []}, "0 inputs"),
        "numbers": ({"inputs": [numbers]}, "INT32"),
        "two columns": ({"inputs": [given(door, ["a", "b"], [1, 2])]}, "shape"),
        "an unknown output": (
            {"inputs": [text], "outputs": [CLIENTS[door].InferRequestedOutput("logits")]},
            "'logits'",
        ),
    }


@pytest.mark.parametrize("kind", wrong("http"))
def test_a_wrong_request_is_told_what_is_wrong(client: Any, door: str, kind: str) -> None:
    request, phrase = wrong(door)[kind]
    with pytest.raises(InferenceServerException, match=phrase) as refused:
        client.infer(MODEL_NAME, **request)
    assert refused.value.status() == STATUS[door]


@pytest.mark.parametrize(("name", "version"), [("nobody", ""), (MODEL_NAME, "99")])
def test_a_model_that_is_not_there_is_not_found(client: Any, door: str, name: str, version: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: client.infer(name, [given(door, ["Lovely."])], model_version=version),
        lambda: client.get_model_metadata(name, version),
    ]
    for call in calls:
        with pytest.raises(InferenceServerException) as refused:
            call()
        assert refused.value.status() == NOT_FOUND[door]


def test_too_large_is_too_large_on_grpc_too(server: Server) -> None:
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{server.grpc}") as client:
        for size in (1_000_000, 10_000_000):
            with pytest.raises(InferenceServerException) as refused:
                client.infer(MODEL_NAME, [given("grpc", ["x" * size])])
            assert refused.value.status() == "StatusCode.RESOURCE_EXHAUSTED"


RAW = struct.pack("<I", 3) + b"Yum"
MALFORMED = {
    "cut off": [RAW[:-1]],
    "two tensors for one input": [RAW, RAW],
    "a length without its text": [struct.pack("<I", 2**31)],
    "less than a length": [b"\x01"],
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_raw_tensor_is_the_clients_mistake(server: Server, raw: list[bytes]) -> None:
    grpc = tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{server.grpc}")
    request = service_pb2.ModelInferRequest(model_name=MODEL_NAME, raw_input_contents=raw)
    request.inputs.add(name="text", datatype="BYTES", shape=[1])
    with grpc, pytest.raises(Exception, match="INVALID_ARGUMENT"):
        service_pb2_grpc.GRPCInferenceServiceStub(grpc._channel).ModelInfer(request)

    body = b"".join(raw)
    form = tensor(parameters={"binary_data_size": len(raw[0])})
    del form["data"]
    header = json.dumps({"inputs": [form]}).encode()
    answer = server.post(f"{MODEL}/infer", header + body, {"Inference-Header-Content-Length": str(len(header))})
    assert answer.status == 400
    assert "binary data" in answer.error


@pytest.mark.parametrize("length", ["-1", "ten", "99999", "9" * 5000])
def test_a_wrong_length_of_the_header_is_refused(server: Server, length: str) -> None:
    header = {"Inference-Header-Content-Length": length}
    answer = server.post(f"{MODEL}/infer", json.dumps({"inputs": [tensor()]}).encode(), header)
    assert answer.status == 400
    assert "Inference-Header-Content-Length" in answer.error


def test_texts_need_not_be_raw_on_grpc(server: Server, parser: AspectParser) -> None:
    request = service_pb2.ModelInferRequest(model_name=MODEL_NAME, id="n° 1 🥟")
    request.inputs.add(name="text", datatype="BYTES", shape=[len(TEXTS)]).contents.bytes_contents.extend(
        text.encode() for text in TEXTS
    )
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{server.grpc}") as client:
        response = service_pb2_grpc.GRPCInferenceServiceStub(client._channel).ModelInfer(request)
    found = [json.loads(element) for element in response.outputs[0].contents.bytes_contents]
    assert found == [parsed.to_json() for parsed in parser.parse(TEXTS)]
    assert response.id == "n° 1 🥟"


def test_requests_with_one_text_are_timed_apart(server: Server, client: Any, door: str) -> None:
    def counted() -> list[float]:
        name, label = "reviews_parsing_request_seconds_count", {"http": "rest", "grpc": "grpc"}[door]
        return [server.counter(name, door=label, texts=texts) for texts in ("none", "one", "many")]

    before = counted()
    client.infer(MODEL_NAME, [given(door, ["Lovely pho."])])
    client.infer(MODEL_NAME, [given(door, ["Lovely pho.", "Rude waiter."])])
    with pytest.raises(InferenceServerException):
        client.infer(MODEL_NAME, [given(door, ["Lovely pho."], name="review")])
    assert [after - one for after, one in zip(counted(), before, strict=True)] == [1, 1, 1]


INGREDIENTS = ["tomato", "onion", "garlic", "lemon", "ginger", "mushroom", "spinach", "potato", "carrot", "apple"]
DISHES = ["soup", "pie", "salad", "pasta", "curry", "tart", "risotto", "omelette", "bread", "cake", "pizza", "stew"]
# A mention that repeats is answered once, so each dish is another one.
MANY_ASPECTS = " ".join(f"The {ingredient} {dish} was great." for ingredient in INGREDIENTS for dish in DISHES)


def test_an_answer_that_a_client_cannot_receive_is_refused_with_the_option(start: Start) -> None:
    with start(REVIEWS_PARSING_MAX_WAIT="60", REVIEWS_PARSING_MAX_GRPC_ANSWER_BYTES="20000") as server:
        texts = [MANY_ASPECTS]
        with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{server.grpc}") as client:
            with pytest.raises(InferenceServerException, match="max_answer_bytes") as refused:
                client.infer(MODEL_NAME, [given("grpc", texts)])
            assert refused.value.status() == "StatusCode.RESOURCE_EXHAUSTED"
            # A client that can receive more says so.
            result = client.infer(MODEL_NAME, [given("grpc", texts)], parameters={"max_answer_bytes": 10_000_000})
            assert len(predictions(result)[0]) > 100
        # REST has no such limit.
        assert len(server.infer(texts).predictions[0]) > 100
        with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{server.grpc}") as client:
            for value in (0, -1, True, "5"):
                with pytest.raises(InferenceServerException, match="max_answer_bytes"):
                    client.infer(MODEL_NAME, [given("grpc", ["Fine."])], parameters={"max_answer_bytes": value})
