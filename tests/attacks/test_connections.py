"""Clients that hold connections, headers and bodies open: others are served meanwhile."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import psutil
import pytest

from serving.client import DEADLINE, MODEL, Server, tensor
from serving.conftest import Start

LIMITS = {
    "REVIEWS_PARSING_MAX_CONNECTIONS": "50",
    "REVIEWS_PARSING_HEADER_SECONDS": "2",
    "REVIEWS_PARSING_BODY_SECONDS": "3",
    "REVIEWS_PARSING_MAX_BYTES_IN_FLIGHT": "12000000",
    "REVIEWS_PARSING_MAX_WAIT": "60",
}
# Hosts of one IPv6 network abandon requests, each its own; the connection is simulated.
IPV6_CLIENTS = """
import asyncio, uvicorn
from unittest.mock import Mock
from uvicorn.server import ServerState
from reviews_parsing.serving.connections import BoundedProtocol
from reviews_parsing.serving.pace import RefusalPace

async def app(scope, receive, send):
    await receive()

async def attack():
    config, state = uvicorn.Config(app, ws="none", log_config=None), ServerState()
    state.pace = RefusalPace(100, 10, lambda: 0.0)
    for host in range(1, 200):
        protocol = BoundedProtocol(config, state, {})
        peer = (f"2001:db8::{host:x}", 1)
        protocol.connection_made(Mock(get_extra_info=lambda name: peer if name == "peername" else None))
        protocol.data_received(b"POST / HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 9\\r\\n\\r\\n")
        protocol.connection_lost(None)
    print(state.pace.admits("2001:db8::/64"))

asyncio.run(attack())
"""


@pytest.fixture(scope="module")
def limited(start: Start) -> Iterator[Server]:
    with start(**LIMITS) as server:
        assert server.infer(["The soup was cold."] * 100).status == 200
        yield server


def reached(server: Server, limit: str) -> float:
    return server.counter("reviews_parsing_limit_reached_total", limit=limit)


@contextmanager
def connections(server: Server, number: int, sent: bytes) -> Iterator[list[socket.socket]]:
    """Yield connections over which `sent` was sent."""
    with ExitStack() as stack:
        opened = [stack.enter_context(socket.create_connection(("127.0.0.1", server.http), 30)) for _ in range(number)]
        for each in opened:
            each.sendall(sent)
        yield opened


def received(connection: socket.socket) -> bytes:
    """Return the bytes that a server sends until it closes the connection."""
    content = b""
    with suppress(ConnectionError):
        while chunk := connection.recv(65536):
            content += chunk
    return content


@pytest.mark.parametrize("sent", [b"", b"POST / HTTP/1.1\r\nHost: 127.0"], ids=["nothing", "half headers"])
def test_connections_that_wait_give_way_to_new_ones(limited: Server, sent: bytes) -> None:
    before = reached(limited, "max_connections")
    with connections(limited, 120, sent):
        for _ in range(5):
            assert limited.infer(["Lovely soup."]).status == 200
        assert len(psutil.Process(limited.process.pid).net_connections("tcp")) < 120
    assert reached(limited, "max_connections") > before
    assert "REVIEWS_PARSING_MAX_CONNECTIONS" in limited.log


@pytest.mark.parametrize("honest", ["127.0.0.1", "127.0.0.2"])
def test_connections_with_stalled_bodies_give_way_to_new_ones(limited: Server, honest: str) -> None:
    head = f"POST {MODEL}/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99\r\n\r\n{{".encode()
    get = b"GET /v2/health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    with connections(limited, 120, head):
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", limited.http), 30, (honest, 0)) as connection:
                connection.sendall(get)
                assert received(connection).startswith(b"HTTP/1.1 200")


def test_an_address_with_few_connections_keeps_them(start: Start) -> None:
    get = b"GET /v2/health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    # The oldest connection, which no time limit ends.
    with (
        start(REVIEWS_PARSING_MAX_CONNECTIONS="20", REVIEWS_PARSING_HEADER_SECONDS="600") as server,
        socket.create_connection(("127.0.0.1", server.http), 30, ("127.0.0.2", 0)) as connection,
    ):
        connection.sendall(get[:20])
        with connections(server, 60, b"POST / HTTP/1.1\r\nHost: 127.0"):
            connection.sendall(get[20:])
            assert received(connection).startswith(b"HTTP/1.1 200")


def test_headers_that_do_not_arrive_in_time_end_the_connection(limited: Server) -> None:
    before = reached(limited, "header_seconds")
    with connections(limited, 1, b"POST / HTTP/1.1\r\nHost: 127") as [half]:
        begin = time.monotonic()
        while time.monotonic() - begin < 1:  # a byte now and then does not extend the time
            half.sendall(b"0")
            time.sleep(0.2)
        assert received(half).startswith(b"HTTP/1.1 408")
        assert time.monotonic() - begin < 20
    assert reached(limited, "header_seconds") == before + 1
    assert "REVIEWS_PARSING_HEADER_SECONDS" in limited.log


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nA: " + b"a" * 200_000,
        b"GET /" + b"a" * 200_000,
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000,
    ],
    ids=["a long header", "a long path", "many headers"],
)
def test_large_headers_are_refused_before_they_end(limited: Server, sent: bytes) -> None:
    before = reached(limited, "max_header_bytes")
    with connections(limited, 1, b"") as [connection]:
        with suppress(ConnectionError):
            connection.sendall(sent)
        assert received(connection)[:12] in (b"HTTP/1.1 431", b"")
    assert reached(limited, "max_header_bytes") == before + 1


def test_large_headers_that_end_are_refused(limited: Server) -> None:
    answer = limited.post(f"{MODEL}/infer", b"{}", {"A": "a" * 40_000})
    assert answer.status == 431


def test_a_body_that_does_not_arrive_in_time_is_refused(limited: Server) -> None:
    before = reached(limited, "body_seconds")
    head = f"POST {MODEL}/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99\r\n\r\n{{".encode()
    with connections(limited, 1, head) as [half]:
        answer = received(half)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in answer.lower()
    assert reached(limited, "body_seconds") == before + 1


def test_stalled_compressed_bodies_hold_what_was_sent(limited: Server) -> None:
    body = gzip.compress(json.dumps({"inputs": [tensor(data=["x" * 6_900_000])]}).encode())
    head = (
        f"POST {MODEL}/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Encoding: gzip\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    process = psutil.Process(limited.process.pid)
    before = process.memory_info().rss
    with connections(limited, 45, head.encode() + body[:-4]):
        time.sleep(0.5)
        assert process.memory_info().rss - before < 30 << 20
        assert limited.infer(["Lovely soup."]).status == 200


def test_bodies_in_flight_have_a_budget(limited: Server) -> None:
    before = reached(limited, "max_bytes_in_flight")
    head = f"POST {MODEL}/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5000000\r\n\r\n".encode()
    with connections(limited, 4, head + b" " * 4_900_000):
        deadline = time.monotonic() + 30
        while reached(limited, "max_bytes_in_flight") == before:
            assert time.monotonic() < deadline
        assert limited.get("/v2/health/live").status == 200
    deadline = time.monotonic() + 30
    while limited.infer(["Lovely soup."]).status != 200:  # the budget is free again
        assert time.monotonic() < deadline


def test_an_early_answer_leaves_the_connection_usable(limited: Server) -> None:
    body = b" " * 3_000_000
    head = f"POST /v2/models/nobody/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    get = b"GET /v2/health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    with connections(limited, 1, head + body + get) as [connection]:
        answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 404")
    assert b"HTTP/1.1 200" in answer


def test_requests_far_ahead_of_answers_end_the_connection(limited: Server) -> None:
    before = reached(limited, "max_pipelined")
    with connections(limited, 1, b"") as [connection]:
        with suppress(ConnectionError):
            connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n" * 5000)
        assert received(connection).count(b"HTTP/1.1") < 100
    assert reached(limited, "max_pipelined") == before + 1


def test_a_few_requests_ahead_of_answers_are_answered_in_order(limited: Server) -> None:
    paths = ["/v2/health/live", "/v2/models/nobody"] * 5 + ["/v2/health/live"]
    gets = [f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n" for path in paths]
    gets[-1] = gets[-1].replace("Host: a", "Host: a\r\nConnection: close")
    with connections(limited, 1, "".join(gets).encode()) as [connection]:
        statuses = [part[:3] for part in received(connection).split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"404"] * 5 + [b"200"]


@pytest.mark.parametrize("protocol", ["websocket", "h2c"])
def test_a_request_to_upgrade_is_answered_in_http(limited: Server, protocol: str) -> None:
    body = json.dumps({"inputs": [tensor()]}).encode()
    head = (
        f"POST {MODEL}/infer HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1Ng==\r\nContent-Length: {len(body)}\r\n"
    ).encode()
    with connections(limited, 1, head + b"\r\n" + body) as [connection]:
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        # The next request, whose body arrives apart.
        connection.sendall(head.replace(b"Upgrade\r\n", b"close, Upgrade\r\n", 1) + b"\r\n" + body[:9])
        time.sleep(0.1)
        connection.sendall(body[9:])
        assert b"HTTP/1.1 200" in received(connection)
    assert "Unsupported upgrade" not in limited.log


@pytest.mark.parametrize(
    "sent",
    [
        b"GARBAGE\r\n\r\n",
        b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /v2/models/a/infer HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
    ],
)
def test_bytes_that_are_not_http_are_refused_without_a_line_of_log_each(limited: Server, sent: bytes) -> None:
    with connections(limited, 1, sent) as [connection]:
        assert received(connection).startswith(b"HTTP/1.1 400")
    assert "Invalid HTTP" not in limited.log


def test_requests_ahead_of_answers_end_with_their_connection(limited: Server) -> None:
    body = json.dumps({"inputs": [tensor(shape=[400], data=["The soup was cold."] * 400)]})
    post = f"POST {MODEL}/infer HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    before = limited.counter("reviews_parsing_requests_total", status="499")
    with connections(limited, 1, post * 2) as [connection]:
        time.sleep(0.2)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset
    deadline = time.monotonic() + DEADLINE
    while limited.counter("reviews_parsing_requests_total", status="499") == before:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "Traceback" not in limited.log


def test_hosts_of_an_ipv6_network_are_one_client() -> None:
    run = subprocess.run([sys.executable, "-c", IPV6_CLIENTS], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_answers_that_are_not_taken_end_the_connection(limited: Server) -> None:
    # The answer repeats the id, and is larger than the buffers of sockets.
    body = json.dumps({"id": "x" * 6_000_000, "inputs": [tensor()]})
    post = f"POST {MODEL}/infer HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    before = reached(limited, "body_seconds")
    with connections(limited, 1, post + post):
        deadline = time.monotonic() + DEADLINE
        while reached(limited, "body_seconds") == before:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert limited.infer(["Lovely soup."]).status == 200


def test_an_answer_may_take_longer_than_the_time_for_headers(start: Start) -> None:
    body = json.dumps({"id": "x" * 6_000_000, "inputs": [tensor()]})
    post = f"POST {MODEL}/infer HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    with start(REVIEWS_PARSING_HEADER_SECONDS="1") as server, connections(server, 1, post) as [connection]:
        time.sleep(2)
        size = 0
        while size < len(body):
            chunk = connection.recv(1 << 20)
            assert chunk
            size += len(chunk)
