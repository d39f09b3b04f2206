"""compose.yaml: valid, everything pinned, no secret in it, and what it mounts is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).parent.parent.parent
FILE = PROJECT / "models" / "reviews-parsing-ner-aspects" / "compose.yaml"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load(FILE.read_text(encoding="utf-8")))


def test_it_is_valid() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_it_is_the_whole_system(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {"server", "mlflow", "postgres", "s3", "prometheus", "grafana", "jaeger"}
    images = {name: service["image"] for name, service in compose["services"].items()}
    assert images.pop("server").startswith("reviews-parsing-ner-aspects:${REVIEWS_PARSING_VERSION:?")
    for image in images.values():
        assert re.fullmatch(r"[a-z0-9.-]+\.[a-z]+(/[a-z0-9-]+)+:v?\d+(\.\d+)+(-[a-z]+)?", image)


def test_the_mlflow_server_is_as_new_as_its_client(compose: dict[str, Any]) -> None:
    [client] = re.findall(r"^mlflow-skinny==(\d+\.\d+)", (PROJECT / "requirements.lock").read_text(), re.MULTILINE)
    assert f":v{client}." in compose["services"]["mlflow"]["image"]


def test_no_secret_is_in_it(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|TOKEN", name):
                assert re.fullmatch(r"\$\{[A-Z0-9_]+:\?[^}]+\}", value)
            assert not re.search(r"://[^/\s$]*:[^/\s$]+@", value)


def test_it_listens_on_this_machine_alone(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert len(ports) == len(set(ports)) == 6
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_make_writes_the_secrets_that_it_asks_for() -> None:
    asked = set(re.findall(r"\$\{([A-Z0-9_]+):\?", FILE.read_text(encoding="utf-8")))
    planned = subprocess.run(
        ["make", "--dry-run", "--always-make", "compose"], cwd=PROJECT, capture_output=True, text=True, check=True
    ).stdout
    assert all(name in planned for name in asked)
    assert (
        subprocess.run(["git", "check-ignore", "--quiet", FILE.parent / ".env"], cwd=PROJECT, check=False).returncode
        == 0
    )
