"""Process that runs a stage of a job, with limits of memory, CPU time and time; it can be ended at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reviews_parsing.demo import worker

MAX_LINE_BYTES = 10**6
log = logging.getLogger("reviews_parsing.demo")


async def run_worker(
    request: worker.Request,
    temporary: Path,
    fonts: Path,
    seconds: float,
    on_progress: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Run a stage in a process; return its last message, which has `result` or `error`.

    The process keeps temporary files in the folder `temporary`, which is deleted afterwards, and matplotlib's cache in
    `fonts`.
    """
    temporary.mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "TMPDIR": str(temporary),
        # Its cache of fonts takes seconds to build.
        "MPLCONFIGDIR": str(fonts),
        "MALLOC_ARENA_MAX": "2",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", worker.__name__),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
        limit=MAX_LINE_BYTES,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(seconds):
            process.stdin.write(json.dumps(request).encode() + b"\n")
            reply = await _read_reply(process.stdout, on_progress)
            if reply is None:
                reply = {"error": _describe_end(request["name"], await process.wait(), request["limits"])}
    except TimeoutError:
        reply = {"error": f"{request['name']} took more than {seconds:,.0f} s: split it, or ask for a higher limit"}
    except (BrokenPipeError, ConnectionResetError, ValueError):
        reply = {"error": f"{request['name']} could not be read: try again"}
    finally:
        # The process does nothing that is worth waiting for.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        shutil.rmtree(temporary, ignore_errors=True)
    return reply


async def _read_reply(
    stdout: asyncio.StreamReader, on_progress: Callable[[dict[str, Any]], None]
) -> dict[str, Any] | None:
    """Return the last message of a worker, None if the worker ended without one."""
    while line := await stdout.readline():
        message: dict[str, Any] = json.loads(line)
        if "progress" not in message:
            return message
        on_progress(message["progress"])
    return None


def _describe_end(name: str, status: int, limits: dict[str, int]) -> str:
    """Return the reason why a worker for the file `name` ended without a result."""
    log.warning("a worker for an uploaded file ended with status %d", status)
    if status in (-signal.SIGXCPU, -signal.SIGKILL):
        return (
            f"{name} took more than {limits['cpu_seconds']:,} s of processor time: split it, or ask whoever "
            "runs the page to raise REVIEWS_PARSING_FILE_CPU_SECONDS"
        )
    if status == -signal.SIGABRT:
        return worker.describe_memory_limit(name, limits["memory_mb"])
    return f"{name} could not be read: it is damaged, or takes too much memory"
