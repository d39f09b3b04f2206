"""The end of a server under connections that clients keep open: no request fails."""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from reviews_parsing.settings import MODEL_NAME

from .balancer import Forwarder, balanced
from .client import DEADLINE, MODEL, tensor
from .conftest import Start

BODY = json.dumps({"inputs": [tensor(data=["Fine."])]}).encode()
PATIENT = {"REVIEWS_PARSING_MAX_WAIT": "60"}
# REVIEWS_PARSING_DRAIN_REQUESTS=10000 rolls the server nine times.
REQUESTS = int(os.environ.get("REVIEWS_PARSING_DRAIN_REQUESTS", "1000"))
SERVERS = max(2, REQUESTS // 1000)


@dataclass
class Client:
    """A client that never retries: it counts answers, and keeps what failed."""

    answers: int = 0
    failures: list[str] = field(default_factory=list)

    def run(self, over: Event) -> None:
        """Send requests until `over`."""
        with ExitStack() as stack:
            while not over.is_set():
                try:
                    self.ask(stack)
                    self.answers += 1
                except (OSError, AssertionError, http.client.HTTPException, InferenceServerException) as error:
                    self.failures.append(repr(error))
                over.wait(0.005)

    def ask(self, stack: ExitStack) -> None:
        """Send a request. Raises what fails; `stack` closes the connection at the end."""
        raise NotImplementedError


@dataclass
class KeptConnection(Client):
    """A client over REST that keeps its connection until it is asked to close it, and then connects to `port`."""

    port: Callable[[], int] = int
    connection: http.client.HTTPConnection | None = None

    def ask(self, stack: ExitStack) -> None:
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port(), timeout=DEADLINE)
            stack.callback(self.connection.close)
        connection, self.connection = self.connection, None
        connection.request("POST", f"{MODEL}/infer", BODY)
        response = connection.getresponse()
        content = response.read()
        assert response.status == 200, content
        if response.headers.get("Connection") == "close":
            connection.close()
        else:
            self.connection = connection


@dataclass
class KeptChannel(Client):
    """A client over gRPC that keeps its channel, over a connection of its own.

    gRPC sends a call again that no server has seen, as after a GOAWAY; its client's defaults allow that.
    """

    port: Callable[[], int] = int
    channel: tritonclient.grpc.InferenceServerClient | None = None

    def ask(self, stack: ExitStack) -> None:
        if self.channel is None:
            own = [("grpc.use_local_subchannel_pool", 1)]
            self.channel = tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{self.port()}", channel_args=own)
            stack.callback(self.channel.close)
        self.channel.infer(MODEL_NAME, [fine()])


def test_no_request_fails_while_servers_roll_under_kept_connections(start: Start, tmp_path: Path) -> None:
    """Clients of the gateway, whose endpoints change before SIGTERM, and of the server itself, by REST and gRPC."""
    over = Event()
    with ExitStack() as running:
        servers = [running.enter_context(start(**PATIENT))]
        balancer = running.enter_context(balanced(tmp_path, servers))
        service = running.enter_context(Forwarder(lambda: servers[-1].grpc))
        clients: list[Client] = [
            *(KeptConnection(port=lambda: balancer.port) for _ in range(2)),
            *(KeptChannel(port=lambda: balancer.port) for _ in range(2)),
            # A balancer leads new connections to the newest server.
            *(KeptConnection(port=lambda: servers[-1].http) for _ in range(2)),
            *(KeptChannel(port=lambda: service.port) for _ in range(4)),
        ]
        pool = running.enter_context(ThreadPoolExecutor(len(clients)))
        running.callback(over.set)
        threads = [pool.submit(client.run, over) for client in clients]
        for number in range(1, SERVERS + 1):
            wait_for_answers(clients, REQUESTS * number // SERVERS)
            if number < SERVERS:
                ending = servers[-1]
                servers.append(running.enter_context(start(**PATIENT)))
                balancer.lead_to(servers[-1:])
                ending.process.send_signal(signal.SIGTERM)
                assert ending.process.wait(DEADLINE) == 0
                assert "Traceback" not in ending.log
        over.set()
        for thread in threads:
            thread.result()
    assert [failure for client in clients for failure in client.failures] == []
    assert sum(client.answers for client in clients) >= REQUESTS
    assert all(client.answers for client in clients)


def wait_for_answers(clients: Sequence[Client], count: int) -> None:
    """Wait until there are `count` answers in all; the limit is for one answer."""
    last, deadline = -1, 0.0
    while (answers := sum(client.answers for client in clients)) < count:
        if answers > last:
            last, deadline = answers, time.monotonic() + DEADLINE
        assert time.monotonic() < deadline
        time.sleep(0.01)


def fine() -> tritonclient.grpc.InferInput:
    text = tritonclient.grpc.InferInput("text", [1], "BYTES")
    text.set_data_from_numpy(np.array(["Fine."], dtype=np.object_))
    return text


def test_a_draining_server_is_unready_answers_and_asks_to_close(start: Start) -> None:
    with start(REVIEWS_PARSING_DRAIN_PAUSE_SECONDS="60", **PATIENT) as server:
        kept = http.client.HTTPConnection("127.0.0.1", server.http, timeout=DEADLINE)
        assert get(kept, "/v2/health/ready") == (200, None)
        text = fine()
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
