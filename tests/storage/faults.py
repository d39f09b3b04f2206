"""A local file system whose n-th change of the disk fails, or ends the process."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from reviews_parsing.io.filesystems import LocalFileSystem

KILLED = 137


class FaultyFileSystem(LocalFileSystem):
    """Counts the changes of the disk (folders, files, writes, renames, removals); `fail` is called at the n-th one."""

    def __init__(self, number: int, fail: Callable[[], None]) -> None:
        self.count, self.number, self._fail = 0, number, fail

    def change(self) -> None:
        self.count += 1
        if self.count >= self.number:
            self._fail()

    def make_folder(self, name: str) -> None:
        self.change()
        super().make_folder(name)

    def make_staging(self, path: Path) -> None:
        self.change()
        super().make_staging(path)

    def create(self, path: Path) -> BinaryIO:
        self.change()
        return cast(BinaryIO, io.BufferedWriter(_CountedFile(path, self.change)))

    def publish(self, path: Path, name: str) -> None:
        self.change()
        super().publish(path, name)

    def withdraw(self, name: str, path: Path) -> None:
        self.change()
        super().withdraw(name, path)

    def remove(self, name: str) -> None:
        self.change()
        super().remove(name)


class _CountedFile(io.FileIO):
    """A new file whose writes are changes; one that fails has written half of its bytes."""

    def __init__(self, path: Path, change: Callable[[], None]) -> None:
        super().__init__(path, "xb")
        self._change = change

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]
        half = super().write(memoryview(data)[: len(data) // 2])
        self._change()
        return half + super().write(memoryview(data)[half:])


def disk_full() -> None:
    """Fail as a full disk does."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def killed() -> None:
    """End the process without any clean-up, as `kill -9` does."""
    os._exit(KILLED)


def run_in_child(run: Callable[[], object]) -> int:
    """Run a function in a forked process and return its exit status: 0, 1 if it raises, KILLED if it was killed."""
    child = os.fork()
    if child == 0:
        try:
            run()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
