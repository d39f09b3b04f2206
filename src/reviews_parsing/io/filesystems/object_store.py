"""Object stores (s3://, gs://) through pyarrow."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from reviews_parsing.errors import DataError
from reviews_parsing.io.filesystems.errors import STORE_ERRORS, error_reason
from reviews_parsing.io.filesystems.protocol import COPY_BUFFER_BYTES, TEMPORARY_PREFIX, Stat, is_hidden

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import fs

READ_BUFFER_BYTES = 2**18
GOOGLE_RETRY_LIMIT = timedelta(seconds=20)
"""Time for which Google's client retries without an answer or without credentials; its own default is 15 min."""


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
        return sorted(scheme + name for name in names if not is_hidden(name[len(path) :].split("/")))

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
                reason = STORE_ERRORS["NO_SUCH_BUCKET"]
                raise DataError(f"{name} cannot be reached ({reason}): check its name")

    def make_folder(self, name: str) -> None:
        """Do nothing: buckets have no folders."""

    def staging_location(self, name: str) -> tuple[Path, str]:
        return Path(tempfile.gettempdir()), TEMPORARY_PREFIX

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


STORE = ObjectStore()


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
