"""MLServer composed with this project's registry, data plane and endpoints, and its graceful shutdown."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from socket import socket

from mlserver import MLServer, ModelSettings
from mlserver.metrics.prometheus import PrometheusEndpoint
from starlette.applications import Starlette
from starlette.routing import Route

from reviews_parsing.errors import ServingError
from reviews_parsing.serving import tracing
from reviews_parsing.serving.endpoints import ManagementApp, RestApp
from reviews_parsing.serving.grpc_endpoints import GrpcServer
from reviews_parsing.serving.http_server import HttpServer, raise_file_limit
from reviews_parsing.serving.limits import ByteBudget
from reviews_parsing.serving.local_socket import local_socket
from reviews_parsing.serving.model_registry import DataPlane, ModelRegistry, ModelUnavailable, RepositoryHandlers
from reviews_parsing.serving.pace import RefusalPace
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
        limits = Settings()
        # Half of the connections remain for others.
        self._pace = RefusalPace(limits.refusals_per_second, limits.max_connections // 2)
        budget = ByteBudget(limits.max_bytes_in_flight)
        handlers = (self._data_plane, self._model_repository_handlers, budget, self._pace)
        self._rest_server = HttpServer(RestApp(*handlers), settings, self._pace, settings.http_port)
        self._grpc_server = GrpcServer(settings, *handlers)
        metrics = Starlette(routes=[Route(settings.metrics_endpoint, PrometheusEndpoint(settings).handle_metrics)])
        self._metrics_server = HttpServer(metrics, settings, self._pace, settings.metrics_port)
        # Created at the start, if REVIEWS_PARSING_MODEL_CONTROL names a socket.
        self._management_server: HttpServer | None = None
        self._management = ManagementApp(*handlers)

    async def start(self, models_settings: Sequence[ModelSettings] = ()) -> None:
        """Serve until stopped.

        Raises ModelUnavailable, with all ports closed, if a model cannot be loaded or the local socket not be used.
        """
        tracing.start()
        raise_file_limit()
        path = Settings().control_socket
        with ExitStack() as stack:
            try:
                listener = stack.enter_context(local_socket(path)) if path else None
            except ServingError as error:
                raise ModelUnavailable(str(error)) from error
            await self._serve(models_settings, listener)

    async def _serve(self, models_settings: Sequence[ModelSettings], listener: socket | None) -> None:
        starts = [self._rest_server.start(), self._grpc_server.start(), self._metrics_server.start()]
        if listener:
            self._management_server = HttpServer(self._management, self._settings, self._pace, listener=listener)
            starts.append(self._management_server.start())
        serving = asyncio.gather(*starts)
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
        self._pace.close()
        await self._pause()
        self._rest_server.stop()
        await asyncio.gather(self._rest_server.stopped.wait(), self._grpc_server.stop(Settings().drain_seconds))
        self._metrics_server.stop()
        if self._management_server:
            self._management_server.stop()

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
