"""Waiting for servers on loopback."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable

PATIENCE = 90.0


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2):
            return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come up"
