"""Validating admission policies, evaluated by the runtime of CEL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cel_expr_python import cel
from cel_expr_python.ext.ext_optional import ExtOptional

DYNAMIC = ("object", "oldObject", "request", "params", "variables", "namespaceObject", "authorizer")
LANGUAGE = cel.NewEnv(variables=dict.fromkeys(DYNAMIC, cel.Type.DYN), extensions=[ExtOptional()])


def type_errors(policy: dict[str, Any]) -> Iterator[str]:
    """Yield expressions of a policy whose type the API server refuses (422, "must evaluate to").

    Conditions and validations must be bool, messages string; an expression on the object itself is dyn until it is
    compared. Kubernetes checks this when a policy is created, not when it is evaluated.
    """
    spec = policy["spec"]
    rules = [(rule["expression"], "BOOL") for rule in spec.get("matchConditions", []) + spec["validations"]]
    rules += [(rule["messageExpression"], "STRING") for rule in spec["validations"] if "messageExpression" in rule]
    rules += [(rule["valueExpression"], "STRING") for rule in spec.get("auditAnnotations", [])]
    for expression, expected in rules:
        actual = str(LANGUAGE.compile(expression).return_type())
        if actual != expected:
            yield f"{policy['metadata']['name']}: {expression!r} is {actual}, not {expected}"


def refusals(
    policy: dict[str, Any],
    resource: dict[str, Any],
    params: dict[str, Any] | None = None,
    former: dict[str, Any] | None = None,
) -> list[str]:
    """Return the messages of the validations that refuse a resource, or its change; empty if conditions exclude it."""
    spec = policy["spec"]
    data: dict[str, Any] = {"object": resource, "oldObject": former, "params": params, "variables": {}}
    data["request"] = {"operation": "UPDATE" if former else "CREATE"}

    def value(expression: str) -> Any:
        return LANGUAGE.compile(expression).eval(data=data).plain_value()

    if not all(value(condition["expression"]) is True for condition in spec.get("matchConditions", [])):
        return []
    for variable in spec.get("variables", []):
        data["variables"] = {**data["variables"], variable["name"]: value(variable["expression"])}
    return [rule["message"] for rule in spec["validations"] if value(rule["expression"]) is not True]
