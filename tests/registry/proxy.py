"""A proxy in front of an MLflow server that spoils downloads of the model."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

MODES = ("cut", "change", "stall", "trickle")


@contextmanager
def spoiling_proxy(server: str, mode: str, times: int = 1_000) -> Iterator[str]:
    """Yield the address of a proxy for `server` that spoils the first `times` downloads of model.onnx.

    "cut" ends the answer early and hides its length, "change" changes some bytes, "stall" never answers, and "trickle"
    sends a byte every tenth of a second.
    """
    assert mode in MODES
    target = urlsplit(server)
    ended = threading.Event()
    left = [times]

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def handle_any(self) -> None:
            spoiled = "mlflow-artifacts/artifacts" in self.path and self.path.endswith("model.onnx") and left[0] > 0
            if spoiled:
                left[0] -= 1
            if spoiled and mode == "stall":
                ended.wait(60)
                return
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            connection = http.client.HTTPConnection(target.hostname or "", target.port, timeout=60)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            connection.request(self.command, self.path, body, headers)
            response = connection.getresponse()
            content = response.read()
            connection.close()
            self.send_response(response.status)
            self.send_header("Content-Type", response.headers.get("Content-Type", "application/json"))
            if spoiled:
                # HTTP/1.0 without a length: the end of the connection is the end of the answer.
                self.end_headers()
                self.send_spoiled(content)
                return
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def send_spoiled(self, content: bytes) -> None:
            if mode == "cut":
                self.wfile.write(content[: len(content) // 2])
            elif mode == "change":
                middle = len(content) // 2
                self.wfile.write(content[:middle] + b"\0" * 20_000 + content[middle + 20_000 :])
            else:
                for number in range(len(content)):
                    if ended.wait(0.1):
                        return
                    self.wfile.write(content[number : number + 1])
                    self.wfile.flush()

    for method in ("GET", "POST", "PATCH", "PUT", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.handle_any)
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy.daemon_threads = True
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}"
    finally:
        ended.set()
        proxy.shutdown()
        proxy.server_close()
        thread.join()
