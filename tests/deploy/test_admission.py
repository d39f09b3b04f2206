"""Admission policies of the whole deployment: their expressions have the types that the API server demands."""

from __future__ import annotations

import copy
from typing import Any

import yaml

from .admission import refusals, type_errors
from .rendering import PROJECT, RENDERINGS, of_kind, rendered

POLICY = "ValidatingAdmissionPolicy"


def policies() -> list[dict[str, Any]]:
    """Return the admission policies of all charts and services."""
    files = [*(PROJECT / "deploy" / "services").rglob("*.yaml")]
    documents = [document for file in files for document in yaml.safe_load_all(file.read_text(encoding="utf-8"))]
    manifests = [manifest for rendering in RENDERINGS for manifest in rendered(*rendering)]
    return of_kind([d for d in [*documents, *manifests] if d and "kind" in d], POLICY)


def test_expressions_have_the_types_that_the_api_server_demands() -> None:
    assert {policy["metadata"]["name"] for policy in policies()} >= {"jenkins-builds"}
    assert [error for policy in policies() for error in type_errors(policy)] == []


def test_a_request_that_has_no_object_is_not_matched() -> None:
    """The object of a DELETE is null, and expressions read its fields."""
    for policy in policies():
        for rule in policy["spec"]["matchConstraints"]["resourceRules"]:
            assert set(rule["operations"]) == {"CREATE", "UPDATE"}, policy["metadata"]["name"]
            assert "pods/ephemeralcontainers" in rule["resources"], "debug containers come without an update of the pod"


def test_expressions_need_no_field_that_a_pod_may_lack() -> None:
    for policy in policies():
        name = policy["metadata"]["name"]
        messages = [rule["message"] for rule in policy["spec"]["validations"]]
        pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "b"}]}}
        for former in (None, pod):
            assert set(refusals(policy, pod, former=former)) <= set(messages), name


def test_an_expression_of_type_dyn_is_reported() -> None:
    policy = copy.deepcopy(next(p for p in policies() if p["metadata"]["name"] == "jenkins-builds"))
    policy["spec"]["validations"][0]["expression"] = "object.spec.?securityContext.?runAsNonRoot.orValue(false)"
    assert ["is DYN, not BOOL" in error for error in type_errors(policy)] == [True]
