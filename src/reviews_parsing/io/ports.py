"""TCP ports: check that they are free, and find a free one."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import ExitStack

from reviews_parsing.errors import ServingError


def free_port(preferred: int, host: str = "127.0.0.1") -> int:
    """Return `preferred` if no process listens on it, else a port that the system picks."""
    try:
        listener = _listen(host, preferred)
    except OSError:
        listener = _listen(host, 0)
    with listener:
        return int(listener.getsockname()[1])


def require_free(host: str, ports: Mapping[str, int]) -> None:
    """Raise ServingError if a port cannot be bound; `ports` maps the option of each port to its number."""
    with ExitStack() as listeners:
        for option, port in ports.items():
            try:
                listeners.enter_context(_listen(host, port))
            except socket.gaierror as error:
                raise ServingError(f"host {host} is unknown ({error.strerror}); choose another with --host") from error
            except (OSError, OverflowError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                raise ServingError(
                    f"port {port} on {host} cannot be bound ({reason}); choose another with {option}"
                ) from error


def _listen(host: str, port: int) -> socket.socket:
    family, socket_type, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, socket_type, protocol)
    try:
        # Like servers do, so that a port with a connection in TIME_WAIT counts as free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Not the port in `address`: getaddrinfo reduces one that is too large modulo 65536.
        listener.bind((address[0], port, *address[2:]))
        listener.listen(1)
    except BaseException:
        listener.close()
        raise
    return listener
