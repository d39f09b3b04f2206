"""A server that a comparison asks, whose answers a test chooses."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from reviews_parsing.schema import Aspect


@contextmanager
def other_server(answer: Callable[[], tuple[int, object]], silent_close: bool = False) -> Iterator[str]:
    """Yield the URL of a server whose answers a test chooses.

    With `silent_close` it closes connections after an answer without saying so, as after an idle time.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, form = answer()
            body = json.dumps(form).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection |= silent_close

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def response(version: str, *aspects: Aspect) -> tuple[int, object]:
    data = [json.dumps([aspect.to_json() for aspect in aspects])]
    return 200, {"model_version": version, "outputs": [{"data": data}]}
