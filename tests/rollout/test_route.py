"""Canaries and the gateway's route: with KServe's tag, with a release of it that splits, and with the chart's route."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from reviews_parsing.rollout import Service, route, steps

from .api import HOST, NAME, TOKEN, Cluster, model
from .conftest import Run, known_to

SHARED = Path(os.environ.get("REVIEWS_PARSING_SHARED", Path(__file__).parents[2].parent / "shared"))
CHAMPION, CANARY = f"{NAME}-predictor", f"{NAME}-v3-predictor"
HEADER = {"type": "Exact", "name": "reviews-parsing-version", "value": "3"}
Made = Callable[..., Cluster]


@pytest.fixture
def made(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    """Yield a factory of clusters that serve version 1; afterwards require that no request was lost."""
    clusters: list[Cluster] = []

    def make(**options: Any) -> Cluster:
        clusters.append(Cluster(**options))
        known_to(clusters[-1].url, TOKEN, tmp_path, monkeypatch)
        return clusters[-1]

    yield make
    for cluster in clusters:
        cluster.close()
        assert cluster.lost == []


def start(run: Run, canary: int, *more: str) -> Any:
    return run("start", "--version", "3", "--canary", str(canary), *more)


def test_with_the_tags_own_route_a_canary_is_not_called_one(made: Made, run: Run) -> None:
    cluster = made(route="kserve")
    spec = cluster.object["spec"]
    error = start(run, 50).error
    assert error.startswith("the gateway did not give version 3 its requests (KServe's own HTTPRoute, which 0.20.0")
    assert "100 % for the champion and 0 % for a canary" in error
    assert error.endswith("undone, version 1 goes on serving")
    assert cluster.object["spec"] == spec
    assert cluster.weights == {CHAMPION: 100}
    assert not [request for request in cluster.requests if request.startswith("PATCH") and "httproutes" in request]


def test_with_the_tags_own_route_status_tells_what_the_gateway_has(made: Made, run: Run) -> None:
    cluster = made(route="kserve")
    start(run, 0)
    cluster.apply(
        {"spec": {**cluster.object["spec"], "canary": [{**cluster.object["spec"]["canary"][0], "trafficPercent": 50}]}},
        "reviews-parsing-rollout",
        force=True,
    )
    form = run("status", "--json").json
    assert (form["canary"]["percent"], form["canary"]["requested_percent"]) == (0, 50)
    assert form["under_way"].startswith("version 3 should get 50 % of the requests, but it gets 0 % (KServe's own")


def test_with_a_release_that_splits_a_canary_gets_its_share(made: Made, run: Run) -> None:
    cluster = made(route="kserve", splits=True)
    form = start(run, 50, "--json").json
    assert (form["canary"]["percent"], form["gateway"]) == (50, None)
    assert cluster.weights == {CHAMPION: 50, CANARY: 50}
    assert run("promote", "--json").json["champion"]["version"] == "3"
    assert cluster.weights == {CHAMPION: 100}
    assert not [request for request in cluster.requests if request.startswith("PATCH") and "httproutes" in request]


@pytest.mark.parametrize("splits", [False, True])
def test_the_charts_route_splits_whatever_kserve_does(made: Made, run: Run, splits: bool) -> None:
    cluster = made(splits=splits)
    form = start(run, 10, "--json").json
    assert (form["canary"]["percent"], form["gateway"]) == (10, None)
    assert cluster.weights == {CHAMPION: 90, CANARY: 10}
    assert NAME not in cluster.routes, "KServe writes no route of its own"
    run("promote")
    assert cluster.weights == {CHAMPION: 100}
    assert cluster.pods() == {"predictor": model("3")}


def rules_of(cluster: Cluster) -> dict[str, Any]:
    return {rule["name"]: rule for rule in cluster.routes[f"{NAME}-api"].object["spec"]["rules"]}


def test_paths_have_the_servers_name_of_a_model_whatever_the_registrys(
    made: Made, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = made()
    monkeypatch.setenv("REVIEWS_PARSING_MODEL_NAME", f"{NAME}-gym")
    run("start", "--image", f"registry.example.com/server@sha256:{'b' * 64}")
    paths = [match["path"]["value"] for match in rules_of(cluster)["rest"]["matches"]]
    assert f"/v2/models/{NAME}/infer" in paths
    assert not [path for path in paths if "gym" in path]


def test_a_dark_version_is_reached_by_header_alone(made: Made, run: Run) -> None:
    cluster = made()
    done = start(run, 0)
    assert "version 3 is dark: test it with the header reviews-parsing-version: 3" in done.err
    assert cluster.weights == {CHAMPION: 100}
    rules = rules_of(cluster)
    for name, port in (("grpc-version", 8081), ("rest-version", 80)):
        assert [(b["name"], b["port"]) for b in rules[name]["backendRefs"]] == [(CANARY, port)]
        assert all(match["headers"] == [HEADER] for match in rules[name]["matches"])
    assert "version 3 is dark since" in run("status").out
    assert run("undo").code == 0
    assert set(rules_of(cluster)) == {"grpc", "rest"}
    assert cluster.pods() == {"predictor": model("1")}


def test_a_dark_version_gets_a_share_later_and_a_larger_one_more_pods(made: Made, run: Run) -> None:
    cluster = made()
    start(run, 0)
    assert start(run, 10, "--json").json["canary"]["percent"] == 10
    form = start(run, 50, "--json").json
    assert (form["canary"]["percent"], form["canary"]["pods"]) == (50, "2 of 2 pods ready")
    assert cluster.weights == {CHAMPION: 50, CANARY: 50}
    assert start(run, 0, "--json").json["canary"]["percent"] == 0
    assert cluster.weights == {CHAMPION: 100}


def test_without_a_route_no_canary_gets_requests_but_a_dark_version_may_be_tested(made: Made, run: Run) -> None:
    cluster = made(route=None)
    assert "a classic Ingress splits none" in start(run, 10).error
    assert not [request for request in cluster.requests if request.startswith("PATCH")]
    done = start(run, 0)
    assert f"version 3 is dark: test it at the Service {CANARY}" in done.err
    assert run("promote", "--json").json["champion"]["version"] == "3"
    assert run("start", "--version", "2", "--json").json["champion"]["version"] == "2"


@pytest.mark.parametrize("gateway_api", [True, False])
def test_without_a_route_a_pipeline_needs_no_right_to_read_kserves(made: Made, run: Run, gateway_api: bool) -> None:
    """As with a classic Ingress: the chart has no route, and the cluster may not know that kind."""
    cluster = made(route=None)
    cluster.gateway_api, cluster.readable_routes = gateway_api, {f"{NAME}-api"}
    assert run("start", "--version", "2", "--json").json["champion"]["version"] == "2"
    assert "a classic Ingress splits none" in start(run, 10).error
    assert run("undo", "--json").json["champion"]["version"] == "1"


@pytest.mark.parametrize(
    ("gateway", "words"), [("ignores", "no gateway has taken the route"), ("refuses", "no such listener")]
)
def test_a_gateway_that_does_not_take_the_weights_ends_the_canary(
    made: Made, run: Run, gateway: str, words: str
) -> None:
    cluster = made()
    cluster.gateway = gateway
    cluster.routes[f"{NAME}-api"].object.pop("status", None)
    error = start(run, 10).error
    assert words in error
    assert "version 1 goes on serving" in error
    assert cluster.pods() == {"predictor": model("1")}
    assert "warning: the gateway does not route as written" in run("start", "--version", "2").err


def test_the_first_version_gets_the_route_and_a_lost_route_is_written_again(made: Made, run: Run) -> None:
    cluster = made(served=None)
    assert cluster.weights == {}
    run("start", "--version", "1")
    assert cluster.weights == {CHAMPION: 100}
    rules = rules_of(cluster)
    assert set(rules) == {"grpc", "rest"}
    cluster.edit_route([rules["rest"]], "kubectl")
    assert run("status", "--json").json["gateway"] is None
    assert "serves version 1 already" in run("start", "--version", "1", "--force").err
    assert set(rules_of(cluster)) == {"grpc", "rest"}


def test_weights_that_somebody_changed_are_told(made: Made, run: Run) -> None:
    cluster = made()
    start(run, 10)
    rules = [rule for name, rule in rules_of(cluster).items() if "version" not in name]
    for rule in rules:
        rule["backendRefs"] = rule["backendRefs"][:1]
    cluster.edit_route(rules, "kubectl")
    form = run("status", "--json").json
    assert form["canary"]["percent"] == 0
    assert "should get 10 % of the requests, but it gets 0 % (the chart's HTTPRoute has 100 %" in form["under_way"]
    error = run("promote", "--auto", "--for", "1h", "--prometheus", "http://127.0.0.1:1").error
    assert "the gateway does not send it its share" in error or "Prometheus" in error


def drift(cluster: Cluster, percent: int) -> None:
    """Give the canary another share, as a person with kubectl may."""
    rules = list(rules_of(cluster).values())
    for rule in rules[2:]:
        champion, canary = rule["backendRefs"]
        champion["weight"], canary["weight"] = 100 - percent, percent
    cluster.edit_route(rules, "kubectl")


def test_a_canary_whose_weights_another_manager_holds_keeps_its_pods(made: Made, run: Run) -> None:
    cluster = made()
    start(run, 10)
    drift(cluster, 30)
    for command in (("undo",), ("promote",)):
        error = run(*command).error
        assert "version 3 keeps its pods: the HTTPRoute leads requests to them" in error
        assert '.spec.rules (conflict with "kubectl")' in error
        assert cluster.pods()["v3-predictor"] == model("3")
        assert cluster.weights == {CHAMPION: 70, CANARY: 30}
    assert run("promote", "--force", "--json").json["champion"]["version"] == "3"
    assert (cluster.weights, cluster.pods()) == ({CHAMPION: 100}, {"predictor": model("3")})


def test_a_share_that_drifted_is_written_again_and_never_ends_the_canary(made: Made, run: Run) -> None:
    cluster = made()
    start(run, 10)
    drift(cluster, 30)
    assert "should get 10 % of the requests, but it gets 30 %" in run("status").out.replace("\n", " ")
    for percent in (10, 50):
        assert '(conflict with "kubectl")' in start(run, percent).error
        assert run("status", "--json").json["canary"]["requested_percent"] == 10
        assert cluster.weights == {CHAMPION: 70, CANARY: 30}
    assert start(run, 10, "--force", "--json").json["canary"]["percent"] == 10
    assert cluster.weights == {CHAMPION: 90, CANARY: 10}
    assert run("undo").code == 0


def test_a_gateway_that_refuses_after_it_accepted_is_told(made: Made, run: Run) -> None:
    cluster = made()
    start(run, 10)
    with cluster._changed:
        cluster.gateway = "refuses"
        cluster.reconcile()
    words = "should get 10 % of the requests, but the gateway does not confirm it (no such listener)"
    assert words in run("status", "--json").json["under_way"]


def test_of_two_who_change_a_share_at_once_the_later_one_is_kept(
    made: Made, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = made()
    start(run, 0)
    read, others = Service.read_route, [50]

    def overtaken(service: Service) -> dict[str, Any] | None:
        """Let another process change the share when the first one is about to write its weights."""
        if others and cluster.object["spec"]["canary"][0]["trafficPercent"] == 10:
            steps.start(service, version="3", canary=others.pop(), report=lambda _: None)
        return read(service)

    monkeypatch.setattr(Service, "read_route", overtaken)
    assert "was changed by another client meanwhile" in start(run, 10).error
    assert others == []
    form = run("status", "--json").json
    assert (form["canary"]["percent"], form["canary"]["requested_percent"], form["gateway"]) == (50, 50, None)
    assert cluster.weights == {CHAMPION: 50, CANARY: 50}


def test_a_smaller_share_comes_before_fewer_pods(made: Made, run: Run) -> None:
    cluster = made()
    start(run, 50)
    patched: list[tuple[str, int, int]] = []
    patch = cluster.patch

    def record(path: str, config: dict[str, Any], manager: str, force: bool) -> dict[str, Any]:
        answer = patch(path, config, manager, force)
        [entry] = cluster.object["spec"]["canary"]
        patched.append((path.split("/")[-2], cluster.weights.get(CANARY, 0), entry["predictor"]["minReplicas"]))
        return answer

    cluster.patch = record  # type: ignore[method-assign]
    assert start(run, 10, "--json").json["canary"]["percent"] == 10
    assert [(kind, pods) for kind, _, pods in patched] == [
        ("inferenceservices", 2),
        ("httproutes", 2),
        ("inferenceservices", 1),
    ]
    assert patched[-1][1] == 10
    assert start(run, 50, "--json").json["canary"]["pods"] == "2 of 2 pods ready"


def test_a_route_that_the_chart_owns_is_one_line_with_what_to_do(made: Made, run: Run) -> None:
    cluster = made()
    stored = cluster.routes[f"{NAME}-api"]
    stored.managers.clear()
    stored.apply({"spec": {"rules": stored.object["spec"]["rules"]}}, "helm")
    error = start(run, 10).error
    assert '.spec.rules (conflict with "helm")' in error
    assert cluster.pods() == {"predictor": model("1")}


@pytest.mark.parametrize("image", [(), ("--image", f"registry.example.com/server@sha256:{'b' * 64}")])
def test_promotion_leaves_the_canarys_pods_alone(made: Made, run: Run, image: tuple[str, ...]) -> None:
    cluster = made()
    run("start", "--version", "2")  # the champion's annotations name the version before
    start(run, 10, *image)
    seen = cluster.templates()[CANARY]
    templates: list[Any] = []
    reconcile = cluster.reconcile

    def watched() -> None:
        reconcile()
        templates.extend(t for name, t in cluster.templates().items() if name == CANARY)

    cluster.reconcile = watched  # type: ignore[method-assign]
    run("promote")
    assert templates
    assert all(template == seen for template in templates)


def test_kserve_takes_a_canarys_pods_from_a_champion_without_an_autoscaler(made: Made, run: Run) -> None:
    """As v0.20.0 does: two pods less one. With the class `external` (KEDA) the champion keeps its pods."""
    cluster = made(replicas=2)
    start(run, 10)
    assert cluster.deployments[CHAMPION]["spec"]["replicas"] == 2
    run("undo")
    cluster.object["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] = "none"
    start(run, 10)
    assert cluster.deployments[CHAMPION]["spec"]["replicas"] == 1


def test_rules_are_what_the_custom_resource_takes() -> None:
    file = SHARED / "crd-schemas" / "gateway.networking.k8s.io" / "httproute_v1.json"
    if not file.is_file():
        pytest.skip(f"{file} is not here")
    rules = route.build_rules(route.Backends(CHAMPION, CANARY, "3", 10), NAME)
    body = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "x"}}
    spec = {"hostnames": [HOST], "rules": rules}
    jsonschema.Draft202012Validator(json.loads(file.read_text(encoding="utf-8"))).validate({**body, "spec": spec})
    assert sum(len(rule["matches"]) for rule in rules) <= 128
    assert len({rule["name"] for rule in rules}) == len(rules)


def test_a_route_that_a_gateway_takes_in_part_is_not_accepted() -> None:
    """With this condition a gateway may keep the former state of a rule, and so its weights."""
    conditions = [{"type": kind, "status": "True"} for kind in ("Accepted", "ResolvedRefs")]
    body: dict[str, Any] = {"metadata": {}, "spec": {}, "status": {"parents": [{"conditions": conditions}]}}
    assert route.read_traffic(body).accepted
    for status, accepted in (("False", True), ("True", False)):
        partial = {"type": "PartiallyInvalid", "status": status, "message": "Dropped Rule 1: no such filter"}
        body["status"]["parents"] = [{"conditions": [*conditions, partial]}]
        traffic = route.read_traffic(body)
        assert (traffic.accepted, "Dropped Rule" in traffic.reason) == (accepted, not accepted)


def test_shares_of_rules_that_differ_are_the_smaller_ones() -> None:
    split = {"backendRefs": [{"name": "a", "weight": 9}, {"name": "b", "weight": 1}]}
    whole = {"backendRefs": [{"name": "a", "weight": 1}]}
    body = {"metadata": {}, "spec": {"rules": [split, whole]}}
    assert route.read_traffic(body).weights == {"a": 90, "b": 0}
    named = {**whole, "matches": [{"headers": [HEADER]}]}
    assert route.read_traffic({"metadata": {}, "spec": {"rules": [split, named]}}).weights == {"a": 90, "b": 10}
