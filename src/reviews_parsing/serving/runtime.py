"""The parser as an MLServer runtime."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path

import orjson
from mlserver import MLModel, ModelSettings
from mlserver.errors import MLServerError
from mlserver.types import (
    InferenceRequest,
    InferenceResponse,
    MetadataModelResponse,
    MetadataTensor,
    Parameters,
    ResponseOutput,
)

from reviews_parsing.cores import usable_cores
from reviews_parsing.errors import RequestRefused
from reviews_parsing.parser import AspectParser
from reviews_parsing.schema import ParsedReview
from reviews_parsing.serving import traces
from reviews_parsing.serving.failures import MESSAGE, log_failure
from reviews_parsing.serving.metrics import ModelMetrics, count_batch, phase
from reviews_parsing.serving.pin import pin
from reviews_parsing.serving.request import DATATYPE, INPUT, OUTPUT, Limits, ParseCall, read
from reviews_parsing.serving.traffic import watch
from reviews_parsing.serving.work import Work, return_free_memory
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
        parser = await asyncio.to_thread(AspectParser, Path(self.settings.parameters.uri), 1, ours.engine)
        await asyncio.to_thread(parser.parse, [WARM_UP])
        self._taxonomy = orjson.dumps(asdict(parser.taxonomy)).decode()
        self._limits = Limits(ours.max_texts, ours.max_characters)
        self._traffic = await asyncio.to_thread(watch, parser, Path(self.settings.parameters.uri), self.version, ours)
        self._work = Work(parser, threads, ours.max_wait, count_batch, self._traffic.observe)
        self._metrics = ModelMetrics(self.version, parser.config.precision, lambda: self._work.waiting)
        await asyncio.to_thread(return_free_memory)
        return True

    async def metadata(self) -> MetadataModelResponse:
        """With the model's categories and polarities, once it is loaded."""
        form = await super().metadata()
        if self.ready:
            # The protocol's parameters are strings, numbers and booleans.
            form.parameters = Parameters(taxonomy=self._taxonomy)
        return form

    def admit(self) -> None:
        """Raises MLServerError (503) where a request could not begin soon."""
        try:
            self._work.admit()
        except RequestRefused as refused:
            raise MLServerError(str(refused), refused.status) from None

    async def unload(self) -> bool:
        """What waits is still answered."""
        self._work.close()
        self._metrics.retire()
        await asyncio.to_thread(self._traffic.close)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """The answer to a V2 request. Raises MLServerError with the status that both doors answer."""
        traces.model(self.name, self.version)
        try:
            with phase("decode-input"), traces.phase("decode-input"):
                call = read(payload, self._limits)
            reviews = await self._parse(call)
        except RequestRefused as refused:
            raise MLServerError(str(refused), refused.status) from None
        with phase("encode-output"), traces.phase("encode-output"):
            predictions = [orjson.dumps(review.to_json()) for review in reviews]
        output = ResponseOutput(name=OUTPUT, datatype=DATATYPE, shape=[len(predictions)], data=predictions)
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=[output])

    async def _parse(self, call: ParseCall) -> list[ParsedReview]:
        try:
            parts = await self._work.run(call.texts)
        except RequestRefused:
            raise
        except Exception as error:
            log_failure(error)
            raise RequestRefused(MESSAGE, INTERNAL_ERROR) from None
        traces.batches(parts)
        reviews = [review.only(call.min_score, call.spans_only) for part in parts for review in part.reviews]
        self._metrics.count(parts, reviews)
        return reviews
