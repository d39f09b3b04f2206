"""What asks a V2 server over REST: which model it has, and the aspects of texts."""

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

TIMEOUT = 60.0
"""Longest wait for one answer, in seconds."""
BATCH_TEXTS, BATCH_CHARACTERS = 64, 50_000
"""A request of a file ends at as many texts, or as many characters."""
IN_FLIGHT = 4
"""Requests of one file that are under way at once."""
FILE_PATIENCE = 120.0
"""How long a file's request that is turned away is sent again, in seconds."""
_LONGEST_PAUSE = 10.0
_AGAIN = {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}


@dataclass(frozen=True, slots=True)
class Served:
    """The model that a server has. `taxonomy` is None where the server does not say it."""

    name: str
    version: str
    taxonomy: Taxonomy | None


@dataclass(frozen=True, slots=True)
class Answer:
    """The aspects of some texts, in their order, and the version that found them."""

    version: str
    reviews: tuple[ParsedReview, ...]


class Client:
    """One server. Threads may share it."""

    def __init__(self, url: str, model: str, setting: str = "REVIEWS_PARSING_SERVER_URL") -> None:
        """`url` is what comes before /v2; `setting` is where another may be named."""
        import httpx

        self.url = url.rstrip("/")
        self._setting = setting
        self._path = f"/v2/models/{model}"
        # Not the environment's proxies: they would see the texts.
        limits = httpx.Limits(max_connections=32)
        self._http = httpx.Client(
            base_url=self.url, timeout=httpx.Timeout(TIMEOUT, connect=5), trust_env=False, limits=limits
        )

    def describe(self) -> Served:
        """Raises InferenceError where the server does not answer or has no such model."""
        form = self._send("GET", self._path)
        known = json.loads((form.get("parameters") or {}).get("taxonomy", "null"))
        taxonomy = None
        if known:
            categories, polarities, implicit = (tuple(known[key]) for key in ("categories", "polarities", "implicit"))
            taxonomy = Taxonomy(categories, polarities, implicit, known["opinions"], known.get("several", False))
        return Served(form["name"], next(iter(form.get("versions") or ()), ""), taxonomy)

    def parse(self, texts: Sequence[str], patience: float = 5.0, stop: threading.Event | None = None) -> Answer:
        """The aspects of each text. Where the server has too much to do, again and again for `patience` seconds.

        Raises InferenceError where it does not answer or refuses, Stopped once `stop` is set.
        """
        deadline = time.monotonic() + patience
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
                pause = min(2 * pause, _LONGEST_PAUSE)

    def close(self) -> None:
        self._http.close()

    def _parse(self, texts: Sequence[str]) -> Answer:
        tensor = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": list(texts)}
        form = self._send("POST", f"{self._path}/infer", {"inputs": [tensor]})
        [output] = form["outputs"]
        found = (tuple(map(Aspect.from_json, json.loads(element))) for element in output["data"])
        reviews = tuple(ParsedReview(text, aspects) for text, aspects in zip(texts, found, strict=True))
        return Answer(form["model_version"], reviews)

    def _send(self, method: str, path: str, body: object = None) -> Any:
        import httpx

        try:
            response = self._http.request(method, path, json=body)
        except httpx.TimeoutException:
            raise InferenceError(
                f"the server at {self.url} did not answer within {TIMEOUT:.0f} s: try again later", 1.0
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL):
            raise InferenceError(
                f"no server answers at {self.url}: start one, or name another in {self._setting}",
                1.0,
            ) from None
        if response.is_success:
            return response.json()
        raise self._refusal(response)

    def _refusal(self, response: httpx.Response) -> InferenceError:
        status = response.status_code
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            said = f"the server at {self.url} has too much to do: try again in a moment"
        else:
            try:
                reason = str(response.json()["error"])
            except (ValueError, KeyError, TypeError):
                reason = response.reason_phrase
            said = f"the server at {self.url} answers {status}: {reason}"
        again = _seconds(response.headers.get("Retry-After")) if status in _AGAIN else None
        return InferenceError(said, again, status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


class Stream:
    """Any number of texts through a client, a few requests at a time: what `parse_files` takes for a parser."""

    def __init__(self, client: Client, stop: threading.Event) -> None:
        self._client = client
        self._stop = stop
        self.versions: set[str] = set()
        """The versions that have answered."""
        self.answered = 0
        """Texts that have been answered."""
        self.skipped = 0
        """Texts longer than the server takes, which have no aspects."""

    def parse_iter(
        self, texts: Iterable[str], min_score: float = 0.0, spans_only: bool = False
    ) -> Iterator[ParsedReview]:
        """In the order of the texts, memory flat. Raises InferenceError, or Stopped once `stop` is set."""
        under_way: deque[Future[list[ParsedReview]]] = deque()
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            try:
                for batch in batches(texts, BATCH_TEXTS, BATCH_CHARACTERS):
                    under_way.append(pool.submit(self._ask, batch))
                    if len(under_way) > IN_FLIGHT:
                        yield from self._first(under_way, min_score, spans_only)
                while under_way:
                    yield from self._first(under_way, min_score, spans_only)
            finally:
                for request in under_way:
                    request.cancel()

    def _first(
        self, under_way: deque[Future[list[ParsedReview]]], min_score: float, spans_only: bool
    ) -> Iterator[ParsedReview]:
        for review in under_way.popleft().result():
            self.answered += 1
            yield review.only(min_score, spans_only)

    def _ask(self, texts: list[str]) -> list[ParsedReview]:
        try:
            answer = self._client.parse(texts, FILE_PATIENCE, self._stop)
        except InferenceError as error:
            if not error.too_large:
                raise
            if len(texts) > 1:
                half = len(texts) // 2
                return self._ask(texts[:half]) + self._ask(texts[half:])
            self.skipped += 1
            return [ParsedReview(texts[0], ())]
        self.versions.add(answer.version)
        return list(answer.reviews)


def _seconds(retry_after: str | None) -> float:
    """What the header says, in seconds; 1 where it says a date or nothing."""
    return min(float(retry_after), _LONGEST_PAUSE) if retry_after and retry_after.isdigit() else 1.0
