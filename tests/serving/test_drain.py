"""The end of a server under connections that clients keep open: no request fails."""

from __future__ import annotations

import http.client
import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from reviews_parsing.settings import MODEL_NAME

from .client import DEADLINE, MODEL, Server, tensor
from .conftest import Start

BODY = json.dumps({"inputs": [tensor(data=["Fine."])]}).encode()
CLIENTS = 4
PATIENT = {"REVIEWS_PARSING_MAX_WAIT": "60"}


class KeptConnection:
    """A client that keeps its connection until it is asked to close it, and then connects to the next server."""

    def __init__(self, servers: list[Server]) -> None:
        self._servers = servers
        self.answers = 0

    def run(self, over: Event) -> None:
        """Send requests until `over`. Raises what fails, without a retry."""
        connection = None
        while not over.is_set():
            if connection is None:
                # A balancer leads new connections to the newest server.
                connection = http.client.HTTPConnection("127.0.0.1", self._servers[-1].http, timeout=DEADLINE)
            connection.request("POST", f"{MODEL}/infer", BODY)
            response = connection.getresponse()
            content = response.read()
            assert response.status == 200, content
            self.answers += 1
            if response.headers.get("Connection") == "close":
                connection.close()
                connection = None
            over.wait(0.005)
        if connection:
            connection.close()


def test_no_request_fails_while_servers_roll_under_kept_connections(start: Start) -> None:
    over = Event()
    with start(**PATIENT) as first, start(**PATIENT) as second, start(**PATIENT) as third:
        servers = [first]
        clients = [KeptConnection(servers) for _ in range(CLIENTS)]
        with ThreadPoolExecutor(CLIENTS) as pool:
            running = [pool.submit(client.run, over) for client in clients]
            try:
                for following in (second, third):
                    wait_for_answers(clients, 20)
                    ending = servers[-1]
                    servers.append(following)
                    ending.process.send_signal(signal.SIGTERM)
                    assert ending.process.wait(DEADLINE) == 0
                wait_for_answers(clients, 20)
            finally:
                over.set()
            for each in running:
                each.result()
        assert "Traceback" not in first.log + second.log


def wait_for_answers(clients: list[KeptConnection], more: int) -> None:
    goals = [client.answers + more for client in clients]
    deadline = time.monotonic() + DEADLINE
    while any(client.answers < goal for client, goal in zip(clients, goals, strict=True)):
        assert time.monotonic() < deadline


def test_a_draining_server_is_unready_answers_and_asks_to_close(start: Start) -> None:
    with start(REVIEWS_PARSING_DRAIN_PAUSE_SECONDS="60", **PATIENT) as server:
        kept = http.client.HTTPConnection("127.0.0.1", server.http, timeout=DEADLINE)
        assert get(kept, "/v2/health/ready") == (200, None)
        text = tritonclient.grpc.InferInput("text", [1], "BYTES")
        text.set_data_from_numpy(np.array(["Fine."], dtype=np.object_))
        with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{server.grpc}") as client:
            client.infer(MODEL_NAME, [text])
            server.process.send_signal(signal.SIGTERM)
            while client.is_server_ready():
                assert server.process.poll() is None
            client.infer(MODEL_NAME, [text])  # still answered
            assert get(kept, "/v2/health/ready") == (503, "close")
            kept.close()
            assert server.infer(["Fine."]).headers["Connection"] == "close"
            # A second signal ends the pause.
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(DEADLINE) == 0
            with pytest.raises(InferenceServerException, match="UNAVAILABLE"):
                client.infer(MODEL_NAME, [text])


def test_without_connections_a_server_ends_at_once(start: Start) -> None:
    with start(REVIEWS_PARSING_DRAIN_PAUSE_SECONDS="60", **PATIENT) as server:
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0


def get(connection: http.client.HTTPConnection, path: str) -> tuple[int, str | None]:
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    return response.status, response.headers.get("Connection")
