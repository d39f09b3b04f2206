"""Model repository of MLServer (`settings.json` names it): the models to load, with their versions resolved."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from threading import Thread

from mlserver import ModelSettings
from mlserver.errors import ModelNotFound
from mlserver.logging import logger
from mlserver.repository import SchemalessModelRepository
from mlserver.settings import ModelParameters
from pydantic import ValidationError

from reviews_parsing.errors import NoSuchAlias, ReviewsParsingError, TrackingError
from reviews_parsing.registry.store import redacted, store_uri
from reviews_parsing.serving.model_registry import ModelUnavailable
from reviews_parsing.serving.model_resolution import resolve
from reviews_parsing.serving.model_server import ModelServer
from reviews_parsing.settings import MODEL_NAME, Settings

RUNTIME = "reviews_parsing.serving.runtime.AspectRuntime"
FIRST_DELAY_SECONDS, MAX_DELAY_SECONDS = 1.0, 30.0
"""Pauses between attempts to reach the registry: doubled each time, and shortened by chance."""

# `mlserver start` has no option for its server class. It reads settings.json, and so imports this module, first.
if command := sys.modules.get("mlserver.cli.main"):
    command.MLServer = ModelServer  # type: ignore[attr-defined]


class Repository(SchemalessModelRepository):  # type: ignore[misc]
    """The models under `root`, found as MLServer does; without a root, the one model at `model_uri`."""

    def __init__(self, root: str, model_uri: str | None = None) -> None:
        """Create a repository. Raises ModelUnavailable if a setting is invalid."""
        super().__init__(root)
        self._uri = model_uri
        _check_settings()

    async def list(self) -> Sequence[ModelSettings]:
        """Return each model with its current version, or the last known one if the registry cannot be reached.

        Without a last known version, it waits for the registry and for the download up to `Settings.start_seconds`.
        Raises ModelUnavailable if there is no version.
        """
        return await _await_resolution(await self._models())

    async def find(self, name: str) -> Sequence[ModelSettings]:
        """Return the models of this name, for a reload: never a last known version.

        Raises ModelNotFound, or ModelUnavailable if there is no version or the registry cannot be reached.
        """
        models = [model for model in await self._models() if model.name == name]
        if not models:
            raise ModelNotFound(name)
        return await _resolved(models, stale_ok=False)

    async def _models(self) -> Sequence[ModelSettings]:
        if self._root:
            return await super().list()  # type: ignore[no-any-return]
        return [ModelSettings(name=MODEL_NAME, implementation=RUNTIME, parameters=ModelParameters(uri=self._uri))]


async def _await_resolution(models: Sequence[ModelSettings]) -> Sequence[ModelSettings]:
    """Resolve the models, and repeat it while the registry is unreachable or has no such alias yet.

    The first failure is logged. Raises ModelUnavailable with the last one, or if a download has not ended, after
    `Settings.start_seconds`. Without that setting there is one attempt, which has no other limit than its own.
    """
    limit = Settings().start_seconds
    deadline, delay = time.monotonic() + limit, FIRST_DELAY_SECONDS
    try:
        async with asyncio.timeout(limit or None):
            while True:
                try:
                    return await _resolved(models, stale_ok=True)
                except ModelUnavailable as error:
                    can_wait = isinstance(error.__cause__, (TrackingError, NoSuchAlias))
                    if not can_wait or time.monotonic() + delay > deadline:
                        raise
                    if delay == FIRST_DELAY_SECONDS:
                        logger.warning("waiting up to %g seconds for the model: %s", limit, error)
                await asyncio.sleep(delay * random.uniform(0.5, 1))  # noqa: S311
                delay = min(2 * delay, MAX_DELAY_SECONDS)
    except TimeoutError:
        raise ModelUnavailable(
            f"the model was not fetched from {redacted(store_uri())} within {limit:g} seconds; check the network, or "
            "raise REVIEWS_PARSING_START_SECONDS (chart: startup.budgetSeconds)"
        ) from None


async def _resolved(models: Sequence[ModelSettings], stale_ok: bool) -> Sequence[ModelSettings]:
    for model in models:
        if model.implementation_ == RUNTIME:
            try:
                await _in_daemon_thread(partial(resolve, model, stale_ok=stale_ok))
            except ReviewsParsingError as error:
                raise ModelUnavailable(str(error)) from error
    return models


async def _in_daemon_thread(function: Callable[[], None]) -> None:
    """Run a function as `asyncio.to_thread` does, in a thread that does not delay the end of the process.

    A download has a time limit of its own, which may be later than that of the start.
    """
    outcome: Future[None] = Future()
    outcome.set_running_or_notify_cancel()

    def run() -> None:
        try:
            function()
        except BaseException as error:
            outcome.set_exception(error)
        else:
            outcome.set_result(None)

    Thread(target=run, daemon=True).start()
    await asyncio.wrap_future(outcome)


def _check_settings() -> None:
    """Raise ModelUnavailable with one line that names an invalid setting, without its value, which may be a secret."""
    try:
        Settings()
    except ValidationError as error:
        detail = error.errors()[0]
        name = str(detail["loc"][0])
        variable = f"REVIEWS_PARSING_{name.upper()}" if name in Settings.model_fields else name
        raise ModelUnavailable(f"{variable} is invalid: {detail['msg']}; change or unset it") from None
