"""What both doors ask of the models. MLServer's own counts whatever name is asked for, known or not, as a metric that
it keeps for ever; calls itself ready without a model; and takes a model that is still loading for the client's mistake.
"""

from __future__ import annotations

from mlserver.errors import MLServerError
from mlserver.handlers import DataPlane
from mlserver.types import InferenceRequest, InferenceResponse

from reviews_parsing.serving.work import OVERLOADED


class Plane(DataPlane):  # type: ignore[misc]
    """MLServer's, with these three mended."""

    draining = False

    async def ready(self) -> bool:
        """Whether there is a model, each is ready, and the server is not about to end."""
        models = list(await self._model_registry.get_models())
        return bool(models) and all(model.ready for model in models) and not self.draining

    async def infer(self, payload: InferenceRequest, name: str, version: str | None = None) -> InferenceResponse:
        """Raises MLServerError: 404 where there is no such model, 503 while it loads, and whatever the model raises."""
        if not await self.model_ready(name, version):
            raise MLServerError("the model is not ready; try again later", OVERLOADED)
        return await super().infer(payload, name, version)
