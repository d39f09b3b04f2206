"""Tests of start and shutdown of the server, and of replacing a version of the model."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import groupby
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from ports import free_port
from reviews_parsing import pipelines, registry
from reviews_parsing.parser import AspectParser
from reviews_parsing.registry.resolution import ModelReference, ResolvedVersion, save_resolution
from reviews_parsing.settings import MODEL_NAME, Settings

from .client import DEADLINE, MODEL, TOKEN, Server, environment
from .conftest import FOLDER, SERVE, Start

LOAD = f"/v2/repository/models/{MODEL_NAME}/load"
LONG = "The grilled octopus was tender and the waiter never smiled once. " * 450
MEGABYTE = 1 << 20
# However slow the machine, no request is turned away.
PATIENT = {"REVIEWS_PARSING_MAX_WAIT": "60"}


@pytest.fixture
def two_versions(with_champion: Path) -> Path:
    """Return a home with a second version of the same model; the first is champion."""
    register(artifact(with_champion))
    return with_champion


def artifact(home: Path) -> Path:
    """Return the artifact of the champion in the local store."""
    return next((home / "artifacts" / "models").glob("*/artifacts"))


def register(source: Path) -> str:
    """Register `source` as a new version and return it."""
    with registry.tracking() as client:
        run_id = registry.versions()[-1].run_id
        return str(client.create_model_version(MODEL_NAME, source.as_uri(), run_id).version)


def grpc_infer(server: Server, texts: list[str]) -> tuple[str, list[object]]:
    """(model version, predictions) over gRPC."""
    text = tritonclient.grpc.InferInput("text", [len(texts)], "BYTES")
    text.set_data_from_numpy(np.array(texts, dtype=np.object_))
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{server.grpc}") as client:
        result = client.infer(MODEL_NAME, [text])
    return result.get_response().model_version, [json.loads(p) for p in result.as_numpy("predictions")]


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come"


def rest_version(server: Server) -> str:
    answer = server.infer(["Lovely soup."])
    assert answer.status == 200, answer.body
    return str(answer.json["model_version"])


def grpc_version(server: Server) -> str:
    return grpc_infer(server, ["Lovely soup."])[0]


def grpc_status(server: Server) -> str:
    try:
        grpc_version(server)
    except InferenceServerException as refused:
        return str(refused.status())
    return "answered"


def status_line(server: Server, name: str) -> int:
    """Return a number of /proc/PID/status."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


@contextmanager
def starting(home: Path, folder: Path, **variables: str) -> Iterator[Server]:
    """Yield a server that has just been started; its log goes to `folder`."""
    http, grpc, metrics = (free_port() for _ in range(3))
    command = [sys.executable, "-c", SERVE, *map(str, (http, grpc, metrics))]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, env=environment(home, **variables), stdout=log, stderr=log) as process,
    ):
        yield Server(process, http, grpc, metrics, folder / "log")
        process.kill()


def readiness(server: Server) -> tuple[int, ...]:
    """Return the statuses of server readiness, model readiness and an inference; empty if the server is down."""
    try:
        paths = ("/v2/health/ready", f"{MODEL}/ready")
        return (*(server.get(path).status for path in paths), server.infer(["Lovely."]).status)
    except (URLError, ConnectionError):
        return ()


def test_it_is_not_ready_before_the_model_has_answered(champion_home: Path, tmp_path: Path) -> None:
    with starting(champion_home, tmp_path) as server:
        seen: list[tuple[int, ...]] = []
        deadline = time.monotonic() + DEADLINE
        while not seen or seen[-1] != (200, 200, 200):
            assert time.monotonic() < deadline
            if statuses := readiness(server):
                seen.append(statuses)
    # It may become ready between two questions, and stays so.
    assert seen[0][0] == 503
    for statuses in (*seen, *zip(*seen, strict=True)):
        assert list(statuses) == sorted(statuses, reverse=True)


@pytest.mark.parametrize("mlserver", [False, True])
def test_sigterm_answers_what_is_under_way_and_takes_nothing_new(
    start: Start, parser: AspectParser, mlserver: bool
) -> None:
    expected = [parser.parse([LONG])[0].to_json()]
    with start(mlserver, REVIEWS_PARSING_THREADS="1", **PATIENT) as server, ThreadPoolExecutor(2) as clients:
        rest = clients.submit(server.infer, [LONG])
        grpc = clients.submit(grpc_infer, server, [LONG])
        while server.counter("reviews_parsing_requests_in_progress") < 2:
            assert not rest.done()
        server.process.send_signal(signal.SIGTERM)
        until(lambda: not is_ready(server), "the end of readiness")
        assert not rest.done() or not grpc.done()
        # A call that crosses the goodbye on its connection is cancelled; the next finds nobody.
        until(lambda: grpc_status(server) == "StatusCode.UNAVAILABLE", "the end of gRPC")
        assert rest.result().predictions == expected
        assert grpc.result() == ("1", expected)
        assert server.process.wait(DEADLINE) == 0
        assert "Traceback" not in server.log


def is_ready(server: Server) -> bool:
    try:
        return server.get("/v2/health/ready").status == 200
    except (URLError, ConnectionError):
        return False


def test_a_request_that_never_ends_does_not_keep_the_server(start: Start) -> None:
    with (
        start(REVIEWS_PARSING_DRAIN_SECONDS="0.5") as server,
        socket.create_connection(("127.0.0.1", server.http)) as half,
    ):
        half.sendall(f"POST {MODEL}/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{{".encode())
        while server.counter("reviews_parsing_requests_in_progress") < 1:
            assert server.process.poll() is None
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(DEADLINE) == 0
        assert half.recv(4096).startswith(b"HTTP/1.1 503")
        assert "Traceback" not in server.log


ENDS_IN_A_BATCH = """
import asyncio, pathlib, sys
from reviews_parsing import AspectParser
from reviews_parsing.serving.queue import ParseQueue

async def leave():
    queue = ParseQueue(AspectParser(pathlib.Path(sys.argv[1]), 2), threads=2, max_wait=60)
    request = asyncio.create_task(queue.run(["Rude waiter. " * 60] * 40))
    await asyncio.sleep(float(sys.argv[2]))
    assert not request.done()

asyncio.run(leave())
"""


@pytest.mark.parametrize("seconds", [0.02, 0.05, 0.08, 0.1, 0.15])
def test_a_process_that_ends_while_a_batch_is_in_the_encoder_is_not_aborted(
    champion_folder: Path, seconds: float
) -> None:
    command = [sys.executable, "-c", ENDS_IN_A_BATCH, str(champion_folder), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_second_signal_does_not_wait(start: Start) -> None:
    with start(REVIEWS_PARSING_THREADS="1", **PATIENT) as server, ThreadPoolExecutor(2) as clients:
        text = LONG * 10
        under_way: list[Future[Any]] = [
            clients.submit(server.infer, [text]),
            clients.submit(grpc_infer, server, [text]),
        ]
        while server.counter("reviews_parsing_requests_in_progress") < 2:
            assert not any(each.done() for each in under_way)
        server.process.send_signal(signal.SIGINT)
        until(lambda: not is_ready(server), "the end of readiness")
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(DEADLINE) == 0
        rest, grpc = under_way
        assert rest.result().status == 503
        assert "again" in rest.result().error
        with pytest.raises(InferenceServerException, match="UNAVAILABLE"):
            grpc.result()
        assert "Traceback" not in server.log


def test_sigterm_while_the_model_loads_is_an_end_too(champion_home: Path, tmp_path: Path) -> None:
    with starting(champion_home, tmp_path) as server:
        while not (statuses := readiness(server)):
            assert server.process.poll() is None
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(DEADLINE) == 0
        assert statuses[0] == 503
        assert "Traceback" not in server.log


@contextmanager
def asking(ask: Callable[[Server], str], server: Server, clients: int, enough: Event) -> Iterator[list[list[str]]]:
    """`clients` that ask until there is `enough`; yields what version answered each of them. Raises what failed."""
    answered: list[list[str]] = [[] for _ in range(clients)]

    def loop(versions: list[str]) -> None:
        try:
            while not enough.is_set():
                versions.append(ask(server))
        finally:
            enough.set()

    with ThreadPoolExecutor(clients) as pool:
        loops = [pool.submit(loop, versions) for versions in answered]
        try:
            yield answered
        finally:
            enough.set()
            for each in loops:
                each.result()


def test_one_champion_follows_another_under_load_and_no_request_fails(start: Start, two_versions: Path) -> None:
    with start(REVIEWS_PARSING_HOME=str(two_versions), **PATIENT) as server:
        threads = status_line(server, "Threads")
        enough = Event()
        with asking(rest_version, server, 3, enough) as rest, asking(grpc_version, server, 3, enough) as grpc:
            clients = [*rest, *grpc]

            def reached(goal: list[int]) -> bool:
                return enough.is_set() or all(len(v) >= n for v, n in zip(clients, goal, strict=True))

            for champion, promote in (
                ("1", lambda: None),
                ("2", lambda: pipelines.promote(version="2", force=True, reason="a test")),
                ("1", registry.rollback),
            ):
                promote()
                assert server.ask({}, LOAD).status == 200
                assert is_ready(server)
                goal = [len(versions) + 4 for versions in clients]
                until(partial(reached, goal), "answers after the reload")
                assert {versions[-1] for versions in clients} == {champion}
        for versions in clients:
            assert [version for version, _ in groupby(versions)] == ["1", "2", "1"]
        until(lambda: status_line(server, "Threads") <= threads, "the end of the old versions' threads")
        assert server.get(f"{MODEL}/versions/2/ready").status == 404
        assert "Traceback" not in server.log


def test_what_waits_in_the_old_version_is_answered_by_it(
    start: Start, two_versions: Path, parser: AspectParser
) -> None:
    one_thread = {"REVIEWS_PARSING_HOME": str(two_versions), "REVIEWS_PARSING_THREADS": "1", **PATIENT}
    with start(**one_thread) as server, ThreadPoolExecutor(2) as clients:
        # Seconds of work: more than a version takes to load, however busy the machine is.
        waiting = [clients.submit(server.infer, [LONG] * 6) for _ in range(2)]
        while server.counter("reviews_parsing_requests_in_progress") < 2:
            assert not any(each.done() for each in waiting)
        registry.set_champion("2", {})
        assert server.ask({}, LOAD).status == 200
        assert rest_version(server) == "2"
        assert not all(each.done() for each in waiting)
        for each in waiting:
            assert each.result().json["model_version"] == "1"
            assert each.result().predictions == [parser.parse([LONG])[0].to_json()] * 6


def test_reloads_that_meet_take_turns(start: Start, two_versions: Path) -> None:
    with start(REVIEWS_PARSING_HOME=str(two_versions), **PATIENT) as server:
        enough = Event()
        with asking(rest_version, server, 1, enough), asking(reload, server, 3, enough) as reloads:

            def reached(goal: int) -> bool:
                return enough.is_set() or len(reloads[0]) >= goal

            for champion in "21":
                registry.set_champion(champion, {})
                until(partial(reached, len(reloads[0]) + 2), "reloads")
        assert rest_version(server) == "1"
        assert is_ready(server)
        # Each version that was loaded was retired once.
        assert server.counter("reviews_parsing_model_info", version="1") == 1
        assert server.counter("reviews_parsing_model_info", version="2") == 0


def reload(server: Server) -> str:
    answer = server.ask({}, LOAD)
    assert answer.status == 200, answer.body
    return "reloaded"


def test_memory_stays_within_bounds_over_requests_and_reloads(start: Start, two_versions: Path) -> None:
    with start(REVIEWS_PARSING_HOME=str(two_versions), **PATIENT) as server:
        for number in range(200):
            assert server.infer([f"Table {number}: the ramen was great and the service slow."]).status == 200
        before = status_line(server, "VmRSS") * 1024
        assert before <= 400 * MEGABYTE
        threads = status_line(server, "Threads")
        for _ in range(20):
            assert server.ask({}, LOAD).status == 200
            rest_version(server)
        # Old versions end in the background: late, where the machine is busy.
        until(
            lambda: status_line(server, "VmRSS") * 1024 - before <= 60 * MEGABYTE, "the end of the old versions' memory"
        )
        # asyncio's own pool grows by a thread or two where the machine is busy; twenty versions would leave twenty.
        until(lambda: status_line(server, "Threads") < threads + 10, "the end of the old versions' threads")


def damaged(home: Path, damage: Callable[[Path], object]) -> str:
    """Return a new version with a damaged copy of the champion's model folder."""
    source = home.parent / "damaged"
    shutil.copytree(artifact(home), source)
    damage(source / "artifacts" / "parser")
    return register(source)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut off": lambda folder: os.truncate(folder / "model.onnx", 1_000_000),
    "no tokenizer": lambda folder: (folder / "tokenizer.json").unlink(),
    "no object": lambda folder: (folder / "parser.json").write_text("[]"),
    "a field is missing": lambda folder: (folder / "parser.json").write_text('{"format": 1}'),
}


def test_a_damaged_version_is_refused_and_the_one_that_runs_goes_on(start: Start, with_champion: Path) -> None:
    version = damaged(with_champion, DAMAGES["cut off"])
    with start(REVIEWS_PARSING_HOME=str(with_champion)) as server:
        registry.set_champion(version, {})
        with asking(rest_version, server, 1, Event()) as answered:
            refused = server.ask({}, LOAD)
            assert refused.status == 503
            assert "damaged" in refused.error
            assert "\n" not in refused.error
            with (
                tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{server.grpc}") as client,
                pytest.raises(InferenceServerException, match="damaged") as status,
            ):
                client.load_model(MODEL_NAME, headers={"authorization": f"Bearer {TOKEN}"})
            assert status.value.status() == "StatusCode.UNAVAILABLE"
            assert is_ready(server)
        assert set(answered[0]) == {"1"}
        assert "Traceback" not in server.log


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("mlserver", [False, True])
def test_a_damaged_version_is_one_line_at_the_start(with_champion: Path, damage: str, mlserver: bool) -> None:
    registry.set_champion(damaged(with_champion, DAMAGES[damage]), {})
    code, log = run_to_its_end(mlserver, with_champion)
    assert code == 1
    errors = [line for line in log if "rror" in line]
    assert len(errors) == 1, log
    assert re.search("damaged|incomplete", errors[0])
    assert not any("Traceback" in line for line in log)


def test_a_fetched_version_that_has_changed_since_is_one_line_at_the_start(with_champion: Path) -> None:
    shutil.rmtree(with_champion / "models")
    folder, _ = registry.fetch(f"models:/{MODEL_NAME}@champion")
    with (folder / "model.onnx").open("r+b") as model:
        model.seek(10_000_000)
        model.write(b"\0" * 1000)
    # Otherwise it would be fetched again.
    shutil.rmtree(with_champion / "artifacts")
    code, log = run_to_its_end(False, with_champion)
    assert code == 1
    assert f"{folder / 'model.onnx'} is damaged" in log[-1]
    assert "delete" in log[-1]


def test_a_connection_may_be_idle_longer_than_gateways_keep_it(start: Start) -> None:
    """Otherwise a gateway's request meets the end of its connection."""
    assert Settings().idle_seconds > 3600  # Envoy's default
    with (
        start(REVIEWS_PARSING_HEADER_SECONDS="0.2", REVIEWS_PARSING_IDLE_SECONDS="1") as server,
        closing(http.client.HTTPConnection("127.0.0.1", server.http, timeout=DEADLINE)) as connection,
    ):
        connection.request("GET", "/v2/health/live")
        assert connection.getresponse().read()
        begin = time.monotonic()
        assert connection.sock.recv(1) == b""
        # Neither after the time for headers, nor after the five seconds of uvicorn.
        assert 0.9 < time.monotonic() - begin < 5


def test_an_unsigned_version_is_one_line_at_the_start(with_champion: Path, tmp_path: Path) -> None:
    policy = tmp_path / "key.pub"
    code, log = run_to_its_end(False, with_champion, REVIEWS_PARSING_TRUST=str(policy))
    assert code == 1
    assert f"version 1 of {MODEL_NAME} is not signed, and the trust policy {policy} demands it" in log[-1]
    assert not any("Traceback" in line for line in log)


def run_to_its_end(mlserver: bool, home: Path, **variables: str) -> tuple[int, list[str]]:
    """Exit status and log of a server that does not come up, on ports that the system picks."""
    doors = ("http", "grpc", "metrics")
    command = [str(Path(sys.executable).parent / "mlserver"), "start", str(FOLDER)]
    variables |= {f"MLSERVER_{door.upper()}_PORT": "0" for door in doors}
    if not mlserver:
        command = [sys.executable, "-m", "reviews_parsing.cli", "serve", *(f"--{door}-port=0" for door in doors)]
    done = subprocess.run(
        command,
        env=environment(home, **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    return done.returncode, done.stdout.splitlines()


def test_while_the_tracking_server_is_away_the_last_version_is_served(start: Start, with_champion: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        away = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{probe.getsockname()[1]}"}
    known = ResolvedVersion("1", registry.versions()[0].run_id)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", away["MLFLOW_TRACKING_URI"])
        for uri in (f"models:/{MODEL_NAME}@champion", f"models:/{MODEL_NAME}/1"):
            save_resolution(ModelReference.parse(uri), known)
    with start(REVIEWS_PARSING_HOME=str(with_champion), **away) as server:
        assert rest_version(server) == "1"
        [warning] = [line for line in server.log.splitlines() if "tracking" in line]
        assert "stays version 1" in warning
        # A reload asks for what there is now, and nobody knows.
        refused = server.ask({}, LOAD)
        assert refused.status == 503
        assert "cannot be used" in refused.error
        assert rest_version(server) == "1"
        assert "Traceback" not in server.log
    fixed = {"REVIEWS_PARSING_MODEL_URI": f"models:/{MODEL_NAME}/1", "REVIEWS_PARSING_HOME": str(with_champion)}
    with start(mlserver=True, **fixed, **away) as server:
        assert rest_version(server) == "1"
        assert "tracking" not in server.log
        assert server.ask({}, LOAD).status == 200


class Registry:
    """An MLflow server that knows the champion of a home, unless `run_id` is None, and never answers anything else."""

    def __init__(self, port: int, run_id: str | None) -> None:
        self.waiting, ended = Event(), Event()
        version = {"name": MODEL_NAME, "version": "1", "run_id": run_id, "creation_timestamp": 0}
        waiting = self.waiting

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                known = self.path.partition("?")[0].endswith(("/registered-models/alias", "/model-versions/get"))
                if run_id is None or not known:
                    waiting.set()
                    ended.wait()
                    return
                body = json.dumps({"model_version": version}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._ended = ended
        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()


def test_a_server_waits_for_a_registry_that_is_away_and_says_so_once(champion_folder: Path, tmp_path: Path) -> None:
    """The version is on the shared volume; what the alias means is not known there."""
    run_id = champion_folder.name.partition("-")[2]
    shutil.copytree(champion_folder.parents[1], tmp_path / "models")
    port = free_port()
    away = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}", "REVIEWS_PARSING_START_SECONDS": str(DEADLINE)}
    with starting(tmp_path, tmp_path, **away) as server:
        until(lambda: "waiting up to" in server.log or server.process.poll() is not None, "the line about the wait")
        answering = Registry(port, run_id)
        try:
            until(lambda: readiness(server) == (200, 200, 200), "readiness")
        finally:
            answering.close()
        [line] = [line for line in server.log.splitlines() if "cannot be used" in line]
        assert f"waiting up to {DEADLINE:g} seconds for the model: tracking store http://127.0.0.1:{port}" in line


def test_a_server_that_has_waited_long_enough_ends_with_one_line(tmp_path: Path) -> None:
    away = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}", "REVIEWS_PARSING_START_SECONDS": "1.5"}
    code, log = run_to_its_end(False, tmp_path, **away)
    assert code == 1
    assert "waiting up to 1.5 seconds" in log[-2]
    assert log[-1].startswith("error: tracking store")


@pytest.mark.parametrize("run_id", ["0123456789abcdef", None])
def test_a_fetch_does_not_outlast_the_time_of_a_start(tmp_path: Path, run_id: str | None) -> None:
    """The startup probe would end it without a line of log."""
    stalling = Registry(0, run_id)
    limits = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "600", "REVIEWS_PARSING_FETCH_TIMEOUT": "600"}
    limits |= {"MLFLOW_TRACKING_URI": stalling.address, "REVIEWS_PARSING_START_SECONDS": "6"}
    try:
        code, log = run_to_its_end(False, tmp_path, **limits)
    finally:
        stalling.close()
    assert code == 1
    assert f"the model was not fetched from {stalling.address} within 6 seconds" in log[-1]
    assert any(line.startswith("fetching version 1") for line in log) == (run_id is not None)
    assert not any("Traceback" in line for line in log)
    until(lambda: not list(tmp_path.glob("models/*/.fetching-*")), "the removal of what was fetched")


def test_sigterm_during_a_fetch_ends_the_server_and_what_it_fetches(tmp_path: Path) -> None:
    """No request of the fetch is ever answered: a server that waited for it would not end before the test does."""
    stalling = Registry(0, "0123456789abcdef")
    limits = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "600", "REVIEWS_PARSING_FETCH_TIMEOUT": "600"}
    try:
        with starting(tmp_path, tmp_path, MLFLOW_TRACKING_URI=stalling.address, **limits) as server:
            until(stalling.waiting.is_set, "the fetch")
            assert list(tmp_path.glob("models/*/.fetching-*"))
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(DEADLINE) == 0
            assert "Traceback" not in server.log
            until(lambda: not list(tmp_path.glob("models/*/.fetching-*")), "the removal of what was fetched")
    finally:
        stalling.close()
