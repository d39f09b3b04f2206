"""A server process, and the answers of its REST endpoints."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from reviews_parsing.settings import MODEL_NAME

MODEL = f"/v2/models/{MODEL_NAME}"
DEADLINE = 90.0
# Every server of the tests may be managed with this token.
TOKEN = "a-token-of-the-tests"
AUTHORIZATION = {"Authorization": f"Bearer {TOKEN}"}
# Prefixes of the variables that a server reads.
OURS = ("JAEGER_", "MLFLOW_", "MLSERVER_", "OTEL_", "REVIEWS_PARSING_")


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: Message

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
        token = AUTHORIZATION if path.startswith("/v2/repository/") else {}
        headers = {**token, **(headers or {})}
        return self._send(urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", body, headers))

    def ask(self, form: object, path: str = f"{MODEL}/infer") -> Answer:
        return self.post(path, json.dumps(form).encode(), {"Content-Type": "application/json"})

    def infer(self, texts: Sequence[str], **more: object) -> Answer:
        return self.ask({"inputs": [tensor(data=list(texts), shape=[len(texts)])], **more})

    def counter(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of a metric that have these labels."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        lines = self.get("/metrics", self.metrics).body.decode().splitlines()
        samples = [line for line in lines if line.startswith((f"{name} ", f"{name}{{"))]
        return sum(float(line.rsplit(" ", 1)[1]) for line in samples if all(w in line for w in wanted))

    def stop(self) -> int:
        """Interrupt the server as Ctrl-C does, and return the exit status."""
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
    clean = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
    return {**clean, "REVIEWS_PARSING_HOME": str(home), "REVIEWS_PARSING_MODEL_CONTROL": TOKEN, **variables}
