"""The parser as an MLServer runtime."""

from __future__ import annotations

import asyncio
import logging
import traceback
from pathlib import Path

import orjson
from mlserver import MLModel, ModelSettings
from mlserver.errors import MLServerError
from mlserver.types import InferenceRequest, InferenceResponse, MetadataTensor, ResponseOutput

from reviews_parsing.encoder import usable_cores
from reviews_parsing.errors import RequestRefused
from reviews_parsing.parser import AspectParser
from reviews_parsing.schema import ParsedReview
from reviews_parsing.serving.metrics import Metrics
from reviews_parsing.serving.pin import pin
from reviews_parsing.serving.request import DATATYPE, INPUT, OUTPUT, ParseCall, read
from reviews_parsing.serving.work import Work
from reviews_parsing.settings import Settings

PLATFORM = "onnxruntime_onnx"
INTERNAL_ERROR = 500
WARM_UP = "The soup was warm and the waiter was not."


class AspectRuntime(MLModel):  # type: ignore[misc]
    """Texts in, the JSON array of each text's aspects out. Serves the version that its URI meant when it was made."""

    def __init__(self, settings: ModelSettings) -> None:
        """Raises ModelError or TrackingError where there is no such model."""
        # MLServer registers a model under its version before it calls `load`.
        pin(settings)
        settings.platform = PLATFORM
        settings.versions = [settings.version]
        settings.inputs = [MetadataTensor(name=INPUT, datatype=DATATYPE, shape=[-1])]
        settings.outputs = [MetadataTensor(name=OUTPUT, datatype=DATATYPE, shape=[-1])]
        super().__init__(settings)

    async def load(self) -> bool:
        """Ready once the model has answered. Raises ModelError where it is damaged."""
        ours = Settings()
        threads = ours.threads or usable_cores()
        # Each of the workers parses a batch of its own, in its own thread.
        parser = await asyncio.to_thread(AspectParser, Path(self.settings.parameters.uri), 1)
        await asyncio.to_thread(parser.parse, [WARM_UP])
        self._max_characters = ours.max_characters
        self._work = Work(parser, threads, ours.max_waiting)
        self._metrics = Metrics(self.version)
        return True

    async def unload(self) -> bool:
        """What waits is still answered."""
        self._work.close()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """The answer to a V2 request. Raises MLServerError with the status that both doors answer."""
        try:
            call = read(payload, self._max_characters)
            reviews = await self._parse(call)
        except RequestRefused as refused:
            raise MLServerError(str(refused), refused.status) from None
        predictions = [orjson.dumps(review.to_json()) for review in reviews]
        output = ResponseOutput(name=OUTPUT, datatype=DATATYPE, shape=[len(predictions)], data=predictions)
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=[output])

    async def _parse(self, call: ParseCall) -> list[ParsedReview]:
        try:
            with self._metrics.time():
                parts = await self._work.run(call.texts)
        except RequestRefused:
            raise
        except Exception as error:
            # Where, not what: a message may quote the text.
            where = "".join(traceback.format_tb(error.__traceback__))
            logging.getLogger("mlserver").error("a request failed with %s\n%s", type(error).__name__, where)
            raise RequestRefused("the server failed at this request; its log says where", INTERNAL_ERROR) from None
        reviews = [review.above(call.min_score) for part in parts for review in part.reviews]
        self._metrics.count(reviews)
        return reviews
