"""Measure throughput and latency of the server over REST and gRPC, with one review per request.

    python benchmarks/server.py [--json] [--runs 5] [--seconds 4] [--clients 64] [--model models:/NAME@ALIAS]
    python benchmarks/server.py --overload 600
    python benchmarks/server.py --attack 5

Server, in-process parser and load generator share the cores of this machine; runs are interleaved. `--overload` sends
requests at twice the capacity of the server (open loop). `--attack` measures honest clients, alone and beside as many
hostile clients of each kind.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
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

from machine import argument_parser, machine, versions
from rich.console import Console
from rich.progress import track
from rich.table import Table

from reviews_parsing import data
from reviews_parsing.io.ports import free_port
from reviews_parsing.parser import AspectParser
from reviews_parsing.settings import MODEL_NAME, Settings

OK, SHED = 200, 503
HOSTILE = str(Path(__file__).with_name("hostile_clients.py"))
# Time that hostile clients run before and after honest ones are measured.
LEAD_SECONDS = 1
# Time between the texts of one client, in which the processor sleeps and its caches serve others.
PAUSE_SECONDS = 0.002
NO_PACE = {"REVIEWS_PARSING_REFUSALS_PER_SECOND": "1e9"}
ALIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"
INFER = f"/v2/models/{MODEL_NAME}/infer"
SERVE = "import sys; from reviews_parsing.serving import serve; serve(*map(int, sys.argv[1:4]), model_uri=sys.argv[4])"


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--runs", type=int, default=5, help="number of runs of which the median is reported")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a run in seconds")
    parser.add_argument("--clients", type=int, default=64, help="number of concurrent clients")
    parser.add_argument("--model", default=Settings().champion_uri, help="model to serve, as in `serve`")
    overload_help = "length in seconds of a run at twice the capacity, instead of the other runs"
    parser.add_argument("--overload", type=float, metavar="SECONDS", help=overload_help)
    attack_help = "length in seconds of the runs beside hostile clients of each kind, instead of the other runs"
    parser.add_argument("--attack", type=int, metavar="SECONDS", help=attack_help)
    options = parser.parse_args()
    if options.attack:
        report = measure_attacks(options.model, options.attack, options.clients)
        if not options.json:
            show_attacks(report)
            return
    elif options.overload:
        report = measure_overload(options.model, options.overload, options.clients)
    else:
        report = measure(options.model, options.runs, options.seconds, options.clients)
    if options.json or options.overload or options.attack:
        print(json.dumps(report, indent=2))
    else:
        show(report)


def measure(model: str, runs: int, seconds: float, clients: int) -> dict[str, Any]:
    """Return the report: medians over `runs` of each kind of access."""
    texts = sample()
    local = AspectParser.load(model)
    single = AspectParser.load(model, threads=1)
    with start_server(model) as (http, grpc, pid):
        systems: dict[str, Callable[[], dict[str, float]]] = {
            "in process": lambda: in_process(local, texts, seconds),
            f"REST, {clients} clients": lambda: asyncio.run(run_rest(http, texts, clients, seconds)),
            f"gRPC, {clients} clients": lambda: asyncio.run(run_grpc(grpc, texts, clients, seconds)),
            f"REST without a model, {clients} clients": lambda: asyncio.run(run_rest(http, (), clients, seconds)),
            "bare model, one text": lambda: one_by_one(single, texts, seconds / 2),
            "the same after a pause": lambda: one_by_one(single, texts, seconds / 2, PAUSE_SECONDS),
            "REST, 1 client": lambda: asyncio.run(run_rest(http, texts, 1, seconds / 2)),
            "gRPC, 1 client": lambda: asyncio.run(run_grpc(grpc, texts, 1, seconds / 2)),
        }
        for warm_up in systems.values():
            warm_up()
        results: dict[str, list[dict[str, float]]] = {name: [] for name in systems}
        rounds = list(itertools.product(range(runs), systems))
        for _, name in track(rounds, "measuring", console=Console(stderr=True)):
            results[name].append(systems[name]())
        rss = resident_mb(pid)
    figures = {
        name: {key: statistics.median(run[key] for run in measured) for key in measured[0]}
        for name, measured in results.items()
    }
    rate = figures["in process"]["reviews_per_second"]
    bare = figures["bare model, one text"]["p50_ms"]
    return {
        "figures": figures,
        "rest_share_of_in_process": figures[f"REST, {clients} clients"]["reviews_per_second"] / rate,
        "grpc_share_of_in_process": figures[f"gRPC, {clients} clients"]["reviews_per_second"] / rate,
        "bound_of_rest_share": 1
        / (1 + rate / figures[f"REST without a model, {clients} clients"]["reviews_per_second"]),
        "rest_p50_above_bare_ms": figures["REST, 1 client"]["p50_ms"] - bare,
        "grpc_p50_above_bare_ms": figures["gRPC, 1 client"]["p50_ms"] - bare,
        "pause_p50_above_bare_ms": figures["the same after a pause"]["p50_ms"] - bare,
        "server_rss_mb": rss,
        "runs": runs,
        **about(),
    }


def measure_overload(model: str, seconds: float, clients: int) -> dict[str, Any]:
    """Return accepted and shed requests at twice the capacity, their latencies, and the memory of the server."""
    texts = sample()
    with start_server(model) as (http, _, pid):
        capacity = asyncio.run(run_rest(http, texts, clients, 10))["reviews_per_second"]
        start_mb = resident_mb(pid)
        figures = asyncio.run(run_open_loop(http, texts, 2 * capacity, seconds))
        rss = [start_mb, resident_mb(pid)]
        return {"capacity": capacity, "rate": 2 * capacity, **figures, "rss_mb": rss, **about()}


async def run_open_loop(port: int, texts: Sequence[str], rate: float, seconds: float) -> dict[str, Any]:
    """Send requests at `rate` per second over idle connections, or new ones if all are busy."""
    requests = itertools.cycle([request(text) for text in texts])
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    waits: dict[int, list[float]] = {}
    running: set[asyncio.Task[None]] = set()

    async def send(due: float) -> None:
        message = next(requests)
        try:
            reader, writer = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
            writer.write(message)
            status, _ = await read_response(reader)
        except (ConnectionError, asyncio.IncompleteReadError):  # the server closed an idle connection
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(message)
            status, _ = await read_response(reader)
        waits.setdefault(status, []).append(time.perf_counter() - due)
        idle.append((reader, writer))

    begin = time.perf_counter()
    for number in range(int(rate * seconds)):
        due = begin + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        running.add(task := asyncio.create_task(send(due)))
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    for _, writer in idle:
        writer.close()
    accepted, shed = (summary(waits.get(status, [0.0]), seconds) for status in (OK, SHED))
    return {
        "seconds": seconds,
        "accepted": len(waits.get(OK, [])),
        "shed": len(waits.get(SHED, [])),
        "others": {str(status): len(times) for status, times in waits.items() if status not in (OK, SHED)},
        "accepted_p50_ms": accepted["p50_ms"],
        "accepted_p99_ms": accepted["p99_ms"],
        "shed_p99_ms": shed["p99_ms"],
    }


def measure_attacks(model: str, seconds: int, clients: int) -> dict[str, Any]:
    """Return the goodput of honest clients, alone and then beside hostile clients, for each kind of attack.

    A second server, without the pace of refusals, has the same clients.
    """
    from hostile_clients import kinds

    texts = sample()
    figures: dict[str, dict[str, float]] = {}
    with start_server(model) as (http, grpc, pid), start_server(model, **NO_PACE) as (unpaced_http, unpaced_grpc, _):
        for port in (http, unpaced_http):
            asyncio.run(run_honest(port, texts, clients, seconds))
        for kind in track(list(kinds()), "measuring", console=Console(stderr=True)):
            alone = asyncio.run(run_honest(http, texts, clients, seconds))["reviews_per_second"]
            beside, hostile = beside_hostile(kind, http, grpc, texts, clients, seconds)
            unpaced, _ = beside_hostile(kind, unpaced_http, unpaced_grpc, texts, clients, seconds)
            figures[kind] = {
                "alone_per_second": alone,
                "beside_per_second": beside["reviews_per_second"],
                "ratio": beside["reviews_per_second"] / alone,
                "ratio_without_pace": unpaced["reviews_per_second"] / alone,
                "beside_p99_ms": beside["p99_ms"],
                "hostile_per_second": hostile,
                "server_rss_mb": resident_mb(pid),
            }
    return {"figures": figures, "clients": clients, "seconds": seconds, **about()}


def beside_hostile(
    kind: str, http: int, grpc: int, texts: Sequence[str], clients: int, seconds: int
) -> tuple[dict[str, float], float]:
    """Return the summary of honest clients beside hostile ones, and the exchanges of the latter per second."""
    duration = seconds + 2 * LEAD_SECONDS
    command = [sys.executable, HOSTILE, kind, *map(str, (http, grpc, duration, clients))]
    hostile = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert hostile.stdout
    assert hostile.stdout.readline() == "ready\n"
    time.sleep(LEAD_SECONDS)
    beside = asyncio.run(run_honest(http, texts, clients, seconds))
    return beside, int(hostile.communicate()[0]) / duration


async def run_honest(port: int, texts: Sequence[str], clients: int, seconds: float) -> dict[str, float]:
    """Run clients as `run_rest` does, each from an address of its own; they connect again if they are refused."""
    requests = [request(text) for text in texts]
    waits: list[float] = []

    async def exchange(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(f"127.0.2.{number + 1}", 0))
        try:
            for body in itertools.islice(itertools.cycle(requests), number * 7 + len(waits), None):
                begin = time.perf_counter()
                writer.write(body)
                status, _ = await read_response(reader)
                if status == OK:
                    waits.append(time.perf_counter() - begin)
                else:
                    await asyncio.sleep(0.05)
        finally:
            writer.close()

    async def client(number: int) -> None:
        while True:
            try:
                await exchange(number)
            except (OSError, EOFError):
                await asyncio.sleep(0.05)

    try:
        async with asyncio.timeout(seconds):
            await asyncio.gather(*map(client, range(clients)))
    except TimeoutError:
        return summary(waits or [seconds], seconds)
    raise AssertionError


async def read_response(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return status and body of an HTTP response."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    return int(head.split(b" ", 2)[1]), await reader.readexactly(length)


def sample(count: int = 1000) -> list[str]:
    """Return a random sample of the texts of the corpus."""
    texts = [review.text for reviews in data.read_splits("corpus").values() for review in reviews]
    random.Random(0).shuffle(texts)  # noqa: S311
    return texts[:count]


def in_process(parser: AspectParser, texts: Sequence[str], seconds: float) -> dict[str, float]:
    """Parse all texts at once, repeatedly."""
    reviews, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        reviews += len(parser.parse(texts))
    return {"reviews_per_second": reviews / (time.perf_counter() - begin)}


def one_by_one(parser: AspectParser, texts: Sequence[str], seconds: float, pause: float = 0.0) -> dict[str, float]:
    """Parse one text at a time, each after a pause in seconds."""
    waits: list[float] = []
    end = time.perf_counter() + seconds
    for text in itertools.cycle(texts):
        if pause:
            time.sleep(pause)
        begin = time.perf_counter()
        if begin > end:
            return summary(waits, seconds)
        parser.parse([text])
        waits.append(time.perf_counter() - begin)
    raise AssertionError


async def run_rest(port: int, texts: Sequence[str], clients: int, seconds: float) -> dict[str, float]:
    """Run clients that send one review after the other over REST, each over its own connection.

    Without texts they ask whether the server is alive, which costs what HTTP costs, here and there.
    """
    requests = [request(text) for text in texts] or [ALIVE]
    waits: list[float] = []
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for body in itertools.islice(itertools.cycle(requests), number * 7, None):
            begin = time.perf_counter()
            if begin > end:
                break
            writer.write(body)
            status, content = await read_response(reader)
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


async def run_grpc(port: int, texts: Sequence[str], clients: int, seconds: float) -> dict[str, float]:
    """Run clients that send one review after the other over one gRPC channel, with messages serialised in advance."""
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
                try:
                    await infer(body)
                except grpc.aio.AioRpcError as error:
                    if error.code() != grpc.StatusCode.UNAVAILABLE:
                        raise
                    await asyncio.sleep(0.05)
                    continue
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
def start_server(model: str, **variables: str) -> Iterator[tuple[int, int, int]]:
    """Start a server and yield its HTTP port, gRPC port and process id when it is ready."""
    free: set[int] = set()
    while len(free) < 3:
        free.add(free_port(0))
    ports = list(free)
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, *map(str, ports), model],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **variables},
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


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def about() -> dict[str, Any]:
    """Return machine, versions, date and command for the report."""
    return {
        "machine": machine(),
        "versions": versions(("reviews-parsing", "onnxruntime", "mlserver", "uvicorn", "grpcio")),
        "date": datetime.now(UTC).date().isoformat(),
        "command": " ".join(["python", *sys.argv]),
    }


def show(report: dict[str, Any]) -> None:
    """Print the report as a table."""
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
        f"median latency of one REST client: {report['rest_p50_above_bare_ms']:.1f} ms above that of the bare model, "
        f"which has {report['pause_p50_above_bare_ms']:.1f} ms more after pauses of {PAUSE_SECONDS * 1e3:.0f} ms"
    )
    bound = report["bound_of_rest_share"]
    console.print(f"REST could reach {bound:.0%} of in process if it cost nothing beside HTTP, with the clients here")
    console.print(f"memory of the server: {report['server_rss_mb']:.0f} MB")
    console.print(", ".join(f"{name} {number}" for name, number in versions.items()))
    console.print(f"medians of {report['runs']} runs: {report['command']}")


def show_attacks(report: dict[str, Any]) -> None:
    """Print the report of attacks as a table."""
    table = Table(title=f"{report['clients']} honest clients beside {report['clients']} hostile ones, {report['date']}")
    names = [
        "hostile clients",
        "alone, reviews/s",
        "beside",
        "ratio",
        "without pace",
        "p99 ms",
        "hostile/s",
        "server MB",
    ]
    for name in names:
        table.add_column(name, justify="left" if name == "hostile clients" else "right")
    for kind, figures in report["figures"].items():
        alone, beside, ratio, unpaced, *others = figures.values()
        cells = [f"{alone:.0f}", f"{beside:.0f}", f"{ratio:.0%}", f"{unpaced:.0%}"]
        table.add_row(kind, *cells, *(f"{number:.0f}" for number in others))
    console = Console(width=120)
    console.print(table)
    console.print(report["command"])


if __name__ == "__main__":
    main()
