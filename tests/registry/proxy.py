"""A proxy in front of an MLflow server whose answers to some requests trickle."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass(frozen=True)
class TricklingProxy:
    """A proxy; `trickles` is set from the first byte of an answer that trickles."""

    address: str
    trickles: threading.Event


@contextmanager
def trickling_proxy(server: str, part: str) -> Iterator[TricklingProxy]:
    """Yield a proxy for `server` that sends a byte every tenth of a second to requests with `part` in their path."""
    target = urlsplit(server)
    trickles, ended = threading.Event(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            connection = http.client.HTTPConnection(target.hostname or "", target.port, timeout=60)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            connection.request(self.command, self.path, body, headers)
            response = connection.getresponse()
            content = response.read()
            connection.close()
            self.send_response(response.status)
            self.send_header("Content-Type", response.headers.get("Content-Type", "application/json"))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if part not in self.path:
                self.wfile.write(content)
                return
            for number in range(len(content)):
                try:
                    self.wfile.write(content[number : number + 1])
                except OSError:
                    return
                trickles.set()
                if ended.wait(0.1):
                    return

    for method in ("GET", "POST", "PATCH", "PUT", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.handle_any)
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy.daemon_threads = True
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield TricklingProxy(f"http://127.0.0.1:{proxy.server_port}", trickles)
    finally:
        ended.set()
        proxy.shutdown()
        proxy.server_close()
        thread.join()
