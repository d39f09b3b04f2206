"""Report served from the files, for inputs whose sentences do not fit into one page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from urllib.parse import parse_qsl, urlsplit

from reviews_parsing.errors import DataError
from reviews_parsing.insights.evidence import query_sentences, remote_document
from reviews_parsing.insights.report import render
from reviews_parsing.insights.results import Insights
from reviews_parsing.insights.reviews import Reviews

HOST = "127.0.0.1"
"""Only programs of this machine reach the server: reviews may be confidential."""
LOCAL_NAMES = ("localhost", HOST)
MAX_LIMIT = 500


@contextmanager
def report_server(insights: Insights, reviews: Reviews, port: int) -> Iterator[ThreadingHTTPServer]:
    """Yield a server of the report at `/` and of its sentences at `/sentences`; `serve_forever` starts it.

    Queries run one at a time. Raises DataError if the port is taken, or the reviews have no texts.
    """
    text = reviews.text
    if text is None:
        raise DataError("there are no sentences to serve: no column holds the texts that the aspects refer to")
    column: str = text
    page = b"".join(render(insights, remote_document(insights)))
    lock = Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # A page of another site that resolves its name to this machine must not read the reviews.
            if (self.headers.get("Host") or "").rsplit(":", 1)[0] not in LOCAL_NAMES:
                self.respond(HTTPStatus.FORBIDDEN, b"open the page under 127.0.0.1 or localhost", "text/plain")
                return
            url = urlsplit(self.path)
            if url.path == "/":
                self.respond(HTTPStatus.OK, page, "text/html; charset=utf-8")
            elif url.path == "/sentences":
                self.send_sentences(dict(parse_qsl(url.query)))
            else:
                self.respond(HTTPStatus.NOT_FOUND, b"not found", "text/plain")

        def send_sentences(self, filters: dict[str, str]) -> None:
            try:
                offset, limit = (max(0, int(filters.pop(name, default))) for name, default in _PAGE.items())
                with lock:
                    result = query_sentences(reviews, column, insights, filters, offset, min(limit, MAX_LIMIT))
            except (ValueError, DataError) as error:
                self.respond(HTTPStatus.BAD_REQUEST, str(error).encode("utf-8", "replace"), "text/plain; charset=utf-8")
                return
            body = json.dumps(result, ensure_ascii=False).encode("utf-8", "replace")
            self.respond(HTTPStatus.OK, body, "application/json")

        def respond(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
            # A browser closes the connection when its user goes on before the answer.
            with suppress(ConnectionError):
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("X-Content-Type-Options", "nosniff")
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Write no access log."""

    try:
        server = ThreadingHTTPServer((HOST, port), Handler)
    except (OSError, OverflowError) as error:
        raise DataError(f"port {port} cannot be opened ({error}): give another --serve PORT") from None
    server.daemon_threads = True
    with server:
        yield server


_PAGE = {"offset": "0", "limit": "50"}
