"""The base install, without extras, is enough to parse, to serve, to load a registered model, and to run the gate."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from ports import free_port
from reviews_parsing.settings import MODEL_NAME, Settings

TEXT = "The ramen was great but the waiter was rude."
BLOCK = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def base_closure() -> set[str]:
    """Distributions that `pip install reviews-parsing` brings."""
    found: set[str] = set()
    waiting = ["reviews-parsing"]
    while waiting:
        name = canonical(waiting.pop())
        if name in found:
            continue
        found.add(name)
        try:
            needed = requires(name) or []
        except PackageNotFoundError:
            continue
        for requirement in needed:
            if "extra ==" not in requirement:
                waiting.append(re.split(r"[\s<>=!~;\[(]", requirement)[0])
    return found


@pytest.fixture(scope="module")
def absent() -> set[str]:
    """Top-level modules of everything else that is installed here."""
    base = base_closure() | {"pip", "setuptools"}
    modules = packages_distributions().items()
    return {module for module, owners in modules if not {canonical(owner) for owner in owners} & base}


def run_with_base_alone(program: str, absent: set[str]) -> str:
    code = BLOCK.format(absent=absent) + program
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_base_has_no_torch_and_no_transformers(absent: set[str]) -> None:
    assert {"torch", "transformers", "sklearn", "matplotlib", "flask"} <= absent


def test_base_parses_the_champion(with_champion: Path, absent: set[str]) -> None:
    program = f"sys.argv = ['reviews-parsing', 'parse', {TEXT!r}]\nfrom reviews_parsing.cli import main\nmain()"
    assert len(json.loads(run_with_base_alone(program, absent))) == 2


def test_base_serves_the_pretrained_model(absent: set[str], tmp_path: Path) -> None:
    ports = [free_port() for _ in range(3)]
    program = f"from reviews_parsing.serving import serve\nserve{tuple(ports)}"
    command = [sys.executable, "-W", "ignore", "-c", BLOCK.format(absent=absent) + program]
    body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [TEXT]}]}
    url = f"http://127.0.0.1:{ports[0]}/v2/models/{MODEL_NAME}/infer"
    log = tmp_path / "log"
    with log.open("wb") as stream, subprocess.Popen(command, stdout=stream, stderr=stream) as server:
        try:
            output = answer_when_ready(url, json.dumps(body).encode(), server)["outputs"][0]
        finally:
            server.kill()
    assert len(json.loads(output["data"][0])) == 2
    assert "pretrained" in log.read_text()


def answer_when_ready(url: str, body: bytes, server: subprocess.Popen[bytes]) -> dict[str, Any]:
    while server.poll() is None:
        try:
            with urlopen(url, body) as answer:
                content: dict[str, Any] = json.load(answer)
            return content
        except URLError:
            time.sleep(0.1)
    pytest.fail(f"the server ended with {server.returncode}")


def test_base_loads_the_pyfunc(with_champion: Path, absent: set[str]) -> None:
    program = (
        "import json, mlflow\nfrom reviews_parsing import registry\n"
        f"with registry.tracking():\n    model = mlflow.pyfunc.load_model({Settings().champion_uri!r})\n"
        f"print(json.dumps(model.predict([{TEXT!r}])))"
    )
    assert len(json.loads(run_with_base_alone(program, absent).splitlines()[-1])[0]) == 2


def test_base_runs_the_gate(with_champion: Path, absent: set[str]) -> None:
    program = "from reviews_parsing import pipelines\nprint(pipelines.promote(version='1').reason)"
    assert run_with_base_alone(program, absent).splitlines()[-1] == "is champion already"


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("train", "corpus"), "train"),
        (("retrain", "--now"), "train"),
        (("demo",), "demo"),
        (("insights", "parsed.jsonl"), "insights"),
        (("rollout", "status"), "k8s"),
        (("parse", "reviews.csv", "-o", "parsed/", "--engine", "ray"), "ray"),
    ],
)
def test_a_missing_extra_is_one_line_with_the_command_that_helps(
    with_champion: Path,
    absent: set[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    extra: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reviews.csv").write_text("text\nGreat coffee.\n")
    (tmp_path / "parsed.jsonl").write_text('{"text": "Great coffee.", "aspects": []}\n')
    program = f"sys.argv = ['reviews-parsing', *{arguments!r}]\nfrom reviews_parsing.cli import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BLOCK.format(absent=absent) + program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    # Before it `parse` prints which model answers, and the layout of the file.
    *others, line = done.stderr.strip().splitlines()
    assert not [other for other in others if "answers" not in other and not other.startswith("reviews.csv: ")]
    assert line.startswith("error: ")
    assert f"pip install 'reviews-parsing[{extra}]'" in line


def test_every_extra_that_a_command_needs_exists() -> None:
    from importlib.metadata import metadata

    from reviews_parsing.cli.app import _DISTRIBUTIONS, _EXTRAS_OF_COMMANDS

    requirements = " ".join(requires("reviews-parsing") or []).lower()
    assert all(distribution in requirements for distribution in _DISTRIBUTIONS.values())
    assert set(_EXTRAS_OF_COMMANDS.values()) <= set(metadata("reviews-parsing").get_all("Provides-Extra") or [])
