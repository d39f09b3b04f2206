"""Stores that are down, silent, locked or damaged are reported in one line and in time."""

from __future__ import annotations

import http.server
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from ports import free_port
from reviews_parsing import TrackingError, registry
from reviews_parsing.registry import store as store_module
from reviews_parsing.settings import MODEL_NAME

LIMIT_SECONDS = 15.0
TEXT = "The ramen was great but the waiter was rude."
ASKING = (
    ("models",),
    ("promote", "--version", "1"),
    ("rollback",),
    ("parse", TEXT),
    ("parse", TEXT, "--model", f"models:/{MODEL_NAME}/1"),
    ("data", "reference", "list"),
)


def run(*arguments: str, **environment: str) -> tuple[int, str, str, float]:
    """Run the command; returns its status, both outputs, and its seconds beyond those of an empty command."""
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "reviews_parsing.cli", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )
    return done.returncode, done.stdout, done.stderr, time.monotonic() - begin


def last_line(*arguments: str, **environment: str) -> str:
    """Return the one line of a command that fails."""
    code, out, err, _ = run(*arguments, **environment)
    assert (code, out) == (1, ""), err
    [line] = err.strip().splitlines()
    assert line.startswith("error: ")
    return line


@contextmanager
def silent_server() -> Iterator[str]:
    """Yield a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def failing_server(status: int, body: str) -> Iterator[str]:
    """Yield a server that answers everything with an error."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    for method in ("GET", "POST"):
        setattr(Handler, f"do_{method}", Handler.answer)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("arguments", ASKING)
def test_every_command_that_asks_a_dead_server_says_so_in_time(arguments: tuple[str, ...]) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    code, _, err, seconds = run(*arguments, MLFLOW_TRACKING_URI=dead)
    [line] = err.strip().splitlines()
    assert code == 1
    assert f"tracking store {dead} cannot be used" in line
    assert "MLFLOW_TRACKING_URI" in line
    assert seconds < LIMIT_SECONDS


@pytest.mark.parametrize("arguments", [ASKING[0], ASKING[4]])
def test_a_silent_server_is_reported_in_time(arguments: tuple[str, ...]) -> None:
    with silent_server() as address:
        code, _, err, seconds = run(*arguments, MLFLOW_TRACKING_URI=address)
    [line] = err.strip().splitlines()
    assert (code, f"tracking store {address} cannot be used" in line) == (1, True), err
    # The process itself takes some seconds on a machine that has more to do.
    assert seconds < LIMIT_SECONDS + 5


@pytest.mark.parametrize("uri", ["http://no-such-host.invalid:5000", "postgresql://u:secret@127.0.0.1:{port}/mlflow"])
def test_other_addresses_that_nobody_answers_are_reported_in_time(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(port=free_port()))
    begin = time.monotonic()
    with pytest.raises(TrackingError, match="cannot be used") as caught:
        registry.champion()
    assert time.monotonic() - begin < LIMIT_SECONDS
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_that_takes_long_to_resolve_is_reported_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    def resolve(*_: object) -> None:
        ended.wait(30)
        raise OSError("too late")

    monkeypatch.setattr(store_module, "CONNECT_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(socket, "create_connection", resolve)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://slow.invalid:5000")
    begin = time.monotonic()
    with pytest.raises(TrackingError, match=r"slow\.invalid:5000: no answer within 0\.2 seconds"):
        registry.champion()
    assert time.monotonic() - begin < 5
    ended.set()


def test_messages_end_at_a_word() -> None:
    words = " ".join(f"word{number}" for number in range(400))
    with failing_server(400, json.dumps({"error_code": "INTERNAL_ERROR", "message": words})) as address:
        line = last_line("models", MLFLOW_TRACKING_URI=address)
    assert re.search(r" word\d+ \.\.\.\)", line), line
    assert len(line) < 600


def test_a_server_that_is_no_mlflow_is_one_line() -> None:
    with failing_server(404, "<html>nothing here</html>") as address:
        assert f"tracking store {address} cannot be used" in last_line("models", MLFLOW_TRACKING_URI=address)


def test_a_locked_store_is_one_line_and_true(with_champion: Path) -> None:
    with closing(sqlite3.connect(with_champion / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        line = last_line("rollback")
        other.execute("ROLLBACK")
    assert "database is locked" in line
    assert "another process is writing to it: try again" in line
    assert str(with_champion / "mlflow.db") in line
    assert run("models")[0] == 0


@pytest.mark.parametrize("harm", ["overwritten", "cut", "not a database"])
def test_a_damaged_store_is_one_line_and_true(with_champion: Path, harm: str) -> None:
    file = with_champion / "mlflow.db"
    if harm == "overwritten":
        with file.open("r+b") as content:
            content.write(os.urandom(100_000))
    elif harm == "cut":
        os.truncate(file, 8192)
    else:
        file.write_text("hello, this is a note and no database at all\n" * 100)
    for arguments in (("models",), ("promote", "--version", "1")):
        line = last_line(*arguments)
        assert str(file) in line
        assert "the file is damaged: restore a backup, or move it away to start anew" in line


def test_a_store_of_another_mlflow_is_one_line(with_champion: Path) -> None:
    with closing(sqlite3.connect(with_champion / "mlflow.db")) as store, store:
        store.execute("UPDATE alembic_version SET version_num = '0123456789ab'")
    assert "another MLflow release wrote it: install that release" in last_line("models")


def test_a_home_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "note").write_text("hello")
    line = last_line("models", REVIEWS_PARSING_HOME=str(tmp_path / "note"))
    assert f"{tmp_path / 'note'} cannot be created" in line


def test_no_temporary_folder_is_one_line(with_champion: Path, tmp_path: Path) -> None:
    # Python falls back on these if TMPDIR is unusable; a process that may not write anywhere has none.
    program = (
        "import sys, tempfile; tempfile._candidate_tempdir_list = lambda: ['/no/such/folder'];"
        "sys.argv = ['reviews-parsing', 'promote', '--version', '1', '--dry-run'];"
        "from reviews_parsing.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    [line] = done.stderr.strip().splitlines()
    assert "No usable temporary directory" in line
    assert "TMPDIR" in line


def test_a_file_name_that_is_no_unicode_is_one_line(with_champion: Path, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9.csv"
    command = [os.fsencode(sys.executable), b"-m", b"reviews_parsing.cli", b"parse", name, b"-o", b"out.csv"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 1
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert "caf\\xe9.csv" in line


def test_a_backbone_with_a_typing_error_is_one_line_in_time(tmp_path: Path) -> None:
    hub = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": f"http://127.0.0.1:{free_port()}", "HF_HOME": str(tmp_path / "hub")}
    code, _, err, seconds = run("train", "corpus", "--backbone", "no-body/no-such-backbone", **hub)
    [line] = err.strip().splitlines()
    assert (code, "backbone no-body/no-such-backbone cannot be loaded" in line) == (1, True), err
    assert seconds < LIMIT_SECONDS + 5
