"""Fuzz tests: the server answers invalid and unusual requests as its OpenAPI document says, and stays up.

REVIEWS_PARSING_FUZZ_REQUESTS is the number of requests of each test; with more than the default, each run differs.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import psutil
import pytest
import schemathesis
import tritonclient.grpc
from grpc import StatusCode
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CheckFunction
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance
from tritonclient.grpc import service_pb2 as pb

from .client import DEADLINE, MODEL, Server
from .conftest import Start
from .hostile import CANARY, Exchange, exchanges, messages

FEW = 300
REQUESTS = int(os.environ.get("REVIEWS_PARSING_FUZZ_REQUESTS", FEW))
GROWTH = 30 << 20  # bytes
DOCUMENTS = ["/v2/docs/dataplane.json", f"{MODEL}/docs/dataplane.json", f"{MODEL}/versions/1/docs/dataplane.json"]
LOG_EVERYTHING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"all": {"class": "logging.StreamHandler"}},
    "root": {"level": 1, "handlers": ["all"]},
    "loggers": {name: {"level": 1} for name in ("uvicorn", "mlserver")},
}


def fuzz(requests: int) -> settings:
    return settings(
        max_examples=requests,
        derandomize=REQUESTS <= FEW,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )


@pytest.fixture(scope="module")
def loud(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a server with verbose logging."""
    settings_file = tmp_path_factory.mktemp("logging") / "logging.json"
    settings_file.write_text(json.dumps(LOG_EVERYTHING), encoding="utf-8")
    with start(MLSERVER_LOGGING_SETTINGS=str(settings_file)) as server:
        for _ in range(10):  # until it holds what it needs to
            assert server.infer([f"The {CANARY} was served {'very ' * 10} cold."] * 32).status == 200
        yield server


@contextmanager
def unshaken(server: Server) -> Iterator[None]:
    """Afterwards the server answers, has not grown, and has logged, but no text."""
    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss
    yield
    assert server.infer(["Splendid noodles."]).predictions[0]
    assert process.memory_info().rss - before < GROWTH
    assert "http.response.start" in server.log
    assert CANARY not in server.log


@pytest.mark.parametrize("path", DOCUMENTS)
def test_the_server_answers_as_its_document_says(loud: Server, path: str) -> None:
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{loud.http}{path}")
    # Loading and unloading are not for chance: the server would be without its model.
    operations = []
    for result in schema.exclude(path_regex="/repository/models/").get_all_operations():
        assert isinstance(result, Ok)
        operations.append(result.ok())
    tried = [
        (operation, mode)
        for operation, mode in product(operations, GenerationMode)
        # Of what has no body there is hardly anything that the document rules out.
        if mode.is_positive or operation.body
    ]
    with unshaken(loud):
        for operation, mode in tried:

            @fuzz(max(1, REQUESTS // len(tried)))
            @given(case=operation.as_strategy(generation_mode=mode))
            def holds(case: schemathesis.Case[Any]) -> None:
                case.call_and_validate(excluded_checks=_beyond_the_document(case))

            holds()


def _beyond_the_document(case: schemathesis.Case[Any]) -> list[CheckFunction]:
    """Return the checks that do not apply, and make shape and data of valid requests agree, which no schema can do."""
    if case.media_type == "application/octet-stream":
        return [positive_data_acceptance]
    assert case.meta
    if case.meta.generation.mode.is_positive and isinstance(case.body, dict) and "inputs" in case.body:
        inputs: Any = case.body["inputs"]
        [sent] = inputs
        sent["shape"][0] = len(sent["data"])
    return []


def test_whatever_comes_by_http_is_answered_or_refused(loud: Server) -> None:
    @fuzz(REQUESTS)
    @given(exchanges())
    def holds(exchange: Exchange) -> None:
        answer = _answer(loud, exchange)
        if answer is None:
            assert not exchange.whole
            return
        status, content_type, body = answer
        assert status < 500 or status == 503
        if content_type == "application/json":
            form = json.loads(body)
            assert status < 400 or (list(form) == ["error"] and form["error"].isprintable())
            assert status < 400 or CANARY not in form["error"]
        else:
            assert status == 200
            assert content_type in ("application/octet-stream", "text/event-stream; charset=utf-8")

    with unshaken(loud):
        holds()


def _answer(server: Server, exchange: Exchange) -> tuple[int, str, bytes] | None:
    with socket.create_connection(("127.0.0.1", server.http), DEADLINE) as connection:
        try:
            connection.sendall(exchange.sent)
            if not exchange.whole:
                connection.shutdown(socket.SHUT_WR)
            response = http.client.HTTPResponse(connection, method="POST")
            response.begin()
            return response.status, response.headers.get("Content-Type", ""), response.read()
        except (ConnectionError, http.client.BadStatusLine):
            return None


def test_whatever_comes_by_grpc_is_answered_or_refused(loud: Server) -> None:
    refusals = {StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND, StatusCode.RESOURCE_EXHAUSTED}
    allowed = {StatusCode.OK, StatusCode.UNAVAILABLE, *refusals}

    with unshaken(loud), tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{loud.grpc}") as client:
        infer = client._channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")

        @fuzz(REQUESTS)
        @given(messages())
        def holds(content: bytes) -> None:
            outcome = infer.future(content, timeout=DEADLINE)
            assert outcome.code() in allowed
            assert CANARY not in outcome.details() or _names_a_text(content)

        holds()
    assert "Traceback" not in loud.log


def _names_a_text(content: bytes) -> bool:
    """Return whether the mutation moved a text into the field of a name, which an error message may quote."""
    message = pb.ModelInferRequest.FromString(content)
    message.ClearField("raw_input_contents")
    for sent in message.inputs:
        sent.ClearField("contents")
    return CANARY.encode() in message.SerializeToString()
