"""Starting, overload and stopping, by `mlserver start` and by `serve`."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from reviews_parsing.errors import ServingError
from reviews_parsing.io.ports import free_port
from reviews_parsing.parser import AspectParser
from reviews_parsing.serving import serve
from reviews_parsing.serving.server import SETTINGS
from reviews_parsing.settings import MODEL_NAME

from .client import DEADLINE, MODEL, Server, environment
from .conftest import FOLDER, SERVE, Start

LONG = "The grilled octopus was tender and the waiter never smiled once. " * 450


def test_overload_is_shed_and_what_was_begun_is_finished(start: Start, parser: AspectParser) -> None:
    with start(mlserver=True, REVIEWS_PARSING_THREADS="1", REVIEWS_PARSING_MAX_WAIT="0") as server:
        with ThreadPoolExecutor(1) as client:
            begun = client.submit(server.infer, [LONG])
            while (shed := server.infer(["Lovely."])).status == 200:
                if begun.done():  # this request had the only place when it came
                    begun = client.submit(server.infer, [LONG])
            assert shed.status == 503
            assert "later" in shed.error
            assert shed.headers["Retry-After"] == "1"
            assert _grpc_status(server) == "StatusCode.UNAVAILABLE"
            assert not begun.done()
            assert server.stop() == 0
            assert begun.result().predictions == [parser.parse([LONG])[0].to_json()]
        assert "Traceback" not in server.log
        assert [free_port(port) for port in _ports(server)] == _ports(server)


def _grpc_status(server: Server) -> str:
    text = tritonclient.grpc.InferInput("text", [1], "BYTES")
    text.set_data_from_numpy(np.array(["Lovely."], dtype=np.object_))
    client = tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{server.grpc}")
    with client, pytest.raises(InferenceServerException) as refused:
        client.infer(MODEL_NAME, [text])
    return str(refused.value.status())


def _ports(server: Server) -> list[int]:
    return [server.http, server.grpc, server.metrics]


def test_a_folder_is_served_under_a_digest_and_a_failure_never_logs_a_text(
    start: Start, champion_folder: Path, tmp_path: Path
) -> None:
    # A token beyond the vocabulary makes the parser itself fail where a text has it.
    folder = tmp_path / "model"
    shutil.copytree(champion_folder, folder)
    form = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    form["model"]["vocab"]["view"] = 1_000_000
    (folder / "tokenizer.json").write_text(json.dumps(form), encoding="utf-8")
    with start(REVIEWS_PARSING_MODEL_URI=str(folder)) as server:
        [version] = server.get(MODEL).json["versions"]
        assert len(version) == 12
        answer = server.infer(["The xylophone has a stunning view of the harbour."])
        assert answer.status == 500
        assert "log" in answer.error
        assert server.infer([""]).predictions == [[]]
        assert server.stop() == 0
        assert "InvalidArgument" in server.log
        assert "xylophone" not in server.log


def test_a_reload_goes_on_with_what_the_alias_means_now(server: Server) -> None:
    assert server.ask({}, f"/v2/repository/models/{MODEL_NAME}/load").status == 200
    assert server.infer(["Lovely soup."]).json["model_version"] == "1"
    [known] = server.ask({}, "/v2/repository/index").json
    assert (known["name"], known["version"], known["state"]) == (MODEL_NAME, "1", "READY")


def test_a_text_is_never_logged(server: Server) -> None:
    server.infer(["The xylophone was out of tune."])
    server.infer(["The xylophone was out of tune."], parameters={"min_score": 7})
    server.infer(["xylophone " * 60_000])
    server.ask({"inputs": [{"name": "text", "shape": [3], "datatype": "BYTES", "data": ["xylophone"]}]})
    server.ask({"inputs": [{"name": "text", "shape": "xylophone", "datatype": "xylophone", "data": ["xylophone"]}]})
    server.ask({"inputs": ["xylophone"]})
    server.post(f"{MODEL}/infer", b'{"inputs": ["xylophone')
    for array in (["xylophone"], [b"xylophone \xff"]):
        text = tritonclient.grpc.InferInput("text", [1], "BYTES")
        text.set_data_from_numpy(np.array(array, dtype=np.object_))
        with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{server.grpc}") as client:
            try:
                client.infer(MODEL_NAME, [text])
            except InferenceServerException:
                assert array != ["xylophone"]
    assert "xylophone" not in server.log
    assert "Traceback" not in server.log


def test_without_a_champion_mlserver_ends_with_one_line(champion_home: Path) -> None:
    command = [str(Path(sys.executable).parent / "mlserver"), "start", str(FOLDER)]
    code, errors = _failure(command, environment(champion_home, REVIEWS_PARSING_MODEL_URI="models:/nobody@champion"))
    assert code == 1
    assert "Error: model nobody has no champion yet" in errors[-1]
    assert not any("Traceback" in line for line in errors)


@pytest.mark.parametrize("mlserver", [False, True])
def test_an_invalid_setting_is_one_line_without_its_value(champion_home: Path, mlserver: bool) -> None:
    command = [str(Path(sys.executable).parent / "mlserver"), "start", str(FOLDER)]
    if not mlserver:
        command = [sys.executable, "-c", SERVE, *(str(free_port(0)) for _ in range(3))]
    code, errors = _failure(command, environment(champion_home, REVIEWS_PARSING_MODEL_CONTROL="short"))
    assert code == 1
    assert "REVIEWS_PARSING_MODEL_CONTROL is invalid" in errors[-1]
    assert "short" not in "".join(errors).replace("too_short", "")


def test_without_a_model_serve_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SERVE, *(str(free_port(0)) for _ in range(3))]
    code, errors = _failure(command, environment(tmp_path, REVIEWS_PARSING_MODEL_URI=str(tmp_path)))
    assert code == 1
    assert f"{tmp_path} holds no model" in errors[-1]


def _failure(command: list[str], variables: dict[str, str]) -> tuple[int, list[str]]:
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=DEADLINE, check=False)
    return done.returncode, done.stderr.splitlines()


def test_a_taken_port_is_named_with_the_option_that_changes_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServingError, match=f"port {port} .*--grpc-port"):
            serve(free_port(0), port, free_port(0))


def test_one_port_for_two_doors_is_refused() -> None:
    port = free_port(0)
    with pytest.raises(ServingError, match="--metrics-port"):
        serve(port, free_port(0), port)


@pytest.mark.parametrize(
    ("port", "host", "option"), [(70_000, "127.0.0.1", "--http-port"), (0, "no.such.invalid", "--host")]
)
def test_what_is_no_port_or_host_is_refused(port: int, host: str, option: str) -> None:
    with pytest.raises(ServingError, match=option):
        serve(port, 0, 0, host=host)


def test_a_free_port_is_the_preferred_one_or_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert free_port(port) != port
    assert free_port(port) == port


def test_mlserver_starts_with_the_settings_of_serve() -> None:
    assert json.loads((FOLDER / "settings.json").read_text(encoding="utf-8")) == SETTINGS
