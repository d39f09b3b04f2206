"""MLServer composed with this project's registry, data plane and endpoints, and its graceful shutdown."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

from mlserver import MLServer, ModelSettings
from mlserver.metrics.prometheus import PrometheusEndpoint
from starlette.applications import Starlette
from starlette.routing import Route

from reviews_parsing.serving import tracing
from reviews_parsing.serving.endpoints import RestApp
from reviews_parsing.serving.grpc_endpoints import GrpcServer
from reviews_parsing.serving.http_server import HttpServer, raise_file_limit
from reviews_parsing.serving.limits import ByteBudget
from reviews_parsing.serving.model_registry import DataPlane, ModelRegistry, RepositoryHandlers
from reviews_parsing.settings import Settings

# Interval at which a draining server checks whether connections are left.
PAUSE_STEP_SECONDS = 0.05


class ModelServer(MLServer):  # type: ignore[misc]
    """REST, gRPC and metrics servers over one registry of models."""

    def _create_model_registry(self) -> ModelRegistry:
        return ModelRegistry()

    def _create_servers(self) -> None:
        settings = self._settings
        self._hurry = asyncio.Event()
        self._data_plane = DataPlane(settings, self._model_registry)
        self._model_repository_handlers = RepositoryHandlers(self._model_repository, self._model_registry)
        budget = ByteBudget(Settings().max_bytes_in_flight)
        handlers = (self._data_plane, self._model_repository_handlers, budget)
        self._rest_server = HttpServer(RestApp(*handlers), settings, settings.http_port)
        self._grpc_server = GrpcServer(settings, *handlers)
        metrics = Starlette(routes=[Route(settings.metrics_endpoint, PrometheusEndpoint(settings).handle_metrics)])
        self._metrics_server = HttpServer(metrics, settings, settings.metrics_port)

    async def start(self, models_settings: Sequence[ModelSettings] = ()) -> None:
        """Serve until stopped. Raises ModelUnavailable, with all ports closed, if a model cannot be loaded."""
        tracing.start()
        raise_file_limit()
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
        """Drain: become unready, ask clients to close their connections, finish requests in progress, then end.

        A second call cancels the requests in progress.
        """
        if self._data_plane.draining:
            self._hurry.set()
            self._rest_server.cancel_requests()
            await self._grpc_server.stop(0)
            return
        self._data_plane.draining = True
        await self._pause()
        self._rest_server.stop()
        await asyncio.gather(self._rest_server.stopped.wait(), self._grpc_server.stop(Settings().drain_seconds))
        self._metrics_server.stop()

    async def _pause(self) -> None:
        """Go on answering while clients have connections, so that none sends a request into a closing connection.

        Answers carry `Connection: close`. The pause ends early when no client is left.
        """
        pause = Settings().drain_pause_seconds
        begin = time.monotonic()
        while not self._hurry.is_set() and time.monotonic() - begin < pause:
            if not self._rest_server.connections and self._grpc_server.last_call < time.monotonic() - pause:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), PAUSE_STEP_SECONDS)
