"""Real servers on loopback. MLServer is never imported here: its copy of the protocol and tritonclient's exclude each other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import pytest

from reviews_parsing.serving import free_port
from reviews_parsing.settings import MODEL_NAME

PROJECT = Path(__file__).parent.parent.parent
MODEL = f"/v2/models/{MODEL_NAME}"
DEADLINE = 90.0
SERVE = "import sys; from reviews_parsing.serving import serve; serve(*map(int, sys.argv[1:]))"
MLSERVER = [str(Path(sys.executable).parent / "mlserver"), "start", str(PROJECT / "models" / MODEL_NAME)]


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        assert list(self.json) == ["error"]
        return str(self.json["error"])

    @property
    def predictions(self) -> list[Any]:
        assert self.status == 200, self.body
        [output] = self.json["outputs"]
        assert (output["name"], output["datatype"], output["shape"]) == ("predictions", "BYTES", [len(output["data"])])
        return [json.loads(element) for element in output["data"]]


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    http: int
    grpc: int
    metrics: int
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8")

    def get(self, path: str, port: int | None = None) -> Answer:
        return self._send(urllib.request.Request(f"http://127.0.0.1:{port or self.http}{path}"))

    def post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        return self._send(urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", body, dict(headers or {})))

    def ask(self, form: object, path: str = f"{MODEL}/infer") -> Answer:
        return self.post(path, json.dumps(form).encode())

    def infer(self, texts: Sequence[str], **more: object) -> Answer:
        return self.ask({"inputs": [tensor(data=list(texts), shape=[len(texts)])], **more})

    def counter(self, name: str, **labels: str) -> float:
        """The sum of the samples of a metric that have these labels."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        lines = self.get("/metrics", self.metrics).body.decode().splitlines()
        samples = [line for line in lines if line.startswith((f"{name} ", f"{name}{{"))]
        return sum(float(line.rsplit(" ", 1)[1]) for line in samples if all(w in line for w in wanted))

    def stop(self) -> int:
        """What Ctrl-C does; the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(DEADLINE)

    def _send(self, request: urllib.request.Request) -> Answer:
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE) as response:
                return Answer(response.status, response.read(), response.headers)
        except HTTPError as error:
            with error:
                return Answer(error.code, error.read(), error.headers)


def tensor(**changes: object) -> dict[str, object]:
    return {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["Warm bread, cold shoulder."], **changes}


def environment(home: Path, **variables: str) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "MLSERVER_", "REVIEWS_PARSING_"))}
    return {**clean, "REVIEWS_PARSING_HOME": str(home), **variables}


Start = Callable[..., AbstractContextManager[Server]]


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory, champion_home: Path) -> Start:
    """start(mlserver=False, **environment): a server that is ready, by `serve` or by `mlserver start`."""

    @contextmanager
    def started(mlserver: bool = False, **variables: str) -> Iterator[Server]:
        http, grpc, metrics = (free_port(0) for _ in range(3))
        if mlserver:
            ports = {"HTTP": http, "GRPC": grpc, "METRICS": metrics}
            variables |= {f"MLSERVER_{name}_PORT": str(port) for name, port in ports.items()}
            variables |= {"MLSERVER_HOST": "127.0.0.1"}
            command = MLSERVER
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
    """The champion, served by `serve`."""
    with start() as running:
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
