"""Unix socket that only the user of the server may connect to."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from reviews_parsing.errors import ServingError

# A new socket has mode 0600.
UMASK = 0o177
BACKLOG = 16


@contextmanager
def local_socket(path: Path) -> Iterator[socket.socket]:
    """Yield a listening socket at `path`, which replaces that of a server that was killed; remove it at the end.

    Raises ServingError if another server uses `path`, it is not a socket, or it cannot be created.
    """
    try:
        _remove_stale(path)
        listener = _listen(path)
        inode = path.stat().st_ino
    except (AttributeError, OSError) as error:  # AttributeError: the system has no Unix sockets
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        message = f"the socket {path} in REVIEWS_PARSING_MODEL_CONTROL cannot be used: {reason}"
        raise ServingError(message) from error
    try:
        with listener:
            yield listener
    finally:
        with suppress(FileNotFoundError):
            if path.stat().st_ino == inode:
                path.unlink()


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    # Set before the socket exists, because a later change of its mode would leave a moment for others.
    umask = os.umask(UMASK)
    try:
        listener.bind(str(path))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(umask)
    return listener


def _remove_stale(path: Path) -> None:
    """Remove a socket without a listener. Raises ServingError if it has one, or is not a socket."""
    if not os.path.lexists(path):
        return
    if not path.is_socket() or path.is_symlink():
        raise ServingError(f"{path} in REVIEWS_PARSING_MODEL_CONTROL is not a socket; choose another path")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        else:
            raise ServingError(f"another server listens on {path}; choose another REVIEWS_PARSING_MODEL_CONTROL")
