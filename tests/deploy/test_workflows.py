"""The workflow of GitHub Actions, and the other files that GitHub reads: valid, pinned, and with few rights."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
GITHUB = PROJECT / ".github"
WORKFLOW = GITHUB / "workflows" / "ci.yml"
AGENT = PROJECT / "deploy" / "services" / "jenkins" / "agent" / "Dockerfile"
SCHEMAS = {
    "workflows/ci.yml": "github-workflows",
    "workflows/bounds.yml": "github-workflows",
    "workflows/coverage.yml": "github-workflows",
    "dependabot.yml": "dependabot",
    "ISSUE_TEMPLATE/bug.yml": "github-issue-forms",
    "ISSUE_TEMPLATE/feature.yml": "github-issue-forms",
    "ISSUE_TEMPLATE/config.yml": "github-issue-config",
}


@pytest.fixture(scope="module")
def jobs() -> dict[str, Any]:
    jobs: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]
    return jobs


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_file_follows_its_schema(name: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{SCHEMAS[name]}", name]
    done = subprocess.run(command, cwd=GITHUB, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_each_job_runs_the_target_of_the_stage_of_jenkins_with_its_name(jobs: dict[str, Any]) -> None:
    jenkinsfile = (PROJECT / "Jenkinsfile").read_text(encoding="utf-8")
    for name, job in jobs.items():
        targets = [step["run"] for step in job["steps"] if step.get("run", "").startswith("make ")]
        assert targets == [f"make ci-{name}"]
        assert f"sh 'make ci-{name}'" in jenkinsfile
    assert set(jobs) == {"check", "test", "image"}


def test_actions_are_pinned_by_commit_with_their_version() -> None:
    uses = [
        action
        for file in sorted((GITHUB / "workflows").glob("*.yml"))
        for action in re.findall(r"uses: (.*)", file.read_text(encoding="utf-8"))
    ]
    assert uses
    for action in uses:
        assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", action), action


def test_a_job_may_read_the_repository_and_only_image_may_push(jobs: dict[str, Any]) -> None:
    workflow = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {}
    rights = {name: job["permissions"] for name, job in jobs.items()}
    read = {"contents": "read"}
    assert rights == {"check": read, "test": read, "image": read | {"packages": "write", "id-token": "write"}}
    secrets = {name for name, job in jobs.items() if "secrets." in str(job)}
    assert secrets == {"image"}
    assert "github.event_name == 'push'" in jobs["image"]["if"]
    for job in jobs.values():
        checkouts = [step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@")]
        assert [step["with"]["persist-credentials"] for step in checkouts] == [False]


def test_both_bounds_of_dependencies_are_tested_every_week(jobs: dict[str, Any]) -> None:
    workflow = yaml.safe_load((GITHUB / "workflows" / "bounds.yml").read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    assert (workflow["permissions"], job["permissions"]) == ({}, {"contents": "read"})
    assert job["container"] == jobs["test"]["container"]
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    for bound in job["strategy"]["matrix"]["bound"]:
        assert f"test-{bound}" in makefile
    assert job["steps"][-1]["run"] == "make test-${{ matrix.bound }}"


def test_branch_coverage_is_measured_every_week_and_has_a_floor(jobs: dict[str, Any]) -> None:
    workflow = yaml.safe_load((GITHUB / "workflows" / "coverage.yml").read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    assert (workflow["permissions"], job["permissions"]) == ({}, {"contents": "read"})
    assert job["container"] == jobs["test"]["container"]
    assert "make coverage" in [step.get("run") for step in job["steps"]]
    done = subprocess.run(["make", "--dry-run", "coverage"], cwd=PROJECT, capture_output=True, text=True, check=True)
    (floor,) = re.findall(r"--cov-fail-under=(\d+)", done.stdout)
    assert int(floor) >= 90


def test_a_job_has_the_python_and_the_tools_of_the_jenkins_agent(jobs: dict[str, Any]) -> None:
    agent = AGENT.read_text(encoding="utf-8")
    bases = dict(re.findall(r"^FROM (\S+@sha256:[0-9a-f]{64}) AS (\w+)$", agent, re.MULTILINE))
    (python,) = re.findall(r"^FROM (\S+)$", agent, re.MULTILINE)
    assert {job["container"] for job in jobs.values() if "container" in job} == {python}
    (script,) = [step["run"] for step in jobs["image"]["steps"] if "buildctl" in step.get("run", "")]
    function = script.splitlines()[0]
    for base, tool in bases.items():
        done = subprocess.run(
            ["bash", "-c", f"{function}\nimage {tool}"], cwd=PROJECT, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == base


def test_the_configuration_of_pre_commit_is_valid() -> None:
    command = [sys.executable, "-m", "pre_commit", "validate-config", ".pre-commit-config.yaml"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
