"""Network policies, evaluated as Kubernetes does: who may talk to whom, and who may not."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import kubernetes_validate
import pytest
import yaml

from .rendering import (
    KUBERNETES,
    NAME,
    NAMESPACE,
    PROJECT,
    RETRAIN,
    Manifest,
    container,
    defaults,
    of_kind,
    one,
    predictor_labels,
    rendered,
)

GATEWAY = {"gateway.networking.k8s.io/gateway-name": "reviews-parsing"}
WORLD: dict[str, tuple[str, dict[str, str]]] = {
    "champion": ("reviews-parsing", predictor_labels(NAME)),
    "canary": ("reviews-parsing", predictor_labels(NAME, "v8")),
    "neighbour": ("reviews-parsing", {"app": "something-else"}),
    "gateway": ("istio-ingress", GATEWAY),
    "solver": ("istio-ingress", {"acme.cert-manager.io/http01-solver": "true"}),
    "istiod": ("istio-system", {"app": "istiod"}),
    "prometheus": ("monitoring", {"app.kubernetes.io/name": "prometheus"}),
    "grafana": ("monitoring", {"app.kubernetes.io/name": "grafana"}),
    "alertmanager": ("monitoring", {"app.kubernetes.io/name": "alertmanager"}),
    "state-metrics": ("monitoring", {"app.kubernetes.io/name": "kube-state-metrics"}),
    "prometheus-operator": ("monitoring", {"app": "kube-prometheus-stack-operator"}),
    "keda": ("keda", {"app.kubernetes.io/name": "keda-operator"}),
    "mlflow": ("mlflow", {"app.kubernetes.io/name": "mlflow"}),
    "postgresql": ("mlflow", {"cnpg.io/cluster": "mlflow-postgres"}),
    "s3": ("mlflow", {"app.kubernetes.io/name": "seaweedfs", "app.kubernetes.io/component": "seaweedfs-all-in-one"}),
    "operator": ("cnpg-system", {"app.kubernetes.io/name": "cloudnative-pg"}),
    "gate": ("jenkins-agents", {"app.kubernetes.io/component": "gate"}),
    "rollout": ("jenkins-agents", {"app.kubernetes.io/component": "rollout"}),
    "trainer": ("jenkins-agents", {"app.kubernetes.io/component": "retrain"}),
    "build": ("jenkins-agents", {"app.kubernetes.io/component": "test"}),
    "jaeger": ("jaeger", {"app.kubernetes.io/name": "jaeger"}),
    "jenkins": ("jenkins", {"app.kubernetes.io/name": "jenkins"}),
    "demo": ("reviews-parsing", {"app.kubernetes.io/name": "reviews-parsing-demo"}),
    "report": ("reviews-parsing", {"app.kubernetes.io/name": "reviews-parsing-report"}),
    "retrain": ("reviews-parsing", {"app.kubernetes.io/name": "reviews-parsing-retrain"}),
    "dns": ("kube-system", {"k8s-app": "kube-dns"}),
    "node-dns": ("kube-system", {"k8s-app": "node-local-dns"}),
    "stranger": ("default", GATEWAY | predictor_labels(NAME)),
    "internet": ("", {}),
    # With the network of its node, and so no pod to a policy.
    "host-dns": ("", {}),
}
ADDRESSES = {"host-dns": "169.254.20.10"}
PORTS = [53, 80, 443, 3000, 4317, 5000, 5432, 8000, 8080, 8081, 8082, 8089, 8333, 8888]
PORTS += [9090, 9093, 9094, 10250, 15012, 15020, 16686]


def _selected(selector: dict[str, Any] | None, labels: dict[str, str]) -> bool:
    wanted = (selector or {}).get("matchLabels") or {}
    rules = (selector or {}).get("matchExpressions") or []
    assert all(rule["operator"] == "In" for rule in rules)
    return wanted.items() <= labels.items() and all(labels.get(rule["key"]) in rule["values"] for rule in rules)


def _allowed(policies: list[Manifest], direction: str, whose: str, other: str, port: int) -> bool:
    """Return whether Kubernetes allows traffic of the pod `whose`: no policy selects it, or one of them allows it."""
    namespace, labels = WORLD[whose]
    mine = [
        policy
        for policy in policies
        if policy["metadata"]["namespace"] == namespace
        and direction in policy["spec"]["policyTypes"]
        and _selected(policy["spec"]["podSelector"], labels)
    ]
    if not mine:
        return True
    theirs, their_labels = WORLD[other]
    peers = {"Ingress": "from", "Egress": "to"}[direction]
    for rule in (rule for policy in mine for rule in policy["spec"].get(direction.lower(), [])):
        at_port = any(p["port"] == port for p in rule.get("ports", [{"port": port}]))
        known = peers not in rule or any(
            _in_block(peer["ipBlock"], other)
            if "ipBlock" in peer
            else (
                _selected(peer["namespaceSelector"], {"kubernetes.io/metadata.name": theirs})
                if "namespaceSelector" in peer
                else theirs == policy_namespace(mine)
            )
            and _selected(peer.get("podSelector"), their_labels)
            for peer in rule[peers]
        )
        if at_port and known:
            return True
    return False


def _in_block(block: dict[str, str], other: str) -> bool:
    assert block.keys() == {"cidr"}
    return other in ADDRESSES and ip_address(ADDRESSES[other]) in ip_network(block["cidr"])


def policy_namespace(policies: list[Manifest]) -> str:
    return str(policies[0]["metadata"]["namespace"])


@pytest.mark.parametrize(("environment", "tools"), [("kind", False), ("gke", False), ("gke", True)])
def test_pods_may_talk_to_those_that_they_need_and_to_nobody_else(environment: str, tools: bool) -> None:
    extra = {"reviews-parsing": RETRAIN if tools else {}}
    policies = [
        p for chart in NAMESPACE for p in of_kind(rendered(chart, environment, extra.get(chart)), "NetworkPolicy")
    ]
    guarded = {"champion", "canary", "neighbour", "demo", "gateway", "report", "retrain"}
    seen = {
        (source, target, port)
        for source in WORLD
        for target in WORLD
        for port in PORTS
        if source != target
        and {source, target} & guarded
        and _allowed(policies, "Egress", source, target, port)
        and _allowed(policies, "Ingress", target, source, port)
    }
    servers = ("champion", "canary")
    names = [("dns", 53), ("node-dns", 53), ("host-dns", 53)]
    expected = {
        *(
            (source, *rest)
            for source in ("champion", "canary")
            for rest in [*names, ("mlflow", 5000), ("jaeger", 4317)]
        ),
        *(("gateway", target, port) for target in servers for port in (8080, 8081)),
        ("champion", "canary", 8080),
        ("canary", "champion", 8080),
        *(("prometheus", target, 8082) for target in servers),
        ("prometheus", "gateway", 15020),
        *(("gateway", *rest) for rest in [*names, ("istiod", 15012)]),
        *(("gateway", *rest) for rest in [("mlflow", 5000), ("grafana", 3000), ("jaeger", 16686), ("jenkins", 8080)]),
        *((source, "gateway", port) for source in WORLD for port in (80, 443) if source not in guarded),
    }
    if environment == "gke":
        expected.add(("gateway", "solver", 8089))
    if tools:
        expected |= {("gateway", "demo", 8000), *(("demo", target, 8080) for target in servers)}
        expected |= {(source, *rest) for source in ("demo", "report", "retrain") for rest in names}
        expected |= {("retrain", "mlflow", 5000), ("retrain", "prometheus", 9090)}
        expected |= {("retrain", target, 8080) for target in servers}
        # The object store and the cluster's API are anywhere, at one port.
        everywhere = {target for target in WORLD if target not in {*guarded} - {"gateway"}}
        expected |= {(source, target, 443) for source in ("report", "retrain") for target in everywhere}
    assert seen == expected


MONITORING = ("prometheus", "alertmanager", "state-metrics", "grafana", "prometheus-operator")
SERVICES = ("mlflow", "jaeger", "prometheus")


def test_services_of_others_are_reached_by_those_who_need_them_and_by_nobody_else() -> None:
    files = (PROJECT / "deploy" / "services" / name / "network.yaml" for name in SERVICES)
    policies = [p for file in files for p in yaml.safe_load_all(file.read_text(encoding="utf-8"))]
    for policy in policies:
        kubernetes_validate.validate(policy, KUBERNETES, strict=True)
    seen = {
        (source, target, port)
        for target in ("mlflow", "postgresql", "s3", "jaeger", *MONITORING)
        for source in WORLD
        for port in PORTS
        if source != target and _allowed(policies, "Ingress", target, source, port)
    }
    ours = ("champion", "canary", "neighbour", "demo", "report", "retrain")
    assert seen == {
        *((source, "mlflow", 5000) for source in (*ours, "gateway", "gate", "rollout", "trainer")),
        *((source, "postgresql", port) for source in ("mlflow", "s3", "operator") for port in (5432, 8000)),
        *((source, "s3", port) for source in ("mlflow", "postgresql") for port in PORTS),
        *((source, "jaeger", 4317) for source in ours),
        *((source, "jaeger", 16686) for source in ("gateway", "grafana")),
        ("prometheus", "jaeger", 8888),
        *((source, "prometheus", 9090) for source in ("grafana", "keda", "rollout", "trainer", "retrain")),
        *((source, "alertmanager", port) for source in ("grafana", "prometheus") for port in (8080, 9093)),
        ("prometheus", "state-metrics", 8080),
        ("gateway", "grafana", 3000),
        # The API server is no pod: its webhook is reached from anywhere.
        *((source, "prometheus-operator", 10250) for source in WORLD if source != "prometheus-operator"),
    }


def test_operators_and_the_controller_of_jenkins_are_reached_at_what_they_serve() -> None:
    files = ("operators-network.yaml", "jenkins/network.yaml")
    folder = PROJECT / "deploy" / "services"
    policies = [p for file in files for p in yaml.safe_load_all((folder / file).read_text(encoding="utf-8"))]
    for policy in policies:
        kubernetes_validate.validate(policy, KUBERNETES, strict=True)
    # Whoever asks for a certificate, a claim on the API or an admission: webhooks are open to the API server, no pod.
    webhooks = {p["metadata"]["namespace"]: p["spec"]["ingress"][1].get("ports") for p in policies[:-1]}
    assert {namespace: [port["port"] for port in ports] for namespace, ports in webhooks.items()} == {
        "cert-manager": [10250],
        "cnpg-system": [9443],
        "keda": [6443, 9443],
        "kserve": [9443],
        "istio-system": [15017],
    }
    seen = {
        (source, target, port)
        for target, ports in {"keda": (6443, 9666), "operator": (9443, 8080), "istiod": (15012, 15014)}.items()
        for port in ports
        for source in WORLD
        if source != target and _allowed(policies, "Ingress", target, source, port)
    }
    assert seen == {
        *(
            (source, target, port)
            for target, port in (("keda", 6443), ("operator", 9443))
            for source in WORLD
            if source != target
        ),
        ("gateway", "istiod", 15012),
    }
    callers = {
        source for source in WORLD if source != "jenkins" and _allowed(policies, "Ingress", "jenkins", source, 8080)
    }
    assert callers == {"gateway", "gate", "rollout", "trainer", "build"}
    assert not _allowed(policies, "Ingress", "jenkins", "gateway", 50000)


def test_labels_of_pipelines_are_those_of_their_pods() -> None:
    pods = yaml.safe_load((PROJECT / "deploy/services/jenkins/values.yaml").read_text(encoding="utf-8"))["pods"]
    assert {"gate", "rollout", "retrain"} <= set(pods)
    text = (PROJECT / "deploy/services/jenkins/values.yaml").read_text(encoding="utf-8")
    assert "app.kubernetes.io/component: {{ $name }}" in text


def test_the_server_may_reach_the_addresses_that_it_is_given() -> None:
    manifests = rendered("reviews-parsing", "gke")
    given = {e["name"]: e.get("value", "") for e in container(manifests)["env"]}
    network = defaults("reviews-parsing")["network"]
    for variable, peer in (("MLFLOW_TRACKING_URI", "mlflow"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "tracing")):
        assert f".{network[peer]['namespace']}.svc" in given[variable]
    untraced = rendered("reviews-parsing", "gke", {"tracing": {"endpoint": ""}})
    egress = one(untraced, "NetworkPolicy", NAME)["spec"]["egress"]
    assert len(egress) == len(one(manifests, "NetworkPolicy", NAME)["spec"]["egress"]) - 1
    assert not [e for e in container(untraced)["env"] if e["name"].startswith("OTEL_")]


def test_mlflow_and_the_collector_of_traces_may_be_outside_the_cluster() -> None:
    outside = {name: {"cidr": f"203.0.113.{part}/32", "port": 443} for part, name in enumerate(("mlflow", "tracing"))}
    manifests = rendered("reviews-parsing", "gke", {**RETRAIN, "network": outside})
    for policy, names in ((NAME, ("mlflow", "tracing")), ("reviews-parsing-retrain", ("mlflow",))):
        egress = one(manifests, "NetworkPolicy", policy)["spec"]["egress"]
        for peer in (outside[name] for name in names):
            rule = {"to": [{"ipBlock": {"cidr": peer["cidr"]}}], "ports": [{"protocol": "TCP", "port": peer["port"]}]}
            assert rule in egress
