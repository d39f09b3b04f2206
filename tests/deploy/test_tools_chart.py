"""Page and report of the chart: their commands, what they mount, and the image that they run."""

from __future__ import annotations

import re
from typing import Any

import pytest
from typer.main import get_command

from reviews_parsing.cli.app import app
from reviews_parsing.settings import Settings

from .rendering import NAMESPACE, PROJECT, TOOLS, Manifest, defaults, notes, of_kind, one, rendered

# Read by the page of the release that limits the hosts by which browsers reach it.
PAGE_HOSTS = "REVIEWS_PARSING_PAGE_HOSTS"


def manifests(extra: dict[str, Any] | None = None) -> list[Manifest]:
    return rendered("reviews-parsing", "gke", extra or TOOLS)


def page(found: list[Manifest]) -> dict[str, Any]:
    spec: dict[str, Any] = one(found, "Deployment", "reviews-parsing-demo")["spec"]["template"]["spec"]
    return spec


def report(found: list[Manifest]) -> dict[str, Any]:
    spec: dict[str, Any] = one(found, "CronJob", "reviews-parsing-report")["spec"]["jobTemplate"]["spec"]["template"][
        "spec"
    ]
    return spec


def parsed(arguments: list[str]) -> dict[str, Any]:
    """Return the options of a command, as the command line understands them."""
    command, *rest = arguments
    context = get_command(app).commands[command].make_context(command, list(rest))  # type: ignore[attr-defined]
    options: dict[str, Any] = context.params
    return options


def test_nothing_of_them_is_there_unless_asked_for() -> None:
    kinds = {m["kind"] for m in rendered("reviews-parsing", "gke")}
    assert not {"Deployment", "CronJob", "Service"} & kinds


def test_the_gateway_leads_to_the_page() -> None:
    found = manifests()
    route = defaults("ingress")["routes"]["demo"]
    service = one(found, "Service")
    deployment = one(found, "Deployment")
    assert (route["service"], route["namespace"]) == (service["metadata"]["name"], NAMESPACE["reviews-parsing"])
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert route["podLabels"].items() <= labels.items()
    (port,) = service["spec"]["ports"]
    (container,) = page(found)["containers"]
    (target,) = [p for p in container["ports"] if p["name"] == port["targetPort"]]
    assert (route["port"], route["podPort"]) == (port["port"], target["containerPort"])
    assert parsed(container["args"])["port"] == target["containerPort"]


def test_the_page_asks_the_champion_and_keeps_corrections() -> None:
    found = manifests()
    (container,) = page(found)["containers"]
    variables = {e["name"]: e["value"] for e in container["env"]}
    known = {str(f.validation_alias or f"REVIEWS_PARSING_{n.upper()}") for n, f in Settings.model_fields.items()}
    assert set(variables) <= known | {PAGE_HOSTS}
    service = one(found, "InferenceService")["metadata"]
    assert variables["REVIEWS_PARSING_SERVER_URL"] == f"http://{service['name']}-predictor.{service['namespace']}.svc"
    assert variables[PAGE_HOSTS] == TOOLS["page"]["host"]
    (mount,) = [m for m in container["volumeMounts"] if m["mountPath"] == variables["REVIEWS_PARSING_HOME"]]
    (volume,) = [v for v in page(found)["volumes"] if v["name"] == mount["name"]]
    claim = one(found, "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"])
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert one(found, "Deployment")["spec"]["strategy"] == {"type": "Recreate"}


def test_the_report_is_a_command_of_ours_that_writes_to_its_volume() -> None:
    found = manifests()
    (container,) = report(found)["containers"]
    options = parsed(container["args"])
    assert options["parsed"] == TOOLS["report"]["sources"]
    assert options["by"] == ["business,month"]
    (out,) = [str(value) for name, value in options.items() if str(value).endswith(".html")]
    assert [m["mountPath"] for m in container["volumeMounts"] if out.startswith(f"{m['mountPath']}/")] == ["/reports"]
    assert container["envFrom"] == [{"secretRef": {"name": "reviews-store"}}]
    job = one(found, "CronJob")["spec"]
    assert job["concurrencyPolicy"] == "Forbid"
    assert job["jobTemplate"]["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [3]
    anywhere = {**TOOLS, "report": {**TOOLS["report"], "storeSecret": ""}}
    assert "envFrom" not in report(manifests(anywhere))["containers"][0]


def test_the_report_has_an_identity_for_the_store_and_reaches_what_gives_its_tokens() -> None:
    buckets = {**TOOLS, "report": {**TOOLS["report"], "sources": ["gs://reviews/parsed/"], "storeSecret": ""}}
    for extra, metadata in ((TOOLS, False), (buckets, True)):
        found = manifests(extra)
        account = one(found, "ServiceAccount", report(found)["serviceAccountName"])
        assert account["metadata"]["annotations"] == TOOLS["report"]["serviceAccount"]["annotations"]
        assert account["automountServiceAccountToken"] is False
        egress = one(found, "NetworkPolicy", "reviews-parsing-report")["spec"]["egress"]
        # https://cloud.google.com/kubernetes-engine/docs/how-to/workload-identity: Dataplane V2, then others.
        for address, port in (("169.254.169.254", 80), ("169.254.169.252", 988)):
            to = [{"ipBlock": {"cidr": f"{address}/32"}}]
            assert ({"to": to, "ports": [{"protocol": "TCP", "port": port}]} in egress) == metadata


def test_an_option_that_does_not_exist_is_noticed() -> None:
    with pytest.raises(Exception, match="No such option"):
        parsed(["insights", "s3://reviews/parsed/", "--no-such-option"])


def test_the_image_holds_what_both_need() -> None:
    text = (PROJECT / "deploy" / "tools" / "Dockerfile").read_text(encoding="utf-8")
    assert {"demo", "insights"} == set(re.findall(r"--extra (\w+)", text))
    assert "USER 10001:10001" in text
    assert 'ENTRYPOINT ["reviews-parsing"]' in text
    for spec in (page(manifests()), report(manifests())):
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["containers"][0]["image"].startswith("reviews-parsing-tools:")
        assert not spec["containers"][0].get("command"), "the image's entry point runs"
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    assert "-f deploy/tools/Dockerfile" in makefile


def test_helm_says_how_to_read_the_report() -> None:
    assert "reviews-parsing-report" in notes("reviews-parsing", "gke", TOOLS)
    assert "reviews-parsing-report" not in notes("reviews-parsing", "gke")
    assert of_kind(manifests(), "NetworkPolicy")
