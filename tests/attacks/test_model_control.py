"""Management of models is off unless the operator sets a token, whatever the path looks like."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import closing

import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from reviews_parsing.settings import MODEL_NAME
from serving.client import DEADLINE, MODEL, TOKEN, Server, tensor
from serving.conftest import Start

UNLOAD = f"/v2/repository/models/{MODEL_NAME}/unload"
# The same path in other encodings.
PATHS = [
    UNLOAD,
    UNLOAD.replace("repository/", "repository%2F"),
    UNLOAD.replace("repository/", "repository%252F"),
    UNLOAD.replace("/models", "//models"),
    UNLOAD.replace("/models", "/./models"),
    UNLOAD.replace("/models", "/x/../models"),
    UNLOAD.replace("repository", "%72epository"),
    UNLOAD.replace("repository", "Repository"),
    UNLOAD.replace("repository", "repository;a=b"),
    UNLOAD + "/",
    UNLOAD + "?a",
    "http://127.0.0.1" + UNLOAD,
    "/v2/health/live/../../repository/index",
]


@pytest.fixture(scope="module")
def unmanaged(start: Start) -> Iterator[Server]:
    """Yield a server without a token, as it starts by default."""
    with start(REVIEWS_PARSING_MODEL_CONTROL="") as server:
        yield server


def status_of(server: Server, path: str, **headers: str) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", server.http, timeout=DEADLINE)) as connection:
        connection.request("POST", path, headers=headers)
        response = connection.getresponse()
        response.read()
        return response.status


@pytest.mark.parametrize("path", PATHS)
def test_no_encoding_of_a_path_unloads_a_model(unmanaged: Server, path: str) -> None:
    assert status_of(unmanaged, path, Authorization=f"Bearer {TOKEN}") in (403, 404, 405)
    assert unmanaged.infer(["Lovely soup."]).status == 200


@pytest.mark.parametrize("verb", ["load", "unload", "index"])
def test_management_is_off_by_default(unmanaged: Server, verb: str) -> None:
    path = "/v2/repository/index" if verb == "index" else f"/v2/repository/models/{MODEL_NAME}/{verb}"
    answer = unmanaged.ask({}, path)
    assert answer.status == 403
    assert "REVIEWS_PARSING_MODEL_CONTROL" in answer.error
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{unmanaged.grpc}") as client:
        call = {
            "load": lambda: client.load_model(MODEL_NAME),
            "unload": lambda: client.unload_model(MODEL_NAME),
            "index": client.get_model_repository_index,
        }[verb]
        with pytest.raises(InferenceServerException, match="REVIEWS_PARSING_MODEL_CONTROL") as refused:
            call()
    assert refused.value.status() == "StatusCode.PERMISSION_DENIED"


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "é"])
def test_a_wrong_token_is_refused(victim: Server, authorization: str) -> None:
    assert status_of(victim, UNLOAD, Authorization=authorization) == 401
    assert victim.infer(["Lovely soup."]).status == 200


def test_a_wrong_token_is_refused_over_grpc(victim: Server) -> None:
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{victim.grpc}") as client:
        for headers in ({}, {"authorization": "Bearer wrong"}):
            with pytest.raises(InferenceServerException) as refused:
                client.unload_model(MODEL_NAME, headers=headers)
            assert refused.value.status() == "StatusCode.UNAUTHENTICATED"
        index = client.get_model_repository_index(headers={"authorization": f"Bearer {TOKEN}"})
        assert [model.name for model in index.models] == [MODEL_NAME]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:8080", 200),
        ("localhost:1", 200),
        ("[::1]:80", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example:80", 403),
        ("", 403),
        ("[::1", 403),
    ],
)
def test_models_are_managed_under_names_of_the_server_only(victim: Server, host: str, status: int) -> None:
    # A page can make a browser resolve the page's own name to 127.0.0.1.
    path = "/v2/repository/index"
    assert status_of(victim, path, Host=host, Authorization=f"Bearer {TOKEN}") == status


@pytest.mark.parametrize("path", [f"{MODEL}/infer", UNLOAD, "/v2/repository/index"])
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1.evil.example"])
def test_a_page_of_another_origin_sends_nothing(victim: Server, path: str, origin: str) -> None:
    answer = victim.post(path, b"{}", {"Origin": origin})
    assert answer.status == 403
    assert "REVIEWS_PARSING_ALLOWED_ORIGINS" in answer.error


def test_pages_of_the_server_and_allowed_pages_may_send(start: Start) -> None:
    with start(REVIEWS_PARSING_ALLOWED_ORIGINS="https://reviews.example, http://other.example") as server:
        for origin in (f"http://127.0.0.1:{server.http}", "https://reviews.example", "http://other.example"):
            answer = server.ask({"inputs": [tensor()]})
            assert answer.status == 200
            body = b'{"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["Fine."]}]}'
            assert server.post(f"{MODEL}/infer", body, {"Origin": origin}).status == 200
