"""Clients that hold connections, headers and bodies open: others are served meanwhile."""

from __future__ import annotations

import gzip
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import psutil
import pytest

from serving.client import MODEL, Server, tensor
from serving.conftest import Start

LIMITS = {
    "REVIEWS_PARSING_MAX_CONNECTIONS": "50",
    "REVIEWS_PARSING_HEADER_SECONDS": "2",
    "REVIEWS_PARSING_BODY_SECONDS": "3",
    "REVIEWS_PARSING_MAX_BYTES_IN_FLIGHT": "12000000",
    "REVIEWS_PARSING_MAX_WAIT": "60",
}


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
