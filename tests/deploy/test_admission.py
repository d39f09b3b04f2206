"""Admission policies of the whole deployment: their expressions have the types that the API server demands."""

from __future__ import annotations

import copy
from typing import Any

import yaml

from .admission import type_errors
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


def test_an_expression_of_type_dyn_is_reported() -> None:
    policy = copy.deepcopy(next(p for p in policies() if p["metadata"]["name"] == "jenkins-builds"))
    policy["spec"]["validations"][0]["expression"] = "object.spec.?securityContext.?runAsNonRoot.orValue(false)"
    assert ["is DYN, not BOOL" in error for error in type_errors(policy)] == [True]
