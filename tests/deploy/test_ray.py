"""The job that parses a folder on many machines is what its operator takes, and the command line knows its command."""

from __future__ import annotations

import re
import shlex
import tomllib
from importlib.metadata import requires
from importlib.util import find_spec
from typing import Any

import kubernetes_validate
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from typer.main import get_command

from reviews_parsing.cli.app import app

from .complaints import complaints
from .rendering import KUBERNETES, PROJECT, defaults, needs_schemas, validate

FOLDER = PROJECT / "deploy" / "ray"
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
LOCK = (PROJECT / "requirements.lock").read_text(encoding="utf-8")


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
    """After `ValidateRayJobSpec` and `ValidateRayClusterSpec` of KubeRay 1.7 (controllers/ray/utils/validation.go)."""
    spec = job()["spec"]
    cluster = spec["rayClusterSpec"]
    name = job()["metadata"]["name"]
    assert len(name) <= 47
    assert re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", name)
    assert spec.get("submissionMode", "K8sJobMode") == "K8sJobMode", "the only mode with a template of the submitter"
    assert spec["backoffLimit"] >= 0
    assert spec["ttlSecondsAfterFinished"] >= 0
    assert cluster["authOptions"]["mode"] == "token"
    # Token authentication needs Ray 2.52; since 2.53 the probes are HTTP requests, and no wget in the image.
    assert tuple(map(int, cluster["rayVersion"].split("."))) >= (2, 53, 0)
    behind_feature_gates = {"historyServerOptions", "networkPolicy", "tlsOptions"}
    assert not behind_feature_gates & set(cluster)
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
        user = f"{spec['securityContext']['runAsUser']}:{spec['securityContext']['runAsGroup']}"
        assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE) == [user]
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
    locked = re.search(r"^ray==(\S+)", LOCK, re.MULTILINE)
    assert locked
    assert spec["rayVersion"] == locked[1]
    assert len({template["spec"]["containers"][0]["image"] for template in templates().values()}) == 1


@pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra ray")
def test_the_image_has_the_dashboard_of_ray_from_the_lock() -> None:
    """Job API and health checks, which KubeRay asks, are part of `ray[default]`."""
    assert re.findall(r"--extra (\S+)", DOCKERFILE) == ["ray-cluster"]
    extras = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    [cluster], [client] = (list(map(Requirement, extras[name])) for name in ("ray-cluster", "ray"))
    assert (cluster.name, cluster.specifier) == (client.name, client.specifier)
    assert cluster.extras == {*client.extras, "default"}
    needed = {
        canonicalize_name(requirement.name)
        for requirement in map(Requirement, requires("ray") or [])
        if requirement.marker and requirement.marker.evaluate({"extra": "default"})
    }
    assert "aiohttp-cors" in needed
    assert needed <= set(re.findall(r"^([a-z0-9-]+)==", LOCK, re.MULTILINE))


def test_pods_ask_for_no_more_than_they_need() -> None:
    pods = [
        {"kind": "Pod", "metadata": {"name": name}, "spec": {**template["spec"], "restartPolicy": "Never"}}
        for name, template in templates().items()
    ]
    # The autoscaler beside the head asks Kubernetes for pods.
    assert complaints(pods) == ["Pod/head: mounts a service account's token"]


def test_every_container_can_write_to_tmp() -> None:
    """Sessions and logs of Ray, and the home of the package; all else is read-only."""
    assert re.findall(r"\b(?:HOME|REVIEWS_PARSING_HOME)=(\S+)", DOCKERFILE) == ["/tmp", "/tmp/reviews-parsing"]
    for template in templates().values():
        assert {"name": "tmp", "emptyDir": {}} in template["spec"]["volumes"]
        for container in template["spec"]["containers"]:
            assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]
    # KubeRay adds its container to the pod of the head.
    options = job()["spec"]["rayClusterSpec"]["autoscalerOptions"]
    assert options["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]
