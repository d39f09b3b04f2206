"""The server, in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from reviews_parsing.errors import ServingError
from reviews_parsing.io.ports import require_free

if TYPE_CHECKING:
    from mlserver import Settings

# Those of models/reviews-parsing-ner-aspects/settings.json. Debug would log each request; a worker process would be a
# second copy of a model that already uses every core.
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

    The model is what `model_uri` means now (a folder, `models:/NAME@ALIAS`, `models:/NAME/3`, `runs:/ID`),
    by default REVIEWS_PARSING_MODEL_URI, else the champion. Requests under way are answered before it returns, but for
    those that take longer than REVIEWS_PARSING_DRAIN_SECONDS.
    Raises ServingError where a port is taken, or there is no such model or it is damaged.
    """
    require_free(host, {"--http-port": http_port, "--grpc-port": grpc_port, "--metrics-port": metrics_port})
    try:
        import mlserver
    except ModuleNotFoundError as error:
        raise ServingError(f"the server is not installed ({error}); pip install 'reviews-parsing[serve]'") from error
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
    from mlserver import MLServer
    from mlserver.repository import ModelRepositoryFactory

    models = await ModelRepositoryFactory.resolve_model_repository(settings).list()
    server = MLServer(settings)
    await server.start(models)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ModuleNotFoundError:  # where it does not exist: Windows
        return None
    return uvloop.new_event_loop
