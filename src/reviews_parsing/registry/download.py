"""Downloads from a tracking server: announced, within a time limit, and ended together with this process."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import TypeVar

from reviews_parsing import errors
from reviews_parsing.errors import ReviewsParsingError, TrackingError
from reviews_parsing.registry.store import TIME_LIMITS, redacted, require_reachable, sqlite_file, store_uri
from reviews_parsing.settings import Settings

PARTIAL_PREFIX = ".fetching-"
"""Prefix of the name of a folder that a download is written to."""
Result = TypeVar("Result")
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from reviews_parsing.registry.download import main; main(*sys.argv[2:])"
)
_log = logging.getLogger(__name__)


def bounded(
    what: str, function: Callable[..., Result], *arguments: str | bool | None, folder: Path | None = None
) -> Result:
    """Return `function(*arguments)`, which asks the tracking server for `what`, within `Settings.fetch_timeout`.

    The function is one of a module, and returns what JSON can hold. It runs in a process of its own, which can be
    ended: the time limit holds for a connection that hangs or trickles, and no thread of it delays the end of this
    process. If the function downloads files to `folder`, a line of log says so; the folder is deleted if this process
    ends first. A local store needs no process. Raises the errors of the function, and TrackingError after that time.
    """
    if sqlite_file(store_uri()):
        return function(*arguments)
    require_reachable(store_uri())  # which is known sooner than a process is started
    server, limit = redacted(store_uri()), Settings().fetch_timeout
    if folder:
        _log.warning("fetching %s from %s", what, server)
    call = [function.__module__, function.__name__, arguments, str(folder) if folder else None]
    reading, writing = os.pipe()
    with (
        os.fdopen(writing, "wb"),
        os.fdopen(reading, "rb") as lifeline,
        subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), json.dumps(call)],
            stdin=lifeline,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A surrounding `tracking` has set its time limits, which are not the user's.
            env={name: value for name, value in os.environ.items() if TIME_LIMITS.get(name) != value},
        ) as process,
    ):
        try:
            output, log = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            raise TrackingError(
                f"{what} was not fetched from {server} within {limit:g} seconds; check the network, or raise "
                "REVIEWS_PARSING_FETCH_TIMEOUT"
            ) from None
        finally:
            process.kill()
    try:
        answer = json.loads(output)
    except ValueError:
        last_line = (log.strip() or f"status {process.returncode}").splitlines()[-1]
        raise TrackingError(f"{what} was not fetched from {server} ({last_line})") from None
    if "error" in answer:
        raise getattr(errors, answer["error"])(answer["message"])
    result: Result = answer["result"]
    return result


def main(call: str) -> None:
    """Run the function in the process that `bounded` starts; the result or error is a JSON document on stdout."""
    module, name, arguments, folder = json.loads(call)
    threading.Thread(target=_end_with_parent, args=(folder,), daemon=True).start()
    try:
        with redirect_stdout(sys.stderr):
            answer = {"result": getattr(import_module(module), name)(*arguments)}
    except ReviewsParsingError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    print(json.dumps(answer), flush=True)
    os._exit(0)  # after a failure, other downloads of MLflow's threads may go on


def _end_with_parent(folder: str | None) -> None:
    """Wait for the end of stdin, a pipe whose other end only the parent process holds; then delete and end."""
    os.read(0, 1)
    if folder:
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)
