"""A Kubernetes API server on loopback, for an InferenceService and its HTTPRoutes, with controllers that a test drives.

Server-side apply with field managers, resource versions, KServe's checks of canaries, and what its controller does in
Standard mode (`tests/kserve.py`): a Deployment for each predictor, a canary laid over the champion, a HTTPRoute where
the chart has none, the status. A gateway takes the routes and reports it. `lost` holds each time that requests would
have been sent to a Service without a ready pod.
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import kserve

NAME, NAMESPACE, TOKEN = "reviews-parsing-ner-aspects", "reviews-parsing", "let-me-in"
HOST = "api.reviews.localhost"
SERVICES = f"/apis/serving.kserve.io/v1beta1/namespaces/{NAMESPACE}/inferenceservices/"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/"
COMPARISON = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{NAME}-comparison"
ROUTES = f"/apis/gateway.networking.k8s.io/v1/namespaces/{NAMESPACE}/httproutes/"
KEYED = ("spec", "predictor", "model", "env")  # x-kubernetes-list-type: map, by name; other lists are atomic
VARIABLE = "REVIEWS_PARSING_MODEL_URI"
PORTS = {"http": 80, "grpc": 8081}
# What the API server writes into a route that has no rules.
NO_RULES = [{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}]
Path = tuple[str, ...]


def model(version: str) -> str:
    return f"models:/{NAME}/{version}"


class Refusal(Exception):
    def __init__(self, code: int, reason: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Status",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "details": details or {},
            "code": code,
        }


@dataclass
class Stored:
    """An object of the API server, and the fields that each manager owns."""

    object: dict[str, Any]
    managers: dict[str, dict[Path, Any]] = field(default_factory=dict)

    def apply(self, config: Mapping[str, Any], manager: str, force: bool = False) -> None:
        """Server-side apply: conflicts, removal of what the manager no longer names, ownership."""
        new = dict(_leaves({key: config[key] for key in ("spec",) if key in config}, ()))
        live = dict(_leaves(self.object, ()))
        others = {name: fields for name, fields in self.managers.items() if name != manager}
        contested = [
            (name, path)
            for name, fields in others.items()
            for path in fields
            if path in new and live.get(path) != new[path]
        ]
        if contested and not force:
            causes = [
                {"reason": "FieldManagerConflict", "message": f'conflict with "{name}"', "field": _dotted(path)}
                for name, path in contested
            ]
            words = f"Apply failed with {len(causes)} conflict(s)"
            raise Refusal(409, "Conflict", words, {"name": self.object["metadata"]["name"], "causes": causes})
        for name, path in contested:
            del self.managers[name][path]
        updated = copy.deepcopy(self.object)
        kept = {path for fields in others.values() for path in fields}
        for path in self.managers.get(manager, {}):
            if path not in new and path not in kept:
                _remove(updated, path)
        for path, value in new.items():
            _set(updated, path, value)
        if updated["kind"] == "InferenceService":
            _admit(updated)
        self.managers[manager] = new
        if updated["spec"] != self.object["spec"]:
            updated["metadata"]["generation"] += 1
            _bump(updated)
        self.object = updated

    def patch(self, config: dict[str, Any], manager: str, force: bool) -> dict[str, Any]:
        wanted = config["metadata"].get("resourceVersion")
        if wanted and wanted != self.object["metadata"]["resourceVersion"]:
            raise Refusal(409, "Conflict", "the object has been modified; please apply your changes to the latest")
        self.apply(config, manager, force)
        return copy.deepcopy(self.object)


def _bump(updated: dict[str, Any]) -> None:
    updated["metadata"]["resourceVersion"] = str(int(updated["metadata"]["resourceVersion"]) + 1)


class Cluster:
    """`fates` says what becomes of pods of a model: "ready" (unless told), "never", or "fails".

    `route` is who writes the HTTPRoute of the service's host: the chart, KServe, or nobody. `splits` makes KServe
    behave as its main branch does after v0.20.0, which puts canaries into its route. `gateway` is what the gateway
    makes of a route: it "accepts", "ignores" or "refuses" it. Without `gateway_api` the cluster has no routes at all;
    `readable_routes` are the names that the rights are for, all unless told.
    """

    def __init__(
        self,
        served: str | None = "1",
        replicas: int = 3,
        route: Literal["chart", "kserve", None] = "chart",
        splits: bool = False,
    ) -> None:
        self.fates: dict[str, str] = {}
        self.lost: list[str] = []
        self.refuse: Refusal | None = None
        self.splits, self.gateway = splits, "accepts"
        self.gateway_api = True
        self.readable_routes = {f"{NAME}-api", NAME}
        self.deployments: dict[str, dict[str, Any]] = {}
        self.routes: dict[str, Stored] = {}
        self.weights: dict[str, int] = {}
        self.requests: list[str] = []
        # The chart's ConfigMap for comparisons; None: a chart of before has none.
        self.comparison: dict[str, str] | None = {}
        labels = {} if route == "kserve" else {kserve.VISIBILITY: "cluster-local"}
        self.service = Stored(
            {
                "apiVersion": "serving.kserve.io/v1beta1",
                "kind": "InferenceService",
                "metadata": {
                    "name": NAME,
                    "namespace": NAMESPACE,
                    "generation": 1,
                    "resourceVersion": "1",
                    "labels": labels,
                    "annotations": {"serving.kserve.io/deploymentMode": "Standard"},
                },
                "spec": {"predictor": {"minReplicas": replicas, "model": {"modelFormat": {"name": "huggingface"}}}},
            }
        )
        if route == "chart":
            self.routes[f"{NAME}-api"] = Stored(_route(f"{NAME}-api", NO_RULES))
        if served:
            self.apply({"spec": {"predictor": {"model": {"env": [_env(model(served))]}}}}, "reviews-parsing-rollout")
            if route == "chart":
                rules = [{"backendRefs": [{"kind": "Service", "name": f"{NAME}-predictor", "port": 80}]}]
                self.routes[f"{NAME}-api"].apply({"spec": {"rules": rules}}, "reviews-parsing-rollout")
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._stopped = False
        self.reconcile()
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                self._answer(lambda: cluster.get(urlsplit(self.path).path))

            def do_PATCH(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                query = parse_qs(urlsplit(self.path).query)
                assert self.headers["Content-Type"] == "application/apply-patch+yaml"
                force = query.get("force", ["false"])[0] == "true"
                path = urlsplit(self.path).path
                self._answer(lambda: cluster.patch(path, body, query["fieldManager"][0], force))

            def _answer(self, what: Any) -> None:
                cluster.requests.append(f"{self.command} {self.path}")
                kind = "application/json"
                try:
                    if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                        raise Refusal(401, "Unauthorized", "Unauthorized")
                    if cluster.refuse is not None:
                        raise cluster.refuse
                    code, document = 200, what()
                except Refusal as refusal:
                    code, document = refusal.status["code"], refusal.status
                text = json.dumps(document).encode()
                if self.path.startswith(ROUTES) and not cluster.gateway_api:
                    code, kind, text = 404, "text/plain; charset=utf-8", b"404 page not found\n"
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._threads = [
            threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True),
            threading.Thread(target=self._control, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join()

    # What the API server does

    @property
    def object(self) -> dict[str, Any]:
        """The InferenceService."""
        return self.service.object

    @property
    def managers(self) -> dict[str, dict[Path, Any]]:
        return self.service.managers

    def apply(self, config: Mapping[str, Any], manager: str, force: bool = False) -> None:
        self.service.apply(config, manager, force)

    def get(self, path: str) -> dict[str, Any]:
        with self._lock:
            kind, name = path.rsplit("/", 1)
            if path == COMPARISON and self.comparison is not None:
                return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": self.comparison}
            routes = {name: stored.object for name, stored in self.routes.items()}
            stores = {SERVICES: {NAME: self.object}, DEPLOYMENTS: self.deployments, ROUTES: routes}
            store = stores.get(f"{kind}/", {})
            if store is routes and name not in self.readable_routes:
                raise Refusal(403, "Forbidden", f'User "rollout" cannot get resource "httproutes" "{name}"')
            if name not in store:
                raise Refusal(404, "NotFound", f'"{name}" not found', {"name": name, "kind": kind.rsplit("/", 1)[1]})
            return copy.deepcopy(store[name])

    def patch(self, path: str, config: dict[str, Any], manager: str, force: bool) -> dict[str, Any]:
        with self._changed:
            if path == COMPARISON:
                self.comparison = dict(config["data"])
                return config
            stored = self.routes[path.removeprefix(ROUTES)] if path.startswith(ROUTES) else self.service
            answer = stored.patch(config, manager, force)
            self._changed.notify_all()
            return answer

    def edit_route(self, rules: list[dict[str, Any]], manager: str) -> None:
        """Change the chart's route by force, as a person with kubectl may."""
        with self._changed:
            self.routes[f"{NAME}-api"].apply({"spec": {"rules": rules}}, manager, force=True)
            self.reconcile()

    # What the controllers do: KServe's, that of Deployments, and the gateway's

    def _control(self) -> None:
        while True:
            with self._changed:
                if self._stopped:
                    return
                self.reconcile()
                self._changed.wait()

    def drive(self, version: str, fate: str) -> None:
        """From now on pods of this version become `fate`."""
        with self._changed:
            self.fates[model(version)] = fate
            self._changed.notify_all()

    def reconcile(self) -> None:
        self._route()  # the gateway works at its own pace: what it has may be older than what KServe does next
        spec = self.object["spec"]
        entries = spec.get("canary", [])
        ready = {entry["predictor"]["name"]: self._ready(entry["predictor"]["name"]) for entry in entries}
        predictors = [{**spec["predictor"]}]
        predictors[0]["minReplicas"] = kserve.stable_replicas(self.object, ready, self.splits)
        predictors += [
            kserve.canary_predictor(spec["predictor"], entry, kserve.canary_replicas(self.object, entry))
            for entry in entries
        ]
        for predictor in predictors:
            self._deploy(predictor, spec["predictor"].get("minReplicas", 1))
        for name in self.deployments.keys() - {kserve.predictor_name(self.object, p.get("name")) for p in predictors}:
            del self.deployments[name]
        self._check()  # a Service is gone, the route still as it was
        ready = {name: self._ready(name) for name in ready}
        route = kserve.http_route(self.object, HOST, PORTS, ready, self.splits)
        if route:
            stored = self.routes.setdefault(NAME, Stored({**_route(NAME, []), "metadata": route["metadata"]}))
            stored.object["metadata"] = {**_route(NAME, [])["metadata"], **stored.object["metadata"]}
            stored.apply({"spec": {"rules": route["spec"]["rules"]}}, "manager")
        self._route()
        statuses = [
            {
                "name": entry["predictor"]["name"],
                "ready": ready[entry["predictor"]["name"]],
                "trafficPercent": entry["trafficPercent"],
            }
            for entry in entries
        ]
        if self.object.get("status") != {"canaryStatuses": statuses}:
            self.object["status"] = {"canaryStatuses": statuses}
            _bump(self.object)

    def _deploy(self, predictor: dict[str, Any], minimum: int) -> None:
        made = kserve.deployment(self.object, predictor, None, predictor["minReplicas"])
        name, spec = made["metadata"]["name"], made["spec"]
        # For any class but `none` an autoscaler holds the number, which starts with the champion's minimum.
        wanted = spec.setdefault("replicas", minimum)
        found = self.deployments.setdefault(
            name, {"metadata": {"name": name, "generation": 0}, "spec": {}, "status": {"availableReplicas": 0}}
        )
        before = found["status"]["availableReplicas"]
        if found["spec"] != spec:
            found["spec"] = spec
            found["metadata"]["generation"] += 1
        fate = self.fates.get(served(found) or "", "ready")
        status: dict[str, Any] = {"observedGeneration": found["metadata"]["generation"]}
        if fate == "ready":
            status |= {"replicas": wanted, "updatedReplicas": wanted, "availableReplicas": wanted}
        elif before and not found.get("new"):  # a new pod beside the old ones, which stay: maxUnavailable 0
            status |= {"replicas": before + 1, "updatedReplicas": 1, "availableReplicas": before}
        else:
            found["new"] = True
            status |= {"replicas": wanted, "updatedReplicas": wanted, "availableReplicas": 0}
        if fate == "fails":
            words = f'ReplicaSet "{name}-5d9c" has timed out progressing.'
            status["conditions"] = [
                {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": words}
            ]
        found["status"] = status

    def _ready(self, canary: str) -> bool:
        return self._available(kserve.predictor_name(self.object, canary)) > 0

    def _available(self, name: str) -> int:
        found = self.deployments.get(name)
        return found["status"]["availableReplicas"] if found else 0

    def _route(self) -> None:
        """Take the routes, and report it; of two routes for a host the older one has it."""
        for name, stored in self.routes.items():
            metadata = stored.object["metadata"]
            refused = self.gateway == "refuses"
            backends = {b["name"] for rule in stored.object["spec"]["rules"] for b in rule.get("backendRefs", [])}
            lost = sorted(backends - self.deployments.keys()) if self.deployments else []
            states = {"Accepted": not refused, "ResolvedRefs": not lost}
            conditions = [
                {
                    "type": kind,
                    "status": str(state),
                    "reason": kind if state else "Refused",
                    "message": ""
                    if state
                    else f"backend(s) {', '.join(lost)} not found"
                    if lost
                    else "no such listener",
                    "observedGeneration": metadata["generation"],
                }
                for kind, state in states.items()
            ]
            status = {"parents": [{"controllerName": "istio.io/gateway-controller", "conditions": conditions}]}
            if self.gateway != "ignores" and stored.object.get("status") != status:
                stored.object["status"] = status
                _bump(stored.object)
            if self.gateway == "accepts" and name == next(iter(self.routes)):
                self.weights = weights(stored.object)
        if not self.routes:
            self.weights = {f"{NAME}-predictor": 100}
        self._check()

    def _check(self) -> None:
        if not self.deployments:  # nothing was ever served
            return
        self.lost += [name for name, weight in self.weights.items() if weight and not self._available(name)]

    # What a test asks

    def pods(self) -> dict[str, str | None]:
        """Return the model that a new pod would serve, by Deployment."""
        with self._lock:
            return {name.removeprefix(f"{NAME}-"): served(found) for name, found in self.deployments.items()}

    def templates(self) -> dict[str, Any]:
        with self._lock:
            return {name: copy.deepcopy(found["spec"]["template"]) for name, found in self.deployments.items()}


def weights(route: Mapping[str, Any]) -> dict[str, int]:
    """Weights of the last rule of a route, which takes what no other does, without backends that get nothing."""
    backends = route["spec"]["rules"][-1].get("backendRefs", [])
    return {b["name"]: b.get("weight", 100) for b in backends if b.get("weight", 100)}


def _route(name: str, rules: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": NAMESPACE, "generation": 1, "resourceVersion": "1"},
        "spec": {"hostnames": [HOST], "rules": rules},
    }


def served(deployment: Mapping[str, Any]) -> str | None:
    """Return the model of the pods of a Deployment."""
    env = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    return next((one["value"] for one in env if one["name"] == VARIABLE), None)


def _env(uri: str) -> dict[str, str]:
    return {"name": VARIABLE, "value": uri}


def _leaves(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and path != ("spec", "canary"):
        for key, its in value.items():
            yield from _leaves(its, (*path, key))
    elif path == KEYED:
        for item in value:
            yield from _leaves(item, (*path, item["name"]))
    else:
        yield path, copy.deepcopy(value)


def _dotted(path: Path) -> str:
    if path[: len(KEYED)] == KEYED:
        return f'.{".".join(KEYED)}[name="{path[len(KEYED)]}"].{".".join(path[len(KEYED) + 1 :])}'
    return "." + ".".join(path)


def _set(target: Any, path: Path, value: Any) -> None:
    for depth, key in enumerate(path[:-1]):
        if path[:depth] == KEYED:
            found = next((item for item in target if item["name"] == key), None)
            if found is None:
                found = {"name": key}
                target.append(found)
            target = found
        else:
            target = target.setdefault(key, [] if path[: depth + 1] == KEYED else {})
    target[path[-1]] = copy.deepcopy(value)


def _remove(target: Any, path: Path) -> None:
    for depth, key in enumerate(path[:-1]):
        if path[:depth] == KEYED:
            target[:] = [item for item in target if item["name"] != key]
            return
        target = target.get(key)
        if target is None:
            return
    target.pop(path[-1], None)


def _admit(updated: Mapping[str, Any]) -> None:
    """KServe 0.20: validateCanarySpecs."""
    canaries, predictor = updated["spec"].get("canary", []), updated["spec"]["predictor"]
    problem = None
    if canaries and updated["metadata"]["annotations"].get("serving.kserve.io/deploymentMode") != "Standard":
        problem = "canary is only supported in Standard deployment mode"
    for entry in canaries:
        its = entry["predictor"]
        if not its.get("name"):
            problem = "canary[0] predictor.name is required"
        elif not {"modelFormat", "name"} <= its.get("model", {}).keys():
            problem = "spec.canary[0].predictor.model: Required value"
        elif its.get("maxReplicas") or its.get("autoScaling"):
            problem = f'canary "{its["name"]}" must not set maxReplicas (canary uses fixed replicas)'
        elif its.get("minReplicas", 0) > predictor.get("minReplicas", 1):
            problem = f'canary "{its["name"]}" minReplicas must not exceed stable predictor minReplicas'
    if problem:
        raise Refusal(
            400, "BadRequest", f'admission webhook "inferenceservice.kserve.io" denied the request: {problem}'
        )
