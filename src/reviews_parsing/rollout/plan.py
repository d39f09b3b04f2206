"""What a rollout owns of an InferenceService, read from the object and written as what is to be applied. Pure.

KServe in Standard mode runs a Deployment for `spec.predictor` and one for each entry of `spec.canary`. A canary is the
predictor with what its entry says laid over it, lists replaced as a whole; its Deployment is `SERVICE-NAME-predictor`.
Which of them gets requests is the HTTPRoute's (`rollout.route`): KServe 0.20 splits nothing in this mode.
Annotations stand on predictors, never on the service: KServe copies those of the service into every pod's template,
and to note a canary would restart the champion.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

VARIABLE = "REVIEWS_PARSING_MODEL_URI"
STAMP = "deploy_timestamp"
BEFORE = "reviews-parsing/previous-model-uri"
# A canary has fixed replicas. Without this KServe would give it an autoscaler as the champion's class says, but with
# none of its metrics; KEDA refuses that one.
FIXED = {"serving.kserve.io/autoscalerClass": "none"}


@dataclass(frozen=True, slots=True)
class Predictor:
    """What a predictor serves: the model's URI, since when (ISO 8601), what it served before; named if KServe's is."""

    uri: str | None = None
    since: str | None = None
    before: str | None = None
    name: str | None = None

    @property
    def version(self) -> str | None:
        return version_of(self.uri)


@dataclass(frozen=True, slots=True)
class Canary:
    """A second predictor beside the champion's, with so many pods; `percent` of the requests go there.

    `beside` is the URI that the champion served when the canary started.
    """

    name: str
    uri: str | None
    since: str | None
    percent: int
    replicas: int
    beside: str | None = None

    @property
    def version(self) -> str | None:
        return version_of(self.uri)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the rollout manages of a service."""

    champion: Predictor
    canary: Canary | None = None


def version_of(uri: str | None) -> str | None:
    """The version that `models:/NAME/3` names; an alias names none."""
    match = re.fullmatch(r"models:/[^/@]+/(\d+)", uri or "")
    return match.group(1) if match else None


def plan_of(service: Mapping[str, Any]) -> Plan:
    """The plan that an InferenceService holds."""
    spec = service["spec"]
    notes = spec["predictor"].get("annotations") or {}
    champion = Predictor(_uri(spec["predictor"]), notes.get(STAMP), notes.get(BEFORE), spec["predictor"].get("name"))
    canary = None
    for entry in spec.get("canary") or []:
        its = entry["predictor"]
        own = its.get("annotations") or {}
        replicas = its.get("minReplicas") or 1
        canary = Canary(its["name"], _uri(its), own.get(STAMP), entry["trafficPercent"], replicas, own.get(BEFORE))
    return Plan(champion, canary)


def applied(plan: Plan, service: Mapping[str, Any]) -> dict[str, Any]:
    """The `spec` to apply so that `service` holds the plan: all that the rollout manages, and nothing else."""
    predictor = service["spec"]["predictor"]
    spec: dict[str, Any] = {"predictor": {}}
    notes = {STAMP: plan.champion.since, BEFORE: plan.champion.before}
    if any(notes.values()):
        spec["predictor"]["annotations"] = {key: value for key, value in notes.items() if value}
    if plan.champion.uri:
        spec["predictor"]["model"] = {"env": [_variable(plan.champion.uri)]}
    if plan.canary is not None:
        spec["canary"] = [_entry(plan.canary, predictor)]
    return spec


def replicas_for(percent: int, service: Mapping[str, Any]) -> int:
    """Pods of a canary: its share of the champion's fewest, rounded up. KServe takes no more of them than that."""
    return max(1, math.ceil((service["spec"]["predictor"].get("minReplicas") or 1) * percent / 100))


def _entry(canary: Canary, champion: Mapping[str, Any]) -> dict[str, Any]:
    others = [one for one in _environment(champion) if one["name"] != VARIABLE]
    # Annotations that an entry leaves out come from the champion: a promotion, which changes the champion's, would
    # restart the canary's pods.
    notes = {STAMP: canary.since, BEFORE: canary.beside}
    its = {
        "name": canary.name,
        "minReplicas": canary.replicas,
        "annotations": {**FIXED, **{key: value for key, value in notes.items() if value}},
        "model": {
            # The CRD wants a name here, which the champion may not have; Go's own clients send this.
            "name": "",
            "modelFormat": champion["model"]["modelFormat"],
            "env": [*others, *([_variable(canary.uri)] if canary.uri else [])],
        },
    }
    return {"trafficPercent": canary.percent, "predictor": its}


def _variable(uri: str) -> dict[str, str]:
    return {"name": VARIABLE, "value": uri}


def _environment(predictor: Mapping[str, Any]) -> list[dict[str, Any]]:
    return (predictor.get("model") or {}).get("env") or []


def _uri(predictor: Mapping[str, Any]) -> str | None:
    return next((one.get("value") for one in _environment(predictor) if one["name"] == VARIABLE), None)
