"""The file system of the machine, and locks of files in it."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING, BinaryIO

from reviews_parsing.errors import DataError
from reviews_parsing.io.filesystems.errors import error_reason, printable
from reviews_parsing.io.filesystems.protocol import Stat, is_hidden

if TYPE_CHECKING:
    import pyarrow as pa

STAGED_NAME = re.compile(r"\..+\.new$")
"""A file or folder that is being written; the name of an interrupted run's leftovers."""
LOCK_NAME = ".lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class LocalFileSystem:
    """The file system of the machine."""

    def absolute(self, name: str) -> str:
        return str(Path(name).resolve())

    def stat(self, name: str) -> Stat | None:
        status = _local_status(name)
        return Stat(status.st_size, str(status.st_mtime_ns)) if status and S_ISREG(status.st_mode) else None

    def exists(self, name: str) -> bool:
        return _local_status(name) is not None

    def is_folder(self, name: str) -> bool:
        status = _local_status(name)
        return status is not None and S_ISDIR(status.st_mode)

    def list_files(self, folder: str) -> list[str]:
        files = []
        for parent, folders, names in os.walk(folder, onerror=_refuse_unreadable_folder):
            folders[:] = [name for name in folders if not is_hidden([name])]
            files += [Path(parent, name) for name in names if not is_hidden([name])]
        return sorted(str(path) for path in files if path.is_file())

    def list_names(self, folder: str) -> list[str]:
        try:
            return sorted(os.listdir(folder))  # noqa: PTH208
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DataError(f"{printable(folder)} cannot be used ({error_reason(error)}): write elsewhere") from None

    def open_stream(self, name: str) -> BinaryIO:
        return Path(name).open("rb")

    def open_random(self, name: str) -> pa.NativeFile:
        import pyarrow as pa

        return pa.OSFile(os.fsencode(name))  # a name need not be UTF-8

    def require_writable(self, name: str) -> None:
        folder = Path(name).parent
        if not self.is_folder(str(folder)):
            raise DataError(f"{printable(folder)} is not a folder: make it, or write elsewhere")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise DataError(f"{printable(folder)} cannot be written to (no permission): write elsewhere")

    def make_folder(self, name: str) -> None:
        Path(name).mkdir(parents=True, exist_ok=True)

    def staging_location(self, name: str) -> tuple[Path, str]:
        path = Path(name)
        return path.parent, staged_prefix(path.name)

    def make_staging(self, path: Path) -> None:
        """Create a staging folder. Raises FileExistsError if it exists."""
        path.mkdir(0o700)

    def create(self, path: Path) -> BinaryIO:
        """Create a file in a staging folder. Raises FileExistsError if it exists."""
        return path.open("xb")

    def publish(self, path: Path, name: str) -> None:
        path.replace(name)

    def withdraw(self, name: str, path: Path) -> None:
        Path(name).replace(path)

    def write(self, name: str, data: bytes) -> None:
        path = Path(name)
        temporary = path.with_name(f"{staged_prefix(path.name)}{secrets.token_hex(4)}.new")
        try:
            with self.create(temporary) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            self.publish(temporary, name)
        finally:
            temporary.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        Path(name).unlink(missing_ok=True)

    @contextmanager
    def lock(self, folder: str) -> Iterator[None]:
        with ExitStack() as stack:
            try:
                is_held = stack.enter_context(try_lock(Path(folder, LOCK_NAME)))
            except OSError as error:
                name = printable(folder)
                raise DataError(f"{name} cannot be written to ({error_reason(error)}): write elsewhere") from None
            if not is_held:
                raise DataError(f"{printable(folder)} is written to by another run: wait for it, or write elsewhere")
            yield


LOCAL = LocalFileSystem()


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Hold the exclusive lock of a lock file during the block; yields False if another run holds it.

    The lock file is removed with its lock. A file system without locks grants every lock. Raises OSError if the file
    cannot be created.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, blocking=False, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        yield True
        return
    try:
        yield True
    finally:
        path.unlink(missing_ok=True)  # before the release: whoever waits for the lock then finds that the file is gone
        lock.release(force=True)


def staged_prefix(name: str) -> str:
    """Return the beginning of the names under which new versions of a file are written, beside it."""
    stem = name if len(os.fsencode(name)) < 200 else hashlib.sha256(os.fsencode(name)).hexdigest()
    return f".{stem}."


def _local_status(name: str) -> os.stat_result | None:
    try:
        return Path(name).stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        action = f"{printable(name)} cannot be reached ({error_reason(error)})"
        raise DataError(f"{action}: check it, and that you may go there") from None


def _refuse_unreadable_folder(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        name = printable(error.filename)
        raise DataError(f"{name} cannot be read ({error_reason(error)}): check that you may read it") from None
