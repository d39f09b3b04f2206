"""The page as a web application: its limits, its headers, its folder, and how it is served."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reviews_parsing.errors import ServingError
from reviews_parsing.io.ports import require_free
from reviews_parsing.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 16 * 10**6
"""Of a request that uploads no file, in bytes."""
DRAIN = 3
"""How long the server, told to end, waits for pages that are open, in seconds."""
# Pages may load what they came from, and nothing else. Gradio makes its templates into functions.
POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'self'; base-uri 'self'; form-action 'self'"
)
_ELSEWHERE = re.compile(
    rb"""<link\s[^>]*href="https?://[^>]*>|<script\s[^>]*src="https?://[^>]*></script>|<meta\s[^>]*="https?://[^>]*>"""
)
_arriving: ContextVar[list[str] | None] = ContextVar("arriving", default=None)


def serve(
    host: str, port: int, server: str | None, compare: str | None, ready: Callable[[str], None] = lambda _: None
) -> None:
    """Serve the page until Ctrl-C; `ready` is told its address.

    `server` and `compare` are URLs of V2 servers, those of the settings where they are None. Raises ServingError where
    the port is taken or the page is not installed.
    """
    given = {"server_url": server, "compare_url": compare}
    settings = Settings().model_copy(update={name: url for name, url in given.items() if url})
    require_free(host, {"--port": port})
    with tempfile.TemporaryDirectory(prefix="reviews-parsing-demo-") as folder:
        # Gradio reads these when it is first imported.
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False"}
        try:
            app = create_app(settings)
        except ImportError as error:
            raise ServingError(f"the page is not installed ({error}): pip install 'reviews-parsing[demo]'") from None
        import uvicorn

        ready(f"http://{host}:{port}")
        with suppress(KeyboardInterrupt):
            uvicorn.run(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=DRAIN)


def create_app(settings: Settings) -> FastAPI:
    """The page over the servers that the settings name."""
    import gradio as gr
    from fastapi import FastAPI

    from reviews_parsing.corrections import CorrectionStore
    from reviews_parsing.demo.client import Client
    from reviews_parsing.demo.one import Reviews
    from reviews_parsing.demo.page import build, look

    client = Client(settings.server_url, settings.model_name)
    rival = None
    if settings.compare_url:
        rival = Client(settings.compare_url, settings.model_name, "REVIEWS_PARSING_COMPARE_URL")
    page = build(Reviews(client, rival, CorrectionStore()), client, settings.max_upload_mb)
    _mend_uploads()
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_api_route("/healthz", lambda: {"ready": True})
    gr.mount_gradio_app(
        app,
        page,
        "/",
        max_file_size=settings.max_upload_mb * 10**6,
        footer_links=[],
        show_error=True,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        **look(),
    )
    # Until a page has launched, Gradio takes any file of this machine for one that was uploaded; mounting is no launch.
    page.has_launched = True
    app.add_middleware(Door, max_upload=settings.max_upload_mb * 10**6)
    return app


class Door:
    """Bounds what comes in, and keeps what goes out from naming other hosts; an upload that breaks off leaves none."""

    def __init__(self, app: ASGIApp, max_upload: int) -> None:
        self._app = app
        self._max_upload = max_upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        uploads = scope["path"].endswith("/upload")
        # What frames a file in its request is small.
        limit = self._max_upload + 10**5 if uploads else MAX_BODY
        if _length(scope) > limit:
            from starlette.responses import PlainTextResponse

            await PlainTextResponse(f"larger than {limit:,} bytes", 413)(scope, receive, send)
            return
        if scope["path"] == "/":
            # What is packed cannot be mended.
            scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]}
        arrived: list[str] = []
        _arriving.set(arrived if uploads else None)
        try:
            await self._app(scope, _bounded(receive, limit), _mended(send))
        finally:
            # What came whole has been moved away.
            for name in arrived:
                Path(name).unlink(missing_ok=True)


def _length(scope: Scope) -> int:
    said = dict(scope["headers"]).get(b"content-length", b"0")
    return int(said) if said.isdigit() else 0


def _bounded(receive: Receive, limit: int) -> Receive:
    """Whoever sends more than `limit` bytes counts as gone."""
    left = limit

    async def bounded() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        return message if left >= 0 else {"type": "http.disconnect"}

    return bounded


def _mended(send: Send) -> Send:
    """Every answer with the policy; those that are HTML without what points elsewhere."""
    held: Message | None = None
    body = b""

    async def mended(message: Message) -> None:
        nonlocal held, body
        if message["type"] == "http.response.start":
            headers = [*message["headers"], (b"content-security-policy", POLICY.encode())]
            message = {**message, "headers": [*headers, (b"referrer-policy", b"no-referrer")]}
            if any(name == b"content-type" and value.startswith(b"text/html") for name, value in headers):
                held = message
                return
        elif held is not None:
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            page = _ELSEWHERE.sub(b"", body)
            headers = [pair for pair in held["headers"] if pair[0] != b"content-length"]
            await send({**held, "headers": [*headers, (b"content-length", str(len(page)).encode())]})
            held, message = None, {"type": "http.response.body", "body": page}
        await send(message)

    return mended


def _mend_uploads() -> None:
    """Gradio forgets what had arrived of an upload that breaks off; so it goes on the list of its request."""
    from gradio import route_utils

    def listed(**options: Any) -> Any:
        file = tempfile.NamedTemporaryFile(dir=os.environ.get("GRADIO_TEMP_DIR"), **options)  # noqa: SIM115
        arrived = _arriving.get()
        if arrived is not None:
            arrived.append(file.name)
        return file

    vars(route_utils)["NamedTemporaryFile"] = listed
