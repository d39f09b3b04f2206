"""Plan of a rollout: its fields of an InferenceService, read from the object and converted to a patch.

KServe in Standard mode runs a Deployment for `spec.predictor` and one for each entry of `spec.canary`. A canary is the
predictor with the fields of its entry merged over it, lists replaced as a whole; its Deployment is
`SERVICE-NAME-predictor`. Its share of the requests is a weight in an HTTPRoute (`rollout.route`): KServe 0.20 does
not split requests in this mode. Annotations are on predictors, never on the service: KServe copies those of the service
into every pod's template, so that recording a canary there would restart the champion. `model.image` of a predictor
overrides the image of its runtime. The functions are pure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MODEL_URI_VARIABLE = "REVIEWS_PARSING_MODEL_URI"
TIMESTAMP_ANNOTATION = "deploy_timestamp"
PREVIOUS_URI_ANNOTATION = "reviews-parsing/previous-model-uri"
PREVIOUS_IMAGE_ANNOTATION = "reviews-parsing/previous-image"
# A canary has fixed replicas. Without this KServe gives it an autoscaler of the champion's class but without its
# metrics, which KEDA rejects.
FIXED_REPLICAS = {"serving.kserve.io/autoscalerClass": "none"}


@dataclass(frozen=True, slots=True)
class Predictor:
    """The champion's predictor: model URI, time of its deployment (ISO 8601), previous URI, name in KServe if any.

    `image` is None while the pods run the image of the chart.
    """

    uri: str | None = None
    since: str | None = None
    previous_uri: str | None = None
    name: str | None = None
    image: str | None = None
    previous_image: str | None = None

    @property
    def version(self) -> str | None:
        """The version number in the URI."""
        return version_of(self.uri)


@dataclass(frozen=True, slots=True)
class Canary:
    """A second predictor with `replicas` pods that receives `percent` of the requests.

    `champion_uri` is the URI that the champion served when the canary started.
    """

    name: str
    uri: str | None
    since: str | None
    percent: int
    replicas: int
    champion_uri: str | None = None
    image: str | None = None

    @property
    def version(self) -> str | None:
        """The version number in the URI."""
        return version_of(self.uri)


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """The part of a service that a rollout manages."""

    champion: Predictor
    canary: Canary | None = None

    @property
    def is_promoting(self) -> bool:
        """True if the champion already equals the canary, so that only the canary's removal is left."""
        canary, champion = self.canary, self.champion
        return canary is not None and (canary.uri, canary.image) == (champion.uri, champion.image)


def version_of(uri: str | None) -> str | None:
    """Return the version number in `models:/NAME/3`, None for an alias."""
    match = re.fullmatch(r"models:/[^/@]+/(\d+)", uri or "")
    return match.group(1) if match else None


def read_plan(service: Mapping[str, Any]) -> RolloutPlan:
    """Return the plan that an InferenceService holds."""
    spec = service["spec"]
    predictor = spec["predictor"]
    annotations = predictor.get("annotations") or {}
    champion = Predictor(
        _uri(predictor),
        annotations.get(TIMESTAMP_ANNOTATION),
        annotations.get(PREVIOUS_URI_ANNOTATION),
        predictor.get("name"),
        _image(predictor),
        annotations.get(PREVIOUS_IMAGE_ANNOTATION),
    )
    canary = None
    for entry in spec.get("canary") or []:
        predictor = entry["predictor"]
        annotations = predictor.get("annotations") or {}
        canary = Canary(
            predictor["name"],
            _uri(predictor),
            annotations.get(TIMESTAMP_ANNOTATION),
            entry["trafficPercent"],
            predictor.get("minReplicas") or 1,
            annotations.get(PREVIOUS_URI_ANNOTATION),
            _image(predictor),
        )
    return RolloutPlan(champion, canary)


def build_spec(plan: RolloutPlan, service: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `spec` to apply so that `service` holds the plan: every managed field, and no other."""
    spec: dict[str, Any] = {"predictor": {}}
    champion = plan.champion
    annotations = {TIMESTAMP_ANNOTATION: champion.since, PREVIOUS_URI_ANNOTATION: champion.previous_uri}
    annotations[PREVIOUS_IMAGE_ANNOTATION] = champion.previous_image
    if any(annotations.values()):
        spec["predictor"]["annotations"] = {key: value for key, value in annotations.items() if value}
    if champion.uri:
        spec["predictor"]["model"] = {"env": [_variable(champion.uri)]}
    if champion.image:
        spec["predictor"].setdefault("model", {})["image"] = champion.image
    if plan.canary is not None:
        spec["canary"] = [_canary_entry(plan.canary, service["spec"]["predictor"])]
    return spec


def replicas_for(percent: int, service: Mapping[str, Any]) -> int:
    """Return the pods of a canary: its share of the champion's minimum, rounded up, which is also KServe's limit."""
    return max(1, math.ceil((service["spec"]["predictor"].get("minReplicas") or 1) * percent / 100))


def _canary_entry(canary: Canary, champion: Mapping[str, Any]) -> dict[str, Any]:
    inherited = [variable for variable in _environment(champion) if variable["name"] != MODEL_URI_VARIABLE]
    # Annotations that an entry lacks come from the champion: a promotion, which changes the champion's, would restart
    # the canary's pods. KServe does not let an empty one replace the champion's.
    annotations = {TIMESTAMP_ANNOTATION: canary.since, PREVIOUS_URI_ANNOTATION: canary.champion_uri}
    annotations[PREVIOUS_IMAGE_ANNOTATION] = "none"
    predictor = {
        "name": canary.name,
        "minReplicas": canary.replicas,
        "annotations": {**FIXED_REPLICAS, **{key: value for key, value in annotations.items() if value}},
        "model": {
            # The CRD requires a name, which the champion may lack; Go clients send an empty one.
            "name": "",
            "modelFormat": champion["model"]["modelFormat"],
            "env": [*inherited, *([_variable(canary.uri)] if canary.uri else [])],
            **({"image": canary.image} if canary.image else {}),
        },
    }
    return {"trafficPercent": canary.percent, "predictor": predictor}


def _variable(uri: str) -> dict[str, str]:
    return {"name": MODEL_URI_VARIABLE, "value": uri}


def _environment(predictor: Mapping[str, Any]) -> list[dict[str, Any]]:
    return (predictor.get("model") or {}).get("env") or []


def _uri(predictor: Mapping[str, Any]) -> str | None:
    values = (entry.get("value") for entry in _environment(predictor) if entry["name"] == MODEL_URI_VARIABLE)
    return next(values, None)


def _image(predictor: Mapping[str, Any]) -> str | None:
    return (predictor.get("model") or {}).get("image")
