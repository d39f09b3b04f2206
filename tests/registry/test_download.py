"""Downloads from a server are announced, end within their time limit, and end with the process that asked for them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from reviews_parsing import TrackingError, data, pipelines, registry
from reviews_parsing.errors import ModelNotTrusted
from reviews_parsing.pipelines.gate import test_split as read_test_split
from reviews_parsing.registry.signatures import signature_file

from .proxy import trickling_proxy
from .servers import until
from .test_signatures import make_key

NAME = "behind-a-slow-network"
SECONDS = 8.0
"""Time limit of a download, which includes the start of a process."""


@dataclass(frozen=True)
class Registered:
    """A signed champion on a server; its run has a checkpoint too."""

    server: str
    uri: str
    run_id: str
    policy: Path

    @property
    def title(self) -> str:
        return f"version {self.uri.rpartition('/')[2]} of {NAME}"


@pytest.fixture(scope="module")
def registered(mlflow_server: str, tmp_path_factory: pytest.TempPathFactory) -> Registered:
    folder = tmp_path_factory.mktemp("registered")
    key = make_key(folder, "mine")
    data.write(data.read_splits("corpus")["test"][:20], folder / "labelled.jsonl")
    (folder / "checkpoint").mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / "checkpoint" / name).write_text("0123456789" * 1000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REVIEWS_PARSING_HOME", str(folder / "home"))
        patch.setenv("REVIEWS_PARSING_MODEL_NAME", NAME)
        patch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
        patch.setenv("REVIEWS_PARSING_SIGNING_KEY", str(key))
        published = pipelines.publish(labelled=str(folder / "labelled.jsonl"))
        registry.set_champion(published.version, {})
        with registry.tracking() as client:
            client.log_artifacts(published.run_id, str(folder / "checkpoint"), "checkpoint")
    return Registered(mlflow_server, f"models:/{NAME}/{published.version}", published.run_id, key.with_suffix(".pub"))


@pytest.fixture
def version(registered: Registered, monkeypatch: pytest.MonkeyPatch) -> Registered:
    """Return the version, with the environment of a user of it whose home has nothing."""
    monkeypatch.setenv("REVIEWS_PARSING_MODEL_NAME", NAME)
    monkeypatch.setenv("REVIEWS_PARSING_TRUST", str(registered.policy))
    use(registered.server, monkeypatch)
    return registered


def use(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.replace("//", "//somebody:secret@"))


def test_files_of_a_run_are_announced_and_fetched_whole(
    version: Registered, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(read_test_split(version.run_id)) == 20
    assert caplog.messages == [f"fetching data/test.jsonl of run {version.run_id} from {version.server}"]
    # The folder does not exist at first; then it has an earlier download.
    for _ in range(2):
        checkpoint = pipelines.find_checkpoint(f"runs:/{version.run_id}", "embedded", tmp_path / "given")
        assert checkpoint == tmp_path / "given" / "checkpoint"
        sizes = {file.name: file.stat().st_size for file in checkpoint.iterdir()}
        assert sizes == {"config.json": 10_000, "model.safetensors": 10_000}
    assert list((tmp_path / "given").iterdir()) == [checkpoint]


CASES: dict[str, tuple[str, str, Callable[[Registered, Path], object]]] = {
    "model": ("/model.onnx", "version ", lambda version, _: registry.fetch(version.uri)),
    "alias": ("/registered-models/alias", f"the version of models:/{NAME}@champion", lambda *_: registry.locate()),
    "checkpoint": (
        "/model.safetensors",
        "checkpoint of run ",
        lambda version, folder: pipelines.find_checkpoint(f"runs:/{version.run_id}", "embedded", folder),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_server_that_trickles_is_given_up_with_one_line(
    version: Registered, case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, what, call = CASES[case]
    monkeypatch.setenv("REVIEWS_PARSING_FETCH_TIMEOUT", f"{SECONDS:g}")
    with trickling_proxy(version.server, part) as proxy:
        use(proxy.address, monkeypatch)
        begin = time.monotonic()
        message = f"{what}.* was not fetched from {proxy.address} within 8 seconds; check the network"
        with pytest.raises(TrackingError, match=message) as caught:
            call(version, tmp_path / "checkpoints")
        # The version is resolved first.
        assert SECONDS <= time.monotonic() - begin < 2 * SECONDS
        assert proxy.trickles.is_set()
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob(".fetching-*"))


def test_a_signature_is_announced_and_not_awaited_without_end(
    version: Registered, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with trickling_proxy(version.server, "/model.sig") as proxy:
        with monkeypatch.context() as patch:
            patch.delenv("REVIEWS_PARSING_TRUST")
            use(proxy.address, patch)
            folder, _ = registry.fetch(version.uri)
        assert not signature_file(folder).exists()
        with monkeypatch.context() as patch:
            patch.setenv("REVIEWS_PARSING_FETCH_TIMEOUT", f"{SECONDS:g}")
            use(proxy.address, patch)
            message = f"{version.title} is not signed.*; the signature of .* was not fetched from .* within 8 seconds"
            with pytest.raises(ModelNotTrusted, match=message):
                registry.fetch(version.uri)
        assert proxy.trickles.is_set()
    caplog.clear()
    assert registry.fetch(version.uri)[0] == folder
    assert caplog.messages == [f"fetching the signature of {version.title} from {version.server}"]


def test_the_end_of_a_process_ends_what_it_fetches(
    version: Registered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = f"from reviews_parsing.pipelines.gate import test_split; test_split({version.run_id!r})"
    with trickling_proxy(version.server, "/test.jsonl") as proxy:
        use(proxy.address, monkeypatch)
        command = [sys.executable, "-c", program]
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            until(proxy.trickles.is_set, "the download")
            assert list(tmp_path.glob("*/.fetching-*/test.jsonl"))
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate(timeout=60)
            until(lambda: not list(tmp_path.glob("*/.fetching-*")), "the removal of what was fetched")
    assert process.returncode == -signal.SIGTERM
    assert log == f"fetching data/test.jsonl of run {version.run_id} from {proxy.address}\n"
