"""Atomic replacement of files, alone or several together, and temporary folders.

New files are written to a staging folder beside their target, and moved to their names when all of them are complete.
A staging folder is locked as long as its run lives. The next run that writes the same file removes the staging folders
of dead runs, and undoes a commit that was interrupted before its last move.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from reviews_parsing.errors import DataError
from reviews_parsing.io import filesystems
from reviews_parsing.io.filesystems import (
    LOCK_NAME,
    TEMPORARY_PREFIX,
    error_reason,
    filesystem_of,
    printable,
    unwritable,
)

_JOURNAL = "journal.json"
_MAX_EMPTY_SECONDS = 60.0


class _Entry(NamedTuple):
    """A target in a journal: if there is a new version, and if an old one existed before the commit."""

    target: str
    is_staged: bool
    had_old: bool


class StagedFiles:
    """New versions of files that replace the old ones together; `targets` are their names, the main one last."""

    def __init__(self, targets: Sequence[str], folders: Sequence[Path]) -> None:
        self._targets = list(targets)
        self._folders = folders

    def path(self, target: str) -> Path:
        """Return the path at which to write the new version of a target."""
        return _new(self._folders, self._targets.index(target))

    @contextmanager
    def create(self, target: str) -> Iterator[BinaryIO]:
        """Create the new version of a target; it is on disk when the block ends."""
        with filesystems.LOCAL.create(self.path(target)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())

    def commit(self, removed: Sequence[str] = ()) -> None:
        """Move all new versions to their names and remove the targets in `removed`, or change nothing.

        The main target is moved last. Raises OSError, or DataError if the old versions cannot be restored at once.
        """
        entries = [
            _Entry(target, _new(self._folders, number).exists(), filesystem_of(target).exists(target))
            for number, target in enumerate(self._targets)
        ]
        try:
            self._write_journals(entries)
            for number, entry in enumerate(entries):
                self._withdraw_old(number, entry.target, entry.target in removed)
                if entry.is_staged:
                    filesystem_of(entry.target).publish(_new(self._folders, number), entry.target)
        except BaseException:
            self._undo(entries)
            raise
        _remove_journals(self._folders)

    def _undo(self, entries: Sequence[_Entry]) -> None:
        try:
            _undo(entries, self._folders)
            _remove_journals(self._folders)
        except OSError as error:
            names = ", ".join(printable(target) for target in self._targets)
            raise DataError(
                f"{names} cannot be written, nor restored now ({error_reason(error)}): the next run that writes them "
                "restores them"
            ) from None

    def _withdraw_old(self, number: int, target: str, is_removed: bool) -> None:
        """Move the old version away if the new one cannot replace it in one step, or may have to be undone."""
        filesystem, is_main = filesystem_of(target), number == len(self._targets) - 1
        replaces_folder = _new(self._folders, number).is_dir() and filesystem.is_folder(target)
        if replaces_folder or ((is_removed or not is_main) and filesystem.stat(target) is not None):
            filesystem.withdraw(target, _old(self._folders, number))

    def _write_journals(self, entries: Sequence[_Entry]) -> None:
        """Write a journal to each staging folder, from which an interrupted commit is rolled back."""
        content = json.dumps({"entries": entries, "folders": [str(folder.absolute()) for folder in self._folders]})
        for folder in set(self._folders):
            with filesystems.LOCAL.create(folder / _JOURNAL) as file:
                file.write(content.encode("ascii"))
                file.flush()
                os.fsync(file.fileno())


@contextmanager
def staged_files(*targets: str) -> Iterator[StagedFiles]:
    """Yield staging for new versions of files, the main one last; uncommitted files are discarded.

    Raises DataError if writing fails; then no target has changed.
    """
    with ExitStack() as stack:
        try:
            yield StagedFiles(targets, [stack.enter_context(_staging_folder(target)) for target in targets])
        except OSError as error:
            raise unwritable(targets[-1], error) from None


@contextmanager
def temporary_folder(label: str = "") -> Iterator[Path]:
    """Yield a temporary folder that is removed after the block; folders of dead runs are removed first.

    Raises DataError if the folder cannot be made.
    """
    with ExitStack() as stack:
        try:
            location = Path(tempfile.gettempdir())
            folder = stack.enter_context(_locked_folder(location, TEMPORARY_PREFIX, label))
        except OSError as error:
            reason = error_reason(error)
            raise DataError(f"no temporary folder can be made ({reason}): make room, or set TMPDIR") from None
        yield folder


@contextmanager
def _staging_folder(target: str) -> Iterator[Path]:
    with _locked_folder(*filesystem_of(target).staging_location(target)) as folder:
        yield folder


@contextmanager
def _locked_folder(location: Path, prefix: str, label: str = "") -> Iterator[Path]:
    """Yield a new folder whose lock is held during the block; it is removed after it."""
    _sweep(location, prefix)
    folder = location / f"{prefix}{label}{secrets.token_hex(4)}.new"
    with ExitStack() as stack:
        # Before the folder exists, so that an interruption between the two leaves nothing.
        stack.callback(_remove, folder)
        filesystems.LOCAL.make_staging(folder)
        stack.enter_context(filesystems.try_lock(folder / LOCK_NAME))
        yield folder


def _remove(folder: Path) -> None:
    # A journal is left where a commit could not be undone: the next run tries again.
    if not (folder / _JOURNAL).exists():
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(location: Path, prefix: str) -> None:
    """Remove the staging folders of dead runs, whose lock no process holds."""
    with suppress(OSError):
        names = [path for path in location.iterdir() if path.name.startswith(prefix) and path.suffix == ".new"]
        for folder in names:
            with suppress(OSError):
                # A new folder is empty until its run holds the lock.
                if any(folder.iterdir()) or time.time() - folder.stat().st_mtime > _MAX_EMPTY_SECONDS:
                    _remove_dead(folder)


def _remove_dead(folder: Path) -> None:
    with filesystems.try_lock(folder / LOCK_NAME) as is_dead:
        if not is_dead:
            return
        if (folder / _JOURNAL).is_file():
            try:
                content = json.loads((folder / _JOURNAL).read_text(encoding="ascii"))
                entries, folders = [_Entry(*entry) for entry in content["entries"]], list(map(Path, content["folders"]))
            except (ValueError, KeyError, TypeError):
                if list(folder.glob("old-*")):
                    return  # damaged: the old versions are left to the user
                entries, folders = [], []  # incomplete: the commit had not begun
            # The main target is moved last: without its new version, the commit is complete.
            if folders and _new(folders, len(folders) - 1).exists():
                _undo(entries, folders)
                _remove_journals(folders)
        shutil.rmtree(folder)


def _undo(entries: Sequence[_Entry], folders: Sequence[Path]) -> None:
    """Restore old versions that were moved away, and remove new versions that replaced nothing. Idempotent."""
    for number, (target, is_staged, had_old) in enumerate(entries):
        old = _old(folders, number)
        if old.exists():
            filesystem_of(target).publish(old, target)
        elif is_staged and not had_old and not _new(folders, number).exists():
            filesystem_of(target).remove(target)


def _remove_journals(folders: Sequence[Path]) -> None:
    for folder in set(folders):
        (folder / _JOURNAL).unlink(missing_ok=True)


def _new(folders: Sequence[Path], number: int) -> Path:
    return folders[number] / f"new-{number}"


def _old(folders: Sequence[Path], number: int) -> Path:
    return folders[number] / f"old-{number}"
