"""Protection of the page: hosts, origins, rates, sizes, and the labels of corrections."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from reviews_parsing.corrections import CorrectionStore
from reviews_parsing.demo.app import create_app
from reviews_parsing.demo.security import RateLimiter
from reviews_parsing.settings import Settings

from .conftest import page_over, until
from .fake_server import FakeServer

TEXT = "The SOUP was fine."
SOUP = {"entity_group": "FOOD", "word": "SOUP", "start": 4, "end": 8, "polarity": "positive"}


def correction(**fields: Any) -> dict[str, Any]:
    return {"text": TEXT, "aspects": [SOUP], "predicted_aspects": [], "version": "7", **fields}


def open_api(home: Path, fake_server: FakeServer, **settings: Any) -> TestClient:
    app = create_app(Settings(server_url=fake_server.url, home=home, page_hosts="reviews.example", **settings))
    return TestClient(app, base_url="http://127.0.0.1:8000")


@pytest.fixture
def api(fake_server: FakeServer, tmp_path: Path) -> Iterator[TestClient]:
    with open_api(tmp_path, fake_server) as client:
        yield client


@pytest.mark.parametrize(
    "host", ["attacker.example", "127.0.0.1.attacker.example", "reviews.example.attacker", "", "10.0.0.7"]
)
def test_other_hosts_are_refused(api: TestClient, host: str) -> None:
    for response in (api.get("/", headers={"Host": host}), api.post("/api/parse", json={}, headers={"Host": host})):
        assert response.status_code == 421
        assert "--allow-host" in response.json()["error"]


@pytest.mark.parametrize(
    "host", ["localhost:8000", "127.0.0.1", "reviews.example", "REVIEWS.example:443", "[::1]:8000"]
)
def test_names_of_the_page_are_allowed(api: TestClient, host: str) -> None:
    assert api.get("/", headers={"Host": host}).status_code == 200


def test_probes_of_an_orchestrator_need_no_allowed_host(api: TestClient) -> None:
    assert api.get("/healthz", headers={"Host": "10.0.0.7:8000"}).json() == {"ready": True}


def test_a_page_on_all_addresses_is_reached_by_address_but_not_by_foreign_names(
    fake_server: FakeServer, tmp_path: Path
) -> None:
    app = create_app(Settings(server_url=fake_server.url, home=tmp_path), host="0.0.0.0")
    with TestClient(app) as client:
        assert client.get("/", headers={"Host": "192.168.1.4:8000"}).status_code == 200
        assert client.get("/", headers={"Host": "attacker.example:8000"}).status_code == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://attacker.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_requests_of_other_sites_change_nothing(api: TestClient, tmp_path: Path, headers: dict[str, str]) -> None:
    response = api.post("/api/corrections", json=correction(), headers=headers)
    assert response.status_code == 403
    assert CorrectionStore(tmp_path / "corrections.db").list_latest() == []


def test_requests_of_the_page_itself_are_allowed(api: TestClient) -> None:
    headers = {"Origin": "http://127.0.0.1:8000", "Sec-Fetch-Site": "same-origin"}
    assert api.post("/api/corrections", json=correction(), headers=headers).status_code == 200


def test_a_rate_limit_holds_for_an_address_and_says_when_to_come_back(fake_server: FakeServer, tmp_path: Path) -> None:
    with open_api(tmp_path, fake_server, page_requests_per_minute=60) as client:
        statuses = [client.post("/api/parse", json={"text": " "}).status_code for _ in range(30)]
        assert statuses[:20] == [422] * 20
        assert 429 in statuses[20:]
        refused = next(
            r for r in (client.post("/api/parse", json={"text": " "}) for _ in range(30)) if r.status_code == 429
        )
        assert 1 <= int(refused.headers["Retry-After"]) <= 3
        # Pages are not limited.
        assert client.get("/").status_code == 200


def test_clients_of_a_rate_limiter_do_not_share_their_tokens() -> None:
    limiter = RateLimiter(requests_per_minute=3)
    assert limiter.take("a") == 0
    assert limiter.take("a") > 0
    assert limiter.take("b") == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"aspects": [{**SOUP, "entity_group": "SPAM"}]}, "'SPAM' is not a category of the model"),
        ({"aspects": [{**SOUP, "entity_group": "x" * 41}], "new_categories": ["x" * 41]}, "at most 40 characters"),
        ({"aspects": [{**SOUP, "entity_group": "=cmd()"}], "new_categories": ["=cmd()"]}, "letters and digits"),
        ({"aspects": [{**SOUP, "polarity": "angry"}]}, "'angry' is not one of negative, neutral, positive"),
        ({"predicted_aspects": [{**SOUP, "polarity": "angry"}]}, "'angry' is not one of"),
        ({"aspects": [{**SOUP, "word": "soup"}]}, "soup"),
        ({"aspects": [SOUP] * 1001}, "aspects"),
        ({"text": "x" * 100_001}, "text"),
        ({"author": "x" * 81}, "author"),
        ({"surprise": 1}, "surprise"),
        ({"text": 5}, "text"),
    ],
)
def test_invalid_corrections_are_refused(api: TestClient, tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    response = api.post("/api/corrections", json=correction(**fields))
    assert response.status_code == 422
    assert message in response.json()["error"]
    assert str(tmp_path) not in response.json()["error"]
    assert CorrectionStore(tmp_path / "corrections.db").list_latest() == []


@pytest.mark.parametrize("body", [b"{", b"[]", b"7", b"\xff", b'{"text": ' + b"[" * 100_000])
def test_malformed_requests_are_refused(api: TestClient, body: bytes) -> None:
    for path in ("/api/parse", "/api/corrections"):
        response = api.post(path, content=body)
        assert response.status_code == 400
        assert "JSON" in response.json()["error"]


def test_a_new_category_must_be_named_as_one_and_corrections_are_pending(api: TestClient, tmp_path: Path) -> None:
    parking = [{**SOUP, "entity_group": "PARKING"}]
    assert api.post("/api/corrections", json=correction(aspects=parking)).status_code == 422
    response = api.post("/api/corrections", json=correction(aspects=parking, new_categories=["PARKING"]))
    assert response.status_code == 200
    [revision] = CorrectionStore(tmp_path / "corrections.db").list_latest()
    assert revision.status == "pending"
    assert CorrectionStore(tmp_path / "corrections.db").list_latest(approved_only=True) == []


def test_names_of_authors_lose_control_characters(api: TestClient) -> None:
    response = api.post("/api/corrections", json=correction(author="A\x1b[31mda\n \u202ex"))
    assert response.json()["correction"]["author"] == "A[31mda x"


def test_a_full_store_takes_no_corrections(fake_server: FakeServer, tmp_path: Path) -> None:
    with open_api(tmp_path, fake_server, page_storage_mb=1) as client:
        (tmp_path / "corrections.db").write_bytes(b"x" * 1_000_001)
        response = client.post("/api/corrections", json=correction())
        assert response.status_code == 507
        assert "REVIEWS_PARSING_PAGE_STORAGE_MB" in response.json()["error"]


def test_full_storage_takes_no_files_and_stores_none(fake_server: FakeServer, tmp_path: Path) -> None:
    with open_api(tmp_path, fake_server, page_storage_mb=1) as client:
        assert client.post("/api/files?name=small.csv", content=b"text\nfine\n").status_code == 201
        (tmp_path / "page" / "jobs" / "other").write_bytes(b"x" * 1_000_001)
        response = client.post("/api/files?name=big.csv", content=b"text\nfine\n")
        assert response.status_code == 507
        assert "delete one of yours" in response.json()["error"]
        assert len([path for path in (tmp_path / "page" / "jobs").iterdir() if path.is_dir()]) == 1


@pytest.mark.parametrize("name", ["reviews.exe", "reviews.zip", "reviews", ".csv.exe", ""])
def test_other_formats_are_refused(api: TestClient, name: str) -> None:
    response = api.post(f"/api/files?name={name}", content=b"text\nfine\n")
    assert response.status_code == 415
    assert "CSV, TSV, JSON, JSONL, Excel (.xlsx) or Parquet" in response.json()["error"]


def test_a_file_that_takes_too_long_is_ended(api: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reviews_parsing.demo.jobs.READ_SECONDS", 0.01)
    job_id = api.post("/api/files?name=slow.csv", content=b"text\nfine\n").json()["id"]
    until(lambda: api.get(f"/api/files/{job_id}").json()["state"] == "unreadable")
    assert "slow.csv took more than 0 s" in api.get(f"/api/files/{job_id}").json()["message"]


def test_visitors_do_not_change_the_queue_of_the_operator(api: TestClient) -> None:
    job_id = api.post("/api/files?name=q.csv", content=b"text\nfine\n").json()["id"]
    cast(Starlette, api.app).state.api.queue_id = job_id
    assert api.delete(f"/api/files/{job_id}").status_code == 403
    for action in ("parse", "stop", "queue"):
        response = api.post(f"/api/files/{job_id}/{action}", json={"column": "text"})
        assert response.status_code == 403
        assert "whoever runs the page" in response.json()["error"]


def test_a_damaged_store_is_reported_without_its_path(api: TestClient, tmp_path: Path) -> None:
    (tmp_path / "corrections.db").write_bytes(b"not a database, but long enough to be read as one" * 100)
    response = api.post("/api/corrections", json=correction())
    assert response.status_code == 503
    assert str(tmp_path) not in response.json()["error"]


def test_every_answer_has_the_security_headers(api: TestClient) -> None:
    for path in ("/", "/static/main.js", "/api/model", "/v2/docs", "/missing"):
        headers = api.get(path).headers
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_the_api_reference_is_that_of_the_server(api: TestClient, fake_server: FakeServer) -> None:
    assert api.get("/v2/docs/dataplane.json").json()["name"] == "fake"
    fake_server.stop()
    response = api.get("/v2/docs/dataplane.json")
    assert response.status_code == 503
    assert "no server answers" in response.json()["error"]


def test_idle_connections_and_requests_sent_ahead_keep_nobody_out(fake_server: FakeServer, tmp_path: Path) -> None:
    get = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    (tmp_path / "page").mkdir()
    with (
        page_over(fake_server.url, tmp_path / "home", tmp_path / "page", REVIEWS_PARSING_MAX_CONNECTIONS="20") as site,
        ExitStack() as stack,
    ):
        host, _, port = site.url.rpartition("//")[2].partition(":")

        def connect(sent: bytes) -> socket.socket:
            connection = stack.enter_context(socket.create_connection((host, int(port)), 30))
            connection.sendall(sent)
            return connection

        for _ in range(60):
            connect(b"")
        connect(get.replace(b"Connection: close\r\n", b"") * 50)
        assert connect(get).recv(100).startswith(b"HTTP/1.1 200")
        log = site.log_file.read_text(encoding="utf-8")
    assert "REVIEWS_PARSING_MAX_CONNECTIONS" in log
    assert "REVIEWS_PARSING_MAX_PIPELINED" in log
