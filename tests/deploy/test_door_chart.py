"""The chart of the door: routes, certificates, logins, and what Istio makes of the Gateway, fit together."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
import yaml

from reviews_parsing.rollout.route import Backends, build_rules
from reviews_parsing.serving import openapi

from .rendering import (
    CLASSIC,
    NAMESPACE,
    OIDC,
    Manifest,
    container,
    defaults,
    every_rendering,
    merged,
    needs_schemas,
    notes,
    of_kind,
    one,
    rendered,
    validate,
    values,
)
from .rendering import (
    NAME as MODEL,
)

METHODS = """
from mlserver.grpc import dataplane_pb2, model_repository_pb2

for file in (dataplane_pb2, model_repository_pb2):
    for service in file.DESCRIPTOR.services_by_name.values():
        for method in service.methods:
            print(f"/{service.full_name}/{method.name}")
"""


def hosts_of(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Hosts below the domain, by the routes that answer them."""
    return {host: route for route in of_kind(manifests, "HTTPRoute") for host in route["spec"].get("hostnames", [])}


@pytest.mark.parametrize("environment", ["kind", "gke"])
def test_routes_are_let_in_by_the_gateway_and_covered_by_its_certificate(environment: str) -> None:
    manifests, domain = rendered("ingress", environment), values("ingress", environment)["domain"]
    gateway = one(manifests, "Gateway")
    listeners = {listener["name"]: listener for listener in gateway["spec"]["listeners"]}
    for route in of_kind(manifests, "HTTPRoute"):
        (parent,) = route["spec"]["parentRefs"]
        home = parent.get("namespace", route["metadata"]["namespace"])
        assert (parent["name"], home) == (gateway["metadata"]["name"], gateway["metadata"]["namespace"])
        allowed = listeners[parent["sectionName"]]["allowedRoutes"]["namespaces"]
        if allowed["from"] == "Same":
            assert route["metadata"]["namespace"] == home
        else:
            (rule,) = allowed["selector"]["matchExpressions"]
            assert rule["key"] == "kubernetes.io/metadata.name"
            assert route["metadata"]["namespace"] in rule["values"]
        for rule in route["spec"]["rules"]:
            for backend in rule.get("backendRefs", []):
                assert "namespace" not in backend, "a Service of another namespace needs a ReferenceGrant"
    assert listeners["https"]["hostname"] == f"*.{domain}"
    certificate = one(manifests, "Certificate", gateway["metadata"]["name"])
    assert listeners["https"]["tls"]["certificateRefs"][0]["name"] == certificate["spec"]["secretName"]
    assert certificate["metadata"]["namespace"] == gateway["metadata"]["namespace"]
    assert set(certificate["spec"]["dnsNames"]) == {f"api.{domain}", *hosts_of(manifests)}
    assert {host.split(".")[0] for host in hosts_of(manifests)} == {"mlflow", "grafana", "jaeger", "jenkins", "demo"}
    assert (
        "reviews-parsing"
        in listeners["https"]["allowedRoutes"]["namespaces"]["selector"]["matchExpressions"][0]["values"]
    )


@pytest.mark.parametrize("absent", [None, {"enabled": False}])
@pytest.mark.parametrize("extra", [{}, CLASSIC, OIDC])
def test_a_tool_that_is_not_there_has_no_door(extra: dict[str, Any], absent: Any) -> None:
    values = merged(extra, {"routes": {"jenkins": absent}})
    assert "jenkins" not in yaml.safe_dump_all(rendered("ingress", "kind", values))
    assert "jenkins" not in notes("ingress", "kind", values)


@needs_schemas
def test_without_any_tool_the_gateway_is_that_of_the_server() -> None:
    tools = {name: {"enabled": False} for name in defaults("ingress")["routes"]}
    manifests = rendered("ingress", "gke", {"routes": tools})
    assert not hosts_of(manifests)
    for manifest in manifests:
        validate(manifest)


def test_plain_http_leads_to_https_and_to_nothing_else() -> None:
    manifests = rendered("ingress", "gke")
    plain = [r for r in of_kind(manifests, "HTTPRoute") if r["spec"]["parentRefs"][0]["sectionName"] == "http"]
    (rule,) = plain[0]["spec"]["rules"]
    assert len(plain) == 1
    assert "backendRefs" not in rule
    assert rule["filters"][0]["requestRedirect"] == {"scheme": "https", "statusCode": 301}
    assert one(manifests, "Gateway")["spec"]["listeners"][0]["allowedRoutes"]["namespaces"] == {"from": "Same"}


@every_rendering
def test_every_certificate_has_an_issuer_that_has_what_it_signs_with(
    chart: str, environment: str, extra: dict[str, Any]
) -> None:
    manifests = rendered(chart, environment, extra)
    issuers = {m["metadata"]["name"]: m["spec"] for m in of_kind(manifests, "ClusterIssuer")}
    wanted = {m["spec"]["issuerRef"]["name"] for m in of_kind(manifests, "Certificate")}
    wanted |= {m["metadata"]["annotations"]["cert-manager.io/cluster-issuer"] for m in of_kind(manifests, "Ingress")}
    assert wanted == set(issuers) & wanted
    secrets = {m["spec"]["secretName"]: m["metadata"]["namespace"] for m in of_kind(manifests, "Certificate")}
    for spec in issuers.values():
        if "ca" in spec:
            assert secrets[spec["ca"]["secretName"]] == "cert-manager"
        for solver in spec.get("acme", {}).get("solvers", []):
            for parent in solver["http01"].get("gatewayHTTPRoute", {}).get("parentRefs", []):
                assert parent["sectionName"] == "http"
                one(manifests, "Gateway", parent["name"])


@needs_schemas
def test_what_istio_makes_of_the_gateway_is_whole_and_holds_the_users() -> None:
    manifests = rendered("ingress", "kind")
    gateway, overlays = one(manifests, "Gateway"), one(manifests, "ConfigMap")
    assert gateway["spec"]["infrastructure"]["parametersRef"]["name"] == overlays["metadata"]["name"]
    overlay = {key: yaml.safe_load(text) for key, text in overlays["data"].items()}
    assert set(overlay) == {"service", "deployment", "podDisruptionBudget", "horizontalPodAutoscaler"}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "x"},
        "spec": {"ports": [{"name": n, "port": p, "protocol": "TCP"} for n, p in (("http", 80), ("https", 443))]},
    }
    pod = {"containers": [{"name": "istio-proxy", "image": "istio/proxyv2:1"}], "serviceAccountName": "x"}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "x"},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod},
        },
    }
    autoscaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "x"},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "x"}, "maxReplicas": 1},
    }
    budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "x"}, "spec": {}}
    made = {
        key: _strategic(base, overlay[key])
        for key, base in {
            "service": service,
            "deployment": deployment,
            "horizontalPodAutoscaler": autoscaler,
            "podDisruptionBudget": budget,
        }.items()
    }
    for manifest in made.values():
        validate(manifest)
    assert [(p["name"], p["nodePort"]) for p in made["service"]["spec"]["ports"]] == [("http", 30080), ("https", 30443)]
    spec = made["deployment"]["spec"]["template"]["spec"]
    (proxy,) = spec["containers"]
    assert {"cpu", "memory"} <= proxy["resources"]["limits"].keys() & proxy["resources"]["requests"].keys()
    mount = next(m for m in proxy["volumeMounts"] if m["name"] == "users")
    volume = next(v for v in spec["volumes"] if v["name"] == "users")
    assert (mount["readOnly"], volume["secret"]["secretName"]) == (True, "gateway-users")
    assert f"filename: {mount['mountPath']}/htpasswd" in yaml.safe_dump(one(manifests, "EnvoyFilter"))


def _strategic(base: Any, patch: Any) -> Any:
    """Return a strategic merge: lists of named items are merged by name, ports by number."""
    if isinstance(base, dict) and isinstance(patch, dict):
        return {key: _strategic(base.get(key), patch.get(key, base.get(key))) for key in base | patch}
    if isinstance(base, list) and isinstance(patch, list) and patch and isinstance(patch[0], dict):
        key = next((k for k in ("port", "name") if k in patch[0]), None)
        if key:
            old = {item[key]: item for item in base}
            new = {item[key]: item for item in patch}
            return [_strategic(old.get(k), new.get(k, old.get(k))) for k in old | new]
    return patch


@pytest.mark.parametrize("environment", ["kind", "gke"])
def test_every_host_asks_for_a_login_but_those_whose_tool_does(environment: str) -> None:
    manifests, given = rendered("ingress", environment), values("ingress", environment)
    for kind in ("EnvoyFilter", "AuthorizationPolicy"):
        (target,) = one(manifests, kind)["spec"]["targetRefs"]
        assert (target["kind"], target["name"]) == ("Gateway", one(manifests, "Gateway")["metadata"]["name"])
    patches = one(manifests, "EnvoyFilter")["spec"]["configPatches"]
    open_hosts = {
        patch["match"]["routeConfiguration"]["vhost"]["name"]
        for patch in patches
        if patch["applyTo"] == "VIRTUAL_HOST"
        and "envoy.filters.http.basic_auth" in patch["patch"]["value"]["typed_per_filter_config"]
    }
    assert open_hosts == {f"{tool}.{given['domain']}:443" for tool in ("mlflow", "grafana", "jenkins")}
    said = notes("ingress", environment)
    assert all(f"https://{host}" in said for host in [f"api.{given['domain']}", *hosts_of(manifests)])


def test_classic_ingress_guards_the_same_doors() -> None:
    manifests = rendered("ingress", "gke", CLASSIC)
    assert not {"Gateway", "HTTPRoute", "EnvoyFilter", "AuthorizationPolicy"} & {m["kind"] for m in manifests}
    doors = {m["metadata"]["name"]: m for m in of_kind(manifests, "Ingress")}
    assert set(doors) == {"api", "grpc", "mlflow", "grafana", "jaeger", "jenkins", "demo"}
    for name, ingress in doors.items():
        spec, notes_ = ingress["spec"], ingress["metadata"]["annotations"]
        (rule,) = spec["rules"]
        assert spec["ingressClassName"] == "nginx"
        assert spec["tls"] == [{"hosts": [rule["host"]], "secretName": f"{name}-tls"}]
        assert rule["host"] == f"{name}.reviews.example.com"
        assert notes_["nginx.org/ssl-redirect"] == "true"
        assert ("nginx.org/basic-auth-secret" in notes_) == (name not in ("mlflow", "grafana", "jenkins"))
        assert ("nginx.org/limit-req-rate" in notes_) == (name in ("api", "grpc"))
        assert not any("repository" in path["path"].lower() for path in rule["http"]["paths"])
    (service,) = {p["backend"]["service"]["name"] for p in doors["grpc"]["spec"]["rules"][0]["http"]["paths"]}
    assert doors["grpc"]["metadata"]["annotations"]["nginx.org/grpc-services"] == service


@pytest.mark.parametrize("model", [MODEL, "other.model"])
def test_models_can_be_asked_but_not_loaded_through_the_gateway(model: str) -> None:
    # In a process of its own: tritonclient, which other tests import, brings the same messages once more.
    listed = subprocess.run([sys.executable, "-c", METHODS], capture_output=True, text=True, check=True)
    documented = {path.replace("{model_name}", model) for path in openapi.document(max_texts=1)["paths"]}
    served = {path.replace("{model_version}", "12") for path in documented} | set(listed.stdout.split())
    managing = {path for path in served if "repository" in path.lower()}
    assert managing
    extra = {"inference": {"model": model}}
    manifests = rendered("ingress", "gke", extra)
    policy = one(manifests, "AuthorizationPolicy")["spec"]
    assert policy["action"] == "ALLOW"
    inference, tools, redirect = (rule["to"][0]["operation"] for rule in policy["rules"])
    allowed = {path for path in served if any(_matches(path, pattern) for pattern in inference["paths"])}
    assert allowed == served - managing
    api = "api.reviews.example.com"
    assert inference["hosts"] == [api, f"{api}:*"]
    assert set(tools["hosts"]) == {
        authority for host in hosts_of(manifests) for authority in (host, f"{host}:*") if host != api
    }
    assert redirect == {"ports": ["80"]}
    classic = rendered("ingress", "gke", {**CLASSIC, **extra})
    opened = [p for name in ("api", "grpc") for p in one(classic, "Ingress", name)["spec"]["rules"][0]["http"]["paths"]]
    assert {path for path in served if any(_leads(path, one_path) for one_path in opened)} == served - managing


def test_the_gateway_and_the_route_agree_on_the_paths_of_inference() -> None:
    policy = one(rendered("ingress", "gke"), "AuthorizationPolicy")["spec"]
    patterns = policy["rules"][0]["to"][0]["operation"]["paths"]
    rules = build_rules(Backends("champion"), MODEL)
    paths = [match["path"] for rule in rules for match in rule["matches"]]
    exact = {path["value"] for path in paths if path["type"] == "Exact"}
    (versions,) = (path["value"] for path in paths if path["type"] == "RegularExpression")
    assert exact == {pattern for pattern in patterns if "{" not in pattern}
    for pattern in (pattern for pattern in patterns if "{*}" in pattern):
        assert re.fullmatch(versions, pattern.replace("{*}", "12"))


def _matches(path: str, pattern: str) -> bool:
    """Match as Istio does a pattern in which `{*}` is one segment."""
    return bool(re.fullmatch(re.escape(pattern).replace(re.escape("{*}"), "[^/]+"), path))


def _leads(path: str, rule: dict[str, Any]) -> bool:
    return path == rule["path"] or (rule["pathType"] == "Prefix" and path.startswith(f"{rule['path']}/"))


def test_the_charts_agree_with_each_other() -> None:
    door, server = defaults("ingress"), defaults("reviews-parsing")
    assert door["inference"]["service"] == f"{server['name']}-predictor"
    assert door["inference"]["namespace"] == NAMESPACE["reviews-parsing"]
    assert server["network"]["gateway"] == {
        "namespace": NAMESPACE["ingress"],
        "podLabels": {"gateway.networking.k8s.io/gateway-name": door["gateway"]["name"]},
    }
    ports = {p["name"]: p["containerPort"] for p in container(rendered("reviews-parsing", "kind"))["ports"]}
    grpc = one(rendered("ingress", "kind", CLASSIC), "Ingress", "grpc")["spec"]["rules"][0]["http"]["paths"][0]
    assert grpc["backend"]["service"]["port"]["number"] == ports["grpc"]
    assert door["network"]["prometheus"] == server["network"]["prometheus"]
    assert door["network"]["dns"] == server["network"]["dns"]


def test_mlflow_is_under_a_path_that_it_does_not_know_of() -> None:
    root, inner, rest = one(rendered("ingress", "gke"), "HTTPRoute", "mlflow")["spec"]["rules"]
    assert [match["path"] for match in root["matches"]] == [{"type": "Exact", "value": v} for v in ("/", "/mlflow")]
    assert root["filters"][0]["requestRedirect"]["path"]["replaceFullPath"] == "/mlflow/"
    assert inner["matches"] == [{"path": {"type": "PathPrefix", "value": "/mlflow"}}]
    assert inner["filters"][0]["urlRewrite"]["path"] == {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}
    assert inner["backendRefs"] == rest["backendRefs"]
