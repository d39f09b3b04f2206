"""Loaded models: their versions, one change at a time, and the data plane that both endpoints use.

MLServer's own registry sends requests to a version that is still loading and loses the model when two reloads
overlap. Its data plane is ready without a model, answers 400 while a model loads, and counts every requested name as a
metric label that is never removed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from click import ClickException
from mlserver import MLModel, ModelSettings
from mlserver.errors import MLServerError
from mlserver.handlers import DataPlane as MLServerDataPlane
from mlserver.handlers import ModelRepositoryHandlers
from mlserver.logging import logger
from mlserver.registry import MultiModelRegistry, SingleModelRegistry
from mlserver.settings import Settings as ServerSettings
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import generate_uuid

from reviews_parsing.errors import ServingError
from reviews_parsing.io.filesystems import first_line


class ModelUnavailable(ServingError, MLServerError, ClickException):  # type: ignore[misc]
    """No model can be served: one line by `reviews-parsing serve` and `mlserver start`, 503 to a reload."""

    def __init__(self, message: str) -> None:
        MLServerError.__init__(self, message, HTTPStatus.SERVICE_UNAVAILABLE)
        ClickException.__init__(self, message)


class ModelRegistry(MultiModelRegistry):  # type: ignore[misc]
    """Registry of models, each with its versions."""

    async def load(self, model_settings: ModelSettings) -> MLModel:
        """Load a version. Raises ModelUnavailable."""
        name = model_settings.name
        versions = self._models.setdefault(name, VersionRegistry(model_settings))
        return await versions.load(model_settings)


class VersionRegistry(SingleModelRegistry):  # type: ignore[misc]
    """Versions of one model. A new version takes over after its first answer; if it fails, nothing changes."""

    async def load(self, model_settings: ModelSettings) -> MLModel:
        """Load a version and make it the default. Raises ModelUnavailable with a one-line reason."""
        try:
            return await super().load(model_settings)
        except MLServerError:
            raise
        except Exception as error:
            raise ModelUnavailable(f"{model_settings.name} cannot be served: {first_line(error)}") from error

    async def _load_model(self, model: MLModel) -> None:
        """Load a version that is not registered; MLServer replaces a registered one itself."""
        is_first = self.default is None
        if is_first:
            # Requests get "not ready" while it loads, not "not found".
            self._register(model)
        try:
            model.ready = await model.load()
        except BaseException:
            if is_first:
                self._versions.clear()
                self._clear_default()
            raise
        self._register(model)
        # The default is the latest load, not the highest number: a rollback loads an older version.
        self._default = model
        logger.info("version %s of %s is served", model.version, model.name)


class RepositoryHandlers(ModelRepositoryHandlers):  # type: ignore[misc]
    """Management of models, serialised: overlapping reloads would each retire the version that the other loaded."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._lock = asyncio.Lock()

    async def load_initial(self, models: Sequence[ModelSettings]) -> None:
        """Load the first versions. Raises ModelUnavailable."""
        async with self._lock:
            for settings in models:
                await self._model_registry.load(settings)

    async def load(self, name: str) -> bool:
        """Resolve the model again and load that version."""
        async with self._lock:
            return bool(await super().load(name))

    async def unload(self, name: str) -> bool:
        """Unload all versions of the model."""
        async with self._lock:
            return bool(await super().unload(name))


class DataPlane(MLServerDataPlane):  # type: ignore[misc]
    """Requests to loaded models, without MLServer's middleware and counters, which cost as much as the rest."""

    def __init__(self, settings: ServerSettings, model_registry: ModelRegistry) -> None:
        # Not super().__init__(): MLServer has made one already, and its counters can be registered only once.
        self._settings = settings
        self._model_registry = model_registry
        self.draining = False

    async def live(self) -> bool:
        """Return False if a model has lost its worker threads, which only a restart brings back."""
        return all(getattr(model, "alive", True) for model in await self._model_registry.get_models())

    async def ready(self) -> bool:
        """Return whether there is a model, every model is ready, and the server is not draining."""
        models = list(await self._model_registry.get_models())
        return bool(models) and all(model.ready for model in models) and not self.draining

    async def admit(self, name: str, version: str | None = None) -> MLModel:
        """Return the model. Raises MLServerError: 404 if unknown, 503 while it loads or is overloaded."""
        model = await self._model_registry.get_model(name, version)
        if not model.ready:
            raise MLServerError("the model is not ready; try again later", HTTPStatus.SERVICE_UNAVAILABLE)
        model.admit()
        return model

    async def infer(self, payload: InferenceRequest, name: str, version: str | None = None) -> InferenceResponse:
        """Return the model's response. Raises the errors of `admit` and of the model."""
        model = await self.admit(name, version)
        response = await model.predict(payload)
        response.id = generate_uuid() if payload.id is None else payload.id
        return response
