"""Clients that hold gRPC connections and calls open: others are served meanwhile."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Event

import grpc
import psutil
import pytest
from tritonclient.grpc import service_pb2 as pb

from reviews_parsing.settings import MODEL_NAME
from serving.client import DEADLINE, Server
from serving.conftest import Start

MAX_CONNECTIONS, BODY_SECONDS = 40, 4
SERVICE = "/inference.GRPCInferenceService"
# More than the limit, in channels of their own.
CHANNELS, CALLS = 2, 30
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def limited(start: Start) -> Iterator[Server]:
    with start(
        REVIEWS_PARSING_MAX_CONNECTIONS=str(MAX_CONNECTIONS),
        REVIEWS_PARSING_HEADER_SECONDS="2",
        REVIEWS_PARSING_BODY_SECONDS=str(BODY_SECONDS),
        REVIEWS_PARSING_MAX_WAIT="60",
    ) as server:
        yield server


def reached(server: Server, limit: str) -> float:
    return server.counter("reviews_parsing_limit_reached_total", limit=limit)


def message(text: bytes) -> bytes:
    request = pb.ModelInferRequest(model_name=MODEL_NAME)
    request.inputs.add(name="text", datatype="BYTES", shape=[1]).contents.bytes_contents.append(text)
    content: bytes = request.SerializeToString()
    return content


@contextmanager
def channels(server: Server, number: int, **options: int) -> Iterator[list[grpc.Channel]]:
    """Yield channels with a connection each."""
    arguments = [("grpc.use_local_subchannel_pool", 1), *((f"grpc.{name}", value) for name, value in options.items())]
    with ExitStack() as stack:
        yield [stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{server.grpc}", arguments)) for _ in range(number)]


def infer(server: Server) -> bytes:
    with channels(server, 1) as [channel]:
        answer: bytes = channel.unary_unary(f"{SERVICE}/ModelInfer")(message(b"Lovely soup."), timeout=DEADLINE)
        return answer


def silence(over: Event) -> Iterator[bytes]:
    """Yield nothing, for as long as a call lasts."""
    over.wait(DEADLINE)
    yield from ()


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
def test_calls_that_send_nothing_give_way_to_others(limited: Server, method: str) -> None:
    before, over = reached(limited, "max_connections"), Event()
    with channels(limited, CHANNELS) as opened:
        calls = [channel.stream_stream(f"{SERVICE}/{method}")(silence(over)) for channel in opened * CALLS]
        deadline = time.monotonic() + DEADLINE
        while reached(limited, "max_connections") == before:
            assert time.monotonic() < deadline
        assert infer(limited)
        over.set()
        for call in calls:
            call.cancel()
    assert "REVIEWS_PARSING_MAX_CONNECTIONS" in limited.log


def test_calls_whose_answers_are_not_taken_give_way_to_others(limited: Server) -> None:
    before = reached(limited, "max_connections")
    with channels(limited, CHANNELS, **{"http2.lookahead_bytes": 0, "http2.bdp_probe": 0}) as opened:
        calls = [channel.stream_stream(f"{SERVICE}/ModelInfer")(iter([message(b"")])) for channel in opened * CALLS]
        deadline = time.monotonic() + DEADLINE
        while reached(limited, "max_connections") == before:
            assert time.monotonic() < deadline
        assert infer(limited)
        for call in calls:
            call.cancel()


def test_a_message_that_does_not_arrive_in_time_is_refused(limited: Server) -> None:
    before, over = reached(limited, "body_seconds"), Event()
    with channels(limited, 1) as [channel], pytest.raises(grpc.RpcError, match="did not arrive") as refusal:
        channel.stream_unary(f"{SERVICE}/ModelInfer")(silence(over), timeout=DEADLINE)
    over.set()
    assert refusal.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert reached(limited, "body_seconds") == before + 1


def test_a_call_without_a_message_is_refused(limited: Server) -> None:
    with channels(limited, 1) as [channel], pytest.raises(grpc.RpcError, match="no message") as refusal:
        channel.stream_unary(f"{SERVICE}/ModelInfer")(iter(()), timeout=DEADLINE)
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_connections_without_a_call_are_limited_and_end(limited: Server) -> None:
    process = psutil.Process(limited.process.pid)

    def count() -> int:
        return sum(c.laddr.port == limited.grpc and c.status == "ESTABLISHED" for c in process.net_connections("tcp"))

    with ExitStack() as stack:
        for _ in range(2 * MAX_CONNECTIONS):
            stack.enter_context(socket.create_connection(("127.0.0.1", limited.grpc), 30))
        deadline = time.monotonic() + DEADLINE
        while count() > MAX_CONNECTIONS // 2:
            assert time.monotonic() < deadline
        assert limited.get("/v2/health/live").status == 200
        while count():
            assert time.monotonic() < deadline
            time.sleep(0.2)
    assert infer(limited)


def test_refused_messages_are_not_held_while_the_refusals_wait(start: Start) -> None:
    with start(REVIEWS_PARSING_REFUSALS_PER_SECOND="0.01") as server, channels(server, 1) as [channel]:
        call = channel.unary_unary(f"{SERVICE}/ModelInfer")
        large = message(b"a" * 6_900_000)
        process, refusals = psutil.Process(server.process.pid), []
        before = process.memory_info().rss
        for number in range(1, 13):
            refusals.append(call.future(large, timeout=DEADLINE))
            deadline = time.monotonic() + DEADLINE
            while reached(server, "refusals_per_second") < number:
                assert time.monotonic() < deadline
        assert process.memory_info().rss - before < 80 * MEGABYTE
        for refusal in refusals:
            refusal.cancel()
