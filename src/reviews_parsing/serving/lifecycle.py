"""How the server begins and ends, and how one version of a model follows another.

MLServer's own begins with a traceback where a model is damaged, and ends without an error then; sends new requests to a
version that is still loading, and to none where two reloads meet; and closes one door after the other, so that REST
takes requests for as long as gRPC has some.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from mlserver import MLModel, MLServer, ModelSettings
from mlserver.errors import MLServerError
from mlserver.handlers import ModelRepositoryHandlers
from mlserver.logging import logger
from mlserver.registry import SingleModelRegistry
from mlserver.rest import RESTServer

from reviews_parsing.serving.repository import ModelUnavailable
from reviews_parsing.settings import Settings


class Versions(SingleModelRegistry):  # type: ignore[misc]
    """The versions of a model. A new one takes over once it has answered; if it cannot, nothing has changed."""

    async def load(self, model_settings: ModelSettings) -> MLModel:
        """Raises ModelUnavailable, a line that says why."""
        try:
            return await super().load(model_settings)
        except MLServerError:
            raise
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelUnavailable(f"{model_settings.name} cannot be served: {reason}") from error

    async def _load_model(self, model: MLModel) -> None:
        """Called for a version that is not there yet; one that is is replaced by a copy, which MLServer does well."""
        first = self.default is None
        if first:
            # While it loads, a request is told that the model is not ready, rather than that there is none.
            self._register(model)
        try:
            for callback in self._on_model_load:
                model = await callback(model)
            model.ready = await model.load()
        except BaseException:
            if first:
                self._versions.clear()
                self._clear_default()
            raise
        self._register(model)
        # By number it may be the older one: the champion was rolled back.
        self._default = model
        logger.info("version %s of %s is served", model.version, model.name)


class Handlers(ModelRepositoryHandlers):  # type: ignore[misc]
    """One change of the models at a time: of two that meet, each would retire what the other has loaded."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._turn = asyncio.Lock()

    async def begin(self, models: Sequence[ModelSettings]) -> None:
        """Load the first versions. Raises ModelUnavailable."""
        async with self._turn:
            for settings in models:
                await self._model_registry.load(settings)

    async def load(self, name: str) -> bool:
        async with self._turn:
            return bool(await super().load(name))

    async def unload(self, name: str) -> bool:
        async with self._turn:
            return bool(await super().unload(name))


class Rest(RESTServer):  # type: ignore[misc]
    """Waits for requests under way, but not for ever: a client may never send the rest of one."""

    def _get_config(self) -> Any:
        config = super()._get_config()
        config.timeout_graceful_shutdown = Settings().drain_seconds
        return config


async def start(server: MLServer, models_settings: Sequence[ModelSettings] = ()) -> None:
    """Serve until stopped. Raises ModelUnavailable, with the doors closed, where a model cannot be loaded."""
    open_doors = asyncio.gather(*(door.start() for door in _doors(server)))
    try:
        await asyncio.sleep(0)
        await server._model_repository_handlers.begin(models_settings)
    except BaseException:
        await server.stop()
        raise
    finally:
        await open_doors


async def stop(server: MLServer, sig: int | None = None) -> None:
    """Take no new requests, answer those under way, then end. Called again, it tells those to ask somebody else."""
    plane, rest, grpc = server._data_plane, server._rest_server, server._grpc_server
    if plane.draining:
        for request in rest._server.server_state.tasks:
            request.cancel()
        await grpc._server.stop(0)
        return
    plane.draining = True
    await asyncio.gather(rest.stop(sig), grpc._server.stop(Settings().drain_seconds))
    for part in (server._inference_pool_registry, server._kafka_server, server._metrics_server):
        if part:
            await (part.close() if part is server._inference_pool_registry else part.stop())


def _doors(server: MLServer) -> Iterator[Any]:
    doors = (server._rest_server, server._grpc_server, server._metrics_server, server._kafka_server)
    return (door for door in doors if door)
