"""What MLServer is told to load; with it come the doors of this project (`settings.json` names this class)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from click import ClickException
from mlserver import ModelSettings
from mlserver.errors import MLServerError, ModelNotFound
from mlserver.repository import SchemalessModelRepository
from mlserver.settings import ModelParameters

from reviews_parsing.errors import ReviewsParsingError, ServingError
from reviews_parsing.serving import doors
from reviews_parsing.serving.pin import pin
from reviews_parsing.settings import MODEL_NAME

RUNTIME = "reviews_parsing.serving.runtime.AspectRuntime"
UNAVAILABLE = 503


class ModelUnavailable(ServingError, MLServerError, ClickException):  # type: ignore[misc]
    """There is no model to serve: one line on `reviews-parsing serve` and `mlserver start`, 503 on a reload."""

    def __init__(self, message: str) -> None:
        MLServerError.__init__(self, message, UNAVAILABLE)
        ClickException.__init__(self, message)


class Repository(SchemalessModelRepository):  # type: ignore[misc]
    """The models under `root`, as MLServer's own repository finds them; without a root the one at `model_uri`."""

    def __init__(self, root: str, model_uri: str | None = None) -> None:
        super().__init__(root)
        self._uri = model_uri
        doors.mend()

    async def list(self) -> Sequence[ModelSettings]:
        """Each with its version resolved anew, or as it was last where the registry cannot be reached.

        Raises ModelUnavailable where there is none.
        """
        return await _pinned(await self._models(), stale_ok=True)

    async def find(self, name: str) -> Sequence[ModelSettings]:
        """Those of this name, for a reload: who asks for what there is now is not given what there was.

        Raises ModelNotFound, or ModelUnavailable where there is no version or the registry cannot be reached.
        """
        models = [model for model in await self._models() if model.name == name]
        if not models:
            raise ModelNotFound(name)
        return await _pinned(models, stale_ok=False)

    async def _models(self) -> Sequence[ModelSettings]:
        if self._root:
            return await super().list()  # type: ignore[no-any-return]
        return [ModelSettings(name=MODEL_NAME, implementation=RUNTIME, parameters=ModelParameters(uri=self._uri))]


async def _pinned(models: Sequence[ModelSettings], stale_ok: bool) -> Sequence[ModelSettings]:
    for model in models:
        if model.implementation_ == RUNTIME:
            try:
                await asyncio.to_thread(pin, model, stale_ok=stale_ok)
            except ReviewsParsingError as error:
                raise ModelUnavailable(str(error)) from error
    return models
