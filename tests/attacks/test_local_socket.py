"""Management on a Unix socket: there without a token, and nowhere else."""

from __future__ import annotations

import http.client
import json
import socket
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc
from pydantic import ValidationError
from tritonclient.utils import InferenceServerException

from reviews_parsing.errors import ServingError
from reviews_parsing.serving.local_socket import local_socket
from reviews_parsing.settings import MODEL_NAME, Settings
from serving.client import DEADLINE, MODEL, TOKEN
from serving.conftest import Start

LOAD, UNLOAD = (f"/v2/repository/models/{MODEL_NAME}/{verb}" for verb in ("load", "unload"))
INDEX = "/v2/repository/index"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control"


@pytest.fixture
def killed(path: Path) -> Path:
    """Return the path of a socket that a killed server has left."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    return path


class LocalConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=DEADLINE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


def post(path: Path, target: str) -> tuple[int, Any]:
    with closing(LocalConnection(path)) as connection:
        connection.request("POST", target)
        response = connection.getresponse()
        content = response.read()
        return response.status, json.loads(content) if content else None


def test_models_are_managed_over_the_socket_alone(start: Start, killed: Path) -> None:
    with start(REVIEWS_PARSING_MODEL_CONTROL=f"unix:{killed}") as server:
        assert stat.S_IMODE(killed.stat().st_mode) == 0o600
        for target in (LOAD, UNLOAD, INDEX):
            answer = server.post(target, b"{}", {"Authorization": f"Bearer {TOKEN}"})
            assert answer.status == 403
            assert "use the socket" in answer.error
        with (
            tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{server.grpc}") as client,
            pytest.raises(InferenceServerException, match="use the socket"),
        ):
            client.unload_model(MODEL_NAME)
        status, models = post(killed, INDEX)
        assert (status, [model["name"] for model in models]) == (200, [MODEL_NAME])
        assert post(killed, f"{MODEL}/infer")[0] == 404
        assert post(killed, UNLOAD)[0] == 200
        assert server.infer(["Lovely soup."]).status in (404, 503)
        assert post(killed, LOAD)[0] == 200
        assert server.infer(["Lovely soup."]).status == 200
        assert server.stop() == 0
        assert not killed.exists()


def test_a_socket_is_taken_from_no_running_server(path: Path) -> None:
    with local_socket(path):
        with pytest.raises(ServingError, match="another server listens"), local_socket(path):
            pass
        assert path.is_socket()
    assert not path.exists()


def test_a_file_is_not_replaced_by_a_socket(path: Path, killed: Path, tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("keep", encoding="utf-8")
    link.symlink_to(killed)
    for taken in (file, link):
        with pytest.raises(ServingError, match="is not a socket"), local_socket(taken):
            pass
    assert file.read_text(encoding="utf-8") == "keep"
    assert killed.is_socket()
    with pytest.raises(ServingError, match="No such file"), local_socket(tmp_path / "none" / "control"):
        pass


def test_a_socket_of_a_later_server_is_not_removed(path: Path) -> None:
    with local_socket(path):
        path.unlink()
        later = socket.socket(socket.AF_UNIX)
        later.bind(str(path))
    with later:
        assert path.is_socket()


@pytest.mark.parametrize("control", ["short", "unix:", "unix:relative", "unix:/" + "a" * 200])
def test_a_control_that_is_neither_token_nor_socket_is_refused(control: str) -> None:
    with pytest.raises(ValidationError, match=r"16 characters|absolute path"):
        Settings(model_control=control)  # type: ignore[arg-type]


def test_a_token_is_no_socket(path: Path) -> None:
    settings = Settings(model_control=TOKEN)  # type: ignore[arg-type]
    assert (settings.control_token, settings.control_socket) == (TOKEN, None)
    settings = Settings(model_control=f"unix:{path}")  # type: ignore[arg-type]
    assert (settings.control_token, settings.control_socket) == (None, path)
    assert (Settings().control_token, Settings().control_socket) == (None, None)
