"""Measure starts (commands, imports, server), the memory of the server, and the processor time of idle services.

    python benchmarks/idle.py [--json] [--runs 5] [--seconds 60] [--repeats 3] [--model pretrained]

Starts: wall-clock and processor seconds of new processes, medians; the interpreter alone is in all of them. Server:
from the start of the process to a ready model, and its resident memory after a few requests. Idle: processor time of
the server, the page and MLflow as shares of a core. Processor time depends little on other programs. Linux only.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from machine import argument_parser, background_load, machine, print_table
from rich.table import Table

from reviews_parsing import registry
from reviews_parsing.io.ports import free_port
from reviews_parsing.settings import Settings

CLI = [sys.executable, "-m", "reviews_parsing.cli"]
COMMANDS: dict[str, Sequence[str]] = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import reviews_parsing": [sys.executable, "-c", "import reviews_parsing"],
    "from reviews_parsing import AspectParser": [sys.executable, "-c", "from reviews_parsing import AspectParser"],
    "reviews-parsing --help": [*CLI, "--help"],
}
MB = 2**20
READY_SECONDS, READY_STEP_SECONDS = 60.0, 0.02
REQUESTS = 50
# Time in which caches fill and start-up work ends.
SETTLE_SECONDS = 10.0
TEXT = "The ramen was great but the waiter was rude."


class Start(NamedTuple):
    """Wall-clock and processor seconds of a start."""

    wall: float
    processor: float


class Service:
    """Process with its children, in a session of its own."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self.begin = time.perf_counter()
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )

    def wait_for(self, url: str) -> Start:
        """Wait until `url` answers, and return the cost until then."""
        while time.perf_counter() - self.begin < READY_SECONDS and self.process.poll() is None:
            with suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                urllib.request.urlopen(url, timeout=5).close()  # noqa: S310
                return Start(time.perf_counter() - self.begin, self.processor_seconds())
            time.sleep(READY_STEP_SECONDS)
        sys.exit(f"error: {url} does not answer: start the service by hand to see its messages")

    def processes(self) -> Iterator[Path]:
        """Yield the folders in /proc of the processes of the session."""
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, IndexError):
                if int(_stat(folder)[3]) == self.process.pid:
                    yield folder

    def processor_seconds(self) -> float:
        """Return the user and system seconds of the session so far, ended children included."""
        ticks = 0
        for folder in self.processes():
            with suppress(OSError):
                ticks += sum(int(number) for number in _stat(folder)[11:15])
        return ticks / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        """Return the resident memory of the session."""
        return sum(int((folder / "statm").read_text(encoding="ascii").split()[1]) for folder in self.processes()) * (
            os.sysconf("SC_PAGE_SIZE")
        )

    def stop(self) -> None:
        """End the session."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def _stat(folder: Path) -> list[str]:
    """Return the fields of /proc/PID/stat from the third on; the second may contain spaces."""
    return (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def command_start(command: Sequence[str]) -> Start:
    """Run a command to its end."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"error: {' '.join(command)} failed with status {process.returncode}")
    return Start(time.perf_counter() - begin, usage.ru_utime + usage.ru_stime)


@contextmanager
def running(command: Sequence[str], url: str, environment: dict[str, str]) -> Iterator[tuple[Service, Start]]:
    """Run a service for a block; yield it once `url` answers."""
    service = Service(command, environment)
    try:
        yield service, service.wait_for(url)
    finally:
        service.stop()


def server_command(model: str | None) -> tuple[list[str], str]:
    """Return the command of a server on free ports, and its address."""
    rest, grpc, metrics = free_port(18080), free_port(18081), free_port(18082)
    options = [f"--http-port={rest}", f"--grpc-port={grpc}", f"--metrics-port={metrics}"]
    return [*CLI, "serve", *options, *(["--model", model] if model else [])], f"http://127.0.0.1:{rest}"


def send_requests(url: str) -> None:
    """Let the server parse a few texts."""
    body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [TEXT]}]}
    address = f"{url}/v2/models/{Settings().model_name}/infer"
    for _ in range(REQUESTS):
        with urllib.request.urlopen(address, json.dumps(body).encode(), timeout=10) as response:  # noqa: S310
            response.read()


def measure_starts(runs: int) -> dict[str, Start]:
    """Return the median starts of the commands, interleaved."""
    starts: dict[str, list[Start]] = {name: [] for name in COMMANDS}
    for _ in range(runs):
        for name, command in COMMANDS.items():
            starts[name].append(command_start(command))
    return {name: median(values) for name, values in starts.items()}


def measure_server(runs: int, model: str | None) -> dict[str, Any]:
    """Return the median start of the server and its memory after a few requests."""
    starts, memory = [], []
    for _ in range(runs):
        command, url = server_command(model)
        with running(command, f"{url}/v2/health/ready", dict(os.environ)) as (service, start):
            starts.append(start)
            send_requests(url)
            memory.append(service.resident_bytes())
    return {"start": median(starts), "resident_mb": statistics.median(memory) / MB}


def measure_idle(seconds: float, repeats: int, model: str | None) -> dict[str, list[float]]:
    """Return for each service the shares of a core that it uses without requests."""
    with ExitStack() as stack, tempfile.TemporaryDirectory() as home:
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        mlflow_port, page_port = free_port(15000), free_port(18000)
        store = ["--backend-store-uri", registry.tracking_uri(), "--artifacts-destination", home]
        mlflow = [sys.executable, "-m", "mlflow", "server", *store, "--port", str(mlflow_port), "--workers", "1"]
        server, url = server_command(model)
        page = [*CLI, "demo", f"--port={page_port}", "--server", url]
        commands = {
            "server": (server, f"{url}/v2/health/ready"),
            "page": (page, f"http://127.0.0.1:{page_port}/healthz"),
            "MLflow": (mlflow, f"http://127.0.0.1:{mlflow_port}/health"),
        }
        services = {name: stack.enter_context(running(*command, environment))[0] for name, command in commands.items()}
        send_requests(url)
        time.sleep(SETTLE_SECONDS)
        shares: dict[str, list[float]] = {name: [] for name in services}
        for _ in range(repeats):
            before = {name: service.processor_seconds() for name, service in services.items()}
            begin = time.perf_counter()
            time.sleep(seconds)
            duration = time.perf_counter() - begin
            for name, service in services.items():
                shares[name].append((service.processor_seconds() - before[name]) / duration)
    return shares


def median(starts: Sequence[Start]) -> Start:
    """Return the medians of both columns."""
    return Start(*map(statistics.median, zip(*starts, strict=True)))


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--runs", type=int, default=5, help="number of starts of which the median is reported")
    parser.add_argument("--seconds", type=float, default=60.0, help="duration of a measurement of idle services")
    parser.add_argument("--repeats", type=int, default=3, help="number of these measurements, 0 for none")
    parser.add_argument("--model", help="model of the server, as in `serve`; unset: the champion, else pretrained")
    options = parser.parse_args()
    busy = background_load()
    starts = measure_starts(options.runs)
    server = measure_server(options.runs, options.model)
    idle = measure_idle(options.seconds, options.repeats, options.model) if options.repeats else {}
    date = datetime.now(UTC).date().isoformat()
    if options.json:
        form = {name: start._asdict() for name, start in starts.items()}
        server = {**server, "start": server["start"]._asdict()}
        report = {"date": date, "machine": machine(), "others": busy, "starts": form, "server": server, "idle": idle}
        print(json.dumps(report, indent=2))
        return
    table = Table("", "wall s", "processor s", title=f"Starts, medians of {options.runs} runs")
    for name, start in {**starts, "server, until ready": server["start"]}.items():
        table.add_row(name, f"{start.wall:.2f}", f"{start.processor:.2f}")
    print_table(table)
    print(f"resident memory of the server after {REQUESTS} requests: {server['resident_mb']:.0f} MB")
    if idle:
        table = Table(
            "", "share of a core", "each", title=f"Idle services, {options.repeats} x {options.seconds:.0f} s"
        )
        together = [sum(shares) for shares in zip(*idle.values(), strict=True)]
        for name, shares in {**idle, "together": together}.items():
            table.add_row(name, f"{statistics.median(shares):.2%}", ", ".join(f"{share:.2%}" for share in shares))
        print_table(table)
    host = machine()
    print(f"{host['processor']}, {host['cores']} cores, {date}; other programs used {busy:.0%} of the machine")


if __name__ == "__main__":
    main()
