"""Targets of the Makefile that no other test runs: what `clean` leaves, and the bounds of dependencies."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
sys.path.insert(0, str(PROJECT / "scripts"))
ENVIRONMENT = "models/reviews-parsing-ner-aspects/.env"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a repository with the project's Makefile, and a `docker` that records what it is asked."""
    folder, programs = tmp_path / "checkout", tmp_path / "programs"
    programs.mkdir()
    docker = programs / "docker"
    docker.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n', encoding="utf-8")
    docker.chmod(0o755)
    compose = "models/reviews-parsing-ner-aspects/compose.yaml"
    read = ("scripts/compose.py", "deploy/versions.yaml", compose)
    for name in ("Makefile", ".gitignore", "src/package/module.py", *read):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        source = PROJECT / name
        (folder / name).write_text(source.read_text(encoding="utf-8") if source.exists() else "", encoding="utf-8")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "--quiet", "--message", "a")
    return folder


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


def make(checkout: Path, target: str = "clean") -> subprocess.CompletedProcess[str]:
    path = f"{checkout.parent / 'programs'}:{os.environ['PATH']}"
    return subprocess.run(
        ["make", target], cwd=checkout, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )


def leave_everything(checkout: Path) -> None:
    """Make a file for each pattern of .gitignore, at the root where it is a folder of its own, else deep inside too."""
    for pattern in (PROJECT / ".gitignore").read_text(encoding="utf-8").split():
        name = pattern.replace("*", "x").replace("[cod]", "c")
        places = [checkout, checkout / "src" / "package"]
        if name in (".env", "run"):
            places = [(checkout / ENVIRONMENT).parent] if name == ".env" else []
        elif pattern.endswith("/") and not re.search("pycache|egg-info|ipynb", name):
            places = places[:1]
        for place in places:
            path = place / name / "file" if pattern.endswith("/") else place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("", encoding="utf-8")


def test_clean_leaves_nothing_but_what_is_tracked(checkout: Path) -> None:
    tracked = git(checkout, "ls-files")
    leave_everything(checkout)
    assert len(git(checkout, "status", "--short", "--ignored").splitlines()) >= 12
    done = make(checkout)
    assert done.returncode == 0, done.stderr
    assert git(checkout, "status", "--short", "--ignored") == ""
    assert git(checkout, "ls-files") == tracked
    assert all((checkout / name).is_file() for name in tracked.splitlines())
    assert "down --volumes" in (checkout.parent / "asked").read_text(encoding="utf-8")


def test_clean_asks_docker_nothing_where_compose_was_never_run(checkout: Path) -> None:
    assert make(checkout).returncode == 0
    assert not (checkout.parent / "asked").exists()


def test_compose_down_completes_the_variables_of_an_earlier_release(checkout: Path) -> None:
    """Without which compose refuses the file."""
    file = checkout / ENVIRONMENT
    file.write_text("POSTGRES_PASSWORD=a\n", encoding="utf-8")
    done = make(checkout, "compose-down")
    assert done.returncode == 0, done.stderr
    assert {"POSTGRES_PASSWORD=a", f"REVIEWS_PARSING_VERSION={git(checkout, 'describe', '--always').strip()}"} < set(
        file.read_text(encoding="utf-8").splitlines()
    )
    assert (checkout.parent / "asked").read_text(encoding="utf-8").endswith("compose.yaml down\n")


def test_clean_keeps_the_kubeconfig_of_a_cluster_that_runs(checkout: Path) -> None:
    kubeconfig = checkout / ".reviews-parsing" / "kind.kubeconfig"
    kubeconfig.parent.mkdir()
    kubeconfig.write_text("", encoding="utf-8")
    done = make(checkout)
    assert done.returncode != 0
    assert "error: make kind-down first" in done.stderr
    assert kubeconfig.exists()


@pytest.mark.parametrize("bound", ["lowest", "newest"])
def test_the_bounds_of_dependencies_are_installed_and_tested(
    bound: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command in order, with a resolver that answers from a file."""
    import bounds

    commands: list[list[str]] = []
    says: list[str] = []

    def run(*command: str, variables: dict[str, str] | None = None) -> None:
        commands.append(list(command))
        if "--output-file" in command:
            pinned = [
                f"{name}==99.0" for name in [*bounds.package_requirements(), "nvidia-nccl-cu13"] if name != "torch"
            ]
            target = Path(command[command.index("--output-file") + 1])
            target.write_text("\n".join([*pinned, "torch==2.13.0"]), encoding="utf-8")

    torch: list[str] = []
    monkeypatch.setattr(bounds, "run", run)
    monkeypatch.setattr(bounds, "say", says.append)
    monkeypatch.setattr(bounds, "install_torch", lambda requirement, python: torch.append(requirement))
    monkeypatch.setattr(bounds, "BUILD", tmp_path)
    bounds.main(bound, ["tests/data"])
    resolve, _, install, editable, test = commands
    assert resolve[resolve.index("--resolution") + 1] == {"lowest": "lowest-direct", "newest": "highest"}[bound]
    assert {"--all-extras", "--group", "dev"} <= set(resolve)
    tools = Path(resolve[resolve.index("--constraint") + 1]).read_text(encoding="utf-8")
    assert ("pytest==" in tools) == (bound == "lowest")
    assert "numpy" not in tools
    assert torch == ["torch==2.13.0"]
    installed = Path(install[install.index("--requirement") + 1]).read_text(encoding="utf-8")
    assert "numpy==99.0" in installed
    assert "torch" not in installed
    assert "nvidia" not in installed
    assert editable[-2:] == ["--editable", str(PROJECT)]
    assert test[0] == str(tmp_path / bound / "venv" / "bin" / "python")
    assert test[1:] == ["-m", "pytest", "tests/data"]
    raised = [line for line in says if "above the bound" in line]
    assert any("numpy 99.0, above the bound numpy>=" in line for line in raised) == (bound == "lowest")


def test_packages_and_tools_are_those_of_the_project() -> None:
    import bounds

    document = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    names = {re.split("[<>=~]", requirement)[0] for requirement in document["project"]["dependencies"]}
    packages = set(bounds.package_requirements())
    assert names | {"torch", "mlserver", "ray", "lightkube"} <= packages
    assert "reviews-parsing" not in packages
    tools = set(bounds.tool_names())
    assert {"pytest", "ruff", "mypy", "uv"} <= tools
    assert not tools & packages


@pytest.mark.parametrize(
    ("requirement", "version", "is_lowest"),
    [
        ("rich>=14,<16", "14.0.0", True),
        ("rich>=14,<16", "15.0.0", False),
        ("numpy>=2.1,<3", "2.1.0", True),
        ("numpy>=2.1,<3", "2.10.0", False),
        ("torch==2.13.0", "2.13.0", True),
        ("regex", "1", True),
    ],
)
def test_a_raised_bound_is_noticed(requirement: str, version: str, is_lowest: bool) -> None:
    import bounds

    assert bounds.is_lowest(requirement, version) == is_lowest
