"""HTTP server with bounded connections: their number, and their headers in size and time."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any

import httptools
import uvicorn
from mlserver.logging import logger
from mlserver.rest.logging import disable_health_access_logs
from mlserver.settings import Settings as ServerSettings
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from reviews_parsing.serving.clients import ClientIdentity
from reviews_parsing.serving.limits import limit_log
from reviews_parsing.serving.pace import RefusalPace
from reviews_parsing.settings import Settings

# Open files beside connections: the model, logs, sockets of clients of the registry.
OTHER_FILES = 256
# REST, gRPC and metrics.
PORTS = 3


class HttpServer:
    """A uvicorn server on one port, or on a listening socket."""

    def __init__(
        self,
        app: ASGIApp,
        settings: ServerSettings,
        pace: RefusalPace,
        port: int = 0,
        listener: socket.socket | None = None,
    ) -> None:
        logging_options = {"log_config": settings.logging_settings} if settings.logging_settings else {}
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=port,
            http=BoundedProtocol,
            # Another protocol would have none of these limits.
            ws="none",
            root_path=settings.root_path,
            # Addresses of clients come from REVIEWS_PARSING_TRUSTED_PROXIES alone.
            proxy_headers=False,
            access_log=settings.debug,
            timeout_graceful_shutdown=Settings().drain_seconds,  # type: ignore[arg-type]
            **logging_options,
        )
        self.stopped = asyncio.Event()
        self._server = _UvicornServer(config)
        self._server.server_state.pace = pace  # type: ignore[attr-defined]
        self._sockets = [listener] if listener else None
        self._address = f"socket {listener.getsockname()}" if listener else f"http://{settings.host}:{port}"
        if not settings.debug:
            disable_health_access_logs()

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return len(self._server.server_state.connections)

    async def start(self) -> None:
        """Serve until stopped, then wait for requests in progress, but no longer than the drain timeout."""
        logger.info("HTTP server running on %s", self._address)
        try:
            await self._server.serve(self._sockets)
        finally:
            self.stopped.set()

    def stop(self) -> None:
        """Begin the graceful shutdown."""
        self._server.should_exit = True

    def cancel_requests(self) -> None:
        """Cancel the requests in progress."""
        for task in self._server.server_state.tasks:
            task.cancel()


class _UvicornServer(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals to MLServer."""
        yield


class BoundedProtocol(HttpToolsProtocol):
    """Connection whose client must send the headers of a request in time, few enough of them, and few requests ahead.

    Beyond `max_connections`, a new connection replaces the one that has waited longest for bytes of its client, of the
    address with most such connections, so that clients that hold connections open do not keep others out.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._header_bytes = 0
        # Whether the next byte belongs to the headers of a request, not to a body.
        self._in_headers = True
        self._timer: asyncio.TimerHandle | None = None
        # The request that is being answered; others may wait in the pipeline.
        self._answering: RequestResponseCycle | None = None
        # Shared by all connections of a server: those that wait for a request or its body, the oldest first.
        state: Any = self.server_state
        if not hasattr(state, "waiting"):
            state.waiting, state.settings = {}, Settings()
            state.identity = ClientIdentity(state.settings)
        self._waiting: dict[BoundedProtocol, None] = state.waiting
        self._settings: Settings = state.settings
        self._pace: RefusalPace = state.pace
        self._identity: ClientIdentity = state.identity

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Register the connection, and drop one if there are too many."""
        super().connection_made(transport)
        peer = self.client[0] if self.client else ""
        # As the queue divides work: the hosts of an IPv6 network are one client.
        self.address = self._identity.identify(peer, "", "").address
        self._is_proxy = self._identity.is_proxy(peer)
        if not self._pace.admits(self.address):
            limit_log.record("refusals_per_second")
            self.drop()
            return
        self._wait(self._settings.header_seconds)
        if len(self.connections) > self._settings.max_connections:
            limit_log.record("max_connections")
            # This one, if all others have complete requests.
            addresses = Counter(connection.address for connection in self._waiting)
            [(heaviest, _)] = addresses.most_common(1)
            next(connection for connection in self._waiting if connection.address == heaviest).drop()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection, and count a request that its client abandoned."""
        self._stop_waiting()
        if self.cycle and not self.cycle.response_complete and not self._is_proxy:
            self._pace.abandon(self.address)
        if self._answering:
            self._disconnect(self._answering)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse bytes, and close the connection if headers become too large before they are complete."""
        if self._in_headers:
            if self._timer and not self._header_bytes:
                # The time for headers begins with their first byte; before, the connection may be idle.
                self._wait(self._settings.header_seconds)
            self._header_bytes += len(data)
        self._unset_keepalive_if_required()
        self._parse(data)
        if self._in_headers and self._header_bytes > self._settings.max_header_bytes:
            limit_log.record("max_header_bytes")
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def _parse(self, data: bytes) -> None:
        """Parse bytes, and refuse those that are not HTTP."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(HTTPStatus.BAD_REQUEST)

    def _ignore_upgrade(self, data: bytes) -> None:
        """Parse a request again without the header Upgrade, because the parser takes its body for another protocol."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(HTTPStatus.BAD_REQUEST)
            return
        line = b"%b %b HTTP/%b\r\n" % (method, self.url, self.parser.get_http_version().encode())
        headers = (b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade")
        self.parser = httptools.HttpRequestParser(self)
        self._parse(b"".join((line, *headers, b"\r\n", data)))

    def on_headers_complete(self) -> None:
        """Start the request, whose body may be missing. Raises OverflowError if too many are ahead of it."""
        if self.parser.should_upgrade():
            return
        if len(self.pipeline) >= self._settings.max_pipelined:
            limit_log.record("max_pipelined")
            raise OverflowError
        self._in_headers = False
        self._stop_timer()
        self._waiting.setdefault(self)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Expect headers again."""
        if self.parser.should_upgrade():
            return
        super().on_message_complete()
        self._in_headers, self._header_bytes = True, 0
        self._stop_waiting()
        if self.cycle.response_complete:
            self._wait(self._settings.header_seconds)

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the end of a body that was answered before it was received."""
        super().on_response_complete()
        if self.pipeline:
            self.flow.pause_reading()
        if not self.transport.is_closing() and self.cycle.response_complete:
            self._wait(self._settings.header_seconds if self._in_headers else self._settings.body_seconds)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    @staticmethod
    def _disconnect(cycle: RequestResponseCycle) -> None:
        """Tell the app that its client has gone."""
        cycle.disconnected = True
        cycle.message_event.set()

    def drop(self) -> None:
        """Close the connection at once."""
        self._stop_waiting()
        self.transport.abort()

    def _wait(self, seconds: float) -> None:
        """Wait for bytes no longer than `seconds`, without a request in progress."""
        self._stop_waiting()
        self._waiting[self] = None
        self._timer = self.loop.call_later(seconds, self._late)

    def _stop_waiting(self) -> None:
        self._waiting.pop(self, None)
        self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        if not self._in_headers:
            limit_log.record("body_seconds")
        elif self._header_bytes:
            limit_log.record("header_seconds")
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
            return
        self.drop()

    def _refuse(self, status: HTTPStatus) -> None:
        """Answer a request that is incomplete or malformed at the pace of refusals, and close the connection."""
        self._stop_timer()
        if self.cycle and not self.cycle.response_complete:
            if self._in_headers or self.cycle is not self._answering or self.cycle.response_started:
                self.drop()  # a response to an earlier request, or a part of this one's, is on its way
                return
            self._disconnect(self.cycle)
        self.transport.pause_reading()
        self._waiting.setdefault(self)
        seconds = self._pace.delay(self.address, status, self._header_bytes)
        if seconds:
            limit_log.record("refusals_per_second")
        self._timer = self.loop.call_later(seconds, self._send_refusal, status)

    def _send_refusal(self, status: HTTPStatus) -> None:
        self._stop_waiting()
        line = f"HTTP/1.1 {status.value} {status.phrase}"
        self.transport.write(f"{line}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode())
        self.transport.close()


def raise_file_limit() -> None:
    """Allow as many open files as connections need, if the system permits."""
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        open_files = PORTS * Settings().max_connections + OTHER_FILES
        if soft != resource.RLIM_INFINITY and soft < open_files:
            with suppress(OSError, ValueError):
                limit = open_files if hard == resource.RLIM_INFINITY else min(open_files, hard)
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and soft < open_files:
            logger.warning("connections may need %d open files, the system permits %d (ulimit -n)", open_files, soft)
