"""The job that parses a folder on many machines is what its operator takes, and the command line knows its command."""

from __future__ import annotations

import re
import shlex
from typing import Any

import yaml
from typer.main import get_command

from reviews_parsing.cli.app import app

from .complaints import complaints
from .rendering import PROJECT, needs_schemas, validate

FOLDER = PROJECT / "deploy" / "ray"


def job() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / "rayjob.yaml").read_text(encoding="utf-8"))
    return loaded


@needs_schemas
def test_the_operator_takes_the_job() -> None:
    validate(job())


def test_the_command_is_one_of_ours() -> None:
    program, command, *arguments = shlex.split(job()["spec"]["entrypoint"])
    assert program == "reviews-parsing"
    parsed = get_command(app).commands[command].make_context(command, arguments)  # type: ignore[attr-defined]
    assert (parsed.params["engine"], parsed.params["address"], parsed.params["resume"]) == ("ray", "auto", True)


def test_head_and_workers_are_the_same_ray_as_ours() -> None:
    spec = job()["spec"]["rayClusterSpec"]
    locked = re.search(r"^ray==(\S+)", (PROJECT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)
    assert locked
    assert spec["rayVersion"] == locked[1]
    assert f"rayproject/ray:{locked[1]}-py311" in (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    assert len({group["template"]["spec"]["containers"][0]["image"] for group in groups}) == 1


def test_pods_ask_for_no_more_than_they_need() -> None:
    spec = job()["spec"]["rayClusterSpec"]
    pods = [
        {"kind": "Pod", "metadata": {"name": name}, "spec": {**group["template"]["spec"], "restartPolicy": "Never"}}
        for name, group in [("head", spec["headGroupSpec"]), ("worker", spec["workerGroupSpecs"][0])]
    ]
    # Ray writes where it is installed; the autoscaler beside the head asks Kubernetes for pods.
    assert complaints(pods) == [
        "Pod/head: mounts a service account's token",
        "Pod/head: ray-head may write to its image",
        "Pod/worker: ray-worker may write to its image",
    ]
