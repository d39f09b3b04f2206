"""`serve`: run the server in this process. MLServer is imported when it starts."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from reviews_parsing.io.ports import require_free

if TYPE_CHECKING:
    from mlserver import Settings

# The same as models/reviews-parsing-ner-aspects/settings.json. Debug logs every request; a worker process would hold
# a second copy of a model that already uses every core.
SETTINGS: dict[str, Any] = {
    "debug": False,
    "parallel_workers": 0,
    "model_repository_implementation": "reviews_parsing.serving.repository.Repository",
    "server_name": "reviews-parsing",
    "extensions": ["binary_tensor_data"],
}


def serve(
    http_port: int = 8080,
    grpc_port: int = 8081,
    metrics_port: int = 8082,
    host: str = "127.0.0.1",
    model_uri: str | None = None,
) -> None:
    """Serve a model over V2 REST and gRPC, with Prometheus metrics, until SIGINT or SIGTERM.

    `model_uri` is a folder, `models:/NAME@ALIAS`, `models:/NAME/3` or `runs:/ID`, resolved once; the default is
    REVIEWS_PARSING_MODEL_URI, else the champion. Returns after the requests in progress are answered, but no later
    than REVIEWS_PARSING_DRAIN_SECONDS, and ends the process at SIGTERM before the model is fetched.
    Raises ServingError if a port is taken, or the model does not exist or is damaged.
    """
    require_free(host, {"--http-port": http_port, "--grpc-port": grpc_port, "--metrics-port": metrics_port})
    # NumPy's products here are small: the other threads of its BLAS would only spin. It reads this when it is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    import mlserver

    settings = mlserver.Settings(
        **SETTINGS,
        model_repository_root="",
        model_repository_implementation_args={"model_uri": model_uri},
        host=host,
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
    )
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    from mlserver.repository import ModelRepositoryFactory

    from reviews_parsing.serving.model_server import ModelServer

    with suppress(NotImplementedError):  # on Windows
        # Until the server's own handler replaces it. Nothing is served yet, and a download in a thread would go on.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, os._exit, 0)
    models = await ModelRepositoryFactory.resolve_model_repository(settings).list()
    await ModelServer(settings).start(models)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ModuleNotFoundError:  # not on Windows
        return None
    return uvloop.new_event_loop
