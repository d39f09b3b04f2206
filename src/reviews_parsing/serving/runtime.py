"""The parser as an MLServer runtime."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict
from functools import partial
from http import HTTPStatus
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
from reviews_parsing.encoder import Logits
from reviews_parsing.errors import RequestRefused
from reviews_parsing.parser import AspectParser, Prepared
from reviews_parsing.schema import ParsedReview
from reviews_parsing.serving import tracing
from reviews_parsing.serving.clients import current_client
from reviews_parsing.serving.comparison import VersionComparison
from reviews_parsing.serving.limits import limit_log
from reviews_parsing.serving.memory import freeze_objects, map_large_blocks, return_free_memory
from reviews_parsing.serving.metrics import ModelMetrics, count_batch, count_displaced, phase
from reviews_parsing.serving.model_resolution import resolve
from reviews_parsing.serving.protocol import (
    DATATYPE,
    INPUT,
    INTERNAL_ERROR,
    LANGUAGES,
    OUTPUT,
    ParseRequest,
    RequestLimits,
    check_answer_size,
    log_failure,
    read_request,
)
from reviews_parsing.serving.queue import ParsedPart, ParseQueue
from reviews_parsing.serving.traffic import Traffic, watch
from reviews_parsing.settings import Settings

PLATFORM = "onnxruntime_onnx"
# JSON of an aspect with the shortest names and numbers.
MIN_ASPECT_BYTES = 90
WARM_UP = "The soup was warm and the waiter was not."


class AspectRuntime(MLModel):  # type: ignore[misc]
    """Runtime of MLServer that parses texts into JSON arrays of aspects; its version is resolved at creation."""

    _comparison: VersionComparison | None = None

    def __init__(self, settings: ModelSettings) -> None:
        """Create a runtime. Raises ModelError or TrackingError if the model does not exist."""
        # MLServer registers a model under its version before it calls `load`.
        resolve(settings)
        settings.platform = PLATFORM
        settings.versions = [settings.version]
        settings.inputs = [MetadataTensor(name=INPUT, datatype=DATATYPE, shape=[-1])]
        settings.outputs = [MetadataTensor(name=OUTPUT, datatype=DATATYPE, shape=[-1])]
        super().__init__(settings)

    async def load(self) -> bool:
        """Load the model and let it answer once. Raises ModelError if it is damaged."""
        settings, folder = Settings(), Path(self.settings.parameters.uri)
        map_large_blocks()
        threads = settings.threads or usable_cores()
        parser = await asyncio.to_thread(AspectParser, folder, threads, settings.engine)
        await asyncio.to_thread(parser.parse, [WARM_UP])
        self._taxonomy = orjson.dumps(asdict(parser.taxonomy)).decode()
        self._limits = RequestLimits(settings.max_texts, settings.max_characters)
        self._traffic = await asyncio.to_thread(watch, parser, folder, self.version, settings)
        if settings.comparison:
            self._comparison = VersionComparison(settings.comparison, self.version, lambda: self.is_busy)
        # Without a reference to the runtime: a cycle would keep the model in memory after the version is unloaded.
        observe = partial(_observe, self._traffic, self._comparison)
        self._queue = ParseQueue(parser, threads, settings.max_wait, count_batch, observe, on_shed=_record_shed)
        self._metrics = ModelMetrics(self.version, parser.config.precision, lambda: self._queue.waiting)
        freeze_objects()
        await asyncio.to_thread(return_free_memory)
        return True

    async def metadata(self) -> MetadataModelResponse:
        """Return the metadata, with the model's taxonomy once it is loaded."""
        metadata = await super().metadata()
        if self.ready:
            # Parameters of the protocol are strings, numbers and booleans.
            metadata.parameters = Parameters(taxonomy=self._taxonomy)
        return metadata

    def admit(self) -> None:
        """Raise MLServerError (503) if a request would wait too long."""
        try:
            self._queue.admit(current_client())
        except RequestRefused as refused:
            raise MLServerError(str(refused), refused.status) from None

    @property
    def is_busy(self) -> bool:
        """True if requests wait."""
        return self._queue.waiting > 0

    @property
    def alive(self) -> bool:
        """True if the model is loading, or all its worker threads are alive."""
        return not self.ready or self._queue.alive

    async def unload(self) -> bool:
        """Accept no more requests; those in the queue are still answered."""
        self._queue.close()
        self._metrics.retire()
        await asyncio.to_thread(self._traffic.close)
        if self._comparison:
            await asyncio.to_thread(self._comparison.close)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Return the response to a V2 request. Raises MLServerError with the HTTP status of the answer."""
        tracing.set_model(self.name, self.version)
        try:
            with phase("decode-input"), tracing.phase("decode-input"):
                request = read_request(payload, self._limits)
            reviews = await self._parse(request)
            with phase("encode-output"), tracing.phase("encode-output"):
                predictions = [orjson.dumps(review.to_json()) for review in reviews]
                parameters = self._languages(reviews) if request.languages else None
            size = sum(map(len, predictions)) + (len(parameters[LANGUAGES]) if parameters else 0)
            check_answer_size(size, request.max_answer_bytes)
        except RequestRefused as refused:
            raise MLServerError(str(refused), refused.status) from None
        output = ResponseOutput(name=OUTPUT, datatype=DATATYPE, shape=[len(predictions)], data=predictions)
        response = InferenceResponse(model_name=self.name, model_version=self.version, outputs=[output])
        if parameters:
            response.parameters = Parameters(**parameters)
        return response

    @staticmethod
    def _languages(reviews: Sequence[ParsedReview]) -> dict[str, str]:
        """Return the response parameter of the languages: JSON, because a parameter cannot be a list."""
        languages = [{"language": review.language, "foreign": review.foreign} for review in reviews]
        return {LANGUAGES: orjson.dumps(languages).decode()}

    async def _parse(self, request: ParseRequest) -> list[ParsedReview]:
        parts: list[ParsedPart] = []
        reviews: list[ParsedReview] = []
        aspects = 0
        try:
            async with aclosing(self._queue.stream(request.texts, current_client())) as stream:
                async for part in stream:
                    parts.append(part)
                    reviews += [review.only(request.min_score, request.spans_only) for review in part.reviews]
                    # Stop as soon as the answer is certainly too large, without the rest of the work.
                    aspects += sum(len(review.aspects) for review in reviews[-len(part.reviews) :])
                    check_answer_size(aspects * MIN_ASPECT_BYTES, request.max_answer_bytes)
        except RequestRefused:
            raise
        except Exception as error:
            log_failure(error)
            raise RequestRefused(INTERNAL_ERROR, HTTPStatus.INTERNAL_SERVER_ERROR) from None
        tracing.record_batches(parts)
        self._metrics.count(parts, reviews)
        return reviews


def _observe(
    traffic: Traffic,
    comparison: VersionComparison | None,
    prepared: Prepared,
    logits: Logits,
    reviews: list[ParsedReview],
) -> None:
    """Take a batch whose requests are answered."""
    traffic.observe(prepared, logits, reviews)
    if comparison:
        comparison.observe(prepared.texts, reviews)


def _record_shed(displaced: bool) -> None:
    """Count and log a request that was shed, without its client."""
    limit_log.record("max_wait")
    if displaced:
        count_displaced()
