"""Where corrections are kept: one SQLite file, safe among threads and processes, in which nothing is overwritten."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from reviews_parsing.corrections.correction import Correction
from reviews_parsing.errors import CorrectionConflict, DataError, ReviewsParsingError
from reviews_parsing.schema import Aspect
from reviews_parsing.settings import Settings

FORMAT = 1
# How long a write may hold up another, in seconds; a write takes milliseconds.
WAIT = 10.0
_TABLE = """
    CREATE TABLE IF NOT EXISTS corrections (
        id INTEGER PRIMARY KEY,
        digest BLOB NOT NULL,
        revision INTEGER NOT NULL,
        text TEXT NOT NULL,
        aspects TEXT NOT NULL,
        answer TEXT NOT NULL,
        model TEXT,
        version TEXT,
        author TEXT,
        at TEXT NOT NULL,
        UNIQUE (digest, revision)
    )
"""
_SELECT = "SELECT revision, text, aspects, answer, model, version, author, at FROM corrections"
_LATEST = "revision = (SELECT MAX(revision) FROM corrections AS other WHERE other.digest = corrections.digest)"


@dataclass(frozen=True, slots=True)
class Saved:
    """A correction in the store; the revisions of one text are numbered from 1."""

    revision: int
    correction: Correction


class Store:
    """The corrections in a SQLite file, which is made by the first that is saved.

    Its methods may be called by any number of threads and processes at once. Each raises DataError where the file
    cannot be read or written, or is none of ours.
    """

    def __init__(self, path: Path | None = None, wait: float = WAIT) -> None:
        """`path` is by default `corrections.db` in the home folder; `wait` is in seconds, for a lock of others."""
        self.path = path or Settings().home / "corrections.db"
        self._wait = wait

    def save(self, correction: Correction, seen: int | None) -> int:
        """Keep the correction as the next revision of its text, whose number is returned.

        `seen` is the latest revision that the author knew of, None for none. Raises DataError where the labels are
        wrong, and CorrectionConflict where somebody else saved another correction of that text meanwhile; where theirs
        says the same of the text, there is nothing to save, and its number is returned.
        """
        correction = correction.checked()
        with self._opened(write=True) as store:
            store.execute("BEGIN IMMEDIATE")
            latest = _latest(store, correction.text)
            revision = latest.revision if latest else 0
            if latest and latest.revision != seen:
                if latest.correction.aspects == correction.aspects:
                    return revision
                raise _conflict(latest)
            values = (
                _digest(correction.text),
                revision + 1,
                correction.text,
                _json(correction.aspects),
                _json(correction.answer),
                correction.model,
                correction.version,
                correction.author,
                correction.at.isoformat(),
            )
            store.execute(f"INSERT INTO corrections VALUES (NULL{', ?' * len(values)})", values)
            store.execute("COMMIT")
        return revision + 1

    def latest(self, text: str) -> Saved | None:
        """The last correction of the text, None where it has none."""
        with self._opened() as store:
            return _latest(store, text)

    def history(self, text: str) -> list[Saved]:
        """Every correction of the text, oldest first."""
        with self._opened() as store:
            return [_saved(row) for row in store.execute(f"{_SELECT} WHERE digest = ? ORDER BY id", [_digest(text)])]

    def all(self) -> list[Saved]:
        """The last correction of each text, in the order in which they were saved."""
        with self._opened() as store:
            return [_saved(row) for row in store.execute(f"{_SELECT} WHERE {_LATEST} ORDER BY id")]

    @contextmanager
    def _opened(self, write: bool = False) -> Iterator[sqlite3.Connection]:
        """A connection of its own: SQLite's are no thread's but one."""
        try:
            if write:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            # What is only read is not made: where there is no file, there are no corrections.
            place = str(self.path) if write or self.path.exists() else ":memory:"
            with closing(sqlite3.connect(place, timeout=self._wait, isolation_level=None)) as store:
                self._prepare(store)
                yield store
        except ReviewsParsingError:
            raise
        except UnicodeEncodeError:
            raise DataError("the correction holds half of a surrogate pair: remove that character") from None
        except (sqlite3.Error, OSError) as error:
            raise DataError(self._reason(error)) from error

    def _prepare(self, store: sqlite3.Connection) -> None:
        """The table is there, in a form that this version knows."""
        (found,) = store.execute("PRAGMA user_version").fetchone()
        if found == FORMAT:
            return
        tables = [name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        if found or (tables and tables != ["corrections"]):
            what = f"is a store of format {found}, not {FORMAT}" if "corrections" in tables else "is no such store"
            raise DataError(f"the store of corrections {self.path} {what}: give its file, or the version that made it")
        try:
            # Readers then do not wait for who writes. Two who both begin would wait for each other: one is enough.
            store.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY:
                raise
        store.execute("BEGIN IMMEDIATE")
        store.execute(_TABLE)
        store.execute(f"PRAGMA user_version = {FORMAT}")
        store.execute("COMMIT")

    def _reason(self, error: sqlite3.Error | OSError) -> str:
        place = f"the store of corrections {self.path}"
        code = _code(error)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return f"{place} is locked by another program for more than {self._wait:g} s: end it, or try again"
        if code == sqlite3.SQLITE_NOTADB:
            return f"{place} is no SQLite file: give the file of the store, or move this one away"
        reason = getattr(error, "strerror", None) or error
        return f"{place} cannot be used ({reason}): check that you may write there, and that the disk has room"


def _code(error: Exception) -> int:
    """SQLite's primary result code; 0 where the error is not SQLite's."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _latest(store: sqlite3.Connection, text: str) -> Saved | None:
    found = store.execute(f"{_SELECT} WHERE digest = ? ORDER BY revision DESC LIMIT 1", [_digest(text)]).fetchone()
    return _saved(found) if found else None


def _conflict(latest: Saved) -> CorrectionConflict:
    theirs = latest.correction
    who = theirs.author or "somebody else"
    return CorrectionConflict(
        f"{who} corrected this text meanwhile (revision {latest.revision}, {theirs.at:%Y-%m-%d %H:%M} UTC): look at "
        "that correction, then save yours again",
        latest,
    )


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _json(aspects: tuple[Aspect, ...]) -> str:
    return json.dumps([aspect.to_json() for aspect in aspects], ensure_ascii=False)


def _saved(row: tuple[int, str, str, str, str | None, str | None, str | None, str]) -> Saved:
    revision, text, aspects, answer, model, version, author, at = row
    as_corrected, as_answered = (tuple(Aspect.from_json(form) for form in json.loads(a)) for a in (aspects, answer))
    time = datetime.fromisoformat(at)
    return Saved(revision, Correction(text, as_corrected, as_answered, model, version, author, time))
