"""Versions on this machine: fetched once and whole, and there when the tracking server is not."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
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
from reviews_parsing.registry.integrity import CHECKSUM_TAG
from reviews_parsing.registry.runs import fetch_file, run
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
    """Yield an MLflow server on the store of `home`."""
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
    """Return a server that has the champion, and a home that has nothing."""
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
        assert caplog.messages == [f"fetching version 1 of {MODEL_NAME} from http://127.0.0.1:{store.port}"]
        caplog.clear()
    until(lambda: not answers(f"http://127.0.0.1:{store.port}/health"), "the end of the MLflow server")
    assert registry.fetch(FIRST) == (folder, "1")
    assert caplog.records == []
    assert registry.fetch(CHAMPION) == (folder, "1")
    [warning] = caplog.records
    assert warning.levelno == logging.WARNING
    assert "stays version 1" in warning.getMessage()
    assert "\n" not in warning.getMessage()
    # What is not known is not guessed, and who wants to know what there is now is not told what there was.
    calls: list[Callable[[], object]] = [
        lambda: registry.fetch(CHAMPION, stale_ok=False),
        lambda: registry.fetch(f"models:/{MODEL_NAME}@rival"),
        lambda: registry.fetch(f"models:/{MODEL_NAME}/2"),
    ]
    for ask in calls:
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


HARMS: dict[str, Callable[[Path], object]] = {
    "no model": remove("model.onnx"),
    "no card": remove("README.md"),
    "cut off": lambda folder: os.truncate(folder / "model.onnx", 1000),
    "other content": lambda folder: (folder / "tokenizer.json").write_bytes(b"{}"),
    "a file more": lambda folder: (folder / "hook.py").write_text("print('hello')"),
    "no checksums": lambda folder: folder.with_name(f"{folder.name}.sha256").unlink(),
    "damaged checksums": lambda folder: folder.with_name(f"{folder.name}.sha256").write_bytes(b"\xff\xfe"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_folder_is_fetched_again(with_champion: Path, harm: str, caplog: pytest.LogCaptureFixture) -> None:
    folder, _ = registry.fetch(CHAMPION)
    files = contents(folder)
    HARMS[harm](folder)
    assert registry.fetch(CHAMPION) == (folder, "1")
    [warning] = caplog.messages
    assert folder.name in warning
    assert warning.endswith("deleting it and fetching it again")
    assert contents(folder) == files
    assert {path.name for path in folder.parent.iterdir()} == {folder.name, f"{folder.name}.sha256"}


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_folder_that_cannot_be_fetched_again_is_refused_by_name(with_champion: Path, harm: str) -> None:
    folder, _ = registry.fetch(CHAMPION)
    HARMS[harm](folder)
    shutil.rmtree(with_champion / "artifacts")
    with pytest.raises(ModelError, match=f"{folder}.* cannot be fetched again .*delete {folder}"):
        registry.fetch(CHAMPION)


def test_a_damaged_folder_is_replaced_later_if_the_server_is_away(store: Store) -> None:
    """A starting server waits for what raises TrackingError."""
    folder, _ = registry.fetch(FIRST)
    HARMS["cut off"](folder)
    store.signal(signal.SIGSTOP)
    try:
        with pytest.raises(TrackingError, match=r"model.onnx is damaged.*cannot be used"):
            registry.fetch(FIRST)
    finally:
        store.signal(signal.SIGCONT)
    assert registry.fetch(FIRST) == (folder, "1")


def test_a_volume_that_cannot_be_written_to_is_no_obstacle(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    home = Path(os.environ["REVIEWS_PARSING_HOME"])
    home.mkdir()
    (home / "models").symlink_to(os.devnull)  # which takes no folders, of root either
    folder, version = registry.fetch(FIRST)
    assert (folder.parent, version) == (home / "unshared" / MODEL_NAME, "1")
    assert re.search(f"cannot be stored in {home}/models/{MODEL_NAME} .*is in {folder.parent}", caplog.messages[-1])
    caplog.clear()
    assert registry.fetch(FIRST) == (folder, "1")
    assert registry.fetch(CHAMPION) == (folder, "1")
    assert caplog.messages == []
    # Once it can be written to, it gets the next version.
    (home / "models").unlink()
    shutil.rmtree(home / "unshared")
    assert registry.fetch(FIRST)[0].parent == home / "models" / MODEL_NAME


def test_a_disk_that_takes_no_more_is_named_and_not_the_server(store: Store) -> None:
    program = (
        "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, 5_000_000))\n"
        f"from reviews_parsing import ReviewsParsingError, registry\ntry: registry.fetch({FIRST!r})\n"
        "except ReviewsParsingError as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    place = Path(os.environ["REVIEWS_PARSING_HOME"]) / "models" / MODEL_NAME
    reason = f"ModelNotStored version 1 of {MODEL_NAME} cannot be stored in {place} (File too large); free some space"
    assert done.stdout.startswith(reason), done.stdout
    assert list(place.iterdir()) == []


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def artifact_folder(home: Path) -> Path:
    """Return the model folder of version 1 in the local artifact store."""
    [model] = (home / "artifacts" / "models").glob("*/artifacts/artifacts/parser/model.onnx")
    return model.parent


def change_bytes(file: Path) -> None:
    with file.open("r+b") as content:
        content.seek(10_000_000)
        content.write(b"\0" * 20_000)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda folder: change_bytes(folder / "model.onnx"), "model.onnx has SHA-256 .* instead of"),
        (lambda folder: os.truncate(folder / "model.onnx", 9_000_000), "model.onnx has 9,000,000 bytes instead of"),
        (remove("profile.parquet"), "profile.parquet is missing"),
        (lambda folder: (folder / "extra.bin").write_bytes(b"x"), "extra.bin was not registered"),
        (remove("tokenizer.json"), "it has no tokenizer.json"),
    ],
)
def test_artifacts_that_are_not_what_was_registered_are_refused_by_name(
    with_champion: Path, harm: Callable[[Path], object], words: str
) -> None:
    shutil.rmtree(with_champion / "models")
    harm(artifact_folder(with_champion))
    for uri in (CHAMPION, FIRST):
        with pytest.raises(ModelError, match=f"version 1 of {MODEL_NAME} .*{words}") as caught:
            registry.fetch(uri)
        assert "\n" not in str(caught.value)
    assert not list((with_champion / "models").rglob("*.onnx"))


def test_a_version_without_checksums_must_load(with_champion: Path) -> None:
    """An earlier release registered versions without checksums."""
    shutil.rmtree(with_champion / "models")
    with registry.tracking() as client:
        client.delete_model_version_tag(MODEL_NAME, "1", CHECKSUM_TAG)
    assert registry.fetch(CHAMPION)[1] == "1"
    shutil.rmtree(with_champion / "models")
    os.truncate(artifact_folder(with_champion) / "model.onnx", 9_000_000)
    with pytest.raises(ModelError, match=f"version 1 of {MODEL_NAME}: the model is damaged"):
        registry.fetch(CHAMPION)


def test_checksums_are_tags_of_the_run_and_of_the_version(with_champion: Path) -> None:
    folder, _ = registry.fetch(CHAMPION)
    with registry.tracking() as client:
        version = client.get_model_version(MODEL_NAME, "1")
        records = [json.loads(tags[CHECKSUM_TAG]) for tags in (version.tags, client.get_run(version.run_id).data.tags)]
    expected = {
        path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
        for path in folder.iterdir()
    }
    assert records == [expected] * 2


def test_a_model_that_is_too_large_is_refused_before_it_is_fetched(
    with_champion: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(with_champion / "models")
    monkeypatch.setenv("REVIEWS_PARSING_MAX_MODEL_MB", "20")
    monkeypatch.setattr("mlflow.artifacts.download_artifacts", lambda *_, **__: pytest.fail("it was downloaded"))
    with pytest.raises(ModelError, match=r"has 6 files of 24 MB.*REVIEWS_PARSING_MAX_MODEL_MB"):
        registry.fetch(CHAMPION)


def test_artifacts_that_are_gone_are_named_with_their_path(with_champion: Path) -> None:
    shutil.rmtree(with_champion / "models")
    place = artifact_folder(with_champion).parent
    shutil.rmtree(place)
    with pytest.raises(ModelError, match=f"no files at .*{place}"):
        registry.fetch(CHAMPION)


@pytest.mark.parametrize("moved", [True, False])
def test_a_home_that_was_moved_or_copied_works(
    champion_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: bool
) -> None:
    first, second = tmp_path / "first place", tmp_path / "second place ü"
    copy_home(champion_home, first)
    if moved:
        first.rename(second)
    else:
        shutil.copytree(first, second)
        # What the copy reads must not be the original.
        artifact_folder(first).rename(first / "elsewhere")
    shutil.rmtree(second / "models")
    monkeypatch.setenv("REVIEWS_PARSING_HOME", str(second))
    assert registry.fetch(CHAMPION)[1] == "1"
    run_id = registry.versions()[0].run_id
    assert fetch_file(run_id, "data/test.jsonl", tmp_path).is_file()
    with run() as log:
        log.parameters({"a": 1})
    with registry.tracking() as client:
        assert client.get_run(log.run_id).info.artifact_uri.startswith((second / "artifacts").as_uri())


def test_runs_lie_under_the_home_whatever_was_asked_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert registry.champion() is None
    assert "MLFLOW_TRACKING_URI" not in os.environ
    (tmp_path / "note.txt").write_text("hello")
    with run() as log:
        log.file(tmp_path / "note.txt", "data")
    home = Path(os.environ["REVIEWS_PARSING_HOME"])
    assert len(list(home.rglob("note.txt"))) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"home", "note.txt"}


def test_an_experiment_outside_the_home_gets_its_new_artifacts_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an earlier release made it: `make up` wrote to ./mlruns."""
    with registry.tracking() as client:
        client.create_experiment(MODEL_NAME, (tmp_path / "mlruns" / "1").as_uri())
    with run() as log:
        pass
    with registry.tracking() as client:
        assert client.get_run(log.run_id).info.artifact_uri.startswith((tmp_path / "home").as_uri())


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
    # A hole at its end, so that fetching it takes long enough to be killed.
    os.truncate(artifact, 1900 << 20)
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
