"""The parser as an MLServer runtime."""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from functools import partial
from pathlib import Path

from mlserver import MLModel, ModelSettings
from mlserver.errors import MLServerError
from mlserver.types import InferenceRequest, InferenceResponse, MetadataTensor, ResponseOutput

from reviews_parsing.errors import RequestRefused
from reviews_parsing.parser import AspectParser, usable_cores
from reviews_parsing.serving.metrics import Metrics
from reviews_parsing.serving.pin import pin
from reviews_parsing.serving.request import DATATYPE, INPUT, OUTPUT, ParseCall, read
from reviews_parsing.serving.work import Work
from reviews_parsing.settings import Settings

PLATFORM = "onnxruntime_onnx"
INTERNAL_ERROR = 500


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
        """Raises ModelError where the model is damaged."""
        ours = Settings()
        threads = ours.threads or usable_cores()
        self._parser = await asyncio.to_thread(AspectParser, Path(self.settings.parameters.uri), threads)
        self._max_characters = ours.max_characters
        self._work = Work(threads, ours.max_waiting)
        self._metrics = Metrics(self.version)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """The answer to a V2 request. Raises MLServerError with the status that both doors answer."""
        try:
            call = read(payload, self._max_characters)
            predictions = await self._work.run(partial(self._parse, call))
        except RequestRefused as refused:
            raise MLServerError(str(refused), refused.status) from None
        output = ResponseOutput(name=OUTPUT, datatype=DATATYPE, shape=[len(predictions)], data=predictions)
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=[output])

    def _parse(self, call: ParseCall) -> list[bytes]:
        try:
            with self._metrics.time():
                parsed = self._parser.parse(call.texts, call.min_score)
        except Exception as error:
            # Where, not what: a message may quote the text.
            where = "".join(traceback.format_tb(error.__traceback__))
            logging.getLogger("mlserver").error("a request failed with %s\n%s", type(error).__name__, where)
            raise RequestRefused("the server failed at this request; its log says where", INTERNAL_ERROR) from None
        self._metrics.count(parsed)
        return [json.dumps(review.to_json(), ensure_ascii=False).encode() for review in parsed]
