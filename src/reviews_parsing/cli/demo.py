"""`reviews-parsing demo`: serve the page."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from reviews_parsing.cli import output


def demo(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the page.")] = 8000,
    server: Annotated[
        str | None, typer.Option(help="URL of the V2 server. [default: REVIEWS_PARSING_SERVER_URL]")
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(help="URL of a second V2 server to compare with. [default: REVIEWS_PARSING_COMPARE_URL]"),
    ] = None,
    queue: Annotated[
        Path | None, typer.Option(help="File of reviews to label on the page, such as one from `data suggest`.")
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            help="Host name by which browsers reach the page. Repeatable. [default: REVIEWS_PARSING_PAGE_HOSTS]"
        ),
    ] = None,
) -> None:
    """Serve the page until Ctrl-C: parse a review or a file with a server, and correct the answers.

    Examples:

        reviews-parsing demo

        reviews-parsing demo --server http://127.0.0.1:9080 --compare http://127.0.0.1:9090

        reviews-parsing data suggest reviews.csv -o to-label.jsonl

        reviews-parsing demo --queue to-label.jsonl
    """
    from reviews_parsing.demo import serve

    # The first process of a container ignores signals without a handler.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    serve(
        host,
        port,
        server,
        compare,
        ready=lambda address: output.out.print(f"the page is at {address}; Ctrl-C ends it"),
        hosts=allow_host or (),
        queue=queue,
    )
