"""What both doors ask of the models. MLServer's own counts whatever name is asked for, known or not, as a metric that
it keeps for ever; calls itself ready without a model; and takes a model that is still loading for the client's mistake.
"""

from __future__ import annotations

from mlserver import MLModel
from mlserver.errors import MLServerError
from mlserver.handlers import DataPlane
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import generate_uuid

from reviews_parsing.serving.work import OVERLOADED


class Plane(DataPlane):  # type: ignore[misc]
    """MLServer's, with these three mended, and without its middleware and counting, which cost as much as the rest."""

    draining = False

    async def ready(self) -> bool:
        """Whether there is a model, each is ready, and the server is not about to end."""
        models = list(await self._model_registry.get_models())
        return bool(models) and all(model.ready for model in models) and not self.draining

    async def admit(self, name: str, version: str | None = None) -> MLModel:
        """The model. Raises MLServerError: 404 where there is none, 503 while it loads or has too much to do."""
        model = await self._model_registry.get_model(name, version)
        if not model.ready:
            raise MLServerError("the model is not ready; try again later", OVERLOADED)
        model.admit()
        return model

    async def infer(self, payload: InferenceRequest, name: str, version: str | None = None) -> InferenceResponse:
        """Raises what `admit` raises, and whatever the model raises."""
        model = await self.admit(name, version)
        response = await model.predict(payload)
        response.id = generate_uuid() if payload.id is None else payload.id
        return response
