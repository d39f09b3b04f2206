"""Hostile clients of one kind against a server on this machine, each from an address of its own.

    python benchmarks/hostile_clients.py KIND HTTP_PORT GRPC_PORT SECONDS CLIENTS

`benchmarks/server.py --attack` runs it in a process beside honest clients. It prints a line before it begins, and at
the end the number of exchanges: requests with an answer, or connections that ended.
"""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

from hostile_requests import BODIES, MESSAGES

from reviews_parsing.settings import MODEL_NAME

INFER = f"/v2/models/{MODEL_NAME}/infer"
UNLOAD = f"/v2/repository/models/{MODEL_NAME}/unload"
GRPC_INFER = "/inference.GRPCInferenceService/ModelInfer"
# Connections that each client holds open, more than the server admits in all.
HELD_CONNECTIONS = 20
# Number of exchanges of all clients.
exchanges = [0]


class Target(NamedTuple):
    """Ports of the server, and the source address of a client."""

    http: int
    grpc: int
    source: str


Client = Callable[[Target], Awaitable[None]]


def post(path: str, body: bytes, headers: str = "") -> bytes:
    """Return an HTTP request."""
    return f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def parse_request(texts: list[str]) -> bytes:
    """Return a request to parse `texts`."""
    tensor = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": texts}
    return post(INFER, json.dumps({"inputs": [tensor]}).encode())


async def connect(target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", target.http, local_addr=(target.source, 0))


def repeat(*requests: bytes) -> Client:
    """Return a client that sends `requests` in turn, each after the answer to the one before."""

    async def client(target: Target) -> None:
        reader, writer = await connect(target)
        try:
            for request in itertools.cycle(requests):
                writer.write(request)
                await writer.drain()
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
                exchanges[0] += 1
                if b"connection: close" in head.lower():
                    return
        finally:
            writer.close()

    return client


def disconnect(request: bytes) -> Client:
    """Return a client that closes its connection without waiting for the answer."""

    async def client(target: Target) -> None:
        _, writer = await connect(target)
        writer.write(request)
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.transport.abort()

    return client


def stall(sent: bytes) -> Client:
    """Return a client that holds connections open over which `sent`, and no more, was sent."""

    async def client(target: Target) -> None:
        writers = []
        try:
            for _ in range(HELD_CONNECTIONS):
                reader, writer = await connect(target)
                writers.append(writer)
                writer.write(sent)
            await reader.read()
        finally:
            for writer in writers:
                writer.close()

    return client


def call(message: bytes) -> Client:
    """Return a client that sends a compressed message over gRPC again and again."""

    async def client(target: Target) -> None:
        import grpc.aio

        # A channel of its own; gRPC cannot choose the source address.
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{target.grpc}", options) as channel:
            infer = channel.unary_unary(GRPC_INFER)
            while True:
                with suppress(grpc.aio.AioRpcError):
                    await infer(message, compression=grpc.Compression.Gzip)
                exchanges[0] += 1

    return client


async def compute(target: Target) -> None:
    """Use a core without a request: the share of the loss that comes from the common processor."""
    sum(range(100_000))
    await asyncio.sleep(0)


def kinds() -> dict[str, Client]:
    """Return the kinds of hostile clients by name."""
    objects = gzip.compress(BODIES["empty inputs"])
    paths = [UNLOAD, UNLOAD.replace("repository/", "repository%2F"), UNLOAD.replace("/models", "//models")]
    review = "The soup was cold, and the waiter was not interested in hearing about it."
    return {
        "none, a busy process": compute,
        "millions of objects in 7 kB of gzip": repeat(post(INFER, objects, "Content-Encoding: gzip\r\n")),
        "the same over gRPC": call(MESSAGES["empty inputs"]),
        "unloading by encoded paths, from a foreign page": repeat(
            *(post(path, b"", "Origin: http://evil.example\r\n") for path in paths)
        ),
        "stalled compressed bodies": stall(post(INFER, objects, "Content-Encoding: gzip\r\n")[:-4]),
        "half headers": stall(b"POST / HTTP/1.1\r\nHost: 127"),
        "headers of 1 MB": repeat(b"GET / HTTP/1.1\r\nA: " + b"a" * 1_000_000),
        "bodies of 7 MB": repeat(post(INFER, BODIES["one text"])),
        "texts of 40,000 punctuation marks": repeat(parse_request(["!?" * 20_000])),
        "requests of 400 reviews": repeat(parse_request([review] * 400)),
        "clients that disconnect": disconnect(parse_request([review] * 32)),
    }


async def attack(kind: str, http: int, grpc: int, seconds: float, clients: int) -> None:
    """Run `clients` of a kind at the same time for `seconds`."""
    client = kinds()[kind]
    print("ready", flush=True)

    async def persist(target: Target) -> None:
        while True:
            # The server refuses or closes; the client comes again.
            with suppress(OSError, EOFError):
                await client(target)
            exchanges[0] += 1

    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(*(persist(Target(http, grpc, f"127.0.1.{n + 1}")) for n in range(clients)))


if __name__ == "__main__":
    name, *numbers = sys.argv[1:]
    http_port, grpc_port, duration, count = map(int, numbers)
    asyncio.run(attack(name, http_port, grpc_port, duration, count))
    print(exchanges[0])
