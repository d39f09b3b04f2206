"""Store of corrections: an append-only SQLite file, safe for concurrent threads and processes.

A correction is pending until an operator approves or rejects it; only approved ones should become training data. A
rejected revision never counts as the latest one.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from reviews_parsing.corrections.correction import Correction
from reviews_parsing.errors import DataError, ReviewsParsingError
from reviews_parsing.schema import Aspect
from reviews_parsing.settings import Settings

FORMAT_VERSION = 1
LOCK_TIMEOUT_SECONDS = 10.0
_CREATE_CORRECTIONS = """
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
# A table of its own, so that releases without approval still read the file.
_CREATE_DECISIONS = """
    CREATE TABLE IF NOT EXISTS decisions (
        correction INTEGER PRIMARY KEY REFERENCES corrections (id),
        status TEXT NOT NULL,
        at TEXT NOT NULL
    )
"""
_STATUS = "COALESCE((SELECT status FROM decisions WHERE correction = corrections.id), 'pending')"
_COLUMNS = "id, status, revision, text, aspects, answer, model, version, author, at"
_SELECT = f"SELECT *, {_STATUS} AS status FROM corrections"


class CorrectionStatus(StrEnum):
    """Decision of the operator about a revision."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class CorrectionRevision:
    """A correction with its revision number, its id and its status; the revisions of a text count from 1."""

    number: int
    correction: Correction
    id: int
    status: CorrectionStatus


class CorrectionConflict(ReviewsParsingError):
    """Conflict with a concurrent correction of the same text; `latest` is the newest revision in the store."""

    def __init__(self, message: str, latest: CorrectionRevision) -> None:
        super().__init__(message)
        self.latest = latest


class CorrectionStore:
    """Corrections in a SQLite file, which the first save creates.

    Thread-safe and process-safe. Every method raises DataError if the file cannot be read or written, or is not a store
    of corrections.
    """

    def __init__(self, path: Path | None = None, lock_timeout: float = LOCK_TIMEOUT_SECONDS) -> None:
        """Use the file at `path` (default: `corrections.db` in the home folder); `lock_timeout` is in seconds."""
        self.path = path or Settings().home / "corrections.db"
        self._lock_timeout = lock_timeout

    def save(self, correction: Correction, base_revision: int | None, *, approved: bool = True) -> int:
        """Append the correction as the next revision of its text; return the revision number.

        `base_revision` is the revision that the author edited, None if the text had no correction. If the latest
        revision is a newer one with the same aspects, nothing is written and its number is returned. A correction by
        an unknown author is saved with `approved=False`: it is pending. Raises DataError if the labels are invalid,
        CorrectionConflict if a newer revision has other aspects.
        """
        correction = correction.normalize()
        with self._connect(write=True) as connection:
            connection.execute("BEGIN IMMEDIATE")
            latest = _select_latest(connection, correction.text)
            if latest and latest.number != base_revision:
                if latest.correction.aspects == correction.aspects:
                    return latest.number
                raise _conflict(latest)
            digest = _digest(correction.text)
            query = "SELECT COALESCE(MAX(revision), 0) + 1 FROM corrections WHERE digest = ?"
            (number,) = connection.execute(query, [digest]).fetchone()
            values = (
                digest,
                number,
                correction.text,
                _to_json(correction.aspects),
                _to_json(correction.predicted_aspects),
                correction.model,
                correction.version,
                correction.author,
                correction.corrected_at.isoformat(),
            )
            cursor = connection.execute(f"INSERT INTO corrections VALUES (NULL{', ?' * len(values)})", values)
            if approved:
                _decide(connection, cursor.lastrowid, CorrectionStatus.APPROVED)
            connection.execute("COMMIT")
        return int(number)

    def decide(self, ids: Collection[int], status: CorrectionStatus) -> None:
        """Set the status of revisions, all or none. Raises DataError if an id does not exist."""
        with self._connect(write=True) as connection:
            connection.execute("BEGIN IMMEDIATE")
            for correction_id in ids:
                self._select(connection, correction_id)
                _decide(connection, correction_id, status)
            connection.execute("COMMIT")

    def find(self, ids: Iterable[int]) -> list[CorrectionRevision]:
        """Return the revisions with these ids. Raises DataError if an id does not exist."""
        with self._connect() as connection:
            return [self._select(connection, correction_id) for correction_id in ids]

    def _select(self, connection: sqlite3.Connection, correction_id: int) -> CorrectionRevision:
        row = connection.execute(f"SELECT {_COLUMNS} FROM ({_SELECT}) WHERE id = ?", [correction_id]).fetchone()
        if row is None:
            raise DataError(f"there is no correction {correction_id} in {self.path}: see `corrections list`")
        return _from_row(row)

    def find_latest(self, text: str) -> CorrectionRevision | None:
        """Return the latest revision of a text that was not rejected, None if there is no such correction."""
        with self._connect() as connection:
            return _select_latest(connection, text)

    def list_revisions(self, text: str) -> list[CorrectionRevision]:
        """Return all revisions of a text, oldest first."""
        with self._connect() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM ({_SELECT}) WHERE digest = ? ORDER BY id", [_digest(text)]
            )
            return [_from_row(row) for row in rows]

    def list_latest(self, *, approved_only: bool = False) -> list[CorrectionRevision]:
        """Return the latest revision of each text, in the order of saving, without rejected ones.

        With `approved_only`, return the latest approved revision of each text that has one.
        """
        condition = "status = 'approved'" if approved_only else "status <> 'rejected'"
        query = (
            f"SELECT {_COLUMNS} FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY digest ORDER BY revision DESC) AS rank "
            f"FROM ({_SELECT}) WHERE {condition}) WHERE rank = 1 ORDER BY id"
        )
        with self._connect() as connection:
            return [_from_row(row) for row in connection.execute(query)]

    @contextmanager
    def _connect(self, write: bool = False) -> Iterator[sqlite3.Connection]:
        """Open a connection per call; SQLite connections are not thread-safe."""
        try:
            if write:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            # Reading must not create the file.
            database = str(self.path) if write or self.path.exists() else ":memory:"
            with closing(sqlite3.connect(database, timeout=self._lock_timeout, isolation_level=None)) as connection:
                self._create_tables(connection)
                yield connection
        except ReviewsParsingError:
            raise
        except UnicodeEncodeError:
            raise DataError("the correction holds half of a surrogate pair: remove that character") from None
        except (sqlite3.Error, OSError) as error:
            raise DataError(self._describe(error)) from error

    def _create_tables(self, connection: sqlite3.Connection) -> None:
        """Create the tables that the file lacks. Raises DataError if the file has another format."""
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if version == FORMAT_VERSION:
            if "decisions" not in tables:
                connection.execute(_CREATE_DECISIONS)
            return
        # Another process may have created the tables since the version was read.
        if version or tables - {"corrections", "decisions"}:
            if "corrections" in tables:
                problem = f"has format {version}, not {FORMAT_VERSION}"
            else:
                problem = "is another SQLite database"
            raise DataError(
                f"the store of corrections {self.path} {problem}: give another file, or use the release that created it"
            )
        try:
            # In WAL mode readers do not wait for a writer. The switch fails while another process switches.
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if _result_code(error) != sqlite3.SQLITE_BUSY:
                raise
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_CREATE_CORRECTIONS)
        connection.execute(_CREATE_DECISIONS)
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
        connection.execute("COMMIT")

    def _describe(self, error: sqlite3.Error | OSError) -> str:
        subject = f"the store of corrections {self.path}"
        code = _result_code(error)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return f"{subject} was locked by another program for {self._lock_timeout:g} s: stop it, or try again"
        if code == sqlite3.SQLITE_NOTADB:
            return f"{subject} is not a SQLite file: give the file of the store, or move this file away"
        reason = getattr(error, "strerror", None) or error
        return f"{subject} cannot be used ({reason}): check the permissions and the free space on the disk"


def _result_code(error: Exception) -> int:
    """Return SQLite's primary result code, 0 for other errors."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _select_latest(connection: sqlite3.Connection, text: str) -> CorrectionRevision | None:
    query = (
        f"SELECT {_COLUMNS} FROM ({_SELECT}) WHERE digest = ? AND status <> 'rejected' ORDER BY revision DESC LIMIT 1"
    )
    row = connection.execute(query, [_digest(text)]).fetchone()
    return _from_row(row) if row else None


def _decide(connection: sqlite3.Connection, correction_id: int | None, status: CorrectionStatus) -> None:
    values = (correction_id, status, datetime.now(UTC).isoformat())
    connection.execute("INSERT OR REPLACE INTO decisions VALUES (?, ?, ?)", values)


def _conflict(latest: CorrectionRevision) -> CorrectionConflict:
    correction = latest.correction
    return CorrectionConflict(
        f"{correction.author or 'another user'} corrected this text meanwhile (revision {latest.number}, "
        f"{correction.corrected_at:%Y-%m-%d %H:%M} UTC): look at that correction, then save yours again",
        latest,
    )


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _to_json(aspects: tuple[Aspect, ...]) -> str:
    return json.dumps([aspect.to_json() for aspect in aspects], ensure_ascii=False)


def _from_json(aspects: str) -> tuple[Aspect, ...]:
    return tuple(Aspect.from_json(aspect) for aspect in json.loads(aspects))


def _from_row(row: tuple[int, str, int, str, str, str, str | None, str | None, str | None, str]) -> CorrectionRevision:
    correction_id, status, number, text, aspects, predicted_aspects, model, version, author, time = row
    correction = Correction(
        text, _from_json(aspects), _from_json(predicted_aspects), model, version, author, datetime.fromisoformat(time)
    )
    return CorrectionRevision(number, correction, correction_id, CorrectionStatus(status))
