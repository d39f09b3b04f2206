"""The job that parses a folder on many machines is what its operator takes, and the command line knows its command."""

from __future__ import annotations

import re
import shlex
from typing import Any

import kubernetes_validate
import yaml
from typer.main import get_command

from reviews_parsing.cli.app import app

from .complaints import complaints
from .rendering import KUBERNETES, PROJECT, defaults, needs_schemas, validate

FOLDER = PROJECT / "deploy" / "ray"


def job() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / "rayjob.yaml").read_text(encoding="utf-8"))
    return loaded


def policy() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / "network.yaml").read_text(encoding="utf-8"))
    return loaded


def templates() -> dict[str, dict[str, Any]]:
    """Return the pods of the job by name."""
    spec = job()["spec"]
    cluster = spec["rayClusterSpec"]
    return {
        "submitter": spec["submitterPodTemplate"],
        "head": cluster["headGroupSpec"]["template"],
        **{group["groupName"]: group["template"] for group in cluster["workerGroupSpecs"]},
    }


@needs_schemas
def test_the_operator_takes_the_job() -> None:
    validate(job())


def test_kuberays_own_checks_pass() -> None:
    """After `ValidateRayJobSpec` and `ValidateRayClusterSpec` of KubeRay 1.6 (controllers/ray/utils/validation.go)."""
    spec = job()["spec"]
    cluster = spec["rayClusterSpec"]
    name = job()["metadata"]["name"]
    assert len(name) <= 47
    assert re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", name)
    assert spec.get("submissionMode", "K8sJobMode") == "K8sJobMode", "the only mode with a template of the submitter"
    assert spec["backoffLimit"] >= 0
    assert spec["ttlSecondsAfterFinished"] >= 0
    assert cluster["authOptions"]["mode"] == "token"
    assert tuple(map(int, cluster["rayVersion"].split("."))) >= (2, 52, 0)
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        assert not {"labels", "redis-password", "redis-username"} & set(group.get("rayStartParams", {}))
        assert group["template"]["spec"].get("restartPolicy", "Never") == "Never"
        assert not {"RAY_REDIS_ADDRESS", "RAY_enable_autoscaler_v2"} & {
            variable["name"] for variable in group["template"]["spec"]["containers"][0].get("env", [])
        }


def test_the_namespace_admits_the_pods() -> None:
    """It is `restricted`; what KubeRay adds by itself has no security context unless the job gives one."""
    options = job()["spec"]["rayClusterSpec"]["autoscalerOptions"]
    contexts = [options["securityContext"]]
    for template in templates().values():
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        contexts += [container["securityContext"] for container in spec["containers"]]
    assert len(contexts) == 4
    for context in contexts:
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}


def test_the_network_policy_lets_the_pods_talk() -> None:
    kubernetes_validate.validate(policy(), KUBERNETES, strict=True)
    spec = policy()["spec"]
    selected = spec["podSelector"]["matchLabels"].items()
    assert policy()["metadata"]["namespace"] == job()["metadata"]["namespace"]
    for template in templates().values():
        assert selected <= template["metadata"]["labels"].items()
    among = {"podSelector": spec["podSelector"]}
    assert {"from": [among]} in spec["ingress"]
    assert {"to": [among]} in spec["egress"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    network = defaults("reviews-parsing")["network"]
    (names,) = (r["to"] for r in spec["egress"] if {"protocol": "UDP", "port": 53} in r.get("ports", []))
    assert names[0]["podSelector"]["matchExpressions"][0]["values"] == network["dns"]["apps"]
    assert [peer["ipBlock"]["cidr"] for peer in names[1:]] == network["dns"]["addresses"]
    mlflow = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": network["mlflow"]["namespace"]}}}
    mlflow |= {"podSelector": {"matchLabels": network["mlflow"]["podLabels"]}}
    assert {"to": [mlflow], "ports": [{"protocol": "TCP", "port": network["mlflow"]["port"]}]} in spec["egress"]


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
    pods = [
        {"kind": "Pod", "metadata": {"name": name}, "spec": {**template["spec"], "restartPolicy": "Never"}}
        for name, template in templates().items()
    ]
    # Ray writes where it is installed; the autoscaler beside the head asks Kubernetes for pods.
    assert complaints(pods) == [
        "Pod/submitter: ray-job-submitter may write to its image",
        "Pod/head: mounts a service account's token",
        "Pod/head: ray-head may write to its image",
        "Pod/workers: ray-worker may write to its image",
    ]
