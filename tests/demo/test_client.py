"""What the page says where a server is away, has too much to do, or is joined by a second."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviews_parsing.corrections import CorrectionStore
from reviews_parsing.demo import client as room
from reviews_parsing.demo.client import Client, Stream
from reviews_parsing.demo.one import Reviews
from reviews_parsing.errors import InferenceError, Stopped
from reviews_parsing.io.ports import free_port
from reviews_parsing.parser import AspectParser
from reviews_parsing.settings import MODEL_NAME
from serving.client import Server

TEXT = "The pho was lovely but the waiter was rude."


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    asks = Client(f"http://127.0.0.1:{server.http}", MODEL_NAME)
    yield asks
    asks.close()


@pytest.fixture
def nobody() -> Iterator[Client]:
    asks = Client(f"http://127.0.0.1:{free_port(0)}", MODEL_NAME)
    yield asks
    asks.close()


@pytest.fixture
def busy() -> Iterator[tuple[Client, list[str]]]:
    """A door that turns the first two requests away, and what it was asked."""
    asked: list[str] = []

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(self.path)
            form = {"model_version": "9", "outputs": [{"name": "predictions", "data": ["[]"]}]}
            body = json.dumps({"error": "too much waits"} if len(asked) <= 2 else form).encode()
            self.send_response(503 if len(asked) <= 2 else 200)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Door) as door:
        threading.Thread(target=door.serve_forever, kwargs={"poll_interval": 0.01}).start()
        asks = Client(f"http://127.0.0.1:{door.server_port}", MODEL_NAME)
        yield asks, asked
        asks.close()
        door.shutdown()


def test_the_server_says_its_version_and_its_taxonomy(client: Client, parser: AspectParser) -> None:
    served = client.describe()
    assert (served.name, served.version, served.taxonomy) == (MODEL_NAME, "1", parser.taxonomy)


def test_a_file_is_parsed_as_by_the_parser(client: Client, parser: AspectParser) -> None:
    texts = [TEXT, "", "Yum!", *(f"Table {n} was lovely." for n in range(150))]
    stream = Stream(client, threading.Event())
    assert [found.text for found in stream.parse_iter(texts)] == texts
    few = [[(a.span, a.entity_group) for a in found.aspects] for found in stream.parse_iter(texts[:3], spans_only=True)]
    assert few == [[(a.span, a.entity_group) for a in its.aspects] for its in parser.parse(texts[:3], spans_only=True)]
    assert stream.versions == {"1"}


def test_what_is_turned_away_is_sent_again(busy: tuple[Client, list[str]]) -> None:
    asks, asked = busy
    assert asks.parse([TEXT], patience=30).version == "9"
    assert len(asked) == 3


def test_whoever_has_no_patience_is_told_that_the_server_is_busy(busy: tuple[Client, list[str]]) -> None:
    asks, _ = busy
    with pytest.raises(InferenceError, match="too much to do") as refused:
        asks.parse([TEXT], patience=-1)
    assert refused.value.retry_after == 0


def test_a_stream_that_is_stopped_asks_no_more(nobody: Client) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        list(Stream(nobody, stop).parse_iter([TEXT]))


def test_without_a_server_the_page_says_so_and_keeps_the_text(nobody: Client, tmp_path: Path) -> None:
    shown = Reviews(nobody, None, CorrectionStore(tmp_path / "corrections.db")).show(TEXT, 0)
    assert "no server answers" in shown.message
    assert "Your text is still here" in shown.message
    assert shown.answer is None
    assert TEXT not in shown.message


def test_a_second_server_that_is_away_takes_nothing_from_the_first(
    client: Client, nobody: Client, tmp_path: Path
) -> None:
    shown = Reviews(client, nobody, CorrectionStore(tmp_path / "corrections.db")).show(TEXT, 0)
    assert "pho" in shown.first
    assert "no server answers" in shown.second


@given(st.lists(st.integers(0, 60_000), max_size=100))
def test_batches_keep_the_order_and_the_bounds(lengths: list[int]) -> None:
    texts = ["x" * length for length in lengths]
    found = list(room.batches(texts, room.BATCH_TEXTS, room.BATCH_CHARACTERS))
    assert [text for batch in found for text in batch] == texts
    assert all(batch and len(batch) <= room.BATCH_TEXTS for batch in found)
    assert all(len(batch) == 1 or sum(map(len, batch)) <= room.BATCH_CHARACTERS for batch in found)
