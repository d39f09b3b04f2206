"""Client of the inference server: a server that is away or overloaded, and a second server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser, expect
from starlette.testclient import TestClient

from reviews_parsing.demo import client as client_module
from reviews_parsing.demo.app import create_app
from reviews_parsing.demo.client import InferenceClient, RemoteParser
from reviews_parsing.errors import InferenceError, Stopped
from reviews_parsing.io.ports import free_port
from reviews_parsing.parser import AspectParser
from reviews_parsing.serving.batches import batches
from reviews_parsing.settings import MODEL_NAME, Settings
from serving.client import Server

from .conftest import page_over, visits

TEXT = "The pho was lovely but the waiter was rude."


@pytest.fixture
def client(server: Server) -> Iterator[InferenceClient]:
    client = InferenceClient(f"http://127.0.0.1:{server.http}", MODEL_NAME)
    yield client
    client.close()


@pytest.fixture
def unused_url() -> str:
    return f"http://127.0.0.1:{free_port(0)}"


@pytest.fixture
def offline_client(unused_url: str) -> Iterator[InferenceClient]:
    client = InferenceClient(unused_url, MODEL_NAME)
    yield client
    client.close()


@pytest.fixture
def busy() -> Iterator[tuple[InferenceClient, list[str]]]:
    """Yield a server that sheds the first two requests, and the paths of its requests."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            paths.append(self.path)
            prediction = {"model_version": "9", "outputs": [{"name": "predictions", "data": ["[]"]}]}
            is_shed = len(paths) <= 2
            body = json.dumps({"error": "too much waits"} if is_shed else prediction).encode()
            self.send_response(503 if is_shed else 200)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}).start()
        client = InferenceClient(f"http://127.0.0.1:{http.server_port}", MODEL_NAME)
        yield client, paths
        client.close()
        http.shutdown()


def test_the_metadata_has_the_version_and_the_taxonomy(client: InferenceClient, parser: AspectParser) -> None:
    served = client.describe()
    assert (served.name, served.version, served.taxonomy) == (MODEL_NAME, "1", parser.taxonomy)


def test_a_file_is_parsed_as_by_the_parser(client: InferenceClient, parser: AspectParser) -> None:
    texts = [TEXT, "", "Yum!", *(f"Table {n} was lovely." for n in range(150))]
    remote = RemoteParser(client, threading.Event())
    assert [review.text for review in remote.parse_iter(texts)] == texts
    spans = [
        [(a.span, a.entity_group) for a in review.aspects] for review in remote.parse_iter(texts[:3], spans_only=True)
    ]
    expected = parser.parse(texts[:3], spans_only=True)
    assert spans == [[(a.span, a.entity_group) for a in review.aspects] for review in expected]
    assert remote.versions == {"1"}


def test_shed_requests_are_retried(busy: tuple[InferenceClient, list[str]]) -> None:
    client, paths = busy
    assert client.parse([TEXT], retry_seconds=30).version == "9"
    assert len(paths) == 3


def test_without_retries_an_overload_is_an_error(busy: tuple[InferenceClient, list[str]]) -> None:
    client, _ = busy
    with pytest.raises(InferenceError, match="too much to do") as refused:
        client.parse([TEXT], retry_seconds=-1)
    assert refused.value.retry_after == 0


def test_a_stopped_parser_sends_no_requests(offline_client: InferenceClient) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        list(RemoteParser(offline_client, stop).parse_iter([TEXT]))


def test_without_a_server_the_page_says_so_and_keeps_the_text(
    unused_url: str, browser: Browser, tmp_path: Path
) -> None:
    (tmp_path / "page").mkdir()
    with page_over(unused_url, tmp_path / "home", tmp_path / "page") as site, visits(browser, site) as visit:
        page = visit(expected_server="no server answers")
        page.get_by_label("A review", exact=True).fill(TEXT)
        page.get_by_role("button", name="Parse", exact=True).click()
        alert = page.locator("#rp-message").get_by_role("alert")
        expect(alert).to_contain_text("no server answers")
        expect(alert).to_contain_text("Your text is still here")
        expect(alert).not_to_contain_text(TEXT)
        expect(page.get_by_label("A review", exact=True)).to_have_value(TEXT)
        expect(page.locator("#rp-first")).to_be_hidden()


def test_a_second_server_that_is_away_leaves_the_first_answer(server: Server, unused_url: str, tmp_path: Path) -> None:
    settings = Settings(server_url=f"http://127.0.0.1:{server.http}", compare_url=unused_url, home=tmp_path)
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as api:
        first, second = api.post("/api/parse", json={"text": TEXT}).json()["answers"]
    assert "pho" in [aspect["word"] for aspect in first["aspects"]]
    assert "no server answers" in second["error"]


@given(st.lists(st.integers(0, 60_000), max_size=100))
def test_batches_keep_the_order_and_the_bounds(lengths: list[int]) -> None:
    texts = ["x" * length for length in lengths]
    max_texts, max_characters = client_module.MAX_BATCH_TEXTS, client_module.MAX_BATCH_CHARACTERS
    split = list(batches(texts, max_texts, max_characters))
    assert [text for batch in split for text in batch] == texts
    assert all(batch and len(batch) <= max_texts for batch in split)
    assert all(len(batch) == 1 or sum(map(len, batch)) <= max_characters for batch in split)
