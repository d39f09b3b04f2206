"""Versions on this machine: fetched once and whole, and there when the tracking server is not."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import copy_home
from ports import free_port
from reviews_parsing import ModelError, TrackingError, registry
from reviews_parsing.settings import MODEL_NAME

from .servers import answers, until

CHAMPION, FIRST = f"models:/{MODEL_NAME}@champion", f"models:/{MODEL_NAME}/1"


@dataclass(frozen=True)
class Store:
    """An MLflow server."""

    port: int
    process: subprocess.Popen[bytes]

    def signal(self, number: signal.Signals) -> None:
        os.killpg(self.process.pid, number)


@contextmanager
def mlflow_server(home: Path, log: Path) -> Iterator[Store]:
    """An MLflow server on the store of `home`."""
    port = free_port()
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with log.open("wb") as target:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{home}/mlflow.db", *options],
            stdout=target,
            stderr=target,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            start_new_session=True,
        )
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/health"), "the MLflow server")
        yield Store(port, process)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def running(champion_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("store")
    copy_home(champion_home, folder / "home")
    with mlflow_server(folder / "home", folder / "log") as store:
        yield store


@pytest.fixture
def store(running: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A server that has the champion, and a home that has nothing."""
    use(running, tmp_path / "elsewhere", monkeypatch)
    return running


def use(store: Store, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REVIEWS_PARSING_HOME", str(home))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://somebody:secret@127.0.0.1:{store.port}")


def test_what_was_fetched_is_there_while_the_server_is_away(
    with_champion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    home = tmp_path / "elsewhere"
    with mlflow_server(with_champion, tmp_path / "log") as store:
        use(store, home, monkeypatch)
        folder, version = registry.fetch(CHAMPION)
        assert version == "1"
    until(lambda: not answers(f"http://127.0.0.1:{store.port}/health"), "the end of the MLflow server")
    assert registry.fetch(FIRST) == (folder, "1")
    assert caplog.records == []
    assert registry.fetch(CHAMPION) == (folder, "1")
    [warning] = caplog.records
    assert warning.levelno == logging.WARNING
    assert "stays version 1" in warning.getMessage()
    assert "\n" not in warning.getMessage()
    # What is not known is not guessed, and who wants to know what there is now is not told what there was.
    for ask in (
        lambda: registry.fetch(CHAMPION, stale_ok=False),
        lambda: registry.fetch(f"models:/{MODEL_NAME}@rival"),
        lambda: registry.fetch(f"models:/{MODEL_NAME}/2"),
    ):
        with pytest.raises(TrackingError, match="cannot be used"):
            ask()
    written = "".join(path.read_text(encoding="utf-8") for path in home.glob("models/*/known/*"))
    assert "secret" not in written + warning.getMessage()


def test_a_server_that_is_silent_is_not_waited_for(store: Store) -> None:
    found = registry.fetch(CHAMPION)
    store.signal(signal.SIGSTOP)
    try:
        begin = time.monotonic()
        assert registry.fetch(CHAMPION) == found
        assert time.monotonic() - begin < 20
    finally:
        store.signal(signal.SIGCONT)
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ


def test_an_alias_that_is_gone_is_gone(store: Store) -> None:
    with registry.tracking() as client:
        client.set_registered_model_alias(MODEL_NAME, "rival", "1")
    registry.fetch(f"models:/{MODEL_NAME}@rival")
    with registry.tracking() as client:
        client.delete_registered_model_alias(MODEL_NAME, "rival")
    with pytest.raises(ModelError, match="has no rival"):
        registry.fetch(f"models:/{MODEL_NAME}@rival")


def test_another_server_is_not_spoken_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.fetch(CHAMPION)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    for uri in (CHAMPION, FIRST):
        with pytest.raises(TrackingError):
            registry.fetch(uri)


def test_on_the_local_store_a_version_is_found_without_mlflow(with_champion: Path) -> None:
    program = (
        "import sys\nfrom reviews_parsing import registry\n"
        f"for uri in {[CHAMPION, FIRST]!r}: assert registry.fetch(uri)[1] == '1'\n"
        "sys.exit(any(name in sys.modules for name in ('mlflow', 'sqlalchemy', 'torch', 'pandas')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_local_store_says_what_the_champion_is_now(with_champion: Path) -> None:
    with registry.tracking() as client:
        source = client.get_model_version(MODEL_NAME, "1").source
        client.create_model_version(MODEL_NAME, source, registry.versions()[0].run_id)
    assert registry.fetch(CHAMPION)[1] == "1"
    registry.set_champion("2", {})
    assert registry.fetch(CHAMPION)[1] == "2"
    with registry.tracking() as client:
        client.delete_model_version(MODEL_NAME, "2")
    for uri in (CHAMPION, f"models:/{MODEL_NAME}/2"):
        with pytest.raises(ModelError):
            registry.fetch(uri)


def remove(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    "harm",
    [
        remove("model.onnx"),
        remove("README.md"),
        lambda folder: os.truncate(folder / "model.onnx", 1000),
        lambda folder: (folder / "tokenizer.json").write_bytes(b"{}"),
    ],
)
def test_a_folder_that_is_no_longer_what_was_fetched_is_refused(
    with_champion: Path, harm: Callable[[Path], object]
) -> None:
    shutil.rmtree(with_champion / "models")
    folder, _ = registry.fetch(CHAMPION)
    harm(folder)
    for uri in (CHAMPION, FIRST):
        with pytest.raises(ModelError, match=f"delete {folder}, and it is fetched again"):
            registry.fetch(uri)
    shutil.rmtree(folder)
    assert registry.fetch(CHAMPION) == (folder, "1")


def test_checksums_are_those_of_sha256sum(with_champion: Path) -> None:
    shutil.rmtree(with_champion / "models")
    folder, _ = registry.fetch(CHAMPION)
    command = ["sha256sum", "--check", "--strict", f"../{folder.name}.sha256"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": OK") == len(list(folder.iterdir()))


def test_a_fetch_that_was_killed_leaves_nothing_that_looks_whole(with_champion: Path) -> None:
    shutil.rmtree(with_champion / "models")
    [artifact] = (with_champion / "artifacts" / "models").glob("*/artifacts/artifacts/parser/model.onnx")
    size = artifact.stat().st_size
    # A hole at its end, so that fetching it takes long enough to be killed at.
    os.truncate(artifact, 2 << 30)
    program = f"from reviews_parsing import registry; registry.fetch({CHAMPION!r})"
    place = with_champion / "models" / MODEL_NAME
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        until(lambda: any(place.glob(".fetching-*/artifacts/parser/model.onnx")), "the beginning of a download")
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert all(path.name.startswith(".") for path in place.iterdir())
    os.truncate(artifact, size)
    for left in place.iterdir():
        os.utime(left, (0, 0))
    folder, version = registry.fetch(CHAMPION)
    assert version == "1"
    assert (folder / "model.onnx").stat().st_size == size
    assert {path.name for path in place.iterdir()} == {folder.name, f"{folder.name}.sha256"}
