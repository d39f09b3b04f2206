"""Ports: whether they are free, and one that is."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import ExitStack

from reviews_parsing.errors import ServingError


def free_port(preferred: int, host: str = "127.0.0.1") -> int:
    """`preferred` where nobody listens on it, else a port that the system picks."""
    try:
        listener = _listen(host, preferred)
    except OSError:
        listener = _listen(host, 0)
    with listener:
        return int(listener.getsockname()[1])


def require_free(host: str, ports: Mapping[str, int]) -> None:
    """`ports` maps the option that chooses a port to it. Raises ServingError naming the first that cannot be had."""
    with ExitStack() as held:
        for option, port in ports.items():
            try:
                held.enter_context(_listen(host, port))
            except socket.gaierror as error:
                raise ServingError(f"there is no host {host} ({error.strerror}); choose another with --host") from error
            except (OSError, OverflowError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                raise ServingError(
                    f"port {port} on {host} cannot be had ({reason}); choose another with {option}"
                ) from error


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        # As servers do, so that a port that a client's last connection still lingers on counts as free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Not the port that came back: getaddrinfo takes one that is too large modulo 65536.
        listener.bind((address[0], port, *address[2:]))
        listener.listen(1)
    except BaseException:
        listener.close()
        raise
    return listener
