"""The page as an ASGI application, and its server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from reviews_parsing.errors import InferenceError, ServingError
from reviews_parsing.io.ports import require_free
from reviews_parsing.serving.api_docs import swagger_ui_folder
from reviews_parsing.settings import Settings

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

GRACE_SECONDS = 3
"""Time that open requests have to end at shutdown."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(
    host: str,
    port: int,
    server: str | None,
    compare: str | None,
    ready: Callable[[str], None] = lambda _: None,
    *,
    hosts: Sequence[str] = (),
    queue: Path | None = None,
) -> None:
    """Serve the page until Ctrl-C; `ready` is called with its address.

    `server` and `compare` are URLs of V2 servers; the default is in the settings. `hosts` are further host names of the
    page, `queue` is a file of reviews to label. Raises ServingError if the port is taken or the page is not installed,
    DataError if the queue cannot be read.
    """
    options = {"server_url": server, "compare_url": compare}
    settings = Settings().model_copy(update={name: url for name, url in options.items() if url})
    require_free(host, {"--port": port})
    # Uploads and corrections are readable by their owner only.
    os.umask(0o077)
    try:
        import uvicorn

        from reviews_parsing.serving.connections import BoundedProtocol
        from reviews_parsing.serving.pace import RefusalPace

        app = create_app(settings, host, hosts)
    except ImportError as error:
        raise ServingError(f"the page is not installed ({error}): pip install 'reviews-parsing[demo]'") from None
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        ws="none",
        http=BoundedProtocol,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )

    async def run() -> None:
        if queue is not None:
            app.state.api.queue_id = await app.state.jobs.import_queue(queue)
        ready(f"http://{host}:{port}")
        server = uvicorn.Server(config)
        pace = RefusalPace(settings.refusals_per_second, settings.max_connections // 2)
        server.server_state.pace = pace  # type: ignore[attr-defined]
        await server.serve()

    with suppress(KeyboardInterrupt):
        asyncio.run(run())


def create_app(settings: Settings, host: str = "127.0.0.1", hosts: Sequence[str] = ()) -> Starlette:
    """Return the page over the servers in the settings; arguments as for `serve`."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import FileResponse, JSONResponse
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

    from reviews_parsing.corrections import CorrectionStore
    from reviews_parsing.demo.api import Api
    from reviews_parsing.demo.jobs import JobStore
    from reviews_parsing.demo.security import Guard, RateLimiter, list_hosts

    static = Path(str(files(__package__) / "static"))
    store = CorrectionStore(settings.home / "corrections.db")
    jobs = JobStore(settings, store)
    api = Api(settings, store, jobs)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with jobs.running():
            yield
        api.close()

    def show_page(name: str) -> Callable[[Request], Response]:
        return lambda _: FileResponse(static / name, headers={"Cache-Control": "no-cache"})

    def show_openapi(_: Request) -> Response:
        try:
            return JSONResponse(api.client.get_json("/v2/docs/dataplane.json"))
        except InferenceError as error:
            return JSONResponse({"error": str(error)}, 503)

    pages = ("/", "/files", "/files/{id}", "/label", "/label/{id}")
    routes = [
        *api.routes(),
        *(Route(path, show_page("index.html")) for path in pages),
        Route("/v2/docs", show_page("docs.html")),
        Route("/v2/docs/dataplane.json", show_openapi),
        Route("/healthz", lambda _: JSONResponse({"ready": True})),
        Mount("/static/swagger-ui", StaticFiles(directory=swagger_ui_folder())),
        Mount("/static", StaticFiles(directory=static)),
    ]
    guard = Middleware(
        Guard,
        hosts=list_hosts(host, [*settings.page_hosts.split(","), *hosts]),
        any_address=host not in LOOPBACK,
        limiter=RateLimiter(settings.page_requests_per_minute),
    )
    app = Starlette(routes=routes, middleware=[guard], lifespan=lifespan)
    app.state.api, app.state.jobs = api, jobs
    return app
