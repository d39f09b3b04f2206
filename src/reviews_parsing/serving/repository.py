"""What MLServer is told to load; with it come the doors of this project (`settings.json` names this class)."""

from __future__ import annotations

import asyncio

from click import ClickException
from mlserver import ModelSettings
from mlserver.errors import MLServerError
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

    async def list(self) -> list[ModelSettings]:
        """Each with its version resolved anew. Raises ModelUnavailable where there is none."""
        if self._root:
            models = await super().list()
        else:
            parameters = ModelParameters(uri=self._uri)
            models = [ModelSettings(name=MODEL_NAME, implementation=RUNTIME, parameters=parameters)]
        for model in models:
            if model.implementation_ == RUNTIME:
                try:
                    await asyncio.to_thread(pin, model)
                except ReviewsParsingError as error:
                    raise ModelUnavailable(str(error)) from error
        return list(models)
