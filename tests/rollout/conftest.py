"""A registry of three versions, a cluster, a Prometheus, and the command."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reviews_parsing import registry
from reviews_parsing.cli import main
from reviews_parsing.rollout import steps, watch
from reviews_parsing.settings import CHAMPION, MODEL_NAME

from .api import NAMESPACE, TOKEN, Cluster
from .metrics import PrometheusServer


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        assert self.code == 0, self.err
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def error(self) -> str:
        """The one line that it ends with."""
        assert (self.code, self.out) == (1, ""), (self.out, self.err)
        last = self.err.strip().splitlines()[-1]
        assert last.startswith("error: ")
        return last.removeprefix("error: ")


Run = Callable[..., Done]


@pytest.fixture(scope="session")
def three_versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home whose registry has versions 1, 2 and 3; champion is 2."""
    home = tmp_path_factory.mktemp("registry")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REVIEWS_PARSING_HOME", str(home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        with registry.tracking() as client:
            client.create_registered_model(MODEL_NAME)
            for _ in range(3):
                client.create_model_version(MODEL_NAME, str(home))
            client.set_registered_model_alias(MODEL_NAME, CHAMPION, "2")
    return home


@pytest.fixture(autouse=True)
def hurried(clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the waits of the steps to milliseconds."""
    for module, name, value in (
        (steps, "POLL_SECONDS", 0.02),
        (steps, "MAX_OUTAGE_SECONDS", 1.0),
        (steps, "TRAFFIC_TIMEOUT_SECONDS", 2.0),
        (steps, "GATEWAY_DELAY_SECONDS", 0.0),
        (watch, "POLL_SECONDS", 0.25),
        (watch, "GRACE_SECONDS", 0.7),
    ):
        monkeypatch.setattr(module, name, value)


@pytest.fixture
def home(three_versions: Path, tmp_path: Path, hurried: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the registry that the test may change."""
    monkeypatch.setenv("REVIEWS_PARSING_HOME", str(shutil.copytree(three_versions, tmp_path / "registry")))
    return tmp_path / "registry"


@pytest.fixture
def cluster(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Yield a cluster that serves version 1, and its kubeconfig."""
    cluster = Cluster()
    known_to(cluster.url, TOKEN, tmp_path, monkeypatch)
    yield cluster
    cluster.close()
    assert cluster.lost == []


def known_to(url: str, token: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a kubeconfig for a server and set KUBECONFIG to its path."""
    config = {
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url}}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": NAMESPACE}}],
    }
    (folder / "kubeconfig").write_text(json.dumps(config), encoding="utf-8")
    monkeypatch.setenv("KUBECONFIG", str(folder / "kubeconfig"))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`reviews-parsing rollout ...`."""

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["reviews-parsing", "rollout", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return Done(int(ended.value.code or 0), out, err)

    return run


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    server = PrometheusServer(tmp_path_factory.mktemp("prometheus"))
    yield server
    server.close()
