"""Refusals are delayed for addresses that cause many."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from contextlib import suppress
from http import HTTPStatus

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc.service_pb2 import ModelInferRequest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from reviews_parsing.serving.pace import (
    BURST_SECONDS,
    BYTES_PER_REFUSAL,
    MAX_DELAY_SECONDS,
    MAX_SHED_DELAY_SECONDS,
    RefusalPace,
)
from reviews_parsing.settings import MODEL_NAME

from .client import DEADLINE, MODEL, tensor
from .conftest import Start

BAD, SHED = HTTPStatus.BAD_REQUEST, HTTPStatus.SERVICE_UNAVAILABLE
RATE = 100


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def answer_times(pace: RefusalPace, clock: Clock, addresses: list[str], seconds: float) -> dict[str, list[float]]:
    """Return when refusals are answered to clients that send the next request after the answer, without a pause."""
    start = clock.seconds
    times: dict[str, list[float]] = {address: [] for address in addresses}
    due = dict.fromkeys(addresses, start)
    while (address := min(due, key=lambda each: due[each])) and due[address] < start + seconds:
        clock.seconds = due[address]
        # A request takes a millisecond.
        due[address] += 0.001 + pace.delay(address, BAD)
        times[address].append(due[address])
    return times


def test_a_few_refusals_are_answered_at_once() -> None:
    clock = Clock()
    pace = RefusalPace(RATE, 10, clock)
    for _ in range(50):
        assert pace.delay("a", BAD) == 0
        clock.seconds += 1 / RATE


@given(st.integers(1, 20))
def test_all_addresses_together_get_the_rate_in_equal_shares(count: int) -> None:
    clock = Clock()
    times = answer_times(RefusalPace(RATE, 10, clock), clock, [str(number) for number in range(count)], 30)
    late = [sum(time > 1020 for time in each) for each in times.values()]
    assert 0.8 * RATE * 10 <= sum(late) <= 1.2 * RATE * 10
    assert max(late) <= 1.25 * min(late) + 2


def test_an_address_without_refusals_does_not_wait_for_others() -> None:
    clock = Clock()
    pace = RefusalPace(RATE, 10, clock)
    answer_times(pace, clock, ["a", "b"], 20)
    assert pace.delay("a", BAD) > 0
    assert pace.delay("c", BAD) == 0


def test_bytes_count() -> None:
    clock = Clock()
    pace = RefusalPace(RATE, 10, clock)
    assert pace.delay("a", BAD, size=RATE * BYTES_PER_REFUSAL) == pytest.approx(1 / RATE)


def test_a_delay_is_bounded_and_forgotten() -> None:
    clock = Clock()
    pace = RefusalPace(RATE, 10, clock)
    assert pace.delay("a", SHED, size=10**9) == MAX_SHED_DELAY_SECONDS
    assert pace.delay("a", BAD, size=10**9) == MAX_DELAY_SECONDS
    clock.seconds += MAX_DELAY_SECONDS + BURST_SECONDS
    assert pace.delay("a", BAD) == 0


def test_an_address_that_abandons_many_requests_opens_no_connections_for_a_while() -> None:
    clock = Clock()
    pace = RefusalPace(RATE, 10, clock)
    for _ in range(RATE + 10):
        pace.abandon("a")
    assert not pace.admits("a")
    assert pace.admits("b")
    assert pace.delay("a", BAD) == 0
    clock.seconds += MAX_SHED_DELAY_SECONDS
    assert pace.admits("a")


@pytest.mark.parametrize("proxies", ["", "127.0.0.0/8"])
def test_clients_that_disconnect_lose_their_connections_and_proxies_do_not(start: Start, proxies: str) -> None:
    texts = ["The soup was cold."] * 100
    variables = {"REVIEWS_PARSING_REFUSALS_PER_SECOND": "0.1", "REVIEWS_PARSING_TRUSTED_PROXIES": proxies}
    with start(**variables, REVIEWS_PARSING_THREADS="1") as server:
        body = json.dumps({"inputs": [tensor(shape=[100], data=texts)]})
        head = f"POST {MODEL}/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body) + 1}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", server.http), source_address=("127.0.0.9", 0)) as connection:
            connection.sendall((head + body).encode())  # one byte is missing
            assert server.get("/v2/health/live").status == 200
        # The server learns of the end in its own time; a refused connection is counted, an accepted one is answered.
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            with socket.create_connection(("127.0.0.1", server.http), source_address=("127.0.0.9", 0)) as again:
                again.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                with suppress(ConnectionError):
                    is_answered = again.recv(100).startswith(b"HTTP/1.1 200")
                    if proxies:
                        assert is_answered
                        return
                    if not is_answered:
                        break
        else:
            pytest.fail("connections are still accepted")
        assert server.counter("reviews_parsing_limit_reached_total", limit="refusals_per_second") >= 1
        assert server.infer(["The soup was cold."]).status == 200


def test_no_more_than_the_maximum_wait_and_none_after_it_is_closed() -> None:
    async def run() -> None:
        pace = RefusalPace(RATE, 2, Clock())
        waits = [asyncio.create_task(pace.wait("a", BAD, size=10**9)) for _ in range(5)]
        _, waiting = await asyncio.wait(waits, timeout=0.1)
        assert len(waiting) == 2
        pace.close()
        await asyncio.gather(*waits)
        await pace.wait("a", BAD, size=10**9)

    asyncio.run(asyncio.wait_for(run(), 30))


def test_refusals_of_both_endpoints_are_delayed_and_answers_are_not(start: Start) -> None:
    """At less than one refusal a second, each waits."""
    with start(REVIEWS_PARSING_REFUSALS_PER_SECOND="0.95") as server:

        def delayed() -> float:
            return server.counter("reviews_parsing_limit_reached_total", limit="refusals_per_second")

        before = delayed()
        assert server.infer(["The soup was cold."]).status == 200
        assert delayed() == before
        assert server.ask({}).status == 400
        assert delayed() == before + 1
        assert server.get("/v2/models/nobody").status == 404
        assert delayed() == before + 2
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc}") as channel, pytest.raises(grpc.RpcError) as refusal:
            GRPCInferenceServiceStub(channel).ModelInfer(ModelInferRequest(model_name=MODEL_NAME))
        assert refusal.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert delayed() == before + 3
        with socket.create_connection(("127.0.0.1", server.http)) as connection:
            connection.sendall(b"GARBAGE\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 400")
        assert delayed() == before + 4
        assert server.infer(["The soup was cold."]).status == 200
        assert delayed() == before + 4
