"""The project's own charts, rendered for every environment: strictly valid, and safe to run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import helm_python
import jsonschema_rs
import kubernetes_validate
import pytest

from .complaints import complaints
from .rendering import (
    CHARTS,
    CLASSIC,
    NAMESPACE,
    OIDC,
    RENDERINGS,
    RETRAIN,
    SECRET_STORE,
    Manifest,
    container,
    every_rendering,
    needs_schemas,
    of_kind,
    one,
    predictor,
    rendered,
    validate,
    values,
)


def test_every_values_file_is_rendered_here() -> None:
    files = {(file.parent.name, file.stem.removeprefix("values-")) for file in CHARTS.glob("*/values-*.yaml")}
    assert files == {(chart, environment) for chart, environment, _ in RENDERINGS}


@every_rendering
def test_lint_finds_nothing(chart: str, environment: str, extra: dict[str, Any]) -> None:
    report = helm_python.lint(
        CHARTS / chart, values(chart, environment, extra), strict=True, namespace=NAMESPACE[chart]
    )
    serious = [message for message in report["messages"] if message["severity"] > 1]
    assert (report["errors"], serious) == ([], [])


@needs_schemas
@every_rendering
def test_every_manifest_is_strictly_valid(chart: str, environment: str, extra: dict[str, Any]) -> None:
    manifests = rendered(chart, environment, extra)
    assert manifests
    for manifest in manifests:
        validate(manifest)
        assert manifest["metadata"]["labels"]["app.kubernetes.io/part-of"] == "reviews-parsing"


INVALID = (jsonschema_rs.ValidationError, kubernetes_validate.ValidationError)
# Below these, keys are names and not fields, or belong to Envoy, which says itself what it takes (test_door).
NAMES = {"labels", "annotations", "matchLabels", "data", "requests", "limits", "value"}


@needs_schemas
@pytest.mark.parametrize(
    ("chart", "extra"), [("reviews-parsing", {**SECRET_STORE, **RETRAIN}), ("ingress", OIDC), ("ingress", CLASSIC)]
)
def test_a_field_that_is_spelled_wrong_is_found_wherever_it_stands(chart: str, extra: dict[str, Any]) -> None:
    for manifest in rendered(chart, "gke", extra):
        for node in _objects(manifest, "triggers" if manifest["kind"] == "ScaledObject" else ""):
            node["spelledWrong"] = 1
            with pytest.raises(INVALID, match="spelledWrong"):
                validate(manifest)
            del node["spelledWrong"]
        validate(manifest)


def _objects(node: Any, but: str) -> list[dict[str, Any]]:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    found = [o for key, child in children if key not in NAMES and key != but for o in _objects(child, but)]
    return [node, *found] if isinstance(node, dict) else found


@every_rendering
def test_no_two_manifests_are_the_same_object(chart: str, environment: str, extra: dict[str, Any]) -> None:
    manifests = rendered(chart, environment, extra)
    named = [(m["kind"], m["metadata"].get("namespace"), m["metadata"]["name"]) for m in manifests]
    assert len(named) == len(set(named))


@every_rendering
def test_nothing_may_be_said_against_what_is_rendered(chart: str, environment: str, extra: dict[str, Any]) -> None:
    assert complaints(rendered(chart, environment, extra)) == []


SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}, "stringData": {"a": "b"}}
MUTATIONS: list[tuple[Callable[[list[Manifest]], Any], str]] = [
    (lambda m: container(m).pop("readinessProbe"), "has no readinessProbe"),
    (lambda m: container(m).pop("livenessProbe"), "has no livenessProbe"),
    (lambda m: container(m).pop("resources"), "has no limits of memory"),
    (lambda m: container(m)["resources"]["limits"].pop("memory"), "has no limits of memory"),
    (lambda m: container(m)["resources"]["requests"].pop("cpu"), "has no requests of cpu"),
    (lambda m: container(m).pop("securityContext"), "may gain privileges"),
    (lambda m: container(m)["securityContext"].update(privileged=True), "may gain privileges"),
    (lambda m: container(m)["securityContext"].update(readOnlyRootFilesystem=False), "may write to its image"),
    (lambda m: container(m)["securityContext"]["capabilities"].update(drop=["NET_RAW"]), "keeps capabilities"),
    (lambda m: predictor(m).pop("securityContext"), "may run as root"),
    (lambda m: predictor(m)["securityContext"].pop("seccompProfile"), "has no seccomp profile"),
    (lambda m: predictor(m).pop("automountServiceAccountToken"), "mounts a service account's token"),
    (lambda m: predictor(m).update(hostNetwork=True), "shares the node's network"),
    (lambda m: predictor(m)["volumes"].append({"name": "x", "hostPath": {"path": "/"}}), "mounts a folder"),
    (lambda m: container(m).update(image="registry:5000/x/server:latest"), "whatever is latest"),
    (lambda m: container(m).update(image="registry:5000/x/server"), "without a version"),
    (lambda m: container(m)["env"].append({"name": "MLFLOW_TRACKING_PASSWORD", "value": "x"}), "by value"),
    (lambda m: container(m)["env"].append({"name": "A", "value": "http://me:hush@mlflow"}), "looks like a credential"),
    (lambda m: m.append(SECRET), "holds a secret's value"),
]


@pytest.mark.parametrize(("mutate", "words"), MUTATIONS, ids=[words for _, words in MUTATIONS])
def test_a_manifest_that_lacks_what_it_must_have_is_turned_away(
    mutate: Callable[[list[Manifest]], Any], words: str
) -> None:
    manifests = rendered("reviews-parsing", "kind")
    mutate(manifests)
    assert any(words in complaint for complaint in complaints(manifests))


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"])
def test_pods_of_every_kind_are_looked_at(kind: str) -> None:
    pod: dict[str, Any] = {"containers": [{"name": "x", "image": "x"}]}
    spec: dict[str, Any] = {"template": {"spec": pod}}
    if "Job" in kind:
        pod["restartPolicy"] = "Never"
    found = complaints(
        [
            {
                "kind": kind,
                "metadata": {"name": "x"},
                "spec": {"jobTemplate": {"spec": spec}} if kind == "CronJob" else spec,
            }
        ]
    )
    for words in ("has no limits of memory", "may run as root", "without a version"):
        assert any(words in complaint for complaint in found)
    assert any("livenessProbe" in complaint for complaint in found) == ("Job" not in kind)


def test_credentials_come_from_a_secret_which_may_come_from_a_store() -> None:
    manifests = rendered("reviews-parsing", "gke", SECRET_STORE)
    sources = {e["name"]: e["valueFrom"] for e in container(manifests)["env"] if "valueFrom" in e}
    wanted = {name: source["secretKeyRef"] for name, source in sources.items() if "secretKeyRef" in source}
    assert wanted == {
        "MLFLOW_TRACKING_USERNAME": {"name": "mlflow-credentials", "key": "username"},
        "MLFLOW_TRACKING_PASSWORD": {"name": "mlflow-credentials", "key": "password"},
    }
    external = one(manifests, "ExternalSecret")["spec"]
    assert external["target"]["name"] == "mlflow-credentials"
    assert {item["secretKey"] for item in external["data"]} == {"username", "password"}
    assert not of_kind(rendered("reviews-parsing", "gke"), "ExternalSecret")
