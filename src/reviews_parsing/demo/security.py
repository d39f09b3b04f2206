"""Protection of the page: allowed hosts and origins, sizes, rates, timeouts of bodies, and response headers."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import AsyncIterator, Collection
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from reviews_parsing.errors import RequestRefused

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_JSON_BYTES = 2 * 10**6
BODY_TIMEOUT_SECONDS = 30
"""Longest wait for the next part of a body."""
BURST_SECONDS = 20
"""A client may use the requests of this time at once."""
MAX_CLIENTS = 10_000
SAFE_METHODS = {"GET", "HEAD"}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def list_hosts(host: str, names: Collection[str]) -> frozenset[str]:
    """Return the allowed host names of a page that listens on `host`: the local ones, and `names`."""
    return frozenset(
        name.lower() for name in ("localhost", "127.0.0.1", "[::1]", host, socket.gethostname(), *names) if name
    )


class RateLimiter:
    """Token bucket for each client."""

    def __init__(self, requests_per_minute: float) -> None:
        self._rate = requests_per_minute / 60
        self._burst = max(1.0, self._rate * BURST_SECONDS)
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, client: str) -> float:
        """Take a token; return 0, or the seconds until the next token if none remains."""
        now = time.monotonic()
        tokens, updated = self._buckets.pop(client, (self._burst, now))
        tokens = min(self._burst, tokens + (now - updated) * self._rate)
        wait = 0.0 if tokens >= 1 else (1 - tokens) / self._rate
        self._buckets[client] = (tokens if wait else tokens - 1, now)
        if len(self._buckets) > MAX_CLIENTS:
            # The client that was idle longest; its bucket is full by now, or nearly.
            del self._buckets[next(iter(self._buckets))]
        return wait


class Guard:
    """Middleware that refuses foreign hosts and origins and too many requests, and adds security headers."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str], any_address: bool, limiter: RateLimiter) -> None:
        """`any_address` also allows IP addresses as hosts; only names can be bound to other servers by an attacker."""
        self._app = app
        self._hosts = hosts
        self._any_address = any_address
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request: close WebSockets, refuse what is not allowed, else call the application."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        response = self._refuse(Request(scope))
        await (response or self._app)(scope, receive, _with_headers(send))

    def _refuse(self, request: Request) -> JSONResponse | None:
        host = request.headers.get("host", "").lower()
        # Probes of an orchestrator use the address of the pod.
        if request.url.path != "/healthz" and not self._is_allowed(host):
            message = f"host '{host[:100]}' is not allowed: start the page with --allow-host, or use one of its names"
            return _error(message, HTTPStatus.MISDIRECTED_REQUEST)
        if request.method in SAFE_METHODS:
            return None
        origin = request.headers.get("origin")
        site = request.headers.get("sec-fetch-site", "same-origin")
        if site not in ("same-origin", "none") or (origin is not None and _authority(origin) != host):
            return _error("requests of other sites are not allowed", HTTPStatus.FORBIDDEN)
        wait = self._limiter.take(request.client.host if request.client else "")
        if wait:
            headers = {"Retry-After": str(round(wait) + 1)}
            return _error("too many requests: wait a moment", HTTPStatus.TOO_MANY_REQUESTS, headers)
        return None

    def _is_allowed(self, host: str) -> bool:
        name = _host_name(host)
        if name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return self._any_address


async def read_body(request: Request, limit: int = MAX_JSON_BYTES) -> bytes:
    """Read a body of at most `limit` bytes. Raises RequestRefused if it is larger or stalls."""
    body = bytearray()
    async for chunk in stream_body(request, limit):
        body += chunk
    return bytes(body)


async def stream_body(request: Request, limit: int) -> AsyncIterator[bytes]:
    """Yield the parts of a body. Raises RequestRefused if it is larger than `limit` bytes, stalls or breaks off."""
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or len(length) > 15 or int(length) > limit:
        raise RequestRefused(f"the request is larger than {limit:,} bytes", 413)
    size = 0
    chunks = request.stream()
    while True:
        try:
            chunk = await asyncio.wait_for(anext(chunks), BODY_TIMEOUT_SECONDS)
        except StopAsyncIteration:
            return
        except (TimeoutError, ClientDisconnect):
            raise RequestRefused("the request broke off", 408) from None
        size += len(chunk)
        if size > limit:
            raise RequestRefused(f"the request is larger than {limit:,} bytes", 413)
        yield chunk


def _with_headers(send: Send) -> Send:
    """Add the security headers that a response does not set itself."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = {name.lower() for name, _ in message["headers"]}
            headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
            message = {**message, "headers": [*message["headers"], *(h for h in headers if h[0] not in own)]}
        await send(message)

    return send_with_headers


def _error(message: str, status: HTTPStatus, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": message}, status, headers)


def _authority(origin: str) -> str:
    """Return the host and port of an origin, empty for an opaque or malformed one."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _host_name(host: str) -> str:
    """Return a Host header without its port."""
    name, separator, port = host.rpartition(":")
    return name if separator and port.isdecimal() and not host.endswith("]") else host
