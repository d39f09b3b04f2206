"""Jobs: uploaded files, and their state on disk.

A job is a folder with an unguessable name. Its state survives a restart of the page: an interrupted stage starts again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from reviews_parsing.batch.readers.dialect import require_delimiter
from reviews_parsing.batch.readers.encoding import require_encoding
from reviews_parsing.corrections import CorrectionStore
from reviews_parsing.demo import worker
from reviews_parsing.demo.corrections import apply_corrections
from reviews_parsing.demo.worker_process import run_worker
from reviews_parsing.errors import DataError, RequestRefused
from reviews_parsing.io.files import write_bytes
from reviews_parsing.settings import MODEL_NAME, Settings

RETENTION_SECONDS = 24 * 3600
SWEEP_SECONDS = 600
CONCURRENT_PARSES, CONCURRENT_READS = 2, 2
MAX_WAITING_JOBS = 64
READ_SECONDS = 60
"""Time limit for finding the columns of a file or building a queue."""
STORAGE_CHECK_BYTES = 16 * 10**6
"""An upload checks the storage again after this size."""
STORAGE_FULL = "The page cannot store the results now, because its storage is full: try again later."
log = logging.getLogger("reviews_parsing.demo")

_ID = re.compile(r"[\w-]{22,64}", re.ASCII)
_EXTENSION = re.compile(
    r"\.(csv|tsv|tab|txt|json|jsonl|ndjson)(\.gz|\.zst|\.bz2|\.xz)?$|\.(parquet|xlsx|xlsm)$", re.IGNORECASE
)
_DELIMITED = re.compile(r"\.(csv|tsv|tab|txt)\b", re.IGNORECASE)
_FORMATS = "CSV, TSV, JSON, JSONL, Excel (.xlsx) or Parquet; text formats also as .gz, .zst, .bz2 or .xz"
MAX_SKIPPED_LINES, MAX_OPTION_CHARACTERS = 1000, 40


class JobState(StrEnum):
    """Stage of a job."""

    SCANNING = "scanning"
    UNREADABLE = "unreadable"
    READY = "ready"
    WAITING = "waiting"
    PARSING = "parsing"
    DRAWING = "drawing"
    DONE = "done"


@dataclass
class Job:
    """An uploaded file and the state of its processing; times are seconds since the epoch.

    `column` and `group_by` belong to the results, or to the parse that runs. `layout` describes how the file is read,
    `dialect` has the options of that layout if the file is delimited, `reading` those that a person has set. `progress`
    is not stored.
    """

    id: str
    name: str
    created: float
    state: JobState = JobState.SCANNING
    columns: list[str] = field(default_factory=list)
    text_columns: list[str] = field(default_factory=list)
    guess: str | None = None
    group_columns: list[str] = field(default_factory=list)
    group_guess: str | None = None
    layout: str = ""
    dialect: dict[str, Any] | None = None
    reading: dict[str, Any] = field(default_factory=dict)
    column: str | None = None
    group_by: str | None = None
    message: str = ""
    progress: dict[str, Any] | None = None

    @property
    def file(self) -> str:
        """Name of the stored file: fixed, because untrusted names may hold patterns or control characters."""
        match = _EXTENSION.search(self.name)
        return f"upload{match[0].lower()}" if match else "upload"

    @property
    def has_dialect(self) -> bool:
        """True if the layout can be set: of delimited text, or of a file that may be and cannot be read."""
        is_unread = self.state is JobState.UNREADABLE and _DELIMITED.search(self.file) is not None
        return self.dialect is not None or is_unread


class JobStore:
    """All jobs of a page. Its methods run in one event loop."""

    def __init__(self, settings: Settings, corrections: CorrectionStore) -> None:
        self._settings = settings
        self._corrections = corrections
        self.folder = settings.home / "page" / "jobs"
        self._jobs: dict[str, Job] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._parses = asyncio.Semaphore(CONCURRENT_PARSES)
        self._reads = asyncio.Semaphore(CONCURRENT_READS)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Load stored jobs, start interrupted stages again, and delete expired jobs until the block ends."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in self.folder.iterdir():
            self._load(path)
        sweeper = asyncio.create_task(self._sweep())
        try:
            yield
        finally:
            for task in (sweeper, *self._tasks.values()):
                task.cancel()
            await asyncio.gather(sweeper, *self._tasks.values(), return_exceptions=True)

    def get(self, job_id: str) -> Job:
        """Return a job. Raises RequestRefused (404) if it does not exist or has expired."""
        job = self._jobs.get(job_id)
        if job is None:
            raise RequestRefused("this file is not here: results are deleted after a day. Upload the file again", 404)
        return job

    def path(self, job: Job) -> Path:
        """Return the folder of a job."""
        return self.folder / job.id

    async def create(self, name: str, chunks: AsyncIterator[bytes]) -> Job:
        """Store an upload, whose size `chunks` bounds, and start to read its columns.

        Raises RequestRefused if the name has an unknown extension or the disk is full, and the errors of `chunks`.
        """
        name = _clean_name(name)
        if not _EXTENSION.search(name):
            raise RequestRefused(f"{name} has an unknown extension: upload {_FORMATS}", 415)
        self._check_storage()
        job = Job(secrets.token_urlsafe(24), name, time.time())
        folder = self.path(job)
        folder.mkdir(mode=0o700)
        try:
            await self._write_upload(folder / job.file, chunks)
            self._add(job)
        except BaseException as error:
            self._jobs.pop(job.id, None)
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, OSError):
                log.warning("an upload cannot be stored: %s", error)
                raise RequestRefused("the page cannot store the file now: try again later", 507) from error
            raise
        self._start(job)
        return job

    async def import_queue(self, path: Path) -> str:
        """Store a file of the operator as a labelling queue; return the id of its job, which the content determines.

        Raises DataError if the file cannot be read.
        """
        import hashlib

        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror})") from error
        job = Job(f"queue-{hashlib.sha256(content).hexdigest()[:32]}", _clean_name(path.name), time.time())
        if not _EXTENSION.search(job.name):
            raise DataError(f"{path} has an unknown extension: give {_FORMATS}")
        folder = self.path(job)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_bytes(folder / job.file, content)
        try:
            await self._scan(job)
            if job.state is JobState.UNREADABLE or job.guess is None:
                raise DataError(job.message or f"{path} has no column that is clearly the texts: name it text")
            await self.build_queue(job, job.guess)
        except RequestRefused as error:
            raise DataError(str(error)) from error
        self._add(job)
        return job.id

    def parse(self, job: Job, column: str, group_by: str | None) -> None:
        """Start to parse the file. Raises RequestRefused if a column does not exist or too many jobs wait."""
        self._check_column(job, column)
        self._check_start(job, group_by)
        self._set_state(job, JobState.WAITING, column=column, group_by=group_by, message="")
        self._start(job)

    def draw(self, job: Job, group_by: str | None) -> None:
        """Start to draw the report of a parsed file by other groups.

        Raises RequestRefused if a column does not exist, the file is not parsed, or too many jobs wait.
        """
        self._check_start(job, group_by)
        self._read_stored_outcome(job)
        self._set_state(job, JobState.DRAWING, group_by=group_by, message="")
        self._start(job)

    def _check_start(self, job: Job, group_by: str | None) -> None:
        if group_by is not None and group_by not in job.group_columns:
            raise RequestRefused(f"there is no column '{group_by}': choose one of {', '.join(job.group_columns)}")
        if job.state in (JobState.WAITING, JobState.PARSING, JobState.DRAWING):
            raise RequestRefused("this file is being parsed: wait for it, or stop it", 409)
        if len(self._tasks) >= MAX_WAITING_JOBS:
            raise RequestRefused("too many files wait: try again in a few minutes", 503)

    def set_layout(self, job: Job, options: dict[str, Any]) -> None:
        """Read the file anew by options of its layout, None to detect a value; results and queue are deleted.

        A file that was parsed is parsed again, if it still has the columns. Raises RequestRefused if the options are
        invalid, the file is not delimited text, or it is being read.
        """
        if not job.has_dialect:
            raise RequestRefused(f"{job.name} is not delimited text: its layout cannot be set")
        if job.state in (JobState.SCANNING, JobState.WAITING, JobState.PARSING, JobState.DRAWING):
            raise RequestRefused("this file is being read: wait for it, or stop it", 409)
        reading = _check_layout(options)
        if len(self._tasks) >= MAX_WAITING_JOBS:
            raise RequestRefused("too many files wait: try again in a few minutes", 503)
        self._delete_results(job)
        (self.path(job) / "queue.json").unlink(missing_ok=True)
        job.reading, job.message = reading, ""
        self._set_columns(job, {})
        self._set_state(job, JobState.SCANNING)
        self._start(job)

    async def stop(self, job: Job) -> None:
        """End the parse of a job; its partial results are deleted."""
        if job.state not in (JobState.WAITING, JobState.PARSING):
            return
        await self._cancel(job)
        self._delete_results(job)
        job.column, job.message = None, "Stopped. No results were stored."
        self._set_state(job, JobState.READY)

    async def delete(self, job: Job) -> None:
        """End the work on a job and delete its file and results."""
        self._jobs.pop(job.id, None)
        await self._cancel(job)
        shutil.rmtree(self.path(job), ignore_errors=True)

    async def build_queue(self, job: Job, column: str) -> int:
        """Store the texts of a column as a labelling queue; return their number. Raises RequestRefused."""
        self._check_column(job, column)
        reading = job.reading
        async with self._reads:
            reply = await self._run_worker(job, "queue", {"column": column}, READ_SECONDS)
        if job.reading is not reading:
            (self.path(job) / "queue.json").unlink(missing_ok=True)
            raise RequestRefused("the layout of this file was changed meanwhile: start again", 409)
        if "error" in reply:
            raise RequestRefused(reply["error"])
        return int(reply["result"]["total"])

    def read_queue(self, job: Job) -> list[str]:
        """Return the texts of the labelling queue. Raises RequestRefused (404) if the job has no queue."""
        try:
            texts: list[str] = json.loads((self.path(job) / "queue.json").read_bytes())
        except FileNotFoundError:
            raise RequestRefused("this file has no labelling queue yet: open the file and start one", 404) from None
        return texts

    def read_outcome(self, job: Job) -> dict[str, Any]:
        """Return the results of a parsed file, with the corrections of its reviews applied to counts and preview.

        Raises RequestRefused (404) if the file is not parsed.
        """
        outcome = self._read_stored_outcome(job)
        apply_corrections(outcome, self.path(job), self._corrections.list_latest())
        return outcome

    def _read_stored_outcome(self, job: Job) -> dict[str, Any]:
        if job.state is not JobState.DONE:
            raise RequestRefused("this file has no results yet: parse it first", 404)
        outcome: dict[str, Any] = json.loads((self.path(job) / worker.OUTCOME_FILE).read_bytes())
        return outcome

    def find_download(self, job: Job, kind: str) -> Path:
        """Return the path of a result file: parsed, report or rejects. Raises RequestRefused (404)."""
        outcome = self._read_stored_outcome(job)
        name = outcome["downloads"].get(kind)
        if name is None:
            raise RequestRefused("there is no such file", 404)
        return self.path(job) / str(name)

    def _check_column(self, job: Job, column: str) -> None:
        if column not in job.text_columns:
            raise RequestRefused(f"choose the column that holds the reviews: one of {', '.join(job.text_columns)}")

    def _free_bytes(self) -> int:
        """Return the rest of the disk space that the page may use."""
        size = 0
        for path in self.folder.rglob("*"):
            # Other jobs delete their files meanwhile.
            with contextlib.suppress(OSError):
                size += path.lstat().st_size
        return self._settings.page_storage_mb * 10**6 - size

    def _check_storage(self) -> None:
        if self._free_bytes() < 0:
            raise RequestRefused("the page stores too many files: delete one of yours, or try again tomorrow", 507)

    async def _write_upload(self, path: Path, chunks: AsyncIterator[bytes]) -> None:
        size = next_check = 0
        with path.open("xb") as file:
            async for chunk in chunks:
                size += len(chunk)
                if size > next_check:
                    # Other uploads grow at the same time.
                    self._check_storage()
                    next_check = size + STORAGE_CHECK_BYTES
                file.write(chunk)

    def _add(self, job: Job) -> None:
        self._jobs[job.id] = job
        self._save(job)

    def _save(self, job: Job) -> None:
        fields = {name: value for name, value in asdict(job).items() if name != "progress"}
        write_bytes(self.path(job) / "job.json", json.dumps(fields).encode())

    def _set_state(self, job: Job, state: JobState, **fields: str | None) -> None:
        """Change and store a job. Raises OSError, and changes nothing, if it cannot be stored."""
        changed = replace(job, state=state, progress=None, **fields)  # type: ignore[arg-type]
        if job.id in self._jobs:
            self._save(changed)
        vars(job).update(vars(changed))

    def _load(self, path: Path) -> None:
        """Load a stored job; delete it if it is expired or incomplete."""
        try:
            fields = json.loads((path / "job.json").read_bytes())
            job = Job(**{**fields, "state": JobState(fields["state"])})
            is_expired = job.created < time.time() - RETENTION_SECONDS
        except (OSError, ValueError, TypeError, KeyError):
            is_expired = True
        if is_expired or not _ID.fullmatch(path.name) or job.id != path.name:
            shutil.rmtree(path, ignore_errors=True)
            return
        self._jobs[job.id] = job
        if job.state in (JobState.SCANNING, JobState.WAITING, JobState.PARSING, JobState.DRAWING):
            self._start(job)

    def _delete_results(self, job: Job) -> None:
        for path in self.path(job).iterdir():
            if path.name in ("job.json", "queue.json", job.file):
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            for job in list(self._jobs.values()):
                if job.created < time.time() - RETENTION_SECONDS and not job.id.startswith("queue-"):
                    await self.delete(job)

    def _start(self, job: Job) -> None:
        task = asyncio.create_task(self._run_stage(job))
        self._tasks[job.id] = task
        task.add_done_callback(lambda ended: self._tasks.pop(job.id) if self._tasks.get(job.id) is ended else None)

    async def _run_stage(self, job: Job) -> None:
        stages = {JobState.SCANNING: self._scan, JobState.DRAWING: self._draw}
        try:
            await stages.get(job.state, self._parse)(job)
        except OSError as error:
            # Kept in memory alone: the state on disk starts the stage again after a restart.
            log.warning("the state of a file cannot be stored: %s", error)
            job.state = JobState.READY if job.text_columns else JobState.UNREADABLE
            job.column, job.progress, job.message = None, None, STORAGE_FULL

    async def _cancel(self, job: Job) -> None:
        task = self._tasks.pop(job.id, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _scan(self, job: Job) -> None:
        async with self._reads:
            reply = await self._run_worker(job, "scan", {}, READ_SECONDS)
        column, group_by = job.column, job.group_by
        job.column = job.group_by = None
        if "error" in reply:
            job.message = reply["error"]
            self._set_state(job, JobState.UNREADABLE)
            return
        self._set_columns(job, reply["result"])
        self._set_state(job, JobState.READY)
        if column is not None and group_by in (None, *job.group_columns):
            # The layout of a parsed file was changed; without the column, another one must be chosen.
            with contextlib.suppress(RequestRefused):
                self.parse(job, column, group_by)

    def _set_columns(self, job: Job, scan: dict[str, Any]) -> None:
        """Set what a scan has found; without one, nothing is known of the file."""
        job.columns, job.text_columns = scan.get("columns", []), scan.get("text_columns", [])
        job.guess, job.layout, job.dialect = scan.get("guess"), scan.get("layout", ""), scan.get("dialect")
        job.group_columns, job.group_guess = scan.get("group_columns", []), scan.get("group_guess")

    async def _parse(self, job: Job) -> None:
        async with self._parses:
            self._delete_results(job)
            self._set_state(job, JobState.PARSING)
            options = {
                "column": job.column,
                "group_by": job.group_by,
                "server_url": self._settings.server_url,
                "model": MODEL_NAME,
            }
            reply = await self._run_worker(job, "parse", options, self._settings.file_seconds)
        if "error" in reply:
            self._delete_results(job)
            job.column, job.message = None, reply["error"]
            self._set_state(job, JobState.READY)
        else:
            self._set_state(job, JobState.DONE)

    async def _draw(self, job: Job) -> None:
        async with self._parses:
            reply = await self._run_worker(job, "draw", {"group_by": job.group_by}, self._settings.file_seconds)
        if "error" in reply:
            # The plots by the former groups must not stand under the new ones.
            path = self.path(job) / worker.OUTCOME_FILE
            outcome = json.loads(path.read_bytes())
            outcome["downloads"].pop("report", None)
            outcome |= {"plots": [], "plots_error": reply["error"]}
            write_bytes(path, json.dumps(outcome).encode())
        self._set_state(job, JobState.DONE)

    async def _run_worker(self, job: Job, stage: str, options: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Run a stage in a process; return its last message, which has `result` or `error`."""
        folder = self.path(job)
        limits = {
            "memory_mb": self._settings.file_memory_mb,
            "cpu_seconds": max(1, round(min(seconds, self._settings.file_cpu_seconds))),
            "file_mb": max(1, self._free_bytes() // 10**6),
        }
        request = {
            "stage": stage,
            "folder": str(folder),
            "path": job.file,
            "name": job.name,
            "reading": job.reading,
            "limits": limits,
        }

        def on_progress(progress: dict[str, Any]) -> None:
            job.progress = progress

        fonts = self.folder.parent / "matplotlib"
        return await run_worker({**request, **options}, folder / "tmp", fonts, seconds, on_progress)


def _check_layout(options: dict[str, Any]) -> dict[str, Any]:
    """Return valid options of a layout, without those to detect. Raises RequestRefused (422)."""
    reading = {name: value for name, value in options.items() if value is not None}
    checks: dict[str, Callable[[Any], bool]] = {
        "delimiter": lambda value: isinstance(value, str) and len(value) <= MAX_OPTION_CHARACTERS,
        "encoding": lambda value: isinstance(value, str) and len(value) <= MAX_OPTION_CHARACTERS,
        "header": lambda value: isinstance(value, bool),
        "skip_lines": lambda value: type(value) is int and 0 <= value <= MAX_SKIPPED_LINES,
    }
    for name, value in reading.items():
        if name not in checks or not checks[name](value):
            raise RequestRefused(f"{name!r} of the layout is invalid: correct it, or leave it out to be detected", 422)
    try:
        if "delimiter" in reading:
            require_delimiter(reading["delimiter"])
        if "encoding" in reading:
            require_encoding(reading["encoding"])
    except DataError as error:
        raise RequestRefused(worker.name_fields(str(error)), 422) from None
    return reading


def _clean_name(name: str) -> str:
    """Return the base name without control characters, at most 100 characters from its end."""
    base = re.split(r"[/\\]", name)[-1]
    return "".join(character for character in base if character.isprintable())[-100:] or "reviews"
