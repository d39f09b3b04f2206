"""Protocol of a file system, and the names and sizes that its implementations share."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

COPY_BUFFER_BYTES = 2**22
TEMPORARY_PREFIX = "reviews-parsing-"


class Stat(NamedTuple):
    """Size in bytes, and a stamp that changes with the content."""

    size: int
    stamp: str


class FileSystem(Protocol):
    """Operations on files by name. Methods that say nothing else raise OSError."""

    def absolute(self, name: str) -> str:
        """Return the name that is valid in any working directory."""

    def stat(self, name: str) -> Stat | None:
        """Return the stat of a regular file, None if there is no such file. Raises DataError if that is unknown."""

    def exists(self, name: str) -> bool:
        """Return True if a file or folder has that name. Raises DataError if that is unknown."""

    def is_folder(self, name: str) -> bool:
        """Return True if the name is a folder. Raises DataError if that is unknown."""

    def list_files(self, folder: str) -> list[str]:
        """Return the files under a folder, sorted, without hidden ones. Raises DataError if it cannot be read."""

    def list_names(self, folder: str) -> list[str]:
        """Return the names in a folder, sorted, hidden ones included; an absent folder has none.

        Raises DataError if it cannot be read.
        """

    def open_stream(self, name: str) -> BinaryIO:
        """Open a file for sequential reading."""

    def open_random(self, name: str) -> pa.NativeFile:
        """Open a file for random access by pyarrow."""

    def require_writable(self, name: str) -> None:
        """Raise DataError if no file of that name could be written."""

    def make_folder(self, name: str) -> None:
        """Create a folder and its parents."""

    def staging_location(self, name: str) -> tuple[Path, str]:
        """Return the local folder in which to stage new versions of a file, and the prefix of their names."""

    def publish(self, path: Path, name: str) -> None:
        """Move a staged file or folder to its final name, atomically; a file of that name is replaced."""

    def withdraw(self, name: str, path: Path) -> None:
        """Move a file back to a staging folder."""

    def write(self, name: str, data: bytes) -> None:
        """Write a file atomically."""

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""

    def lock(self, folder: str) -> AbstractContextManager[None]:
        """Hold the exclusive lock of a folder during the block. Raises DataError if another process holds it."""


def is_hidden(parts: Sequence[str]) -> bool:
    """Return True if a part of a path is hidden: it begins with a dot or an underscore."""
    return any(part.startswith((".", "_")) for part in parts)
