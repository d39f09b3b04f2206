"""KServe's rules for an InferenceService in Standard mode, ported from its source for tests without a controller.

Two releases behave differently. `SPLITS = False` is the tag v0.20.0. `SPLITS = True` is its main branch after pull
requests 5912 and 5984 (August 2026). Ported from `pkg/controller/v1beta1/inferenceservice/`:

- `utils/utils.go`: `IsMMSPredictor`
- `components/predictor.go`: `buildPredictorResources`, `buildObjectMeta`, `reconcileRawDeployment`,
  `buildCanaryPredictor`, `reconcileCanaryDeployments`
- `reconcilers/deployment/deployment_reconciler.go`: `createRawDefaultDeployment`
- `reconcilers/service/service_reconciler.go`: `createDefaultSvc`
- `reconcilers/ingress/httproute_reconciler.go`: `createRawTopLevelHTTPRoute`, `applyCanaryWeights`, `Reconcile`
- `pkg/webhook/admission/pod/agent_injector.go`: `InjectAgent`
"""

from __future__ import annotations

import copy
import math
from typing import Any

VERSION = "v0.20.0"
AUTOSCALER = "serving.kserve.io/autoscalerClass"
VISIBILITY = "networking.kserve.io/visibility"
AGENT = "internal.serving.kserve.io/agent"
HTTP_PORT = 80
RUNTIME_IMAGE = f"registry.example.com/server@sha256:{'a' * 64}"
RUNTIME_CONTAINERS: list[dict[str, Any]] = [{"name": "kserve-container", "image": RUNTIME_IMAGE}]
Manifest = dict[str, Any]


def is_multi_model(predictor: Manifest) -> bool:
    """Return whether KServe takes a predictor for a multi-model server, whose pods get the container `agent`."""
    if predictor.get("containers"):
        environment = predictor["containers"][0].get("env", [])
        return any(v["name"] == "MULTI_MODEL_SERVER" and v.get("value") == "true" for v in environment)
    model = predictor.get("model", {})
    if model.get("modelFormat", {}).get("name") == "huggingface":
        return False
    return not (model.get("storageUri") or model.get("storage") or predictor.get("storageUris"))


def canary_predictor(stable: Manifest, entry: Manifest, replicas: int) -> Manifest:
    """Return the predictor of a canary: its entry merged over the stable predictor, lists replaced as a whole."""
    predictor = _merged(stable, entry["predictor"])
    for field in ("maxReplicas", "scaleTarget", "scaleMetric", "autoScaling"):
        predictor.pop(field, None)
    return {**predictor, "minReplicas": replicas}


def canary_replicas(service: Manifest, entry: Manifest) -> int:
    stable = service["spec"]["predictor"].get("minReplicas", 1)
    return int(entry["predictor"].get("minReplicas") or math.ceil(stable * entry["trafficPercent"] / 100))


def stable_replicas(service: Manifest, ready: dict[str, bool], splits: bool) -> int:
    """Return the stable predictor's replicas: its minimum less those of canaries, after v0.20.0 of ready ones only."""
    minimum = int(service["spec"]["predictor"].get("minReplicas", 1))
    entries = [e for e in service["spec"].get("canary", []) if not splits or ready.get(e["predictor"]["name"])]
    return max(minimum - sum(canary_replicas(service, entry) for entry in entries), 1) if entries else minimum


def predictor_name(service: Manifest, name: str | None = None) -> str:
    whole: str = service["metadata"]["name"]
    return f"{whole}-{name}-predictor" if name else f"{whole}-predictor"


def deployment(service: Manifest, predictor: Manifest, runtime: Manifest | None, replicas: int) -> Manifest:
    """Return the Deployment of a predictor with the containers that its pods get, those of the webhook included.

    `replicas` counts only for the autoscaler class `none`: for any other KServe leaves the number alone.
    """
    name = predictor_name(service, predictor.get("name"))
    annotations = {**service["metadata"].get("annotations", {}), **predictor.get("annotations", {})}
    labels = {
        **service["metadata"].get("labels", {}),
        **predictor.get("labels", {}),
        "serving.kserve.io/inferenceservice": service["metadata"]["name"],
        "component": "predictor",
        "app": f"isvc.{name}",
    }
    if is_multi_model(predictor):
        annotations[AGENT] = "true"
    containers = copy.deepcopy(runtime["spec"]["containers"] if runtime else RUNTIME_CONTAINERS)
    if image := predictor["model"].get("image"):  # the predictor's container is merged over the runtime's
        containers[0]["image"] = image
    environment = {variable["name"]: variable for variable in containers[0].get("env", [])}
    environment |= {variable["name"]: variable for variable in predictor["model"].get("env", [])}
    containers[0]["env"] = [
        *environment.values(),
        {"name": "INFERENCE_SERVICE_NAME", "value": service["metadata"]["name"]},
    ]
    if AGENT in annotations:
        resources = {"requests": {"cpu": "100m", "memory": "100Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
        containers.append({"name": "agent", "image": f"kserve/agent:{VERSION}", "resources": resources})
    spec: Manifest = {
        "selector": {"matchLabels": {"app": labels["app"]}},
        "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": {"containers": containers}},
    }
    if annotations.get(AUTOSCALER) == "none":
        spec["replicas"] = replicas
    return {"metadata": {"name": name, "annotations": annotations, "labels": labels}, "spec": spec}


def service_ports(runtime: Manifest) -> dict[str, int]:
    """Return the ports of a predictor's Service by name: the container's first is 80, the others keep their number."""
    ports = runtime["spec"]["containers"][0]["ports"]
    return {port["name"]: port["containerPort"] if index else HTTP_PORT for index, port in enumerate(ports)}


def http_route(service: Manifest, host: str, ports: dict[str, int], ready: dict[str, bool], splits: bool) -> Manifest:
    """Return the HTTPRoute of a service's host that KServe writes; empty if the service is for the cluster alone."""
    if service["metadata"].get("labels", {}).get(VISIBILITY) == "cluster-local":
        return {}
    stable = predictor_name(service, service["spec"]["predictor"].get("name"))
    rules = [_rule("^/inference\\.GRPCInferenceService/.*$", stable, ports["grpc"], grpc=True)]
    rules.append(_rule("^/.*$", stable, ports["http"], grpc=False))
    shares = {
        predictor_name(service, entry["predictor"]["name"]): entry["trafficPercent"]
        for entry in service["spec"].get("canary", [])
        if ready.get(entry["predictor"]["name"])
    }
    if splits and service["spec"].get("canary"):
        for rule in rules:
            (backend,) = rule["backendRefs"]
            weights = {stable: 100 - sum(shares.values()), **shares}
            rule["backendRefs"] = [{**backend, "name": name, "weight": weight} for name, weight in weights.items()]
    owner = {"apiVersion": service["apiVersion"], "kind": "InferenceService", "name": service["metadata"]["name"]}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {
            "name": service["metadata"]["name"],
            "namespace": service["metadata"]["namespace"],
            "ownerReferences": [{**owner, "controller": True}],
        },
        "spec": {"hostnames": [host], "rules": rules},
    }


def _rule(path: str, backend: str, port: int, *, grpc: bool) -> Manifest:
    match: Manifest = {"path": {"type": "RegularExpression", "value": path}}
    if grpc:
        header = {"type": "RegularExpression", "name": "content-type", "value": "^application/grpc.*"}
        match["headers"] = [header]
    return {"matches": [match], "backendRefs": [{"kind": "Service", "name": backend, "port": port}]}


def _merged(under: Any, over: Any) -> Any:
    """Merge as mergo does with `WithOverride`: maps by key, all else replaced unless it is empty."""
    if isinstance(under, dict) and isinstance(over, dict):
        return {key: _merged(under.get(key), over[key]) if key in over else under[key] for key in under | over}
    return copy.deepcopy(over if over not in ("", None, [], {}) else under)
