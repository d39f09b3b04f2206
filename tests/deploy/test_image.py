"""The image, run as a cluster runs it: nobody's user, a root that cannot be written, no capability."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from conftest import copy_home
from ports import free_port
from registry.servers import answers, until
from reviews_parsing.parser import AspectParser
from reviews_parsing.settings import MODEL_NAME
from serving.client import MODEL, TOKEN, Answer, Server

from .rendering import container, rendered

PROJECT = Path(__file__).parent.parent.parent
SHARED = Path(os.environ.get("REVIEWS_PARSING_SHARED", PROJECT.parent / "shared"))
PODMAN = SHARED / "containers" / "podman-here"
DOCKERFILE = PROJECT / "models" / "reviews-parsing-ner-aspects" / "Dockerfile"
HOME = "/var/lib/reviews-parsing"
TEXTS = ["The ramen was great but the waiter was rude.", "Crème brûlée 😋, sad espresso.", ""]
INSIDE = {"http": 8080, "grpc": 8081, "metrics": 8082}
LARGEST = 450e6

pytestmark = pytest.mark.skipif(not PODMAN.exists(), reason="there is no ../shared/containers, which runs images here")


def podman(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([PODMAN, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, done.stderr
    return done


@pytest.fixture(scope="session")
def built() -> dict[str, Any]:
    """Build the image with `make image`; return podman's description of it and its bill of materials."""
    command = [sys.executable, str(PROJECT / "scripts" / "image.py")]
    # The stand-in for the base image has its name, and another digest.
    base = re.findall(r"^ARG PYTHON_IMAGE=(.*)@", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)[0]
    environment = {**os.environ, "CONTAINER_ENGINE": str(PODMAN), "PYTHON_IMAGE": base}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    image, bill = [line.split()[0] for line in done.stdout.splitlines()[-2:]]
    [description] = json.loads(podman("image", "inspect", image).stdout)
    return {"image": image, **description, "bill": json.loads((PROJECT / bill).read_text(encoding="utf-8"))}


@pytest.fixture(scope="session")
def root(built: dict[str, Any]) -> Iterator[Path]:
    """Yield the image's file system."""
    yield Path(podman("image", "mount", built["image"]).stdout.strip())
    podman("image", "unmount", built["image"])


@dataclass
class Container(Server):
    name: str = ""

    @property
    def log(self) -> str:
        done = podman("logs", self.name)
        return done.stdout + done.stderr


@contextmanager
def running(built: dict[str, Any], *options: str, ports: dict[str, int], command: list[str]) -> Iterator[Container]:
    """Yield the image as the chart runs it, with the two folders that a pod has for writing."""
    restrictions = ["--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges"]
    writable = ["--tmpfs=/tmp", f"--tmpfs={HOME}"]
    done = podman("run", "--detach", *restrictions, *writable, *options, built["image"], *command)
    name = done.stdout.strip()
    container = Container(None, ports["http"], ports["grpc"], ports["metrics"], Path(), name)  # type: ignore[arg-type]
    try:
        until(lambda: ready(container), "the container")
        yield container
    finally:
        podman("rm", "--force", "--time=0", name)


def ready(container: Container) -> bool:
    state = podman("container", "inspect", "--format={{.State.Status}}", container.name).stdout.strip()
    assert state == "running", container.log
    return answers(f"http://127.0.0.1:{container.http}{MODEL}/ready")


@pytest.fixture(scope="module")
def tracking(champion_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of an MLflow server that has the champion and serves its artifacts."""
    folder = tmp_path_factory.mktemp("store")
    home, port = folder / "home", free_port()
    copy_home(champion_home, home)
    with closing(sqlite3.connect(home / "mlflow.db")) as store, store:
        for place in ("logged_models.artifact_location", "model_versions.storage_location", "runs.artifact_uri"):
            table, column = place.split(".")
            local = f"{(home / 'artifacts').as_uri()}/"
            store.execute(f"UPDATE {table} SET {column} = REPLACE({column}, ?, 'mlflow-artifacts:/')", (local,))
    stores = ["--backend-store-uri", f"sqlite:///{home}/mlflow.db", "--artifacts-destination", str(home / "artifacts")]
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *stores, *options],
            stdout=log,
            stderr=log,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            start_new_session=True,
        )
    until(lambda: answers(f"http://127.0.0.1:{port}/health"), "the MLflow server")
    yield f"http://127.0.0.1:{port}"
    os.killpg(server.pid, 9)
    server.wait()


@pytest.fixture(scope="module")
def fetched(built: dict[str, Any], tracking: str) -> Iterator[Container]:
    """Yield a server that fetches version 1 from MLflow, in the host's network, where MLflow runs."""
    ports = {name: free_port() for name in INSIDE}
    command = ["serve", *(f"--{name}-port={port}" for name, port in ports.items())]
    settings = {"MLFLOW_TRACKING_URI": tracking, "REVIEWS_PARSING_MODEL_URI": f"models:/{MODEL_NAME}/1"}
    options = ["--network=host", *(f"--env={name}={value}" for name, value in settings.items())]
    with running(built, *options, ports=ports, command=command) as container:
        yield container


@contextmanager
def serving(built: dict[str, Any], folder: Path) -> Iterator[Container]:
    """Yield a server of a mounted folder, started with the image's default command."""
    ports = {name: free_port() for name in INSIDE}
    options = [f"--publish=127.0.0.1:{port}:{INSIDE[name]}" for name, port in ports.items()]
    options += [f"--volume={folder}:/model:ro", "--env=REVIEWS_PARSING_MODEL_URI=/model"]
    options += [f"--env=REVIEWS_PARSING_MODEL_CONTROL={TOKEN}"]
    with running(built, *options, ports=ports, command=[]) as container:
        yield container


@pytest.fixture(scope="module")
def model(champion_folder: Path) -> Iterator[Path]:
    """Yield a copy of the champion outside of pytest's folders, which only their owner may read."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(shutil.copytree(champion_folder, Path(folder, "model")))


@pytest.fixture(scope="module")
def mounted(built: dict[str, Any], model: Path) -> Iterator[Container]:
    with serving(built, model) as container:
        yield container


def inside(container: Container, program: str) -> str:
    return podman("exec", container.name, "python", "-c", program).stdout.strip()


def test_the_image_has_the_version_that_the_chart_runs_by_default(built: dict[str, Any]) -> None:
    default = container(rendered("reviews-parsing", "kind"))["image"]
    assert f"localhost/{default}" in built["RepoTags"]


def test_it_is_small(built: dict[str, Any]) -> None:
    assert built["Size"] <= LARGEST


def test_it_says_what_it_is_and_how_it_wants_to_be_run(built: dict[str, Any]) -> None:
    config = built["Config"]
    assert config["User"] == "10001:10001"
    assert (config["Entrypoint"], config["Cmd"]) == (["reviews-parsing"], ["serve", "--host", "0.0.0.0"])
    assert config["StopSignal"] in ("15", "SIGTERM")
    assert set(config["ExposedPorts"]) == {"8080/tcp", "8081/tcp", "8082/tcp"}
    assert built["Healthcheck"]["Test"][:2] == ["CMD", "python"]
    labels = {name.rpartition(".")[2]: value for name, value in config["Labels"].items() if "opencontainers" in name}
    assert labels["title"] == MODEL_NAME
    assert labels["version"] == built["image"].rpartition(":")[2]
    assert re.fullmatch("[0-9a-f]{40}", labels["revision"])
    assert labels["licenses"] == "Apache-2.0"


def test_there_is_no_shell_no_package_manager_and_no_compiler(root: Path) -> None:
    programs = {
        path.name
        for folder in ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin")
        for path in (root / folder).glob("*")
    }
    assert {re.sub(r"[\d.]+$", "", name) for name in programs} == {"python"}
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    assert not [path for path in files if path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID)]
    packages = {path.name for path in next(root.glob("opt/*/lib/python3*/site-packages")).iterdir()}
    assert not packages & {"torch", "transformers", "pip", "mlflow_server", "sklearn", "openvino", "pytest"}
    assert "mlserver" in packages
    assert not [path for name in ("pip", "*.onnx", "*.safetensors") for path in root.rglob(name)]
    writable = {path.relative_to(root) for path in root.rglob("*") if path.is_dir() and path.stat().st_mode & 0o002}
    assert writable == {Path("tmp"), Path(HOME[1:])}
    assert (root / HOME[1:]).stat().st_uid == 10001


def test_the_bill_of_materials_is_what_the_lock_says(built: dict[str, Any]) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(built["bill"])) is None
    parts = {component["purl"].partition("?")[0] for component in built["bill"]["components"]}
    python = {tuple(purl.removeprefix("pkg:pypi/").split("@")) for purl in parts if purl.startswith("pkg:pypi/")}
    lock = (PROJECT / "requirements.lock").read_text(encoding="utf-8")
    locked = set(re.findall(r"^([a-z0-9._-]+)==([^\s;]+)", lock, re.MULTILINE))
    assert {name for name, _ in python - {(re.sub(r"[-_.]+", "-", n), v) for n, v in locked}} == {"reviews-parsing"}
    assert {"mlserver", "onnxruntime", "mlflow-skinny"} <= {name for name, _ in python}
    debian = {purl.removeprefix("pkg:deb/debian/").split("@")[0] for purl in parts if purl.startswith("pkg:deb/")}
    assert {"libc6", "libssl3"} <= debian
    assert not debian & {"apt", "bash", "dash", "dpkg", "coreutils", "perl-base"}


@pytest.mark.parametrize("way", ["fetched", "mounted"])
def test_it_answers_over_rest_and_grpc(way: str, request: pytest.FixtureRequest, parser: AspectParser) -> None:
    server: Container = request.getfixturevalue(way)
    expected = [[aspect.to_json() for aspect in review.aspects] for review in parser.parse(TEXTS)]
    answer = server.infer(TEXTS)
    assert answer.predictions == expected
    tensor = tritonclient.grpc.InferInput("text", [len(TEXTS)], "BYTES")
    tensor.set_data_from_numpy(np.array(TEXTS, dtype=np.object_))
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{server.grpc}") as client:
        result = client.infer(MODEL_NAME, [tensor])
    assert [json.loads(element) for element in result.as_numpy("predictions")] == expected
    assert server.counter("reviews_parsing_reviews_total") == 2 * len(TEXTS)


def test_its_health_check_asks_whether_it_is_ready(mounted: Container) -> None:
    assert podman("healthcheck", "run", mounted.name, check=False).returncode == 0
    unload = f"/v2/repository/models/{MODEL_NAME}/unload"
    assert mounted.post(unload, b"").status == 200
    assert podman("healthcheck", "run", mounted.name, check=False).returncode == 1


def test_it_runs_as_nobody_and_writes_nowhere_else(mounted: Container) -> None:
    state = "import os; print(os.getuid(), os.getgid(), open('/proc/self/status').read())"
    uid, gid, status = inside(mounted, state).split(" ", 2)
    assert (uid, gid) == ("10001", "10001")
    assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    for folder in ("/", "/opt/reviews-parsing", "/etc", "/model"):
        attempt = podman("exec", mounted.name, "python", "-c", f"open({folder!r} + '/x', 'w')", check=False)
        assert "Read-only file system" in attempt.stderr


def test_told_to_end_it_answers_what_is_under_way(built: dict[str, Any], model: Path) -> None:
    results: list[Answer] = []
    with serving(built, model) as server:
        asking = threading.Thread(target=lambda: results.append(server.infer(TEXTS[:1] * 2000)))
        asking.start()
        until(lambda: server.counter("reviews_parsing_requests_in_progress") > 0, "the request")
        podman("stop", "--time=75", server.name)
        asking.join()
        assert podman("container", "inspect", "--format={{.State.ExitCode}}", server.name).stdout.strip() == "0"
    assert len(results[0].predictions) == 2000
