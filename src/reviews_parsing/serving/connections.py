"""HTTP connections that are bounded: their number, their headers in size and time, and requests sent ahead."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from reviews_parsing.serving.clients import ClientIdentity
from reviews_parsing.serving.limits import limit_log
from reviews_parsing.serving.pace import RefusalPace
from reviews_parsing.settings import Settings

# Messages of requests that are refused before their headers are complete.
REFUSALS = {
    HTTPStatus.BAD_REQUEST: "the request is not HTTP/1.1",
    HTTPStatus.REQUEST_TIMEOUT: "the headers did not arrive within the time limit; send them again, faster",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "the headers are too large; send fewer or shorter ones",
}


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
        # Set while the client takes no answer.
        self._unread_timer: asyncio.TimerHandle | None = None
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
        self._wait(self._settings.idle_seconds)
        if len(self.connections) > self._settings.max_connections:
            limit_log.record("max_connections")
            # This one, if all others have complete requests.
            addresses = Counter(connection.address for connection in self._waiting)
            [(heaviest, _)] = addresses.most_common(1)
            next(connection for connection in self._waiting if connection.address == heaviest).drop()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection, and count a request that its client abandoned."""
        self._stop_unread()
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
            self._wait(self._settings.idle_seconds)

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the end of a body that was answered before it was received."""
        super().on_response_complete()
        if self.pipeline:
            self.flow.pause_reading()
        if not self.transport.is_closing() and self.cycle.response_complete:
            self._wait(self._settings.idle_seconds if self._in_headers else self._settings.body_seconds)

    def pause_writing(self) -> None:
        """Wait until the client takes the answers that were sent, for a limited time."""
        super().pause_writing()
        self._waiting.setdefault(self)
        self._unread_timer = self.loop.call_later(self._settings.body_seconds, self._unread)

    def resume_writing(self) -> None:
        """Continue to send answers."""
        super().resume_writing()
        self._stop_unread()
        if self._in_headers and not self._timer:
            self._waiting.pop(self, None)
            if self.cycle.response_complete:
                self._wait(self._settings.idle_seconds)

    def _unread(self) -> None:
        limit_log.record("body_seconds")
        self.drop()

    def _stop_unread(self) -> None:
        if self._unread_timer:
            self._unread_timer.cancel()
            self._unread_timer = None

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
        self._stop_unread()
        self._stop_waiting()
        self.transport.abort()

    def _wait(self, seconds: float) -> None:
        """Wait for bytes no longer than `seconds`, without a request in progress."""
        self._stop_waiting()
        self._waiting[self] = None
        self._timer = self.loop.call_later(seconds, self._late)

    def _stop_waiting(self) -> None:
        if not self._unread_timer:
            self._waiting.pop(self, None)
        self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        if self._unread_timer:
            self._timer = None
            return  # the answer is still on its way
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
        body = json.dumps({"error": REFUSALS[status]}).encode()
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        self.transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        self.transport.close()
