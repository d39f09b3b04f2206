"""JSON endpoints of the page: parse a review, save corrections, and process files."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from reviews_parsing.corrections import CorrectionStore
from reviews_parsing.demo.client import InferenceClient, Prediction, ServedModel
from reviews_parsing.demo.corrections import describe_correction, save_correction
from reviews_parsing.demo.jobs import Job, JobStore
from reviews_parsing.demo.security import read_body, stream_body
from reviews_parsing.errors import DataError, InferenceError, RequestRefused
from reviews_parsing.schema import Taxonomy
from reviews_parsing.settings import MODEL_NAME, Settings
from reviews_parsing.tagging import words as find_words

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

log = logging.getLogger("reviews_parsing.demo")

CONCURRENT_REQUESTS, MAX_WAITING_REQUESTS = 8, 64
COMPARE_RETRY_SECONDS = 1.0
"""The answer of the first server does not wait longer for the second one."""

REPORT_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "sandbox allow-scripts allow-popups; frame-ancestors 'none'",
    # Browsers refuse a sandbox with another value.
    "Cross-Origin-Opener-Policy": "unsafe-none",
}
"""The report has a content security policy itself, which allows its own script by hash."""

Endpoint = Callable[["Request"], Awaitable[Response]]


class Api:
    """Endpoints under /api. `compare` is a second server whose answers are shown beside the first."""

    def __init__(self, settings: Settings, store: CorrectionStore, jobs: JobStore) -> None:
        self._settings = settings
        self._store = store
        self._jobs = jobs
        self.client = InferenceClient(settings.server_url, MODEL_NAME)
        self._clients = [self.client]
        if settings.compare_url:
            setting = "REVIEWS_PARSING_COMPARE_URL"
            self._clients.append(InferenceClient(settings.compare_url, MODEL_NAME, setting))
        self.queue_id: str | None = None
        """Job of the operator's labelling queue."""
        self._taxonomy: Taxonomy | None = None
        self._slots = asyncio.Semaphore(CONCURRENT_REQUESTS)
        self._waiting = 0

    def routes(self) -> list[Route]:
        """Return the routes of the API."""
        job = "/api/files/{id}"
        endpoints: list[tuple[str, str, Endpoint]] = [
            ("GET", "/api/model", self.describe_model),
            ("POST", "/api/parse", self.parse),
            ("POST", "/api/corrections", self.correct),
            ("POST", "/api/files", self.upload),
            ("GET", job, self.show_job),
            ("DELETE", job, self.delete_job),
            ("POST", f"{job}/layout", self.set_layout),
            ("POST", f"{job}/parse", self.parse_job),
            ("POST", f"{job}/draw", self.draw_job),
            ("POST", f"{job}/stop", self.stop_job),
            ("GET", f"{job}/outcome", self.show_outcome),
            ("GET", f"{job}/downloads/{{kind}}", self.download),
            ("GET", "/files/{id}/report", self.show_report),
            ("POST", f"{job}/queue", self.create_queue),
            ("GET", f"{job}/queue", self.show_queue),
            ("GET", f"{job}/queue/{{number:int}}", self.show_queued_review),
        ]
        return [Route(path, _answer_errors(endpoint), methods=[method]) for method, path, endpoint in endpoints]

    def close(self) -> None:
        """Close the clients of the inference servers."""
        for client in self._clients:
            client.close()

    async def describe_model(self, request: Request) -> Response:
        """Return the served models or why they do not answer, the taxonomy, and the limits of the page."""
        models = await asyncio.gather(*(run_in_threadpool(_describe, client) for client in self._clients))
        taxonomy = self._remember_taxonomy(models[0])
        servers = [
            {"url": client.url, "error": str(model)}
            if isinstance(model, InferenceError)
            else {"url": client.url, "name": model.name, "version": model.version}
            for client, model in zip(self._clients, models, strict=True)
        ]
        return _json(
            {
                "servers": servers,
                "categories": taxonomy.categories,
                "implicit": taxonomy.implicit,
                "polarities": taxonomy.polarities,
                "max_upload_mb": self._settings.max_upload_mb,
                "queue": self.queue_id,
            }
        )

    async def parse(self, request: Request) -> Response:
        """Parse one review by each server; also return its words and its correction, if it has one."""
        text = (await _read_json(request)).get("text")
        if not isinstance(text, str) or not text.strip():
            raise RequestRefused("there is nothing to parse yet: write or paste a review", 422)
        async with self._slot():
            calls = [run_in_threadpool(self.client.parse, [text])]
            calls += [run_in_threadpool(client.parse, [text], COMPARE_RETRY_SECONDS) for client in self._clients[1:]]
            first, *later_answers = await asyncio.gather(*calls, return_exceptions=True)
        if isinstance(first, BaseException):
            raise first
        revision = await run_in_threadpool(self._store.find_latest, text)
        return _json(
            {
                "model": self.client.model,
                "answers": [_describe_answer(answer) for answer in (first, *later_answers)],
                "words": find_words(text),
                "correction": describe_correction(revision) if revision else None,
            }
        )

    async def correct(self, request: Request) -> Response:
        """Save a correction; 409 with the stored one if another user corrected the text meanwhile."""
        body = await _read_json(request)
        limit_mb = self._settings.page_storage_mb
        if self._store.path.exists() and self._store.path.stat().st_size > limit_mb * 10**6:
            raise RequestRefused(
                f"the store of corrections is full ({limit_mb:,} MB): whoever runs the page may raise "
                "REVIEWS_PARSING_PAGE_STORAGE_MB",
                507,
            )
        taxonomy = self._taxonomy or self._remember_taxonomy(await run_in_threadpool(self.client.describe))
        revision, is_conflict = await run_in_threadpool(save_correction, self._store, body, taxonomy)
        return _json({"correction": describe_correction(revision)}, 409 if is_conflict else 200)

    async def upload(self, request: Request) -> Response:
        """Store an uploaded file as a new job."""
        limit = self._settings.max_upload_mb * 10**6
        job = await self._jobs.create(request.query_params.get("name", ""), stream_body(request, limit))
        return _json({"id": job.id}, 201)

    async def show_job(self, request: Request) -> Response:
        """Return the state of a job."""
        return _json(_describe_job(self._job(request)))

    async def delete_job(self, request: Request) -> Response:
        """Delete a job and its files."""
        await self._jobs.delete(self._own_job(request))
        return _json({})

    async def set_layout(self, request: Request) -> Response:
        """Read the file of a job anew by options of its layout."""
        job = self._own_job(request)
        self._jobs.set_layout(job, await _read_json(request))
        return _json(_describe_job(job), 202)

    async def parse_job(self, request: Request) -> Response:
        """Start to parse the file of a job."""
        job = self._own_job(request)
        body = await _read_json(request)
        self._jobs.parse(job, str(body.get("column") or ""), _group_by(body))
        return _json(_describe_job(job), 202)

    async def draw_job(self, request: Request) -> Response:
        """Start to draw the report of a job by other groups."""
        job = self._own_job(request)
        self._jobs.draw(job, _group_by(await _read_json(request)))
        return _json(_describe_job(job), 202)

    async def stop_job(self, request: Request) -> Response:
        """Stop the parsing of a job."""
        job = self._own_job(request)
        await self._jobs.stop(job)
        return _json(_describe_job(job))

    async def show_outcome(self, request: Request) -> Response:
        """Return the insights of a finished job."""
        return _json(await run_in_threadpool(self._jobs.read_outcome, self._job(request)))

    async def download(self, request: Request) -> Response:
        """Return a result file of a job."""
        path = await run_in_threadpool(self._jobs.find_download, self._job(request), request.path_params["kind"])
        return FileResponse(path, filename=path.name)

    async def show_report(self, request: Request) -> Response:
        """Return the report of a job as a page of its own origin, so that it can reach nothing of this page."""
        path = await run_in_threadpool(self._jobs.find_download, self._job(request), "report")
        return FileResponse(path, headers=REPORT_HEADERS)

    async def create_queue(self, request: Request) -> Response:
        """Build the review queue of a job."""
        job = self._own_job(request)
        column = str((await _read_json(request)).get("column") or "")
        return _json({"total": await self._jobs.build_queue(job, column)}, 201)

    async def show_queue(self, request: Request) -> Response:
        """Return the length of a queue, and which of its reviews are corrected."""
        job = self._job(request)
        texts = self._jobs.read_queue(job)
        corrected = {revision.correction.text for revision in await run_in_threadpool(self._store.list_latest)}
        return _json({"name": job.name, "labelled": [text in corrected for text in texts]})

    async def show_queued_review(self, request: Request) -> Response:
        """Return a review of the queue by its number."""
        texts = self._jobs.read_queue(self._job(request))
        number = request.path_params["number"]
        if not 0 <= number < len(texts):
            raise RequestRefused(f"the queue has {len(texts)} reviews", 404)
        return _json({"text": texts[number]})

    def _job(self, request: Request) -> Job:
        return self._jobs.get(request.path_params["id"])

    def _own_job(self, request: Request) -> Job:
        """Return a job that visitors may change, which the operator's queue is not."""
        job = self._job(request)
        if job.id == self.queue_id:
            raise RequestRefused("this queue belongs to whoever runs the page", 403)
        return job

    def _remember_taxonomy(self, model: ServedModel | InferenceError) -> Taxonomy:
        """Keep the last known taxonomy, by which corrections are checked while the server is away."""
        if isinstance(model, ServedModel) and model.taxonomy:
            self._taxonomy = model.taxonomy
        return self._taxonomy or Taxonomy(())

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        """Bound concurrent requests. Raises RequestRefused (503) if too many wait."""
        if self._waiting >= MAX_WAITING_REQUESTS:
            raise RequestRefused("too many people use the page: try again in a moment", 503)
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._slots.release()


def _answer_errors(endpoint: Endpoint) -> Endpoint:
    """Turn errors into JSON answers with a status."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except RequestRefused as error:
            return _json({"error": str(error)}, error.status)
        except InferenceError as error:
            return _json({"error": str(error)}, 413 if error.too_large else 503)
        except (DataError, OSError):
            # The message names files of this machine.
            log.exception("a request failed")
            return _json({"error": "the page's files cannot be read or written now: try again in a moment"}, 503)

    return answer


async def _read_json(request: Request) -> dict[str, Any]:
    body = await read_body(request)
    try:
        value = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise RequestRefused("the request is not JSON") from None
    if not isinstance(value, dict):
        raise RequestRefused("the request is not a JSON object")
    return value


def _group_by(body: dict[str, Any]) -> str | None:
    return str(body["group_by"]) if body.get("group_by") else None


def _json(value: object, status: int = 200) -> JSONResponse:
    return JSONResponse(value, status, {"Cache-Control": "no-store"})


def _describe(client: InferenceClient) -> ServedModel | InferenceError:
    try:
        return client.describe()
    except InferenceError as error:
        return error


def _describe_answer(answer: Prediction | BaseException) -> dict[str, Any]:
    if isinstance(answer, BaseException):
        return {"error": str(answer)}
    [review] = answer.reviews
    return {
        "version": answer.version,
        "aspects": review.to_json(),
        "language": review.language,
        "foreign": review.foreign,
    }


def _describe_job(job: Job) -> dict[str, Any]:
    names = ["id", "name", "state", "columns", "text_columns", "guess", "layout", "dialect", "reading", "has_dialect"]
    names += ["group_columns", "group_guess", "column", "group_by", "message", "progress"]
    return {name: getattr(job, name) for name in names}
