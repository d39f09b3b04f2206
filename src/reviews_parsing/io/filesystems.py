"""File systems behind one Protocol: local paths, and object stores (s3://, gs://) through pyarrow.

`filesystem_of(name)` returns the file system of a name; the functions of this module accept any name.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol, cast

from reviews_parsing.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import fs

SCHEMES = ("s3://", "gs://")
READ_BUFFER_BYTES = 2**18
COPY_BUFFER_BYTES = 2**22
GOOGLE_RETRY_LIMIT = timedelta(seconds=20)
"""Time for which Google's client retries without an answer or without credentials; its own default is 15 min."""
STAGED_NAME = re.compile(r"\..+\.new$")
"""A file or folder that is being written; the name of an interrupted run's leftovers."""
LOCK_NAME = ".lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
# Error texts of the client libraries, and their meaning in plain English.
_STORE_ERRORS = {
    "NO_SUCH_BUCKET": "there is no such bucket",
    "ACCESS_DENIED": "no permission",
    "INVALID_ACCESS_KEY_ID": "no valid credentials",
    "NETWORK_CONNECTION": "the store cannot be reached",
    "access token": "no valid credentials",  # the code beside it is UNAVAILABLE
    "UNAUTHENTICATED": "no valid credentials",
    "PERMISSION_DENIED": "no permission",
    "UNAVAILABLE": "the store cannot be reached",
    "Status(NOT_FOUND": "there is no such file or bucket",
}


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

    def make_staging(self, path: Path) -> None:
        """Create a staging folder. Raises FileExistsError if it exists."""

    def create(self, path: Path) -> BinaryIO:
        """Create a file in a staging folder. Raises FileExistsError if it exists."""

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
            folders[:] = [name for name in folders if not _is_hidden([name])]
            files += [Path(parent, name) for name in names if not _is_hidden([name])]
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
        path.mkdir(0o700)

    def create(self, path: Path) -> BinaryIO:
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


class ObjectStore:
    """Buckets of S3 and Google Cloud Storage; objects appear whole when their upload ends."""

    def absolute(self, name: str) -> str:
        return name

    def stat(self, name: str) -> Stat | None:
        store, path = _store_of(name)
        with _require_answer(name):
            info = store.get_file_info(path)
        return Stat(info.size, info.mtime.isoformat()) if info.is_file else None

    def exists(self, name: str) -> bool:
        return self.stat(name) is not None

    def is_folder(self, name: str) -> bool:
        return name.endswith("/")

    def list_files(self, folder: str) -> list[str]:
        from pyarrow import fs

        store, path = _store_of(folder)
        infos = self._list(store, fs.FileSelector(path.rstrip("/"), recursive=True, allow_not_found=True), folder)
        scheme = folder[: folder.index("://") + 3]
        names = [info.path for info in infos if info.is_file]
        return sorted(scheme + name for name in names if not _is_hidden(name[len(path) :].split("/")))

    def list_names(self, folder: str) -> list[str]:
        from pyarrow import fs

        store, path = _store_of(folder)
        infos = self._list(store, fs.FileSelector(path, allow_not_found=True), folder)
        return sorted(info.base_name for info in infos if info.base_name)

    def _list(self, store: fs.FileSystem, selector: fs.FileSelector, name: str) -> list[fs.FileInfo]:
        with _require_answer(name):
            infos: list[fs.FileInfo] = store.get_file_info(selector)
        if not infos:
            self.require_writable(name)
        return infos

    def open_stream(self, name: str) -> BinaryIO:
        return cast(BinaryIO, io.BufferedReader(self.open_random(name), READ_BUFFER_BYTES))

    def open_random(self, name: str) -> pa.NativeFile:
        # Google's store refuses to seek to the end of a file opened as a stream.
        store, path = _store_of(name)
        return store.open_input_file(path)

    def require_writable(self, name: str) -> None:
        store, path = _store_of(name)
        with suppress(OSError):  # write permission does not imply list permission
            if store.get_file_info(path.split("/")[0]).type.name == "NotFound":
                reason = _STORE_ERRORS["NO_SUCH_BUCKET"]
                raise DataError(f"{name} cannot be reached ({reason}): check its name")

    def make_folder(self, name: str) -> None:
        """Do nothing: buckets have no folders."""

    def staging_location(self, name: str) -> tuple[Path, str]:
        return Path(tempfile.gettempdir()), TEMPORARY_PREFIX

    def make_staging(self, path: Path) -> None:
        LOCAL.make_staging(path)

    def create(self, path: Path) -> BinaryIO:
        return LOCAL.create(path)

    def publish(self, path: Path, name: str) -> None:
        store, key = _store_of(name)
        with path.open("rb") as source:
            try:
                with store.open_output_stream(key, compression=None) as stream:
                    shutil.copyfileobj(source, stream, 2**24)
            except BaseException:
                with suppress(OSError):  # closing the stream publishes the object, complete or not
                    store.delete_file(key)
                raise

    def withdraw(self, name: str, path: Path) -> None:
        with self.open_stream(name) as source, path.open("xb") as target:
            shutil.copyfileobj(source, target, COPY_BUFFER_BYTES)
        self.remove(name)

    def write(self, name: str, data: bytes) -> None:
        store, path = _store_of(name)
        with store.open_output_stream(path, compression=None) as stream:
            stream.write(data)

    def remove(self, name: str) -> None:
        store, path = _store_of(name)
        if store.get_file_info(path).is_file:
            store.delete_file(path)

    @contextmanager
    def lock(self, folder: str) -> Iterator[None]:
        """Lock nothing: object stores have no locks."""
        yield


LOCAL: FileSystem = LocalFileSystem()
STORE: FileSystem = ObjectStore()
TEMPORARY_PREFIX = "reviews-parsing-"


def is_url(name: str) -> bool:
    """Return whether a name is an address of an object store."""
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
        """Return the names in the folder, hidden ones included but the lock's."""
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


def error_reason(error: BaseException) -> str:
    """Return why a file cannot be used, in a few words."""
    known_reason = next((words for code, words in _STORE_ERRORS.items() if code in str(error)), None)
    code = getattr(error, "errno", None)
    reason = known_reason or (os.strerror(code) if code else first_line(error))
    return re.sub(r"\. Detail: .*", "", reason)


def is_unreachable(error: BaseException) -> bool:
    """Return True if an error comes from the disk, the network or the store, and not from the content of a file."""
    return getattr(error, "errno", None) is not None or any(code in str(error) for code in _STORE_ERRORS)


def first_line(error: BaseException) -> str:
    """Return the first line of the message of a library's error."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def printable(name: str | Path) -> str:
    """Return a file name that can be printed: bytes that are not UTF-8 become escapes."""
    return str(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def unwritable(name: str | Path, error: OSError) -> DataError:
    """Return the error for a file that cannot be written."""
    return DataError(f"{printable(name)} cannot be written ({error_reason(error)}): nothing was changed there")


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


def _is_hidden(parts: list[str]) -> bool:
    return any(part.startswith((".", "_")) for part in parts)


@contextmanager
def _require_answer(name: str) -> Iterator[None]:
    """Raise DataError if the store does not answer in the block."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{name} cannot be reached ({error_reason(error)}): check its name and your credentials"
        ) from None


def _store_of(url: str) -> tuple[fs.FileSystem, str]:
    """Return the store of a URL and the path in it, configured by the variables of AWS and Google."""
    scheme, _, path = url.partition("://")
    if not path.strip("/"):
        raise DataError(f"{url} names no bucket: give {scheme}://BUCKET/...")
    if scheme == "gs":
        return _google_store(os.environ.get("STORAGE_EMULATOR_HOST")), path
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return _amazon_store(endpoint, path.split("/")[0]), path


@cache
def _amazon_store(endpoint: str | None, bucket: str) -> fs.FileSystem:
    from pyarrow import fs

    if endpoint:
        return fs.S3FileSystem(endpoint_override=endpoint)
    if os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
        return fs.S3FileSystem()
    with _require_answer(f"s3://{bucket}"):
        return fs.S3FileSystem(region=fs.resolve_s3_region(bucket))


@cache
def _google_store(emulator: str | None) -> fs.FileSystem:
    """Return Google's store, or an emulator at [http://]HOST:PORT, which needs no credentials."""
    from pyarrow import fs

    if not emulator:
        return fs.GcsFileSystem(retry_time_limit=GOOGLE_RETRY_LIMIT)
    scheme, _, host = emulator.rpartition("://")
    return fs.GcsFileSystem(
        anonymous=True, scheme=scheme or "http", endpoint_override=host.rstrip("/"), retry_time_limit=GOOGLE_RETRY_LIMIT
    )
