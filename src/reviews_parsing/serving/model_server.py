"""MLServer composed with this project's registry, data plane and endpoints, and its graceful shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import uvicorn
from mlserver import MLServer, ModelSettings
from mlserver.logging import logger
from mlserver.metrics.prometheus import PrometheusEndpoint
from mlserver.rest.logging import disable_health_access_logs
from mlserver.settings import Settings as ServerSettings
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

from reviews_parsing.serving import tracing
from reviews_parsing.serving.endpoints import RestApp
from reviews_parsing.serving.grpc_endpoints import GrpcServer
from reviews_parsing.serving.model_registry import DataPlane, ModelRegistry, RepositoryHandlers
from reviews_parsing.settings import Settings


class ModelServer(MLServer):  # type: ignore[misc]
    """REST, gRPC and metrics servers over one registry of models."""

    def _create_model_registry(self) -> ModelRegistry:
        return ModelRegistry()

    def _create_servers(self) -> None:
        settings = self._settings
        self._data_plane = DataPlane(settings, self._model_registry)
        self._model_repository_handlers = RepositoryHandlers(self._model_repository, self._model_registry)
        handlers = (self._data_plane, self._model_repository_handlers)
        self._rest_server = HttpServer(RestApp(*handlers), settings, settings.http_port)
        self._grpc_server = GrpcServer(settings, *handlers)
        metrics = Starlette(routes=[Route(settings.metrics_endpoint, PrometheusEndpoint(settings).handle_metrics)])
        self._metrics_server = HttpServer(metrics, settings, settings.metrics_port)

    async def start(self, models_settings: Sequence[ModelSettings] = ()) -> None:
        """Serve until stopped. Raises ModelUnavailable, with all ports closed, if a model cannot be loaded."""
        tracing.start()
        servers = (self._rest_server, self._grpc_server, self._metrics_server)
        serving = asyncio.gather(*(server.start() for server in servers))
        try:
            await asyncio.sleep(0)
            await self._model_repository_handlers.load_initial(models_settings)
        except BaseException:
            await self.stop()
            raise
        finally:
            await serving

    async def stop(self, sig: int | None = None) -> None:
        """Reject new requests, finish those in progress, then end. A second call cancels those in progress."""
        if self._data_plane.draining:
            self._rest_server.cancel_requests()
            await self._grpc_server.stop(0)
            return
        self._data_plane.draining = True
        self._rest_server.stop()
        await asyncio.gather(self._rest_server.stopped.wait(), self._grpc_server.stop(Settings().drain_seconds))
        self._metrics_server.stop()


class HttpServer:
    """A uvicorn server on one port."""

    def __init__(self, app: ASGIApp, settings: ServerSettings, port: int) -> None:
        logging_options = {"log_config": settings.logging_settings} if settings.logging_settings else {}
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=port,
            root_path=settings.root_path,
            access_log=settings.debug,
            timeout_graceful_shutdown=Settings().drain_seconds,  # type: ignore[arg-type]
            **logging_options,
        )
        self.stopped = asyncio.Event()
        self._server = _UvicornServer(config)
        self._address = f"http://{settings.host}:{port}"
        if not settings.debug:
            disable_health_access_logs()

    async def start(self) -> None:
        """Serve until stopped, then wait for requests in progress, but no longer than the drain timeout."""
        logger.info("HTTP server running on %s", self._address)
        try:
            await self._server.serve()
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
