"""Files wherever they lie: local paths, and s3:// and gs:// URLs by pyarrow's own file systems."""

from __future__ import annotations

import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import IO, TYPE_CHECKING, BinaryIO, NamedTuple, cast

from reviews_parsing.errors import DataError
from reviews_parsing.io import files

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import fs

SCHEMES = ("s3://", "gs://")
BUFFER = 2**18
# How the makers of the stores call what users meet, and what it means.
_FAULTS = {
    "NO_SUCH_BUCKET": "there is no such bucket",
    "ACCESS_DENIED": "no permission",
    "INVALID_ACCESS_KEY_ID": "no valid credentials",
    "NETWORK_CONNECTION": "the store cannot be reached",
    "access token": "no valid credentials",  # said of a store that is otherwise UNAVAILABLE
    "UNAUTHENTICATED": "no valid credentials",
    "PERMISSION_DENIED": "no permission",
    "UNAVAILABLE": "the store cannot be reached",
    "Status(NOT_FOUND": "there is no such file or bucket",
}
GOOGLE_PATIENCE = timedelta(seconds=20)
"""How long Google's client asks again where nothing answers, or it has no credentials; left alone, 15 minutes."""


class Stat(NamedTuple):
    """Bytes, and what changes when the file does."""

    size: int
    stamp: str


def is_url(name: str) -> bool:
    return name.startswith(SCHEMES)


def absolute(name: str) -> str:
    """The name from any working directory."""
    return name if is_url(name) else str(Path(name).resolve())


def reason(error: BaseException) -> str:
    """Why a file cannot be used, in a few words."""
    known = next((words for code, words in _FAULTS.items() if code in str(error)), None)
    code = getattr(error, "errno", None)
    said = known or (os.strerror(code) if code else next(iter(str(error).splitlines()), type(error).__name__))
    return re.sub(r"\. Detail: .*", "", said)


def opened(name: str) -> BinaryIO:
    """The file, to read in order. Raises OSError."""
    if not is_url(name):
        return Path(name).open("rb")
    store, path = filesystem(name)
    return cast(BinaryIO, io.BufferedReader(store.open_input_file(path), BUFFER))


def native(name: str) -> pa.NativeFile:
    """The file, for pyarrow to read at any place; Google's store refuses to go to the end of one that is read in order.

    Raises OSError.
    """
    import pyarrow as pa

    if not is_url(name):
        return pa.OSFile(name)
    store, path = filesystem(name)
    return store.open_input_file(path)


def stat(name: str) -> Stat | None:
    """None where there is no file of that name. Raises DataError where that cannot be known."""
    if not is_url(name):
        found = _look(name)
        return Stat(found.st_size, str(found.st_mtime_ns)) if found and S_ISREG(found.st_mode) else None
    store, path = filesystem(name)
    with asking(name):
        info = store.get_file_info(path)
    return Stat(info.size, info.mtime.isoformat()) if info.is_file else None


def exists(name: str) -> bool:
    """Whether there is something at a local path. Raises DataError where that cannot be known."""
    return _look(name) is not None


def is_file(name: str) -> bool:
    """Whether a local path is a regular file. Raises DataError where that cannot be known."""
    found = _look(name)
    return found is not None and S_ISREG(found.st_mode)


def is_folder(name: str) -> bool:
    """Whether a local path is a folder. Raises DataError where that cannot be known."""
    found = _look(name)
    return found is not None and S_ISDIR(found.st_mode)


def _look(name: str) -> os.stat_result | None:
    try:
        return Path(name).stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DataError(f"{name} cannot be reached ({reason(error)}): check it, and that you may go there") from None


def listed(folder: str) -> list[str]:
    """The files under a folder, sorted, without hidden ones; none where there is no such folder.

    Raises DataError where it, or a folder in it, cannot be read.
    """
    if not is_url(folder):
        found = []
        for where, folders, names in os.walk(folder, onerror=_refuse):
            folders[:] = [name for name in folders if not _hidden([name])]
            found += [Path(where, name) for name in names if not _hidden([name])]
        return sorted(str(path) for path in found if path.is_file())
    from pyarrow import fs

    store, path = filesystem(folder)
    infos = _infos(store, fs.FileSelector(path.rstrip("/"), recursive=True, allow_not_found=True), folder)
    scheme = folder[: folder.index("://") + 3]
    inside = [info.path for info in infos if info.is_file]
    return sorted(scheme + name for name in inside if not _hidden(name[len(path) :].split("/")))


def _refuse(error: OSError) -> None:
    """Raises DataError: a folder cannot be read."""
    if not isinstance(error, FileNotFoundError):
        raise DataError(f"{error.filename} cannot be read ({reason(error)}): check that you may read it") from None


def _infos(store: fs.FileSystem, selector: fs.FileSelector, name: str) -> list[fs.FileInfo]:
    """What is in a folder of a store; nothing where it is not there, but its bucket is."""
    with asking(name):
        infos: list[fs.FileInfo] = store.get_file_info(selector)
    if not infos:
        refuse_missing_bucket(name)
    return infos


def refuse_missing_bucket(url: str) -> None:
    """Raises DataError where the bucket of a URL is known not to be there."""
    store, path = filesystem(url)
    with suppress(OSError):  # who may write need not be allowed to look
        if store.get_file_info(path.split("/")[0]).type.name == "NotFound":
            raise DataError(f"{url} cannot be reached ({_FAULTS['NO_SUCH_BUCKET']}): check its name")


def _hidden(parts: tuple[str, ...] | list[str]) -> bool:
    return any(part.startswith((".", "_")) for part in parts)


@contextmanager
def asking(name: str) -> Iterator[None]:
    """Raises DataError where the store does not answer."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{name} cannot be reached ({reason(error)}): check its name and your credentials") from None


def filesystem(url: str) -> tuple[fs.FileSystem, str]:
    """The store of a URL, and the path in it. AWS_ENDPOINT_URL and AWS's other variables hold, and Google's."""
    scheme, _, path = url.partition("://")
    if not path.strip("/"):
        raise DataError(f"{url} names no bucket: give {scheme}://BUCKET/...")
    if scheme == "gs":
        return _google(os.environ.get("STORAGE_EMULATOR_HOST")), path
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return _amazon(endpoint, path.split("/")[0]), path


@cache
def _amazon(endpoint: str | None, bucket: str) -> fs.FileSystem:
    from pyarrow import fs

    if endpoint:
        return fs.S3FileSystem(endpoint_override=endpoint)
    if os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
        return fs.S3FileSystem()
    with asking(f"s3://{bucket}"):
        return fs.S3FileSystem(region=fs.resolve_s3_region(bucket))


@cache
def _google(emulator: str | None) -> fs.FileSystem:
    """An emulator is named by HOST:PORT, with `http://` before it or not, and asks for no credentials."""
    from pyarrow import fs

    if not emulator:
        return fs.GcsFileSystem(retry_time_limit=GOOGLE_PATIENCE)
    scheme, _, host = emulator.rpartition("://")
    return fs.GcsFileSystem(
        anonymous=True, scheme=scheme or "http", endpoint_override=host.rstrip("/"), retry_time_limit=GOOGLE_PATIENCE
    )


def fetch(name: str, target: Path) -> None:
    """Copy a file to a local path. Raises DataError where it cannot be read, or the copy not be written."""
    try:
        with opened(name) as source, target.open("xb") as file:
            shutil.copyfileobj(source, file, 2**22)
    except OSError as error:
        what = f"{name} cannot be copied to {target.parent} ({reason(error)})"
        raise DataError(f"{what}: check that you may read it, and that there is room") from None


def put(name: str, data: bytes) -> None:
    """Write a file whole, or not at all. Raises DataError where that fails."""
    if not is_url(name):
        files.write_bytes(Path(name), data)
        return
    store, path = filesystem(name)
    try:
        with store.open_output_stream(path, compression=None) as stream:
            stream.write(data)
    except OSError as error:
        raise DataError(f"{name} cannot be written ({reason(error)}): nothing was changed there") from None


@contextmanager
def replacing(name: str) -> Iterator[Path]:
    """A path to make a file at; it becomes `name`, whole, if the block succeeds. Raises DataError where that fails."""
    if not is_url(name):
        with files.replacing(Path(name)) as temporary:
            yield temporary
        return
    with tempfile.TemporaryDirectory(prefix="reviews-parsing-") as folder:
        temporary = Path(folder) / "output"
        yield temporary
        with temporary.open("rb") as file:
            upload(file, name)


def upload(source: IO[bytes], name: str) -> None:
    """Copy what is in a file to a URL. Raises DataError where that fails."""
    store, path = filesystem(name)
    try:
        try:
            with store.open_output_stream(path, compression=None) as stream:
                shutil.copyfileobj(source, stream, 2**24)
        except BaseException:
            with suppress(OSError):  # closing a stream makes the file, however far it has come
                store.delete_file(path)
            raise
    except OSError as error:
        raise DataError(f"{name} cannot be written ({reason(error)}): nothing is there") from None


def remove(name: str) -> None:
    """Raises DataError where the file cannot be removed."""
    try:
        if is_url(name):
            store, path = filesystem(name)
            store.delete_file(path)
        else:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{name} cannot be removed ({reason(error)}): remove it yourself") from None


class Folder:
    """A folder to write to, local or under a URL."""

    def __init__(self, name: str) -> None:
        self.name = name.rstrip("/")

    def path(self, file: str) -> str:
        return f"{self.name}/{file}"

    def make(self) -> None:
        """Raises DataError where it cannot be made."""
        if not is_url(self.name):
            try:
                Path(self.name).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise DataError(f"{self.name} cannot be made ({reason(error)}): write elsewhere") from None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Where it is local, nobody else holds it while the block runs. Raises DataError where somebody does."""
        if is_url(self.name):
            yield
            return
        import fcntl

        handle = os.open(self.name, os.O_RDONLY)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DataError(f"{self.name} is written to by another run: wait for it, or write elsewhere") from None
            except OSError:  # a file system that knows no locks
                pass
            yield
        finally:
            os.close(handle)

    def names(self) -> list[str]:
        """Names of the files in it, hidden ones too; none where there is no folder."""
        if not is_url(self.name):
            try:
                return sorted(os.listdir(self.name))  # noqa: PTH208
            except FileNotFoundError:
                return []
            except OSError as error:
                raise DataError(f"{self.name} cannot be used ({reason(error)}): write elsewhere") from None
        from pyarrow import fs

        store, path = filesystem(self.name)
        infos = _infos(store, fs.FileSelector(path, allow_not_found=True), self.name)
        return sorted(info.base_name for info in infos if info.base_name)

    def read(self, file: str) -> bytes:
        """Raises DataError where it cannot be read."""
        try:
            with opened(self.path(file)) as stream:
                return stream.read()
        except OSError as error:
            raise DataError(f"{self.path(file)} cannot be read ({reason(error)}): check it") from None

    def put(self, file: str, data: bytes) -> None:
        put(self.path(file), data)

    def remove(self, file: str) -> None:
        remove(self.path(file))
