"""How fast the server answers: REST and gRPC, one review a request, beside the same model in process.

    python benchmarks/server.py [--json] [--runs 5] [--seconds 4] [--clients 64] [--model models:/NAME@ALIAS]
    python benchmarks/server.py --overload 600

Server, in-process parser and load generator share this machine's cores; the runs take turns. `--overload` sends, for so
many seconds, twice the requests that the server can answer, whether it answers or not.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from machine import machine, versions
from rich.console import Console
from rich.progress import track
from rich.table import Table

from reviews_parsing import data
from reviews_parsing.parser import AspectParser
from reviews_parsing.settings import MODEL_NAME, Settings

OK, SHED = 200, 503
INFER = f"/v2/models/{MODEL_NAME}/infer"
SERVE = "import sys; from reviews_parsing.serving import serve; serve(*map(int, sys.argv[1:4]), model_uri=sys.argv[4])"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a run")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--model", default=Settings().champion_uri)
    parser.add_argument("--overload", type=float, metavar="SECONDS", help="measure at twice the capacity instead")
    arguments = parser.parse_args()
    if arguments.overload:
        report = overload(arguments.model, arguments.overload, arguments.clients)
    else:
        report = measure(arguments.model, arguments.runs, arguments.seconds, arguments.clients)
    if arguments.json or arguments.overload:
        print(json.dumps(report, indent=2))
    else:
        show(report)


def measure(model: str, runs: int, seconds: float, clients: int) -> dict[str, Any]:
    """The report: medians over `runs` of each way to ask, and what one client waits."""
    texts = sample()
    local = AspectParser.load(model)
    single = AspectParser.load(model, threads=1)
    with server(model) as (http, grpc, pid):
        ways: dict[str, Callable[[], dict[str, float]]] = {
            "in process": lambda: in_process(local, texts, seconds),
            f"REST, {clients} clients": lambda: asyncio.run(rest(http, texts, clients, seconds)),
            f"gRPC, {clients} clients": lambda: asyncio.run(rpc(grpc, texts, clients, seconds)),
            "bare model, one text": lambda: one_by_one(single, texts, seconds / 2),
            "REST, 1 client": lambda: asyncio.run(rest(http, texts, 1, seconds / 2)),
            "gRPC, 1 client": lambda: asyncio.run(rpc(grpc, texts, 1, seconds / 2)),
        }
        for way in ways.values():
            way()
        taken: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
        rounds = list(itertools.product(range(runs), ways))
        for _, name in track(rounds, "measuring", console=Console(stderr=True)):
            taken[name].append(ways[name]())
        rss = resident(pid)
    figures = {
        name: {key: statistics.median(run[key] for run in found) for key in found[0]} for name, found in taken.items()
    }
    rate = figures["in process"]["reviews_per_second"]
    bare = figures["bare model, one text"]["p50_ms"]
    return {
        "figures": figures,
        "rest_share_of_in_process": figures[f"REST, {clients} clients"]["reviews_per_second"] / rate,
        "grpc_share_of_in_process": figures[f"gRPC, {clients} clients"]["reviews_per_second"] / rate,
        "rest_p50_above_bare_ms": figures["REST, 1 client"]["p50_ms"] - bare,
        "grpc_p50_above_bare_ms": figures["gRPC, 1 client"]["p50_ms"] - bare,
        "server_rss_mb": rss,
        "runs": runs,
        **about(),
    }


def overload(model: str, seconds: float, clients: int) -> dict[str, Any]:
    """What happens to requests that come twice as fast as they can be answered, and to the server's memory."""
    texts = sample()
    with server(model) as (http, _, pid):
        capacity = asyncio.run(rest(http, texts, clients, 10))["reviews_per_second"]
        before = resident(pid)
        flood = asyncio.run(open_loop(http, texts, 2 * capacity, seconds))
        return {"capacity": capacity, "rate": 2 * capacity, **flood, "rss_mb": [before, resident(pid)], **about()}


async def open_loop(port: int, texts: Sequence[str], rate: float, seconds: float) -> dict[str, Any]:
    """Requests at `rate` a second, each over a connection that is free, a new one where none is."""
    requests = itertools.cycle([request(text) for text in texts])
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    waits: dict[int, list[float]] = {}
    running: set[asyncio.Task[None]] = set()

    async def ask(due: float) -> None:
        message = next(requests)
        try:
            reader, writer = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
            writer.write(message)
            status, _ = await answer(reader)
        except (ConnectionError, asyncio.IncompleteReadError):  # one that was idle for so long that it was closed
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(message)
            status, _ = await answer(reader)
        waits.setdefault(status, []).append(time.perf_counter() - due)
        idle.append((reader, writer))

    begin = time.perf_counter()
    for number in range(int(rate * seconds)):
        due = begin + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        running.add(task := asyncio.create_task(ask(due)))
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    for _, writer in idle:
        writer.close()
    accepted, shed = (summary(waits.get(status, [0.0]), seconds) for status in (OK, SHED))
    return {
        "seconds": seconds,
        "accepted": len(waits.get(OK, [])),
        "shed": len(waits.get(SHED, [])),
        "others": {str(status): len(found) for status, found in waits.items() if status not in (OK, SHED)},
        "accepted_p50_ms": accepted["p50_ms"],
        "accepted_p99_ms": accepted["p99_ms"],
        "shed_p99_ms": shed["p99_ms"],
    }


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of one HTTP answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    return int(head.split(b" ", 2)[1]), await reader.readexactly(length)


def sample(count: int = 1000) -> list[str]:
    """Reviews of the shipped corpus, shuffled."""
    texts = [review.text for reviews in data.read_splits("corpus").values() for review in reviews]
    random.Random(0).shuffle(texts)  # noqa: S311
    return texts[:count]


def in_process(parser: AspectParser, texts: Sequence[str], seconds: float) -> dict[str, float]:
    done, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        done += len(parser.parse(texts))
    return {"reviews_per_second": done / (time.perf_counter() - begin)}


def one_by_one(parser: AspectParser, texts: Sequence[str], seconds: float) -> dict[str, float]:
    waits: list[float] = []
    end = time.perf_counter() + seconds
    for text in itertools.cycle(texts):
        begin = time.perf_counter()
        if begin > end:
            return summary(waits, seconds)
        parser.parse([text])
        waits.append(time.perf_counter() - begin)
    raise AssertionError


async def rest(port: int, texts: Sequence[str], clients: int, seconds: float) -> dict[str, float]:
    """Clients that ask for one review after the other over a connection each."""
    requests = [request(text) for text in texts]
    waits: list[float] = []
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for body in itertools.islice(itertools.cycle(requests), number * 7, None):
            begin = time.perf_counter()
            if begin > end:
                break
            writer.write(body)
            status, content = await answer(reader)
            if status == SHED:
                await asyncio.sleep(0.05)
                continue
            assert status == OK, content
            waits.append(time.perf_counter() - begin)
        writer.close()

    await asyncio.gather(*map(client, range(clients)))
    return summary(waits, seconds)


def request(text: str) -> bytes:
    form = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}]}
    body = json.dumps(form).encode()
    return b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        INFER.encode(),
        len(body),
        body,
    )


async def rpc(port: int, texts: Sequence[str], clients: int, seconds: float) -> dict[str, float]:
    """The same over gRPC, all clients on one channel, with messages made beforehand."""
    import grpc.aio
    from tritonclient.grpc import service_pb2

    requests = []
    for text in texts:
        tensor = service_pb2.ModelInferRequest.InferInputTensor(name="text", datatype="BYTES", shape=[1])
        tensor.contents.bytes_contents.append(text.encode())
        requests.append(service_pb2.ModelInferRequest(model_name=MODEL_NAME, inputs=[tensor]).SerializeToString())
    waits: list[float] = []
    end = time.perf_counter() + seconds
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")

        async def client(number: int) -> None:
            for body in itertools.islice(itertools.cycle(requests), number * 7, None):
                begin = time.perf_counter()
                if begin > end:
                    break
                await infer(body)
                waits.append(time.perf_counter() - begin)

        await asyncio.gather(*map(client, range(clients)))
    return summary(waits, seconds)


def summary(waits: list[float], seconds: float) -> dict[str, float]:
    waits.sort()
    return {
        "reviews_per_second": len(waits) / seconds,
        "p50_ms": waits[len(waits) // 2] * 1e3,
        "p99_ms": waits[int(len(waits) * 0.99)] * 1e3,
    }


@contextmanager
def server(model: str) -> Iterator[tuple[int, int, int]]:
    """(HTTP port, gRPC port, process id) of a server that is ready."""
    ports = free_ports(3)
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, *map(str, ports), model], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{ports[0]}/v2/health/ready"):
                    break
            except OSError:
                time.sleep(0.05)
        else:
            sys.exit(f"error: the server did not start; run: reviews-parsing serve --model {model}")
        yield ports[0], ports[1], process.pid
    finally:
        process.terminate()
        process.wait()


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def resident(pid: int) -> float:
    """MB that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def about() -> dict[str, Any]:
    """Where, with what and how this was measured."""
    return {
        "machine": machine(),
        "versions": versions(("reviews-parsing", "onnxruntime", "mlserver", "uvicorn", "grpcio")),
        "date": datetime.now(UTC).date().isoformat(),
        "command": " ".join(["python", *sys.argv]),
    }


def show(report: dict[str, Any]) -> None:
    machine, versions = report["machine"], report["versions"]
    table = Table(title=f"{machine['processor']}, {machine['cores']} cores, {report['date']}")
    for name in ("", "reviews/s", "of in process", "p50 ms", "p99 ms"):
        table.add_column(name, justify="left" if not name else "right")
    rate = report["figures"]["in process"]["reviews_per_second"]
    for name, figures in report["figures"].items():
        waits = [f"{figures[key]:.1f}" if key in figures else "" for key in ("p50_ms", "p99_ms")]
        table.add_row(
            name, f"{figures['reviews_per_second']:.0f}", f"{figures['reviews_per_second'] / rate:.0%}", *waits
        )
    console = Console()
    console.print(table)
    console.print(
        f"one client over REST waits {report['rest_p50_above_bare_ms']:.1f} ms longer than for the bare model"
    )
    console.print(f"the server holds {report['server_rss_mb']:.0f} MB")
    console.print(", ".join(f"{name} {number}" for name, number in versions.items()))
    console.print(f"medians of {report['runs']} runs: {report['command']}")


if __name__ == "__main__":
    main()
