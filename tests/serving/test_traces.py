"""Traces, as a collector gets them."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from reviews_parsing.io.ports import free_port
from reviews_parsing.parser import AspectParser
from reviews_parsing.serving.tracing import jaeger_endpoint
from reviews_parsing.settings import MODEL_NAME

from .client import DEADLINE, MODEL, Server, environment, tensor
from .collector import Collector, over_grpc, over_http
from .conftest import Start

PHASES = ["decode-input", "tokenize", "predict", "decode-spans", "encode-output"]
BATCH_PHASES = ["tokenize", "predict", "decode-spans"]
TEXTS = ["The goulash was splendid, the host was not.", "A quiet terrace.", "Nothing else to say."]
LONG = "The grilled octopus was tender and the waiter never smiled once. " * 450
MODEL_ATTRIBUTES = {"reviews_parsing.model.name": MODEL_NAME, "reviews_parsing.model.version": "1"}
OK, ERROR = 0, 2
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "50"}

# What a door does with an answered request, without a server.
ANSWER = """
import sys
from reviews_parsing.serving import tracing
from reviews_parsing.serving.metrics import RequestOutcome
tracing.start()
scope = {"method": "POST", "path": "/v2/models/m/infer", "scheme": "http", "headers": []}
with tracing.rest_request(scope, "/v2/models/{model_name}/infer", RequestOutcome(200)):
    tracing.set_model("m", "1")
    with tracing.phase("decode-input"):
        tracing.record_batches([])
"""


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with over_http() as receiving:
        yield receiving


@pytest.fixture(scope="module")
def traced(start: Start, collector: Collector) -> Iterator[Server]:
    """Yield a server that sends its traces to `collector`."""
    with tracing(start, collector, "60") as server:
        yield server


def tracing(start: Start, collector: Collector, max_wait: str) -> AbstractContextManager[Server]:
    """Return a server with tracing that parses in one thread."""
    return start(
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{collector.address}",
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
        OTEL_SERVICE_NAME="reviews-of-the-north",
        REVIEWS_PARSING_THREADS="1",
        REVIEWS_PARSING_MAX_WAIT=max_wait,
        **SOON,
    )


@pytest.fixture(params=["rest", "grpc"])
def door(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def ask(server: Server, door: str, texts: list[str], headers: Mapping[str, str], name: str = "text") -> bool:
    """Send a request and return whether it succeeded."""
    if door == "rest":
        form = {"inputs": [tensor(data=texts, shape=[len(texts)], name=name)]}
        return server.post(f"{MODEL}/infer", json.dumps(form).encode(), headers).status == 200
    given = tritonclient.grpc.InferInput(name, [len(texts)], "BYTES")
    given.set_data_from_numpy(np.array(texts, dtype=np.object_))
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{server.grpc}") as client:
        try:
            client.infer(MODEL_NAME, [given], headers=dict(headers))
        except InferenceServerException:
            return False
    return True


def caller(flags: str = "01") -> tuple[str, str, dict[str, str]]:
    """Return trace and span of a caller, and the header that propagates them."""
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    return trace, span, {"traceparent": f"00-{trace}-{span}-{flags}"}


EXPECTED = {
    "rest": (
        "POST /v2/models/{model_name}/infer",
        {
            "http.request.method": "POST",
            "http.route": "/v2/models/{model_name}/infer",
            "http.response.status_code": 200,
            "url.path": f"{MODEL}/infer",
            "url.scheme": "http",
        },
    ),
    "grpc": (
        "inference.GRPCInferenceService/ModelInfer",
        {
            "rpc.system.name": "grpc",
            "rpc.method": "inference.GRPCInferenceService/ModelInfer",
            "rpc.response.status_code": "OK",
            "rpc.system": "grpc",
            "rpc.service": "inference.GRPCInferenceService",
            "rpc.grpc.status_code": 0,
        },
    ),
}


def test_a_request_is_a_span_of_the_callers_trace_and_its_phases_are_below_it(
    traced: Server, collector: Collector, parser: AspectParser, door: str
) -> None:
    trace, parent, headers = caller()
    before = time.time_ns()
    assert ask(traced, door, TEXTS, headers)
    after = time.time_ns()
    span, phases = collector.trace(trace)
    prepared = parser.prepare(TEXTS)

    name, attributes = EXPECTED[door]
    assert span.name == name
    assert span.proto.parent_span_id.hex() == parent
    assert span.attributes == {**attributes, **MODEL_ATTRIBUTES, "reviews_parsing.request.texts": 3}
    assert (span.proto.status.code, span.proto.status.message) == (OK, "")

    assert [phase.name for phase in phases] == PHASES
    for phase in phases:
        batch = {
            "reviews_parsing.batch.texts": 3,
            "reviews_parsing.batch.texts_of_request": 3,
            "reviews_parsing.batch.tokens": prepared.tokens,
            "reviews_parsing.batch.windows": len(prepared.pieces),
        }
        assert phase.attributes == MODEL_ATTRIBUTES | (batch if phase.name in BATCH_PHASES else {})
        assert phase.proto.status.code == OK
    times = [moment for phase in phases for moment in phase.times]
    assert [before, span.times[0], *times, span.times[1], after] == sorted(
        [before, span.times[0], *times, span.times[1], after]
    )


def test_a_request_of_nobodys_trace_begins_one(traced: Server, collector: Collector, door: str) -> None:
    assert ask(traced, door, TEXTS * 4, {"traceparent": "00-not-a-trace"})
    span, phases = collector.request(
        lambda span: span.name == EXPECTED[door][0] and span.attributes["reviews_parsing.request.texts"] == 12
    )
    assert span.proto.parent_span_id == b""
    assert [phase.name for phase in phases] == PHASES
    assert span.resource["service.name"] == "reviews-of-the-north"
    assert collector.paths == {"/v1/traces"}


@pytest.mark.parametrize(
    ("path", "route"),
    [
        (f"{MODEL}/versions/1/infer", "/v2/models/{model_name}/versions/{model_version}/infer"),
        (f"{MODEL}/generate_stream", "/v2/models/{model_name}/generate_stream"),
    ],
)
def test_a_route_names_no_model(traced: Server, collector: Collector, path: str, route: str) -> None:
    trace, _, headers = caller()
    assert traced.post(path, json.dumps({"inputs": [tensor()]}).encode(), headers).status == 200
    span, _ = collector.trace(trace)
    assert (span.name, span.attributes["http.route"]) == (f"POST {route}", route)


def test_a_caller_that_is_not_traced_is_not_traced_here(traced: Server, collector: Collector, door: str) -> None:
    silent, _, headers = caller(flags="00")
    assert ask(traced, door, TEXTS, headers)
    trace, _, headers = caller()
    assert ask(traced, door, TEXTS, headers)
    collector.trace(trace)
    assert silent not in {span.trace for span in collector.spans}


def test_a_refused_request_has_its_span_with_the_kind_of_error(traced: Server, collector: Collector, door: str) -> None:
    trace, _, headers = caller()
    assert not ask(traced, door, ["A xylophone."], headers, name="xylophone")
    span, [phase] = collector.trace(trace)
    failed = {
        "rest": {"http.response.status_code": 400, "error.type": "400"},
        "grpc": {
            "rpc.response.status_code": "INVALID_ARGUMENT",
            "rpc.grpc.status_code": 3,
            "error.type": "INVALID_ARGUMENT",
        },
    }
    assert span.attributes == EXPECTED[door][1] | MODEL_ATTRIBUTES | failed[door]
    assert (phase.name, phase.attributes) == ("decode-input", {**MODEL_ATTRIBUTES, "error.type": "RequestRefused"})
    for one in (span, phase):
        assert (one.proto.status.code, one.proto.status.message, list(one.proto.events)) == (ERROR, "", [])


def test_what_is_not_there_and_what_is_not_json_have_their_spans(traced: Server, collector: Collector) -> None:
    for path, status in (("/v2/models/nobody/infer", 404), (f"{MODEL}/infer", 400)):
        trace, _, headers = caller()
        assert traced.post(path, b'{"inputs": [' if status == 400 else b'{"inputs": []}', headers).status == status
        span, phases = collector.trace(trace)
        assert span.attributes["error.type"] == str(status)
        assert phases == []


def test_requests_that_share_a_batch_have_its_phases_each_and_those_turned_away_say_so(
    start: Start, collector: Collector
) -> None:
    callers = [caller() for _ in range(40)]
    with tracing(start, collector, "0.1") as impatient:
        with ThreadPoolExecutor(len(callers)) as clients:
            answers = list(clients.map(lambda called: ask(impatient, "rest", TEXTS * 3, called[2]), callers))
        found = [collector.trace(trace) for trace, _, _ in callers]
    assert {True, False} == set(answers)
    mates = []
    for (span, phases), answered in zip(found, answers, strict=True):
        if not answered:
            assert span.proto.status.code == ERROR
            assert span.attributes["error.type"] == "503"
            assert [phase.name for phase in phases] in ([], ["decode-input"])
            continue
        assert [phase.name for phase in phases] == PHASES
        assert phases[2].attributes["reviews_parsing.batch.texts_of_request"] == 9
        if phases[2].attributes["reviews_parsing.batch.texts"] > 9:
            mates.append([phase.times for phase in phases[1:4]])
    assert len(mates) > 1
    assert any(mates.count(times) > 1 for times in mates)


def test_a_client_that_leaves_is_told_apart(traced: Server, collector: Collector) -> None:
    trace, _, headers = caller()
    given = tritonclient.grpc.InferInput("text", [1], "BYTES")
    given.set_data_from_numpy(np.array([LONG], dtype=np.object_))
    with (
        tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{traced.grpc}") as client,
        pytest.raises(InferenceServerException, match="Deadline"),
    ):
        client.infer(MODEL_NAME, [given], headers=headers, client_timeout=0.1)
    span, _ = collector.trace(trace)
    assert span.attributes["rpc.grpc.status_code"] == 1
    assert span.attributes["error.type"] == "CANCELLED"
    assert traced.counter("reviews_parsing_requests_total", door="grpc", status="499") == 1


def test_a_text_is_in_no_span(traced: Server, collector: Collector) -> None:
    text = "The xylophone was out of tune."
    last, _, headers = caller()
    traced.infer([text], id="xylophone")
    traced.infer([text], parameters={"min_score": 7, "xylophone": "xylophone"})
    traced.infer(["xylophone " * 60_000])
    traced.ask({"inputs": [tensor(data="xylophone")]})
    traced.ask({"inputs": [tensor(name="xylophone", datatype="xylophone")]})
    traced.ask({"inputs": [tensor(parameters={"content_type": "xylophone"})]}, f"{MODEL}/infer?text=xylophone")
    traced.post(f"{MODEL}/infer", b'{"inputs": ["xylophone')
    ask(traced, "grpc", [text], {"x-text": "xylophone"})
    assert ask(traced, "rest", [text], {**headers, "baggage": "text=xylophone", "X-Text": "xylophone"})
    collector.trace(last)
    assert not any(b"xylophone" in body for body in collector.bodies)
    assert collector.bodies


def test_health_and_metadata_are_not_traced(traced: Server, collector: Collector) -> None:
    for path in ("/v2/health/ready", "/v2", MODEL, f"{MODEL}/ready"):
        _, _, headers = caller()
        assert traced.get(path).status == 200
    trace, _, headers = caller()
    assert ask(traced, "rest", TEXTS, headers)
    collector.trace(trace)
    names = {span.name for span in collector.spans if span.is_servers}
    assert all("infer" in name.lower() or "generate" in name for name in names)


def test_jaeger_url_is_enough_and_what_is_left_is_sent_at_the_end(start: Start) -> None:
    with (
        over_grpc() as collector,
        start(mlserver=True, JAEGER_URL=collector.address, OTEL_BSP_SCHEDULE_DELAY="600000") as server,
    ):
        assert f"traces are sent to http://{collector.address}" in server.log
        assert ask(server, "grpc", TEXTS, {})
        assert collector.spans == []
        assert server.stop() == 0
        assert {span.name for span in collector.spans} == {EXPECTED["grpc"][0], *PHASES}
        [resource] = {tuple(sorted(span.resource.items())) for span in collector.spans}
        assert {("service.name", "reviews-parsing"), ("service.version", version("reviews-parsing"))} <= set(resource)
        assert "Traceback" not in server.log


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("jaeger", "http://jaeger:4317"),
        ("jaeger:14317", "http://jaeger:14317"),
        ("http://jaeger", "http://jaeger:4317"),
        ("https://jaeger.example:443/api", "https://jaeger.example:443"),
        ("  ", ""),
    ],
)
def test_jaeger_url_is_a_host_or_a_url(url: str, endpoint: str) -> None:
    assert jaeger_endpoint(url) == endpoint


def run(home: Path, program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", program]
    return subprocess.run(
        command, env=environment(home, **variables), capture_output=True, text=True, timeout=DEADLINE, check=False
    )


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "", "JAEGER_URL": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
        {"JAEGER_URL": "127.0.0.1", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_off_it_imports_nothing(tmp_path: Path, variables: dict[str, str]) -> None:
    check = "sys.exit(' '.join(m for m in sys.modules if m.startswith('opentelemetry')) or 0)"
    done = run(tmp_path, ANSWER + check, **variables)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("named", [{"OTEL_EXPORTER_OTLP_ENDPOINT": "{}"}, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "{}"}])
def test_grpc_is_the_protocol_unless_told_otherwise(tmp_path: Path, named: dict[str, str]) -> None:
    with over_grpc() as collector:
        variables = {name: value.format(f"http://{collector.address}") for name, value in named.items()}
        # An endpoint in OpenTelemetry's own words goes first.
        done = run(tmp_path, ANSWER, **variables, JAEGER_URL=f"127.0.0.1:{free_port(0)}")
        assert (done.returncode, done.stderr) == (0, "")
        assert {span.name for span in collector.spans} == {EXPECTED["rest"][0], "decode-input"}


def test_an_endpoint_for_traces_alone_is_taken_as_it_is(tmp_path: Path) -> None:
    with over_http() as collector:
        done = run(
            tmp_path,
            ANSWER,
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"http://{collector.address}/of/traces",
            OTEL_EXPORTER_OTLP_TRACES_PROTOCOL="http/protobuf",
            OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
            OTEL_RESOURCE_ATTRIBUTES="service.name=reviews-of-the-south,deployment.environment.name=test",
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert collector.paths == {"/of/traces"}
        [name] = {span.resource["service.name"] for span in collector.spans}
        assert name == "reviews-of-the-south"


def test_a_protocol_that_there_is_not_is_named_and_the_server_goes_on(tmp_path: Path) -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}
    done = run(tmp_path, ANSWER, **variables)
    assert done.returncode == 0
    [line] = done.stderr.splitlines()
    assert "'http/json'" in line
    assert "http/protobuf" in line


def test_a_collector_that_is_not_there_does_not_hold_up_the_end(tmp_path: Path) -> None:
    program = f"{ANSWER}\ntracing.FLUSH_SECONDS = 0.1\n"
    begin = time.perf_counter()
    done = run(tmp_path, program, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port(0)}")
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    # The first retry would come after a second, and the exporter gives up after ten.
    assert time.perf_counter() - begin < 8
