"""Client of a V2 inference server over REST."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from reviews_parsing.errors import InferenceError, Stopped
from reviews_parsing.schema import Aspect, ParsedReview, Taxonomy
from reviews_parsing.serving.batches import batches

if TYPE_CHECKING:
    import httpx

REQUEST_TIMEOUT_SECONDS = 60.0
CONNECT_TIMEOUT_SECONDS = 5.0
MAX_BATCH_TEXTS, MAX_BATCH_CHARACTERS = 64, 50_000
"""Limits of a request for a file."""
CONCURRENT_REQUESTS = 4
"""Concurrent requests for a file."""
FILE_RETRY_SECONDS = 120.0
"""Time for which a shed request for a file is retried."""
_MAX_PAUSE_SECONDS = 10.0
_RETRY_STATUSES = {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}


@dataclass(frozen=True, slots=True)
class ServedModel:
    """Model of a server. `taxonomy` is None if the server does not publish it."""

    name: str
    version: str
    taxonomy: Taxonomy | None


@dataclass(frozen=True, slots=True)
class Prediction:
    """Parsed reviews in the order of the texts, and the model version that parsed them."""

    version: str
    reviews: tuple[ParsedReview, ...]


class InferenceClient:
    """Client of one server; thread-safe."""

    def __init__(self, url: str, model: str, setting: str = "REVIEWS_PARSING_SERVER_URL") -> None:
        """`url` is the part before /v2; `setting` is the variable that configures it, for error messages."""
        import httpx

        self.url = url.rstrip("/")
        self.model = model
        self._setting = setting
        self._path = f"/v2/models/{model}"
        # Proxies of the environment would see the texts.
        self._http = httpx.Client(
            base_url=self.url,
            timeout=httpx.Timeout(REQUEST_TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS),
            trust_env=False,
            limits=httpx.Limits(max_connections=32),
        )

    def describe(self) -> ServedModel:
        """Return the model's metadata. Raises InferenceError if the server does not answer or lacks the model."""
        metadata = self.get_json(self._path)
        taxonomy = _read_taxonomy((metadata.get("parameters") or {}).get("taxonomy"))
        return ServedModel(metadata["name"], next(iter(metadata.get("versions") or ()), ""), taxonomy)

    def parse(
        self, texts: Sequence[str], retry_seconds: float = 5.0, stop: threading.Event | None = None
    ) -> Prediction:
        """Parse the texts; retry for `retry_seconds` while the server is overloaded or away.

        Raises InferenceError if the server does not answer or refuses, Stopped once `stop` is set.
        """
        deadline = time.monotonic() + retry_seconds
        stop = stop or threading.Event()
        pause = 0.5
        while True:
            if stop.is_set():
                raise Stopped("stopped")
            try:
                return self._parse(texts)
            except InferenceError as error:
                if error.retry_after is None or time.monotonic() + error.retry_after > deadline:
                    raise
                stop.wait(max(pause, error.retry_after))
                pause = min(2 * pause, _MAX_PAUSE_SECONDS)

    def get_json(self, path: str) -> Any:
        """Return a JSON document of the server. Raises InferenceError if the request fails."""
        return self._send("GET", path)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _parse(self, texts: Sequence[str]) -> Prediction:
        tensor = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": list(texts)}
        response = self._send("POST", f"{self._path}/infer", {"inputs": [tensor], "parameters": {"languages": True}})
        [output] = response["outputs"]
        answers = (tuple(map(Aspect.from_json, json.loads(element))) for element in output["data"])
        # Older servers and models identify no languages.
        published = json.loads((response.get("parameters") or {}).get("languages") or "null")
        languages = published or [{"language": None, "foreign": False}] * len(texts)
        reviews = tuple(
            ParsedReview(text, aspects, language["language"], language["foreign"])
            for text, aspects, language in zip(texts, answers, languages, strict=True)
        )
        return Prediction(response["model_version"], reviews)

    def _send(self, method: str, path: str, body: object = None) -> Any:
        import httpx

        try:
            response = self._http.request(method, path, json=body)
            if response.is_success:
                return response.json()
        except httpx.TimeoutException:
            message = f"the server at {self.url} did not answer within {REQUEST_TIMEOUT_SECONDS:.0f} s: try again later"
            raise InferenceError(message, 1.0) from None
        except (httpx.HTTPError, httpx.InvalidURL):
            message = f"no server answers at {self.url}: start one, or set another in {self._setting}"
            raise InferenceError(message, 1.0) from None
        except ValueError:
            raise InferenceError(f"{self.url} is not a V2 server: set another in {self._setting}") from None
        raise self._to_error(response)

    def _to_error(self, response: httpx.Response) -> InferenceError:
        status = response.status_code
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            message = f"the server at {self.url} has too much to do: try again in a moment"
        else:
            try:
                reason = str(response.json()["error"])
            except (ValueError, KeyError, TypeError):
                reason = response.reason_phrase
            message = f"the server at {self.url} answers {status}: {reason}"
        retry_after = None
        if status in _RETRY_STATUSES:
            header = response.headers.get("Retry-After", "")
            retry_after = min(float(header), _MAX_PAUSE_SECONDS) if header.isdigit() else 1.0
        return InferenceError(message, retry_after, status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


def _read_taxonomy(published: str | None) -> Taxonomy | None:
    """Return the taxonomy that a server publishes as JSON, None without one or in a form of other servers."""
    try:
        fields = json.loads(published or "null")
        return Taxonomy(
            tuple(map(str, fields["categories"])),
            tuple(map(str, fields["polarities"])),
            tuple(map(str, fields["implicit"])),
            opinions=bool(fields["opinions"]),
            # Older servers publish `several`.
            multi_label=bool(fields.get("multi_label", fields.get("several", False))),
            unique_mentions=bool(fields.get("unique_mentions", False)),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


class RemoteParser:
    """Parser of any number of texts by a server, with a few concurrent requests."""

    identifies_languages = True
    """Reviews have a language; it is None if the server identifies no languages."""

    def __init__(self, client: InferenceClient, stop: threading.Event) -> None:
        self._client = client
        self._stop = stop
        self.versions: set[str] = set()
        """Model versions that have answered."""
        self.parsed = 0
        """Number of parsed texts."""
        self.too_long = 0
        """Number of texts above the server's limit, which have no aspects."""

    def parse_iter(
        self, texts: Iterable[str], min_score: float = 0.0, spans_only: bool = False
    ) -> Iterator[ParsedReview]:
        """Yield parsed reviews in the order of the texts, in constant memory.

        Raises InferenceError if the server fails, Stopped once `stop` is set.
        """
        requests: deque[Future[list[ParsedReview]]] = deque()
        with ThreadPoolExecutor(CONCURRENT_REQUESTS) as pool:
            try:
                for batch in batches(texts, MAX_BATCH_TEXTS, MAX_BATCH_CHARACTERS):
                    requests.append(pool.submit(self._parse_batch, batch))
                    if len(requests) > CONCURRENT_REQUESTS:
                        yield from self._first_result(requests, min_score, spans_only)
                while requests:
                    yield from self._first_result(requests, min_score, spans_only)
            finally:
                for request in requests:
                    request.cancel()

    def _first_result(
        self, requests: deque[Future[list[ParsedReview]]], min_score: float, spans_only: bool
    ) -> Iterator[ParsedReview]:
        for review in requests.popleft().result():
            self.parsed += 1
            yield review.only(min_score, spans_only)

    def _parse_batch(self, texts: list[str]) -> list[ParsedReview]:
        try:
            prediction = self._client.parse(texts, FILE_RETRY_SECONDS, self._stop)
        except InferenceError as error:
            if not error.too_large:
                raise
            if len(texts) > 1:
                middle = len(texts) // 2
                return self._parse_batch(texts[:middle]) + self._parse_batch(texts[middle:])
            self.too_long += 1
            return [ParsedReview(texts[0], ())]
        self.versions.add(prediction.version)
        return list(prediction.reviews)
