"""The V2 protocol over REST."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest

from reviews_parsing.parser import AspectParser
from reviews_parsing.settings import MODEL_NAME

from .client import MODEL, Server, tensor
from .texts import TEXTS

INFER = f"{MODEL}/infer"


@pytest.mark.parametrize(
    "path",
    ["/v2/health/live", "/v2/health/ready", f"{MODEL}/ready", f"{MODEL}/versions/1/ready", "/v2/docs", f"{MODEL}/docs"],
)
def test_it_lives_is_ready_and_has_a_page(server: Server, path: str) -> None:
    assert server.get(path).status == 200


@pytest.mark.parametrize("path", ["/v2/docs", f"{MODEL}/docs"])
def test_its_page_needs_no_internet(server: Server, path: str) -> None:
    page = server.get(path).body.decode()
    sources = re.findall(r"""(?:src|href)=["']([^"']+)["']""", page)
    assert sorted(source for source in sources if source != "data:,") == [
        "/v2/docs/swagger-ui-bundle.js",
        "/v2/docs/swagger-ui.css",
    ]
    assert all(server.get(source).status == 200 for source in sources if source.startswith("/"))
    assert "http://" not in page
    assert "https://" not in page


def test_server_metadata_names_what_it_can_do(server: Server) -> None:
    form = server.get("/v2").json
    assert form["name"] == "reviews-parsing"
    assert form["extensions"] == ["binary_tensor_data"]


@pytest.mark.parametrize("path", [MODEL, f"{MODEL}/versions/1"])
def test_model_metadata_says_what_goes_in_and_out(server: Server, path: str) -> None:
    form = server.get(path).json
    assert form["name"] == MODEL_NAME
    assert form["versions"] == ["1"]
    assert form["platform"] == "onnxruntime_onnx"
    assert form["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert form["outputs"] == [{"name": "predictions", "datatype": "BYTES", "shape": [-1]}]


def test_model_metadata_says_which_categories_and_polarities_there_are(server: Server, parser: AspectParser) -> None:
    known = json.loads(server.get(MODEL).json["parameters"]["taxonomy"])
    assert known == json.loads(json.dumps(asdict(parser.taxonomy)))


def test_answers_are_the_parsers(server: Server, parser: AspectParser) -> None:
    assert server.infer(TEXTS).predictions == [parsed.to_json() for parsed in parser.parse(TEXTS)]


def test_an_answer_names_the_registered_version_and_echoes_the_id(server: Server) -> None:
    form = server.infer(["Lovely."], id="n° 1 🥟\r\n").json
    assert form["model_name"] == MODEL_NAME
    assert form["model_version"] == "1"
    assert form["id"] == "n° 1 🥟\r\n"


@pytest.mark.parametrize("data", [["A dull soup.", "Kind staff."], [["A dull soup."], ["Kind staff."]]])
def test_a_column_of_texts_is_answered_as_a_row(server: Server, parser: AspectParser, data: list[object]) -> None:
    answer = server.ask({"inputs": [tensor(shape=[2, 1], data=data)]})
    assert answer.predictions == [parsed.to_json() for parsed in parser.parse(["A dull soup.", "Kind staff."])]


def test_no_texts_no_answers(server: Server) -> None:
    assert server.infer([]).predictions == []


@pytest.mark.parametrize("min_score", [0, 0.9, 1])
def test_min_score_leaves_the_less_probable_out(server: Server, parser: AspectParser, min_score: float) -> None:
    expected = [parsed.to_json() for parsed in parser.parse(TEXTS, min_score)]
    assert server.infer(TEXTS, parameters={"min_score": min_score}).predictions == expected


def test_spans_only_leaves_the_implicit_out(server: Server, parser: AspectParser) -> None:
    texts = [*TEXTS, "Never again."]
    everything, spans = (server.infer(texts, parameters={"spans_only": only}).predictions for only in (False, True))
    assert spans == [parsed.to_json() for parsed in parser.parse(texts, spans_only=True)]
    assert sum(map(len, everything)) > sum(map(len, spans))
    answer = server.infer(texts, parameters={"spans_only": "yes"})
    assert (answer.status, answer.json) == (400, {"error": "parameter 'spans_only' must be true or false"})


def test_languages_are_a_parameter_of_the_response_if_they_are_requested(server: Server) -> None:
    texts = ["The soup was lovely and the waiter was kind.", "Das Essen war kalt, der Kellner unfreundlich.", "Yum!"]
    answer = server.infer(texts, parameters={"languages": True})
    assert answer.predictions == server.infer(texts).predictions
    assert json.loads(answer.json["parameters"]["languages"]) == [
        {"language": "en", "foreign": False},
        {"language": "de", "foreign": True},
        {"language": "und", "foreign": False},
    ]
    for parameters in ({}, {"languages": False}):
        assert "parameters" not in server.infer(texts, parameters=parameters).json
    answer = server.infer(texts, parameters={"languages": 1})
    assert (answer.status, answer.json) == (400, {"error": "parameter 'languages' must be true or false"})


@pytest.mark.parametrize("path", [f"{MODEL}/versions/1/infer", f"{MODEL}/generate"])
def test_the_other_names_of_inference_answer_the_same(server: Server, path: str) -> None:
    assert server.ask({"inputs": [tensor()]}, path).predictions == server.ask({"inputs": [tensor()]}).predictions


@pytest.mark.parametrize("verb", ["infer_stream", "generate_stream"])
def test_a_stream_is_one_event(server: Server, verb: str) -> None:
    answer = server.ask({"id": "s", "inputs": [tensor()]}, f"{MODEL}/{verb}")
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert json.loads(answer.body.removeprefix(b"data: ")) == server.ask({"id": "s", "inputs": [tensor()]}).json


def test_a_requested_output_is_given(server: Server) -> None:
    assert server.infer(["Lovely."], outputs=[{"name": "predictions"}]).predictions


def test_a_text_longer_than_a_window_is_read_to_its_end(server: Server) -> None:
    text = "Nothing to report from table nine. " * 60 + "The lobster was superb."
    assert any(aspect["word"] == "lobster" for aspect in server.infer([text]).predictions[0])


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_body_may_be_compressed(server: Server, encoding: str, compress: Callable[[bytes], bytes]) -> None:
    body = compress(json.dumps({"inputs": [tensor()]}).encode())
    assert server.post(INFER, body, {"Content-Encoding": encoding}).predictions
    assert server.post(INFER, body[:-9], {"Content-Encoding": encoding}).status == 400
    assert server.post(INFER, b"plain", {"Content-Encoding": encoding}).status == 400


REFUSED = {
    "no inputs": ({}, "inputs"),
    "not an object": ([], "body"),
    "inputs that are none": ({"inputs": 3}, "inputs"),
    "an empty list of inputs": ({"inputs": []}, "0 inputs"),
    "two inputs": ({"inputs": [tensor(), tensor(name="more")]}, "2 inputs"),
    "an unknown input": ({"inputs": [tensor(name="review")]}, "'review'"),
    "a datatype that is not text": ({"inputs": [tensor(datatype="INT32", data=[4])]}, "INT32"),
    "a datatype that there is not": ({"inputs": [tensor(datatype="TEXT")]}, "datatype"),
    "numbers for texts": ({"inputs": [tensor(data=[4])]}, "element 0"),
    "null for a text": ({"inputs": [tensor(data=[None])]}, "element 0"),
    "a text for a list": ({"inputs": [tensor(data="Lovely.")]}, "not a list"),
    "no data": ({"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES"}]}, "data"),
    "fewer elements than the shape says": ({"inputs": [tensor(shape=[2])]}, "holds 1 elements"),
    "more elements than the shape says": ({"inputs": [tensor(shape=[0])]}, "holds 1 elements"),
    "a shape of two columns": ({"inputs": [tensor(shape=[1, 2], data=["a", "b"])]}, "[n]"),
    "a scalar": ({"inputs": [tensor(shape=[])]}, "[n]"),
    "a negative shape": ({"inputs": [tensor(shape=[-1])]}, "[n]"),
    "an encoding of texts": ({"inputs": [tensor(parameters={"content_type": "base64"})]}, "base64"),
    "an unknown output": ({"inputs": [tensor()], "outputs": [{"name": "logits"}]}, "'logits'"),
    "a min_score above 1": ({"inputs": [tensor()], "parameters": {"min_score": 1.5}}, "min_score"),
    "a min_score below 0": ({"inputs": [tensor()], "parameters": {"min_score": -1}}, "min_score"),
    "a min_score in words": ({"inputs": [tensor()], "parameters": {"min_score": "0.5"}}, "min_score"),
    "a min_score of null": ({"inputs": [tensor()], "parameters": {"min_score": None}}, "min_score"),
    "a min_score of true": ({"inputs": [tensor()], "parameters": {"min_score": True}}, "min_score"),
}


@pytest.mark.parametrize(("form", "phrase"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_request_is_told_what_is_wrong(server: Server, form: object, phrase: str) -> None:
    answer = server.ask(form)
    assert answer.status == 400
    assert phrase in answer.error
    assert "\n" not in answer.error


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b'{"inputs": NaN}', json.dumps({"inputs": [tensor()]}).encode()[:-2] + b"\\ud800"]
)
def test_what_is_not_json_is_refused(server: Server, body: bytes) -> None:
    answer = server.post(INFER, body)
    assert answer.status == 400
    assert "JSON" in answer.error


def test_a_lone_surrogate_is_not_a_text(server: Server) -> None:
    answer = server.post(INFER, json.dumps({"inputs": [tensor(data=["\ud83d"])]}).encode())
    assert answer.status == 400
    assert "surrogate" in answer.error


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/models/nobody/infer", 404),
        (f"{MODEL}/versions/99/infer", 404),
        ("/v3/models", 404),
        ("/v2/health/live", 405),
    ],
)
def test_what_is_not_there_has_the_protocols_error_too(server: Server, path: str, status: int) -> None:
    answer = server.ask({"inputs": [tensor()]}, path)
    assert answer.status == status
    assert answer.error


def test_an_unknown_encoding_of_the_body_is_refused(server: Server) -> None:
    answer = server.post(INFER, b"", {"Content-Encoding": "br"})
    assert answer.status == 415
    assert "br" in answer.error


def test_too_many_characters_are_refused_by_the_limits_name(server: Server) -> None:
    answer = server.infer(["x" * 1_000_000])
    assert answer.status == 413
    assert "REVIEWS_PARSING_MAX_CHARACTERS" in answer.error


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_a_body_beyond_any_such_request_is_never_held(server: Server, encoding: str) -> None:
    body = b'"' + b"x" * 8_000_000
    answer = server.post(INFER, gzip.compress(body) if encoding == "gzip" else body, {"Content-Encoding": encoding})
    assert answer.status == 413
    assert "bytes" in answer.error


def test_prometheus_is_told_of_requests_reviews_and_aspects(server: Server, parser: AspectParser) -> None:
    texts = ["Superb lobster, rude waiter.", "We sat down at seven."]
    found = [aspect for parsed in parser.parse(texts) for aspect in parsed.aspects]
    silent = sum(not parsed.aspects for parsed in parser.parse(texts))
    prefix = "reviews_parsing_"
    expected: dict[tuple[Any, ...], float] = {
        ("requests_total", ("door", "rest"), ("status", "200")): 1,
        ("requests_total", ("door", "rest"), ("status", "400")): 1,
        ("request_seconds_count", ("door", "rest"), ("texts", "many")): 1,
        ("request_seconds_count", ("door", "rest"), ("texts", "none")): 1,
        ("request_seconds_count", ("door", "rest"), ("texts", "one")): 0,
        ("reviews_total", ("version", "1")): 2,
        ("reviews_without_aspect_total", ("version", "1")): silent,
        ("aspect_score_count", ("version", "1")): len(found),
        ("batch_texts_sum",): 2,
        **{
            ("phase_seconds_count", ("phase", phase)): 1
            for phase in ("wait", "tokenize", "predict", "decode-spans", "encode-output")
        },
        **{
            ("aspects_total", ("version", "1"), ("category", a.entity_group), ("polarity", a.polarity or "")): sum(
                (a.entity_group, a.polarity) == (b.entity_group, b.polarity) for b in found
            )
            for a in found
        },
    }

    def counts() -> dict[tuple[object, ...], float]:
        return {key: server.counter(prefix + str(key[0]), **dict(key[1:])) for key in expected}

    before = counts()
    server.infer(texts)
    server.infer(texts, parameters={"min_score": 7})
    after = counts()
    assert found
    assert {key: after[key] - before[key] for key in expected} == expected
    assert server.counter(f"{prefix}tokens_total") > 0
    assert server.counter(f"{prefix}model_info", version="1") == 1
    assert server.counter(f"{prefix}waiting") == 0
    # The request that asks is the door's, not an inference.
    assert server.counter(f"{prefix}requests_in_progress") == 0
