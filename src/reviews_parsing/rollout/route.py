"""The gateway's HTTPRoute of a service: its rules as the rollout writes them, and the weights that it holds. Pure.

KServe 0.20 in Standard mode starts the pods of `spec.canary` and reports `status.canaryStatuses`, but its own HTTPRoute
sends every request to the champion, so the chart keeps KServe from writing one (label
`networking.kserve.io/visibility: cluster-local`) and has a route of its own, `SERVICE-api`. The chart writes its host
and gateway, the rollout its rules: lists of rules are atomic in Gateway API, so one manager owns all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

VERSION_HEADER = "reviews-parsing-version"
ROUTE_SUFFIX = "-api"
# Ports of a predictor's Service: KServe gives the first container port the number 80.
REST_PORT, GRPC_PORT = 80, 8081
TIMEOUT = "60s"
METHODS = (
    "ServerLive",
    "ServerReady",
    "ServerMetadata",
    "ModelReady",
    "ModelMetadata",
    "ModelInfer",
    "ModelStreamInfer",
)
INFERENCE = ("infer", "generate", "infer_stream", "generate_stream")
PATHS = (
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/docs",
    "/v2/docs/dataplane.json",
    "/v2/docs/swagger-ui-bundle.js",
    "/v2/docs/swagger-ui.css",
)


@dataclass(frozen=True, slots=True)
class Backends:
    """Services behind the route: the champion's, and a canary's with its version and percent of the requests."""

    champion: str
    canary: str | None = None
    version: str | None = None
    percent: int = 0


@dataclass(frozen=True, slots=True)
class TrafficSplit:
    """Percent of requests by Service as the route holds them; `accepted` if the gateway has this generation."""

    weights: Mapping[str, int]
    accepted: bool
    is_own: bool
    reason: str = ""


def build_rules(backends: Backends, model: str) -> list[dict[str, Any]]:
    """Return the rules of a route, which match only the inference endpoints of `model`.

    Requests that name the canary's version in the header `reviews-parsing-version` reach it regardless of its share.
    """
    weights = {backends.champion: 100 - backends.percent}
    if backends.canary and backends.percent:
        weights[backends.canary] = backends.percent
    listed = []
    if backends.canary and backends.version:
        header = [{"type": "Exact", "name": VERSION_HEADER, "value": backends.version}]
        listed.append(_rule("grpc-version", _grpc_matches(header), {backends.canary: 100}, GRPC_PORT))
        listed.append(_rule("rest-version", _rest_matches(model, header), {backends.canary: 100}, REST_PORT))
    listed.append(_rule("grpc", _grpc_matches([]), weights, GRPC_PORT))
    listed.append(_rule("rest", _rest_matches(model, []), weights, REST_PORT))
    return listed


def read_traffic(route: Mapping[str, Any]) -> TrafficSplit:
    """Return the weights of a route in percent, and whether the gateway has accepted them.

    Rules that match a header are left out: they serve requests that ask for one version.
    """
    shares = _shares(route)
    # Rules that differ would split one endpoint and not the other: the smaller share is what is certain.
    names = {name for share in shares for name in share}
    weights = {name: min(share.get(name, 0) for share in shares) for name in names}
    accepted, reason = _accepted(route)
    return TrafficSplit(weights, accepted, is_own(route), reason)


def leads_to(route: Mapping[str, Any], service: str) -> bool:
    """Return whether a rule sends requests to a Service that do not ask for a version."""
    return any(service in share for share in _shares(route))


def has_rules(route: Mapping[str, Any], rules: list[dict[str, Any]]) -> bool:
    """Return whether a route has these rules; fields that the API server adds do not count."""
    return _covers(route["spec"].get("rules"), rules)


def is_own(route: Mapping[str, Any]) -> bool:
    """Return whether the route is the chart's: KServe's own has an InferenceService as controller."""
    owners = route["metadata"].get("ownerReferences") or []
    return not any(owner.get("kind") == "InferenceService" for owner in owners)


def _covers(actual: Any, expected: Any) -> bool:
    if isinstance(expected, dict):
        return isinstance(actual, dict) and all(_covers(actual.get(key), value) for key, value in expected.items())
    if isinstance(expected, list):
        return isinstance(actual, list) and len(actual) == len(expected) and all(map(_covers, actual, expected))
    return bool(actual == expected)


def _rule(name: str, matches: list[dict[str, Any]], weights: Mapping[str, int], port: int) -> dict[str, Any]:
    return {
        "name": name,
        "matches": matches,
        "backendRefs": [
            {"group": "", "kind": "Service", "name": service, "port": port, "weight": weight}
            for service, weight in weights.items()
        ],
        "timeouts": {"request": TIMEOUT},
    }


def _rest_matches(model: str, headers: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Match each REST endpoint by its exact path: an encoded or doubled slash matches nothing."""
    base = f"/v2/models/{model}"
    exact = [*PATHS, base, *(f"{base}/{name}" for name in ("ready", "docs", "docs/dataplane.json", *INFERENCE))]
    version = base.replace(".", r"\.") + "/versions/[0-9]+(/[a-z_]+)?"
    paths = [*(("Exact", path) for path in exact), ("RegularExpression", version)]
    return [_match(kind, path, headers) for kind, path in paths]


def _grpc_matches(headers: list[dict[str, str]]) -> list[dict[str, Any]]:
    return [_match("Exact", f"/inference.GRPCInferenceService/{method}", headers) for method in METHODS]


def _match(kind: str, path: str, headers: list[dict[str, str]]) -> dict[str, Any]:
    return {"path": {"type": kind, "value": path}, **({"headers": headers} if headers else {})}


def _names_version(match: Mapping[str, Any]) -> bool:
    return any(header.get("name", "").lower() == VERSION_HEADER for header in match.get("headers") or [])


def _shares(route: Mapping[str, Any]) -> list[dict[str, int]]:
    """Return the percent of requests by Service for each rule that matches no header of a version."""
    return [
        _percent(rule.get("backendRefs") or [])
        for rule in route["spec"].get("rules") or []
        if not any(_names_version(match) for match in rule.get("matches") or [])
    ]


def _percent(backends: list[Mapping[str, Any]]) -> dict[str, int]:
    weights = {backend["name"]: int(backend.get("weight", 1)) for backend in backends}
    total = sum(weights.values())
    return {name: round(100 * weight / total) for name, weight in weights.items() if weight} if total else {}


def _accepted(route: Mapping[str, Any]) -> tuple[bool, str]:
    """Return whether a gateway reports this generation as accepted with its backends resolved, and why not."""
    generation = route["metadata"].get("generation", 0)
    parents = (route.get("status") or {}).get("parents") or []
    if not parents:
        return False, "no gateway has taken the route"
    for parent in parents:
        conditions = {condition["type"]: condition for condition in parent.get("conditions") or []}
        for kind in ("Accepted", "ResolvedRefs"):
            condition = conditions.get(kind)
            if condition is None or condition.get("observedGeneration", generation) < generation:
                return False, f"the gateway has not taken the newest rules yet ({kind})"
            if condition["status"] != "True":
                return False, _words(condition)
        partial = conditions.get("PartiallyInvalid", {"status": "False"})
        if partial["status"] == "True":  # a gateway may have left out a rule, or keep its former weights
            return False, _words(partial)
    return True, ""


def _words(condition: Mapping[str, Any]) -> str:
    return str(condition.get("message") or condition.get("reason") or condition["type"])
