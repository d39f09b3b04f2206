"""A client with a long backlog beside one that sends single reviews."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
from tritonclient.grpc import service_pb2 as pb

from reviews_parsing.settings import MODEL_NAME
from serving.client import DEADLINE, MODEL, tensor
from serving.conftest import Start

LONG = json.dumps({"inputs": [tensor(shape=[400], data=["The soup was cold, the waiter was not."] * 400)]}).encode()
SHORT = json.dumps({"inputs": [tensor()]}).encode()
HEAVY, LIGHT = "Bearer heavy-secret", "Bearer light-secret"


def test_single_reviews_displace_the_backlog_of_another_credential(start: Start) -> None:
    variables = {"REVIEWS_PARSING_THREADS": "1", "REVIEWS_PARSING_MAX_WAIT": "5"}
    with start(**variables) as server, ThreadPoolExecutor(24) as clients:

        def send_long() -> int:
            try:
                return server.post(f"{MODEL}/infer", LONG, {"Authorization": HEAVY}).status
            except OSError:  # the server was killed at the end
                return 0

        backlog = [clients.submit(send_long) for _ in range(24)]
        deadline = time.monotonic() + DEADLINE
        while not server.counter("reviews_parsing_limit_reached_total", limit="max_wait"):
            assert time.monotonic() < deadline
        for _ in range(3):
            assert server.post(f"{MODEL}/infer", SHORT, {"Authorization": LIGHT}).status == 200
        request = pb.ModelInferRequest(model_name=MODEL_NAME)
        request.inputs.add(name="text", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"Lovely soup.")
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc}") as channel:
            infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            assert infer(request.SerializeToString(), metadata=[("authorization", LIGHT)], timeout=DEADLINE)
        assert not all(answer.done() for answer in backlog)
        assert "REVIEWS_PARSING_MAX_WAIT" in server.log
        assert "secret" not in server.log
        server.process.kill()
        assert 503 in [answer.result() for answer in backlog]
