"""The chart of the inference server: what its manifests say of each other, of KServe and of the server, is so."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import environment_variables

import kserve
from reviews_parsing.rollout import comparison, route
from reviews_parsing.rollout.cluster import COMPARISON_SUFFIX
from reviews_parsing.settings import Settings

from .complaints import pods
from .rendering import (
    CHARTS,
    NAME,
    PROJECT,
    SCHEMAS,
    Manifest,
    container,
    defaults,
    notes,
    of_kind,
    one,
    predictor,
    predictor_labels,
    rendered,
    validate,
    values,
)


def test_what_the_inference_service_names_is_there() -> None:
    manifests = rendered("reviews-parsing", "gke", {"model": {"version": "7"}})
    service, runtime = one(manifests, "InferenceService"), one(manifests, "ServingRuntime")
    its, server = service["spec"]["predictor"], runtime["spec"]["containers"][0]
    assert its["model"]["runtime"] == runtime["metadata"]["name"]
    assert its["model"]["modelFormat"]["name"] in [f["name"] for f in runtime["spec"]["supportedModelFormats"]]
    assert its["model"]["protocolVersion"] in runtime["spec"]["protocolVersions"]
    assert its["serviceAccountName"] == one(manifests, "ServiceAccount")["metadata"]["name"]
    assert {m["name"] for m in server["volumeMounts"]} == {v["name"] for v in its["volumes"]}
    ports = {port["name"]: port["containerPort"] for port in server["ports"]}
    assert ports == {"http": 8080, "grpc": 8081, "metrics": 8082}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert server[probe]["httpGet"]["port"] == ports["http"]
    assert next(iter(ports)) == "http", "KServe makes the first port the Service's port 80"
    homes = [e["value"] for e in server["env"] if e["name"] == "REVIEWS_PARSING_HOME"]
    assert homes[0] in [m["mountPath"] for m in server["volumeMounts"]]


VERSION = {"model": {"version": "7"}}
CANARY: dict[str, Any] = {"name": "v8", "minReplicas": 1, "model": {"name": "", "env": [{"name": "A", "value": "b"}]}}


def test_kserve_makes_one_container_of_champion_and_canary() -> None:
    """A predictor that it takes for a multi-model server gets a container `agent`: 100m, 100Mi, 31 s to end."""
    manifests = rendered("reviews-parsing", "gke", VERSION)
    service, runtime = one(manifests, "InferenceService"), one(manifests, "ServingRuntime")
    stable = service["spec"]["predictor"]
    entry = {"trafficPercent": 10, "predictor": {**CANARY, "model": {**CANARY["model"], **_format("huggingface")}}}
    for variant in (stable, kserve.canary_predictor(stable, entry, 1)):
        assert not kserve.is_multi_model(variant)
        made = kserve.deployment(service, variant, runtime, 1)
        assert [c["name"] for c in made["spec"]["template"]["spec"]["containers"]] == ["kserve-container"]
    other = {**stable, "model": {**stable["model"], **_format("reviews-parsing")}}
    made = kserve.deployment(service, other, runtime, 1)
    assert [c["name"] for c in made["spec"]["template"]["spec"]["containers"]] == ["kserve-container", "agent"]


def _format(name: str) -> dict[str, Any]:
    return {"modelFormat": {"name": name}}


def test_kserve_leaves_the_replicas_to_the_scaled_object() -> None:
    for extra, replicas in (({}, None), ({"autoscaling": {"enabled": False}}, 3)):
        manifests = rendered("reviews-parsing", "gke", extra)
        service, runtime = one(manifests, "InferenceService"), one(manifests, "ServingRuntime")
        made = kserve.deployment(service, service["spec"]["predictor"], runtime, 3)
        assert made["spec"].get("replicas") == replicas


def test_the_route_is_the_charts_and_its_rules_are_those_that_a_rollout_writes() -> None:
    manifests = rendered("reviews-parsing", "gke", VERSION)
    service, runtime = one(manifests, "InferenceService"), one(manifests, "ServingRuntime")
    assert kserve.http_route(service, "api.x", {"http": 80, "grpc": 8081}, {}, splits=True) == {}
    found = one(manifests, "HTTPRoute")
    assert found["metadata"]["name"] == f"{NAME}{route.ROUTE_SUFFIX}"
    assert found["spec"]["rules"] == route.build_rules(route.Backends(kserve.predictor_name(service)), NAME)
    # The server calls its model so, whatever name it has in the registry.
    gym = rendered("reviews-parsing", "gke", {"model": {"name": f"{NAME}-gym", "version": "7"}})
    assert one(gym, "HTTPRoute")["spec"]["rules"] == found["spec"]["rules"]
    ports = kserve.service_ports(runtime)
    assert (ports["http"], ports["grpc"]) == (route.REST_PORT, route.GRPC_PORT)
    (unset,) = of_kind(rendered("reviews-parsing", "gke"), "HTTPRoute")
    assert "rules" not in unset["spec"], "the rollout's field manager owns them"
    assert not of_kind(rendered("reviews-parsing", "gke", {"route": {"host": ""}}), "HTTPRoute")
    (parent,) = found["spec"]["parentRefs"]
    gateway = one(rendered("ingress", "gke"), "Gateway")
    assert (parent["namespace"], parent["name"]) == (gateway["metadata"]["namespace"], gateway["metadata"]["name"])
    assert parent["sectionName"] in [listener["name"] for listener in gateway["spec"]["listeners"]]
    assert found["spec"]["hostnames"] == [f"api.{values('ingress', 'gke')['domain']}"]


def test_every_client_of_mlflow_gets_artifacts_through_mlflow() -> None:
    for (_, pod), environment in ((p, e) for e in ("kind", "gke") for p in pods(rendered("reviews-parsing", e))):
        for container_ in pod["containers"]:
            variables = {e["name"]: e.get("value") for e in container_["env"]}
            if "MLFLOW_TRACKING_URI" in variables:
                assert variables["MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD"] == "false", environment


def test_pods_share_fetched_versions_where_there_is_a_volume_for_it() -> None:
    manifests = rendered("reviews-parsing", "gke", {"cache": {"enabled": True, "storageClass": "standard-rwx"}})
    claim = one(manifests, "PersistentVolumeClaim")
    (volume,) = [v for v in predictor(manifests)["volumes"] if "persistentVolumeClaim" in v]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    (mount,) = [m for m in container(manifests)["volumeMounts"] if m["name"] == volume["name"]]
    (home,) = [e["value"] for e in container(manifests)["env"] if e["name"] == "REVIEWS_PARSING_HOME"]
    assert mount["mountPath"] == f"{home}/models"
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert "PersistentVolumeClaim" not in {m["kind"] for m in rendered("reviews-parsing", "gke")}


def test_pods_on_gke_share_fetched_versions_on_a_filestore_instance_in_the_network_of_the_cluster() -> None:
    manifests = rendered("reviews-parsing", "gke", {"cache": {"enabled": True, "filestoreNetwork": "some-network"}})
    storage_class, claim = one(manifests, "StorageClass"), one(manifests, "PersistentVolumeClaim")
    assert storage_class["provisioner"] == "filestore.csi.storage.gke.io"
    assert storage_class["parameters"]["network"] == "some-network"
    assert claim["spec"]["storageClassName"] == storage_class["metadata"]["name"]


def test_a_comparison_reaches_pods_without_a_restart() -> None:
    """A ConfigMap that is mounted as a folder: the kubelet updates its files."""
    manifests = rendered("reviews-parsing", "gke")
    (file,) = [e["value"] for e in container(manifests)["env"] if e["name"] == "REVIEWS_PARSING_COMPARISON"]
    (mount,) = [m for m in container(manifests)["volumeMounts"] if file == f"{m['mountPath']}/{comparison.KEY}"]
    assert "subPath" not in mount
    (volume,) = [v for v in predictor(manifests)["volumes"] if v["name"] == mount["name"]]
    assert volume["configMap"] == {"name": f"{NAME}{COMPARISON_SUFFIX}", "optional": True}
    assert "data" not in one(manifests, "ConfigMap", f"{NAME}{COMPARISON_SUFFIX}"), "the data is the rollout's"


def test_a_claim_that_exists_is_used_instead() -> None:
    manifests = rendered("reviews-parsing", "gke", {"cache": {"enabled": True, "existingClaim": "models"}})
    assert not of_kind(manifests, "PersistentVolumeClaim")
    (volume,) = [v for v in predictor(manifests)["volumes"] if "persistentVolumeClaim" in v]
    assert volume["persistentVolumeClaim"]["claimName"] == "models"


@pytest.mark.parametrize("budget", [60, 601])
def test_a_pod_waits_for_mlflow_within_the_budget_of_its_start(budget: int) -> None:
    server = container(rendered("reviews-parsing", "gke", {"startup": {"budgetSeconds": budget}}))
    probe = server["startupProbe"]
    (waits,) = [int(e["value"]) for e in server["env"] if e["name"] == "REVIEWS_PARSING_START_SECONDS"]
    assert budget <= probe["periodSeconds"] * probe["failureThreshold"] <= budget + 1
    assert budget / 2 < waits <= budget * 3 / 4
    # The server ends a fetch with the wait. A shorter limit of one fetch would not follow the budget.
    assert [int(e["value"]) for e in server["env"] if e["name"] == "REVIEWS_PARSING_FETCH_TIMEOUT"] == [waits]


def test_a_container_that_waited_for_mlflow_is_restarted_without_a_back_off() -> None:
    """The kubelet forgets the back-off of a container that ran for twice its maximum of 300 seconds."""
    (waits,) = [
        int(e["value"])
        for e in container(rendered("reviews-parsing", "gke"))["env"]
        if e["name"] == "REVIEWS_PARSING_START_SECONDS"
    ]
    assert waits > 2 * 300


def test_every_variable_is_one_that_the_server_knows() -> None:
    known = {name for name in vars(environment_variables) if name.startswith("MLFLOW_")}
    for name, field in Settings.model_fields.items():
        known.add(str(field.validation_alias or f"REVIEWS_PARSING_{name.upper()}"))
    (pod,) = [pod for where, pod in pods(rendered("reviews-parsing", "gke", VERSION)) if "InferenceService" in where]
    variables = {e["name"] for e in pod["containers"][0]["env"]}
    login = {"MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"}
    assert {name for name in variables if not name.startswith("OTEL_")} - login <= known
    documented = (PROJECT / "docs" / "reference" / "serving.md").read_text(encoding="utf-8")
    assert all(name in documented for name in variables if name.startswith("OTEL_"))


def test_the_version_is_written_by_whoever_rolls_out_unless_it_is_given() -> None:
    assert "env" not in predictor(rendered("reviews-parsing", "kind"))["model"]
    given = predictor(rendered("reviews-parsing", "kind", {"model": {"version": "12"}}))["model"]["env"]
    assert given == [{"name": "REVIEWS_PARSING_MODEL_URI", "value": f"models:/{NAME}/12"}]
    assert "rollout" in notes("reviews-parsing", "kind")
    assert "version 12" in notes("reviews-parsing", "kind", {"model": {"version": "12"}})


def test_a_new_version_of_the_chart_restarts_no_pod(tmp_path: Path) -> None:
    folder = tmp_path / "reviews-parsing"
    shutil.copytree(CHARTS / "reviews-parsing", folder)
    chart = yaml.safe_load((folder / "Chart.yaml").read_text(encoding="utf-8"))
    (folder / "Chart.yaml").write_text(yaml.safe_dump({**chart, "version": "0.2.0"}), encoding="utf-8")
    before, after = rendered("reviews-parsing", "kind"), rendered("reviews-parsing", "kind", folder=folder)
    assert before != after
    assert one(before, "InferenceService") == one(after, "InferenceService")
    assert container(before) == container(after)


@pytest.mark.parametrize("seconds", [60, 200])
def test_a_pod_has_time_to_finish_what_it_has_begun(seconds: int) -> None:
    manifests = rendered("reviews-parsing", "kind", {"drain": {"requestSeconds": seconds}})
    (pod,) = [pod for where, pod in pods(manifests) if "InferenceService" in where]
    asleep = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    (drain,) = [e["value"] for e in pod["containers"][0]["env"] if e["name"] == "REVIEWS_PARSING_DRAIN_SECONDS"]
    assert int(drain) == seconds
    assert pod["terminationGracePeriodSeconds"] >= asleep + seconds + 15
    strategy = pod["deploymentStrategy"]["rollingUpdate"]
    assert (strategy["maxUnavailable"], strategy["maxSurge"]) == (0, 1)


@pytest.mark.parametrize("canary", [None, "v8"])
def test_every_selector_finds_the_pods_of_champion_and_canary(canary: str | None) -> None:
    manifests, labels = rendered("reviews-parsing", "gke"), predictor_labels(NAME, canary)
    selectors = [
        one(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        one(manifests, "ServiceMonitor")["spec"]["selector"]["matchLabels"],
        one(manifests, "NetworkPolicy", NAME)["spec"]["podSelector"]["matchLabels"],
        *(c["labelSelector"]["matchLabels"] for c in predictor(manifests)["topologySpreadConstraints"]),
        defaults("ingress")["inference"]["podLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= labels.items()


def autoscaler_of(manifests: list[Manifest]) -> str:
    annotations = one(manifests, "InferenceService")["metadata"]["annotations"]
    return str(annotations["serving.kserve.io/autoscalerClass"])


def test_metrics_are_taken_from_a_port_that_has_them_and_scale_what_is_there() -> None:
    manifests = rendered("reviews-parsing", "gke")
    (endpoint,) = one(manifests, "ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["port"] in [port["name"] for port in container(manifests)["ports"]]
    scaled = one(manifests, "ScaledObject")["spec"]
    assert scaled["scaleTargetRef"]["name"] == f"{NAME}-predictor"
    assert autoscaler_of(manifests) == "external"
    bounds = predictor(manifests)
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (bounds["minReplicas"], bounds["maxReplicas"])
    query = scaled["triggers"][0]["metadata"]["query"]
    assert 'namespace="reviews-parsing"' in query
    (metric,) = re.findall(r"reviews_parsing_\w+", query)
    assert f"`{metric}`" in (PROJECT / "docs" / "reference" / "serving.md").read_text(encoding="utf-8")
    still = rendered("reviews-parsing", "gke", {"autoscaling": {"enabled": False}})
    assert not of_kind(still, "ScaledObject")
    assert autoscaler_of(still) == "none"


def test_rules_and_dashboards_are_loaded_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "reviews-parsing"
    shutil.copytree(CHARTS / "reviews-parsing", folder)
    rule = {"alert": "Slow", "expr": "up == 0", "annotations": {"summary": "{{ $labels.pod }} is slow"}}
    for name, content in (
        ("rules/extra.yaml", yaml.safe_dump({"groups": [{"name": "extra", "rules": [rule]}]})),
        ("dashboards/extra.json", json.dumps({"title": "{{ version }} «x»\n"})),
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    manifests = rendered("reviews-parsing", "kind", folder=folder)
    for file in (folder / "rules").iterdir():
        loaded = one(manifests, "PrometheusRule", f"{NAME}-{file.stem}")
        assert loaded["spec"] == yaml.safe_load(file.read_text(encoding="utf-8"))
        if SCHEMAS.is_dir():
            validate(loaded)
    for file in (folder / "dashboards").iterdir():
        loaded = one(manifests, "ConfigMap", f"{NAME}-{file.stem}")
        assert loaded["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert loaded["metadata"]["namespace"] == "monitoring"
        assert loaded["data"] == {file.name: file.read_text(encoding="utf-8")}
    assert len(of_kind(manifests, "PrometheusRule")) == len(list((folder / "rules").iterdir()))
    maps = [m for m in of_kind(manifests, "ConfigMap") if not m["metadata"]["name"].endswith(COMPARISON_SUFFIX)]
    assert len(maps) == len(list((folder / "dashboards").iterdir()))
