"""compose.yaml: valid, everything pinned, no secret in it, and what it mounts is there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).parent.parent.parent
FILE = PROJECT / "models" / "reviews-parsing-ner-aspects" / "compose.yaml"
LIST = PROJECT / "deploy" / "versions.yaml"
SECRETS = ["GRAFANA_PASSWORD", "POSTGRES_PASSWORD", "S3_SECRET_KEY"]
sys.path.insert(0, str(PROJECT / "scripts"))


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """Return the file with the versions that `make compose` writes for it, and its other variables as they are."""
    from compose import image_versions

    text = FILE.read_text(encoding="utf-8")
    for name, version in image_versions(text, LIST.read_text(encoding="utf-8")).items():
        text = re.sub(rf"\$\{{{name}:[^}}]*\}}", version, text)
    return dict(yaml.safe_load(text))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with the two files that the script reads."""
    import compose

    for file in (FILE, LIST):
        copy = tmp_path / file.relative_to(PROJECT)
        copy.parent.mkdir(parents=True)
        shutil.copy(file, copy)
    monkeypatch.setattr(compose, "describe", lambda project: "v1-2-gabc")
    return tmp_path


def written(project: Path) -> dict[str, str]:
    """Run the script; return the variables of .env."""
    from compose import FOLDER, main

    main(project)
    lines = (project / FOLDER / ".env").read_text(encoding="utf-8").splitlines()
    assert len({line.partition("=")[0] for line in lines}) == len(lines)
    return dict(line.split("=", 1) for line in lines)


def test_it_is_valid() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_it_is_the_whole_system(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {"server", "mlflow", "postgres", "s3", "prometheus", "grafana", "jaeger"}
    images = {name: service["image"] for name, service in compose["services"].items()}
    assert re.fullmatch(r"reviews-parsing-ner-aspects:[\w.-]+", images.pop("server"))
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


def test_the_first_run_writes_all_that_it_asks_for(project: Path) -> None:
    text = FILE.read_text(encoding="utf-8")
    variables = written(project)
    assert set(re.findall(r"\$\{([A-Z0-9_]+):\?make compose writes it\}", text)) == set(variables)
    assert len(re.findall(r"\$\{", text)) == len(re.findall(r":\?make compose writes it\}", text))
    assert variables["REVIEWS_PARSING_VERSION"] == "v1-2-gabc"
    images = yaml.safe_load(LIST.read_text(encoding="utf-8"))["versions"]["images"]
    assert variables["MLFLOW_VERSION"] == images["ghcr.io/mlflow/mlflow"]
    assert variables["SEAWEEDFS_VERSION"] == images["docker.io/chrislusf/seaweedfs"]  # quoted in the list
    secrets = {variables[name] for name in SECRETS}
    assert len(secrets) == 3
    assert all(re.fullmatch("[0-9a-f]{48}", secret) for secret in secrets)
    folder = project / FILE.parent.relative_to(PROJECT)
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in folder.iterdir()) == [".env", "compose.yaml"]


def test_later_runs_change_versions_only(project: Path) -> None:
    first = written(project)
    file = project / LIST.relative_to(PROJECT)
    file.write_text(re.sub(r"(ghcr.io/mlflow/mlflow): \S+", r"\1: v9.9.9-full", file.read_text()), encoding="utf-8")
    assert written(project) == {**first, "MLFLOW_VERSION": "v9.9.9-full"}


def test_a_file_of_an_earlier_release_keeps_its_secrets(project: Path) -> None:
    folder = project / FILE.parent.relative_to(PROJECT)
    old = "POSTGRES_PASSWORD=a=b\nS3_SECRET_KEY='c d'\nCOMPOSE_PROFILES=mine\nGRAFANA_PASSWORD=\n"
    (folder / ".env").write_text(old, encoding="utf-8")
    variables = written(project)
    assert (variables["POSTGRES_PASSWORD"], variables["S3_SECRET_KEY"]) == ("a=b", "'c d'")
    assert variables["COMPOSE_PROFILES"] == "mine"
    assert re.fullmatch("[0-9a-f]{48}", variables["GRAFANA_PASSWORD"]), "compose refuses an empty one"
    assert "MLFLOW_VERSION" in variables


def test_an_image_that_is_not_listed_is_refused(project: Path) -> None:
    file = project / LIST.relative_to(PROJECT)
    file.write_text(re.sub(r"    ghcr.io/mlflow/mlflow: .*\n", "", file.read_text()), encoding="utf-8")
    with pytest.raises(SystemExit, match=r"runs ghcr.io/mlflow/mlflow, which deploy/versions.yaml does not list"):
        written(project)
    assert not (project / FILE.parent.relative_to(PROJECT) / ".env").exists()


def test_make_writes_the_file_before_it_starts_anything() -> None:
    make = ["make", "--no-print-directory", "--dry-run", "-o", "image", "compose"]
    planned = subprocess.run(make, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [re.sub(r"^python3|--file \S+ ", "", line).strip() for line in planned[-2:]] == [
        "scripts/compose.py",
        "docker compose up --detach",
    ]
    ignored = ["git", "check-ignore", "--quiet", str(FILE.parent / ".env")]
    assert subprocess.run(ignored, cwd=PROJECT, check=False).returncode == 0
