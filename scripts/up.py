"""`make up`: from nothing to a running system, until Ctrl-C.

Registers the pretrained model as version 1 and champion unless there is a champion, parses examples/reviews.csv, and
runs the MLflow page, the inference server and the demo page until it is stopped. It stops all services that it starts.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import pyarrow.parquet as pq
from rich.panel import Panel

from reviews_parsing import registry
from reviews_parsing.cli.output import err, out, scores_table, show
from reviews_parsing.errors import ReviewsParsingError
from reviews_parsing.io.ports import free_port
from reviews_parsing.schema import Aspect, ParsedReview
from reviews_parsing.settings import Settings

PROJECT = Path(__file__).resolve().parent.parent
EXAMPLES = PROJECT / "examples" / "reviews.csv"
COMMAND = [sys.executable, "-m", "reviews_parsing.cli"]
SAMPLE = 5
PATIENCE = 120.0


def main() -> None:
    """Start all services and wait until one of them ends."""
    begin = time.monotonic()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    settings = Settings()
    os.environ["REVIEWS_PARSING_HOME"] = str(settings.home)
    with ExitStack() as services:
        mlflow_port = None
        if settings.tracking_uri is None:
            # Begun first: it takes longest to be ready, and needs no champion.
            registry.champion()
            mlflow_port = port("the MLflow page", 5000)
            mlflow = start(services, mlflow_page(mlflow_port), settings.home / "mlflow.log")
        if registry.champion() is None:
            make_champion()
        # The server and the page load while the examples are parsed.
        ports = [port(name, preferred) for name, preferred in (("REST", 8080), ("gRPC", 8081), ("metrics", 8082))]
        options = [f"--{name}-port={number}" for name, number in zip(("http", "grpc", "metrics"), ports, strict=True)]
        server = start(services, [*COMMAND, "serve", *options], settings.home / "server.log")
        demo_port = port("the page", 8000)
        url = f"http://127.0.0.1:{ports[0]}"
        demo = start(services, [*COMMAND, "demo", f"--port={demo_port}", "--server", url], settings.home / "demo.log")
        parsed = settings.home / "examples.parquet"
        step("parsing examples/reviews.csv", ["parse", str(EXAMPLES), "-o", str(parsed)])
        sample(parsed)
        wait(server, f"{url}/v2/health/ready", settings.home / "server.log")
        wait(demo, f"http://127.0.0.1:{demo_port}/healthz", settings.home / "demo.log")
        if mlflow_port is not None:
            wait(mlflow, f"http://127.0.0.1:{mlflow_port}/health", settings.home / "mlflow.log")
        tracking = settings.tracking_uri or f"http://127.0.0.1:{mlflow_port}"
        out.print(addresses(settings, tracking, ports, demo_port, parsed), soft_wrap=True)
        out.print(f"try: {request(settings, ports[0])}", soft_wrap=True, markup=False)
        out.print(f"ready after {time.monotonic() - begin:.0f} s; Ctrl-C stops everything")
        while server.poll() is None:
            time.sleep(0.5)
        raise ReviewsParsingError(f"the server has ended by itself; see {settings.home / 'server.log'}")


def make_champion() -> None:
    """Register the pretrained model and promote it."""
    registered = json.loads(step("registering the model that ships", ["register", "--json"], capture=True))
    scores_table("Test split, exact match", registered["test"])
    step("promoting it", ["promote", "--version", registered["version"]])


def step(title: str, arguments: Sequence[str], *, capture: bool = False) -> str:
    """Run a command of `reviews-parsing`, and return its standard output if `capture` is set."""
    err.print(f"[bold]{title}[/]: reviews-parsing {' '.join(arguments)}")
    finished = subprocess.run(
        [*COMMAND, *arguments], cwd=PROJECT, stdout=subprocess.PIPE if capture else None, text=True, check=False
    )
    if finished.returncode != 0:
        sys.exit(finished.returncode)
    return finished.stdout or ""


def sample(parsed: Path) -> None:
    """Print a sample of the parsed reviews."""
    rows = [
        row for row in pq.read_table(parsed).to_pylist() if 2 <= len(row["aspects"]) <= 5 and len(row["text"]) < 250
    ]
    for row in rows[:: max(1, len(rows) // SAMPLE)][:SAMPLE]:
        out.print()
        show(ParsedReview(row["text"], tuple(Aspect.from_json(a) for a in row["aspects"])))
    out.print()


def mlflow_page(number: int) -> list[str]:
    """Return the command of the MLflow server on the local store."""
    options = ["--backend-store-uri", registry.tracking_uri(), "--host", "127.0.0.1", "--port", str(number)]
    # By default it would store artifacts that come over HTTP in the working directory.
    options += ["--artifacts-destination", (Settings().home.resolve() / "artifacts").as_uri()]
    return [sys.executable, "-m", "mlflow", "server", *options, "--workers", "1"]


def port(name: str, preferred: int) -> int:
    """Return the preferred port, or else a free one with a message on stderr."""
    number = free_port(preferred)
    if number != preferred:
        err.print(f"port {preferred} is in use; {name} listens on {number}")
    return number


def start(services: ExitStack, command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a service in its own process group, so that it stops with its children and gets Ctrl-C only once."""
    with log.open("wb") as target:
        # MLflow would also start runners for jobs that nobody here submits.
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        process = subprocess.Popen(
            command, stdout=target, stderr=target, cwd=PROJECT, env=environment, start_new_session=True
        )
    services.callback(stop, process)
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    """Terminate the process group of a service, and kill it after 10 seconds."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    """Wait until `address` answers. Raises ReviewsParsingError if the process ends or takes too long."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(address, timeout=2):  # noqa: S310
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.1)
    raise ReviewsParsingError(f"{address} does not answer; see {log}")


def addresses(settings: Settings, tracking: str, ports: Sequence[int], demo: int, parsed: Path) -> Panel:
    """Return a panel with the addresses of all services."""
    rest_port, grpc_port, metrics = ports
    name = settings.model_name
    lines = [
        f"the page          http://127.0.0.1:{demo}",
        f"inference, REST   http://127.0.0.1:{rest_port}/v2/models/{name}",
        f"inference, gRPC   127.0.0.1:{grpc_port}",
        f"Swagger page      http://127.0.0.1:{rest_port}/v2/docs",
        f"metrics           http://127.0.0.1:{metrics}/metrics",
        f"MLflow            {tracking}",
        f"champion          version {registry.champion()} of {name}",
        f"parsed examples   {parsed}",
    ]
    return Panel.fit("\n".join(lines), title="Reviews Parsing", title_align="left")


def request(settings: Settings, rest_port: int) -> str:
    """Return a curl command that parses a review."""
    body = '{"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["Lovely ramen, rude waiter."]}]}'
    return f"curl -s http://127.0.0.1:{rest_port}/v2/models/{settings.model_name}/infer -d '{body}'"


def guarded(run: Callable[[], None]) -> None:
    """Run a function; Ctrl-C and known errors become one line on stderr."""
    try:
        run()
    except KeyboardInterrupt:
        err.print("stopped")
    except ReviewsParsingError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    guarded(main)
