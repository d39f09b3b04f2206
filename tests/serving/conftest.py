"""Real servers on loopback, each a process of its own.

MLServer is never imported in the process of the tests: its copy of the protocol and tritonclient's exclude each other.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.error import URLError

import pytest

from ports import free_port
from reviews_parsing.settings import MODEL_NAME

from .client import DEADLINE, MODEL, Server, environment

FOLDER = Path(__file__).parent.parent.parent / "models" / MODEL_NAME
SERVE = "import sys; from reviews_parsing.serving import serve; serve(*map(int, sys.argv[1:]))"

Start = Callable[..., AbstractContextManager[Server]]


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory, champion_home: Path) -> Start:
    """Return a context manager that starts a server, by `serve` or by `mlserver start`, and waits until it is ready."""

    @contextmanager
    def started(mlserver: bool = False, **variables: str) -> Iterator[Server]:
        http, grpc, metrics = (free_port() for _ in range(3))
        if mlserver:
            ports = {"HTTP": http, "GRPC": grpc, "METRICS": metrics}
            variables |= {f"MLSERVER_{name}_PORT": str(port) for name, port in ports.items()}
            variables |= {"MLSERVER_HOST": "127.0.0.1"}
            command = [str(Path(sys.executable).parent / "mlserver"), "start", str(FOLDER)]
        else:
            command = [sys.executable, "-c", SERVE, *map(str, (http, grpc, metrics))]
        folder = tmp_path_factory.mktemp("server")
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command, env=environment(champion_home, **variables), stdout=log, stderr=log, cwd=folder
            )
        server = Server(process, http, grpc, metrics, folder / "log")
        try:
            _wait_ready(server)
            yield server
        finally:
            process.kill()
            process.wait()

    return started


@pytest.fixture(scope="session")
def server(start: Start) -> Iterator[Server]:
    """Yield a server of the champion, started by `serve`, whose time limits suit a slow machine."""
    with start(REVIEWS_PARSING_MAX_WAIT="60") as running:
        yield running


def _wait_ready(server: Server) -> None:
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            if server.get(f"{MODEL}/ready").status == 200:
                return
        except (URLError, ConnectionError):
            time.sleep(0.05)
    pytest.fail(f"the server did not become ready: {server.log}")
