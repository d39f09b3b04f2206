"""File systems behind one Protocol: local paths, and object stores (s3://, gs://).

`filesystem_of(name)` returns the file system of a name; the functions of this module accept any name.
"""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager
from pathlib import Path

from reviews_parsing.errors import DataError
from reviews_parsing.io.filesystems.errors import error_reason, first_line, is_unreachable, printable, unwritable
from reviews_parsing.io.filesystems.local import LOCAL, LOCK_NAME, STAGED_NAME, LocalFileSystem, try_lock
from reviews_parsing.io.filesystems.object_store import STORE
from reviews_parsing.io.filesystems.protocol import COPY_BUFFER_BYTES, TEMPORARY_PREFIX, FileSystem, Stat

__all__ = [
    "LOCAL",
    "LOCK_NAME",
    "STAGED_NAME",
    "TEMPORARY_PREFIX",
    "FileSystem",
    "Folder",
    "LocalFileSystem",
    "Stat",
    "absolute",
    "error_reason",
    "exists",
    "fetch",
    "filesystem_of",
    "first_line",
    "is_folder",
    "is_unreachable",
    "is_url",
    "list_files",
    "printable",
    "require_writable",
    "stat",
    "try_lock",
    "unwritable",
]
SCHEMES = ("s3://", "gs://")


def is_url(name: str) -> bool:
    """Return True if a name is an address of an object store."""
    return name.startswith(SCHEMES)


def filesystem_of(name: str) -> FileSystem:
    """Return the file system of a name."""
    return STORE if is_url(name) else LOCAL


def absolute(name: str) -> str:
    """Return the name that is valid in any working directory."""
    return filesystem_of(name).absolute(name)


def stat(name: str) -> Stat | None:
    """Return the stat of a regular file, None if there is no such file. Raises DataError if that is unknown."""
    return filesystem_of(name).stat(name)


def exists(name: str) -> bool:
    """Return True if a file or folder has that name. Raises DataError if that is unknown."""
    return filesystem_of(name).exists(name)


def is_folder(name: str) -> bool:
    """Return True if the name is a folder. Raises DataError if that is unknown."""
    return filesystem_of(name).is_folder(name)


def list_files(folder: str) -> list[str]:
    """Return the files under a folder, sorted, without hidden ones. Raises DataError if it cannot be read."""
    return filesystem_of(folder).list_files(folder)


def require_writable(name: str) -> None:
    """Raise DataError if no file of that name could be written; call it before the work begins."""
    filesystem_of(name).require_writable(name)


def fetch(name: str, target: Path) -> None:
    """Copy a file to a local path. Raises DataError if it cannot be read or the copy cannot be written."""
    try:
        with filesystem_of(name).open_stream(name) as source, target.open("xb") as file:
            shutil.copyfileobj(source, file, COPY_BUFFER_BYTES)
    except OSError as error:
        action = f"{printable(name)} cannot be copied to {printable(target.parent)} ({error_reason(error)})"
        raise DataError(f"{action}: check that you may read it, and that there is room") from None


class Folder:
    """A folder to write to, local or in a bucket."""

    def __init__(self, name: str) -> None:
        self.name = name.rstrip("/")
        self._filesystem = filesystem_of(name)

    def path(self, file: str) -> str:
        """Return the full name of a file in the folder."""
        return f"{self.name}/{file}"

    def make(self) -> None:
        """Create the folder. Raises DataError if that fails."""
        try:
            self._filesystem.make_folder(self.name)
        except OSError as error:
            raise DataError(f"{printable(self.name)} cannot be made ({error_reason(error)}): write elsewhere") from None

    def lock(self) -> AbstractContextManager[None]:
        """Hold the exclusive lock of the folder during the block. Raises DataError if another run holds it."""
        return self._filesystem.lock(self.name)

    def names(self) -> list[str]:
        """Return the names in the folder, hidden ones included, without that of the lock."""
        return [name for name in self._filesystem.list_names(self.name) if name != LOCK_NAME]

    def read(self, file: str) -> bytes:
        """Return the content of a file. Raises DataError if it cannot be read."""
        try:
            with self._filesystem.open_stream(self.path(file)) as stream:
                return stream.read()
        except OSError as error:
            raise DataError(f"{printable(self.path(file))} cannot be read ({error_reason(error)}): check it") from None

    def write(self, file: str, data: bytes) -> None:
        """Write a file atomically. Raises DataError if that fails."""
        try:
            self._filesystem.write(self.path(file), data)
        except OSError as error:
            raise unwritable(self.path(file), error) from None

    def remove(self, file: str) -> None:
        """Remove a file. Raises DataError if that fails."""
        try:
            self._filesystem.remove(self.path(file))
        except OSError as error:
            name = printable(self.path(file))
            raise DataError(f"{name} cannot be removed ({error_reason(error)}): remove it yourself") from None
