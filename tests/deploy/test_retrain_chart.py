"""The retraining of the chart: its command, its rights, and what it may reach."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from reviews_parsing.settings import MODEL_NAME, Settings

from .rendering import NAMESPACE, PROJECT, RETRAIN, Manifest, defaults, of_kind, one, rendered
from .test_tools_chart import parsed

NAME = "reviews-parsing-retrain"
PLAIN: dict[str, Any] = {"retrain": {"enabled": True, "options": ["--every", "30d"]}}


def job(found: list[Manifest]) -> dict[str, Any]:
    spec: dict[str, Any] = one(found, "CronJob", NAME)["spec"]
    return spec


def pod(found: list[Manifest]) -> dict[str, Any]:
    spec: dict[str, Any] = job(found)["jobTemplate"]["spec"]["template"]["spec"]
    return spec


def test_it_is_off_unless_asked_for_and_needs_a_trigger() -> None:
    assert not of_kind(rendered("reviews-parsing", "gke"), "CronJob")
    with pytest.raises(Exception, match="options"):
        rendered("reviews-parsing", "gke", {"retrain": {"enabled": True}})
    with pytest.raises(Exception, match="page"):
        rendered("reviews-parsing", "gke", {"retrain": {**PLAIN["retrain"], "corrections": True}})


def test_it_runs_the_command_that_a_laptop_runs() -> None:
    found = rendered("reviews-parsing", "gke", RETRAIN)
    (container,) = pod(found)["containers"]
    options = parsed(container["args"])
    assert (options["every"], options["corrections"], options["canary"]) == ("30d", 50, 10)
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod(found)["volumes"]}
    assert set(mounts.values()) == set(volumes)
    assert options["data"] == "/data/reviews.jsonl"
    assert volumes[mounts["/data"]]["persistentVolumeClaim"]["claimName"] == "labelled-reviews"
    # The file of corrections in the home of the page.
    store, claim = options["store"], volumes[mounts["/corrections"]]["persistentVolumeClaim"]["claimName"]
    assert (str(store.parent), store.name) == ("/corrections", "corrections.db")
    demo = one(found, "Deployment", "reviews-parsing-demo")["spec"]["template"]
    assert claim in [
        v["persistentVolumeClaim"]["claimName"] for v in demo["spec"]["volumes"] if "persistentVolumeClaim" in v
    ]
    (term,) = pod(found)["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["labelSelector"]["matchLabels"].items() <= demo["metadata"]["labels"].items()


def test_its_variables_are_those_of_the_settings() -> None:
    (container,) = pod(rendered("reviews-parsing", "gke", RETRAIN))["containers"]
    variables = {e["name"]: e.get("value") for e in container["env"]}
    known = {str(f.validation_alias or f"REVIEWS_PARSING_{n.upper()}") for n, f in Settings.model_fields.items()}
    assert {name for name in variables if name.startswith("REVIEWS_PARSING_")} <= known
    assert variables["REVIEWS_PARSING_APPROVAL"] == "true"
    assert (variables["REVIEWS_PARSING_SERVICE"], variables["REVIEWS_PARSING_NAMESPACE"]) == (
        MODEL_NAME,
        NAMESPACE["reviews-parsing"],
    )


def test_it_may_ask_prometheus_for_the_alert_of_drift() -> None:
    network = defaults("reviews-parsing")["network"]["prometheus"]
    (policy,) = (
        p for p in of_kind(rendered("reviews-parsing", "gke", PLAIN), "NetworkPolicy") if NAME in p["metadata"]["name"]
    )
    peers = [peer for rule in policy["spec"]["egress"] for peer in rule.get("to", [])]
    assert network["podLabels"] in [peer.get("podSelector", {}).get("matchLabels") for peer in peers]


def test_one_works_at_a_time_and_a_refusal_is_not_repeated() -> None:
    spec = job(rendered("reviews-parsing", "gke", PLAIN))
    assert spec["concurrencyPolicy"] == "Forbid"
    failed = [r for r in spec["jobTemplate"]["spec"]["podFailurePolicy"]["rules"] if r["action"] == "FailJob"]
    assert [r["onExitCodes"]["values"] for r in failed] == [[1, 2]]


def test_only_a_canary_needs_rights_and_they_are_those_of_the_pipeline() -> None:
    assert not of_kind(rendered("reviews-parsing", "gke", PLAIN), "Role")
    plain = pod(rendered("reviews-parsing", "gke", PLAIN))
    assert "serviceAccountName" not in plain
    assert [v["name"] for v in plain["volumes"]] == ["tmp", "mlflow-ca"]
    found = rendered("reviews-parsing", "gke", RETRAIN)
    file = PROJECT / "deploy" / "services" / "jenkins" / "k8s-auth" / "rollout.yaml"
    pipeline = [d for d in yaml.safe_load_all(file.read_text(encoding="utf-8")) if d["kind"] == "Role"]
    assert one(found, "Role")["rules"] == pipeline[0]["rules"]
    binding = one(found, "RoleBinding")
    assert binding["roleRef"]["name"] == one(found, "Role")["metadata"]["name"]
    assert binding["subjects"][0]["name"] == pod(found)["serviceAccountName"] == NAME
    assert one(found, "ServiceAccount", NAME)["automountServiceAccountToken"] is False


def test_a_dark_canary_has_the_same_rights_and_is_tested_at_its_pods() -> None:
    found = rendered("reviews-parsing", "gke", {"retrain": {**PLAIN["retrain"], "canary": 0}})
    (container,) = pod(found)["containers"]
    assert parsed(container["args"])["canary"] == 0
    assert one(found, "Role")["rules"] == one(rendered("reviews-parsing", "gke", RETRAIN), "Role")["rules"]
    policies = {p["metadata"]["name"]: p["spec"] for p in of_kind(found, "NetworkPolicy")}
    smoke = {"from": [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": NAME}}}]}
    assert {**smoke, "ports": [{"protocol": "TCP", "port": 8080}]} in policies[MODEL_NAME]["ingress"]
    with pytest.raises(Exception, match="canary"):
        rendered("reviews-parsing", "gke", {"retrain": {**PLAIN["retrain"], "canary": "10 %"}})


def test_the_image_has_what_training_needs_and_its_context_has_the_corpus() -> None:
    text = (PROJECT / "deploy" / "train" / "Dockerfile").read_text(encoding="utf-8")
    assert {"train", "k8s", "signing"} == set(re.findall(r"--extra (\w+)", text))
    assert "USER 10001:10001" in text
    (container,) = pod(rendered("reviews-parsing", "gke", PLAIN))["containers"]
    assert container["image"].startswith("reviews-parsing-train:")
    assert "-f deploy/train/Dockerfile" in (PROJECT / "Makefile").read_text(encoding="utf-8")
