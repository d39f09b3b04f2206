"""Ports for the servers that tests start."""

from __future__ import annotations

import os
import socket
from itertools import count

# Below those that the kernel gives to whoever asks for any; a thousand for each process that runs tests.
_next = count(20_000 + 1_000 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")))


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on, and that no other test gets."""
    while True:
        port = next(_next)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
