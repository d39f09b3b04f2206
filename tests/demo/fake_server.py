"""A V2 server without a model, which can be stopped and started: each word in capitals is an aspect."""

from __future__ import annotations

import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

TAXONOMY = {
    "categories": ["FOOD", "STAFF"],
    "polarities": ["negative", "neutral", "positive"],
    "implicit": ["OVERALL"],
    "opinions": True,
}


class FakeServer:
    """Server on a fixed port; `delay` seconds pass before an answer, and with `is_broken` each answer is status 500."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.delay = 0.0
        self.is_broken = False
        self.port = 0
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer({"name": "fake", "versions": ["7"], "parameters": {"taxonomy": json.dumps(TAXONOMY)}})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                texts = body["inputs"][0]["data"]
                fake.requests.extend(texts)
                time.sleep(fake.delay)
                data = [json.dumps(aspects_of(text)) for text in texts]
                self._answer({"model_version": "7", "outputs": [{"name": "predictions", "data": data}]})

            def _answer(self, document: dict[str, Any]) -> None:
                body = json.dumps({"error": "broken"} if fake.is_broken else document).encode()
                self.send_response(500 if fake.is_broken else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @property
    def is_up(self) -> bool:
        return self._server is not None

    def __enter__(self) -> FakeServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def aspects_of(text: str) -> list[dict[str, Any]]:
    """Return an aspect for each word in capitals, and an implicit one for "Yum"."""
    aspects: list[dict[str, Any]] = [
        {
            "entity_group": "FOOD",
            "score": 0.9,
            "word": match[0],
            "start": match.start(),
            "end": match.end(),
            "polarity": "positive",
            "polarity_score": 0.8,
        }
        for match in re.finditer(r"\b[A-Z]{3,}\b", text)
    ]
    if "Yum" in text:
        aspects.append(
            {"entity_group": "OVERALL", "score": 0.7, "word": None, "start": None, "end": None, "polarity": "positive"}
        )
    return aspects
