"""Examples for Argo CD and Flux: they follow the schemas of both, and deploy the charts that helmfile deploys."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import helm_python
import jsonschema_rs
import pytest
import yaml

from reviews_parsing.rollout import cluster

from .rendering import CHARTS, NAMESPACE, PROJECT, merged, validate

FOLDER = PROJECT / "deploy" / "gitops"
SCRIPT = (PROJECT / "deploy" / "cluster.sh").read_text(encoding="utf-8")
DOCUMENTS = {
    name: list(yaml.safe_load_all((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))) for name in ("argocd", "flux")
}
# What deploy/cluster.sh makes before.
NAMESPACES = re.findall(r"(?<=[ (])([a-z-]+)=", re.findall(r"^NAMESPACES=(.*)$", SCRIPT, re.MULTILINE)[0])
# Fields of a service and its route that a rollout writes, as JSON pointers.
WRITTEN = {
    "InferenceService": {
        "/spec/canary",
        "/spec/predictor/annotations",
        "/spec/predictor/model/env",
        "/spec/predictor/model/image",
    },
    "HTTPRoute": {"/spec/rules"},
}


def releases() -> dict[tuple[str, str], tuple[str, Path, list[Path], dict[str, Any]]]:
    """Return namespace, chart, values files and values by tool and release."""
    found = {}
    for application in DOCUMENTS["argocd"]:
        source = application["spec"]["source"]
        chart = PROJECT / source["path"]
        files = [chart / "values.yaml", *(chart / file for file in source["helm"]["valueFiles"])]
        namespace = application["spec"]["destination"]["namespace"]
        found["argocd", source["helm"]["releaseName"]] = (namespace, chart, files, source["helm"]["valuesObject"])
    for release in (d for d in DOCUMENTS["flux"] if d["kind"] == "HelmRelease"):
        spec = release["spec"]
        source = spec["chart"]["spec"]
        files = [PROJECT / file for file in source["valuesFiles"]]
        found["flux", spec["releaseName"]] = (spec["targetNamespace"], PROJECT / source["chart"], files, spec["values"])
    return found


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_document_follows_its_schema(name: str) -> None:
    for document in DOCUMENTS[name]:
        validate(document)
        with pytest.raises(jsonschema_rs.ValidationError, match="intervall"):
            validate({**document, "spec": {**document["spec"], "intervall": "1h"}})


def test_both_deploy_what_helmfile_deploys() -> None:
    found = releases()
    assert {(tool, name) for tool, name in found} == {(tool, name) for tool in DOCUMENTS for name in NAMESPACE}
    for (_, name), (namespace, chart, files, values) in found.items():
        assert (namespace, chart) == (NAMESPACE[name], CHARTS / name)
        whole: dict[str, Any] = {}
        for part in (*(yaml.safe_load(file.read_text(encoding="utf-8")) for file in files), values):
            whole = merged(whole, part or {})
        assert not whole.get("model", {}).get("version")
        with helm_python.Chart.load(chart) as loaded:
            loaded.validate_schema(whole)
            rendered = loaded.render(whole, name=name, namespace=namespace)
        texts = [text for file, text in rendered.items() if not file.endswith("NOTES.txt")]
        manifests = [manifest for text in texts for manifest in yaml.safe_load_all(text) if manifest]
        # Namespaces of Jenkins are there with it only.
        assert manifests
        assert {m["metadata"].get("namespace", "") for m in manifests} <= {*NAMESPACES, "cert-manager", ""}, name
    for name in NAMESPACE:
        assert found["argocd", name][2:] == found["flux", name][2:]


def test_what_a_rollout_writes_is_left_alone() -> None:
    (application,) = (d for d in DOCUMENTS["argocd"] if d["metadata"]["name"] == "reviews-parsing")
    ignored = {rule["kind"]: rule["managedFieldsManagers"] for rule in application["spec"]["ignoreDifferences"]}
    assert ignored == {kind: [cluster.FIELD_MANAGER] for kind in WRITTEN}
    assert {"ServerSideApply=true", "RespectIgnoreDifferences=true"} <= set(
        application["spec"]["syncPolicy"]["syncOptions"]
    )
    (release,) = (
        d for d in DOCUMENTS["flux"] if d["metadata"]["name"] == "reviews-parsing" and d["kind"] == "HelmRelease"
    )
    rules = {rule["target"]["kind"]: set(rule["paths"]) for rule in release["spec"]["driftDetection"]["ignore"]}
    assert rules == WRITTEN


def test_sources_of_flux_are_there_and_hold_the_charts() -> None:
    (repository,) = (d for d in DOCUMENTS["flux"] if d["kind"] == "GitRepository")
    for release in (d for d in DOCUMENTS["flux"] if d["kind"] == "HelmRelease"):
        assert release["spec"]["chart"]["spec"]["sourceRef"]["name"] == repository["metadata"]["name"]
        assert release["metadata"]["namespace"] == repository["metadata"]["namespace"]
    assert "!/deploy" in repository["spec"]["ignore"].splitlines()
