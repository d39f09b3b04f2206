"""`reviews-parsing demo`: the page."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from reviews_parsing.cli import output


def demo(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the page.")] = 8000,
    server: Annotated[
        str | None, typer.Option(help="V2 server that it asks. [default: REVIEWS_PARSING_SERVER_URL]")
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(help="A second one, whose answers are shown beside. [default: REVIEWS_PARSING_COMPARE_URL]"),
    ] = None,
) -> None:
    """Serve the page: paste a review or upload a file, see what a server makes of it, correct it. Until Ctrl-C.

    Examples:

        reviews-parsing demo

        reviews-parsing demo --server http://127.0.0.1:9080 --compare http://127.0.0.1:9090
    """
    from reviews_parsing.demo import serve

    # The first process of a container ignores a signal that nothing handles.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    serve(
        host, port, server, compare, ready=lambda address: output.out.print(f"the page is at {address}; Ctrl-C ends it")
    )
