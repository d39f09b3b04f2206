"""HTTP server with bounded connections."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress

import uvicorn
from mlserver.logging import logger
from mlserver.rest.logging import disable_health_access_logs
from mlserver.settings import Settings as ServerSettings
from starlette.types import ASGIApp

from reviews_parsing.serving.connections import BoundedProtocol
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
            timeout_keep_alive=Settings().idle_seconds,  # type: ignore[arg-type]
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
