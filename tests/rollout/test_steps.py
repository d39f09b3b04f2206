"""Start, status, promote, undo, against an API server and a KServe controller over HTTP."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from reviews_parsing import registry
from reviews_parsing.errors import RolloutRefused, RolloutReverted
from reviews_parsing.io.ports import free_port
from reviews_parsing.rollout import CanaryDeployment, Service, plan
from reviews_parsing.settings import CHAMPION, MODEL_NAME

from .api import NAME, NAMESPACE, TOKEN, Cluster, Refusal, model
from .conftest import Run, known_to

SHARED = Path(os.environ.get("REVIEWS_PARSING_SHARED", Path(__file__).parents[2].parent / "shared"))
CANARY = ("start", "--version", "3", "--canary", "10")


def test_champion_becomes_a_number_once_and_pods_of_next_week_serve_it_too(cluster: Cluster, run: Run) -> None:
    form = run("start", "--json").json
    assert form["champion"]["version"] == "2"
    assert form["champion"]["previous_model_uri"] == model("1")
    assert (form["under_way"], form["canary"], form["champion"]["ready"]) == (None, None, True)
    with registry.tracking() as client:
        client.set_registered_model_alias(MODEL_NAME, CHAMPION, "3")
    assert cluster.pods() == {"predictor": model("2")}


def test_the_timestamp_stands_on_the_pods_and_not_on_the_service(cluster: Cluster, run: Run) -> None:
    form = run("start", "--json").json
    (template,) = cluster.templates().values()
    assert template["metadata"]["annotations"]["deploy_timestamp"] == form["champion"]["deploy_timestamp"]
    assert set(cluster.object["metadata"]["annotations"]) == {"serving.kserve.io/deploymentMode"}


def test_a_canary_gets_its_share_and_the_champions_pods_are_not_touched(cluster: Cluster, run: Run) -> None:
    before = cluster.templates()
    form = run(*CANARY, "--json").json
    assert cluster.weights == {f"{NAME}-predictor": 90, f"{NAME}-v3-predictor": 10}
    assert cluster.pods() == {"predictor": model("1"), "v3-predictor": model("3")}
    assert (form["champion"]["version"], form["canary"]["version"], form["canary"]["percent"]) == ("1", "3", 10)
    after = cluster.templates()
    assert after[f"{NAME}-predictor"] == before[f"{NAME}-predictor"]
    notes = after[f"{NAME}-v3-predictor"]["metadata"]["annotations"]
    assert notes["serving.kserve.io/autoscalerClass"] == "none"
    assert notes["deploy_timestamp"] == form["canary"]["deploy_timestamp"]


def test_a_larger_canary_has_its_pods_before_it_has_requests(cluster: Cluster, run: Run) -> None:
    done = run("start", "--version", "3", "--canary", "50", "--json")
    assert done.json["canary"]["pods"] == "2 of 2 pods ready"
    assert cluster.deployments[f"{NAME}-v3-predictor"]["metadata"]["generation"] == 1


def test_a_promoted_canary_serves_all_and_undo_returns_to_the_version_before(cluster: Cluster, run: Run) -> None:
    run(*CANARY)
    form = run("promote", "--json").json
    assert (form["champion"]["version"], form["canary"], form["under_way"]) == ("3", None, None)
    assert cluster.pods() == {"predictor": model("3")}
    assert cluster.weights == {f"{NAME}-predictor": 100}
    assert run("undo", "--json").json["champion"]["version"] == "1"
    assert cluster.pods() == {"predictor": model("1")}
    assert "nothing to undo" in run("undo").error


def test_undoing_a_canary_leaves_the_service_as_it_was(cluster: Cluster, run: Run) -> None:
    run("start")
    spec, templates = cluster.object["spec"], cluster.templates()
    run(*CANARY)
    assert run("undo").code == 0
    assert (cluster.object["spec"], cluster.templates()) == (spec, templates)
    assert cluster.weights == {f"{NAME}-predictor": 100}


def test_other_variables_of_the_champion_reach_the_canary(cluster: Cluster, run: Run) -> None:
    other = {"name": "REVIEWS_PARSING_THREADS", "value": "2"}
    cluster.apply({"spec": {"predictor": {"model": {"env": [other]}}}}, "helm")
    run(*CANARY)
    env = cluster.templates()[f"{NAME}-v3-predictor"]["spec"]["containers"][0]["env"]
    assert other in env
    run("undo")
    assert other in cluster.object["spec"]["predictor"]["model"]["env"]


def test_what_is_served_already_is_not_rolled_out_again(cluster: Cluster, run: Run) -> None:
    generation = cluster.object["metadata"]["generation"]
    assert "serves version 1 already" in run("start", "--version", "1", "--canary", "10").err
    assert cluster.object["metadata"]["generation"] == generation


@pytest.mark.parametrize("fate", ["never", "fails"])
def test_a_canary_that_never_becomes_ready_gets_no_request_and_is_undone(cluster: Cluster, run: Run, fate: str) -> None:
    spec = cluster.object["spec"]
    cluster.drive("3", fate)
    error = run(*CANARY, "--timeout", "0.3s").error
    assert error.startswith("version 3 did not become ready")
    assert error.endswith("undone, version 1 goes on serving")
    assert ("timed out progressing" in error) == (fate == "fails")
    assert cluster.object["spec"] == spec
    assert cluster.pods() == {"predictor": model("1")}


@pytest.mark.parametrize("fate", ["never", "fails"])
def test_a_version_that_never_becomes_ready_is_undone_to_the_same_template(
    cluster: Cluster, run: Run, fate: str
) -> None:
    templates = cluster.templates()
    cluster.drive("2", fate)
    error = run("start", "--timeout", "0.3s").error
    assert error.startswith("version 2 did not become ready")
    assert cluster.templates() == templates


def test_a_promotion_that_does_not_become_ready_is_undone_and_the_canary_with_it(cluster: Cluster, run: Run) -> None:
    templates = cluster.templates()
    run(*CANARY)
    cluster.drive("3", "fails")
    error = run("promote", "--timeout", "0.3s").error
    cluster.lost.clear()  # the canary's pod serves the same version and breaks with it, whatever we do
    assert "version 3 is not ready everywhere" in error
    assert cluster.templates() == templates


def test_a_rollout_that_is_under_way_refuses_another(cluster: Cluster, run: Run) -> None:
    run(*CANARY)
    error = run("start", "--version", "2").error
    assert "a rollout is under way: version 3 gets 10 % of the requests since 20" in error
    assert error.endswith("promote it or undo it first")


def test_pods_that_still_change_are_a_rollout_under_way(cluster: Cluster, run: Run) -> None:
    cluster.drive("2", "never")
    assert "error" in run("start", "--timeout", "0.1s").err
    cluster.apply({"spec": {"predictor": {"model": {"env": [_uri("2")]}}}}, "reviews-parsing-rollout")
    with cluster._changed:
        cluster.reconcile()
    assert "version 2 is being rolled out: 1 of 3 pods new" in run("start", "--version", "3").error
    assert run("status", "--json").json["under_way"] == "version 2 is being rolled out: 1 of 3 pods new"


def test_of_two_who_start_at_once_one_is_refused(cluster: Cluster, home: Path) -> None:
    from reviews_parsing.errors import RolloutRefused
    from reviews_parsing.rollout import start

    said: list[str] = []
    together = threading.Barrier(2)

    def begin(version: str) -> None:
        def report(line: str) -> None:
            said.append(line)

        service = Service(NAME, NAMESPACE)
        read = service.read
        met: list[bool] = []

        def read_together() -> dict[str, Any]:
            found = read()
            if not met:
                met.append(True)
                together.wait(10)
            return found

        service.read = read_together  # type: ignore[method-assign]
        try:
            with service:
                start(service, version=version, canary=10, report=report)
        except RolloutRefused as error:
            said.append(str(error))

    threads = [threading.Thread(target=begin, args=(version,)) for version in ("2", "3")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([line for line in said if "changed by another client meanwhile" in line]) == 1, said
    assert len(cluster.object["spec"]["canary"]) == 1


def test_a_field_that_others_manage_is_one_line_with_what_to_do(cluster: Cluster, run: Run) -> None:
    cluster.managers.clear()
    cluster.apply({"spec": {"predictor": {"model": {"env": [_uri("1")]}}}}, "helm")
    error = run("start").error
    assert 'env[name="REVIEWS_PARSING_MODEL_URI"].value (conflict with "helm")' in error
    assert "--force" in error
    assert cluster.pods() == {"predictor": model("1")}
    assert run("start", "--force", "--json").json["champion"]["version"] == "2"


def test_a_canary_that_others_own_is_not_ended_in_silence(cluster: Cluster, run: Run) -> None:
    entry = {
        "trafficPercent": 0,
        "predictor": {"name": "mine", "model": {"modelFormat": {"name": "x"}, "name": "", "env": [_uri("3")]}},
    }
    cluster.apply({"spec": {"canary": [entry]}}, "kubectl")
    assert "others own the rest" in run("undo").error


def test_the_first_version_needs_no_champion_and_no_canary(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    cluster = Cluster(served=None)
    known_to(cluster.url, TOKEN, tmp_path, monkeypatch)
    try:
        assert "no version yet" in run(*CANARY).error
        assert "no version yet" in run("undo").error
        first = run("start", "--json")
        assert first.json["champion"]["version"] == "2"
        assert "None" not in first.err
        assert "nothing to undo" in run("undo").error
    finally:
        cluster.close()


def test_promotion_that_was_cut_off_goes_on(cluster: Cluster, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run(*CANARY)
    apply = Service.apply

    def cut(self: Service, spec: Any, resource_version: str, force: bool) -> dict[str, Any]:
        found = apply(self, spec, resource_version, force)
        raise KeyboardInterrupt(found)

    with monkeypatch.context() as patch:
        patch.setattr(Service, "apply", cut)
        assert run("promote").code != 0
    assert run("status", "--json").json["under_way"].startswith("version 3 is being promoted")
    form = run("promote", "--json").json
    assert (form["champion"]["version"], form["canary"]) == ("3", None)
    assert form["champion"]["previous_model_uri"] == model("1")


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (Refusal(401, "Unauthorized", "Unauthorized"), "rejects your credentials (401: Unauthorized)"),
        (
            Refusal(403, "Forbidden", 'User "jenkins" cannot patch resource "inferenceservices"'),
            'you may not read reviews-parsing/reviews-parsing-ner-aspects (403: User "jenkins" cannot patch',
        ),
        (Refusal(404, "NotFound", "the server could not find the requested resource"), "has no KServe"),
        (Refusal(500, "InternalError", "etcdserver: request timed out"), "etcdserver: request timed out"),
    ],
)
def test_what_the_cluster_refuses_is_one_line(cluster: Cluster, run: Run, refusal: Refusal, words: str) -> None:
    cluster.refuse = refusal
    for command in (("start",), ("status",), ("promote",), ("undo",)):
        assert words in run(*command).error


def test_a_cluster_that_is_away_for_a_moment_does_not_end_a_rollout(
    cluster: Cluster, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = Service.progress
    looks: list[str | None] = []

    def hiccup(self: Service, predictor: str | None, uri: str | None, image: str | None = None) -> Any:
        looks.append(predictor)
        cluster.refuse = Refusal(503, "ServiceUnavailable", "apiserver is shutting down") if len(looks) == 2 else None
        return progress(self, predictor, uri, image)

    monkeypatch.setattr(Service, "progress", hiccup)
    done = run(*CANARY, "--json")
    assert done.json["canary"]["percent"] == 10
    assert "apiserver is shutting down" in done.err


def test_a_service_that_is_not_there_is_one_line(cluster: Cluster, run: Run) -> None:
    assert "there is no InferenceService reviews-parsing/other" in run("status", "--service", "other").error


def test_a_service_that_knows_no_canaries_is_one_line(cluster: Cluster, run: Run) -> None:
    cluster.object["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] = "Knative"
    assert "is not in Standard mode" in run("start").error
    cluster.object["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] = "Standard"
    cluster.object["spec"]["predictor"] = {"containers": []}
    assert "has no spec.predictor.model" in run("start").error


def test_no_cluster_is_one_line(home: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = free_port(0)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert run("status").error.startswith("no cluster: Configuration file")
    known_to(f"http://127.0.0.1:{nobody}", TOKEN, tmp_path, monkeypatch)
    assert f"the cluster at http://127.0.0.1:{nobody} does not answer" in run("status").error
    assert "Context 'other' not found" in run("status", "--context", "other").error


def test_without_the_extra_it_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightkube", None)
    assert "pip install 'reviews-parsing[k8s]'" in run("status").error


def test_no_champion_is_one_line_and_nothing_is_written(cluster: Cluster, run: Run) -> None:
    with registry.tracking() as client:
        client.delete_registered_model_alias(MODEL_NAME, CHAMPION)
    assert "has no champion yet" in run("start").error
    assert "99" in run("start", "--version", "99").error
    assert not any(line.startswith("PATCH") for line in cluster.requests)


@pytest.mark.parametrize("command", ["start", "status", "promote", "undo"])
def test_every_command_has_examples(run: Run, command: str) -> None:
    done = run(command, "--help")
    assert done.code == 0
    assert f"reviews-parsing rollout {command}" in done.out
    assert "--json" in done.out


def test_what_people_see(cluster: Cluster, run: Run) -> None:
    run(*CANARY)
    shown = run("status").out
    assert "champion" in shown
    assert "3 of 3 pods ready" in shown
    assert "version 3 gets 10 % of the requests since" in shown
    done = run("undo")
    assert "no rollout is under way" in done.out
    assert "version 3 gets no more requests" in done.err


def test_what_is_applied_is_what_the_custom_resource_takes(cluster: Cluster) -> None:
    """Against the schema of KServe 0.20's own CRD."""
    file = SHARED / "crd-schemas" / "serving.kserve.io" / "inferenceservice_v1beta1.json"
    if not file.is_file():
        pytest.skip(f"{file} is not here")
    canary = plan.Canary("v3", model("3"), "2026-11-23T00:00:00Z", 10, 1)
    whole = plan.RolloutPlan(plan.Predictor(model("2"), "2026-11-22T00:00:00Z", model("1")), canary)
    spec = plan.build_spec(whole, cluster.object)
    body = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": {}, "spec": spec}
    jsonschema.Draft202012Validator(json.loads(file.read_text(encoding="utf-8"))).validate(body)
    assert plan.read_plan(body) == whole


def _uri(version: str) -> dict[str, str]:
    return {"name": "REVIEWS_PARSING_MODEL_URI", "value": model(version)}


ANSWER = {"model_version": "3", "outputs": [{"data": ['[{"entity_group": "FOOD"}]']}]}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, Any]]]:
    """Yield the answers, status and JSON, of the Service of every canary; the last one is repeated."""
    waiting: list[tuple[int, Any]] = [(200, ANSWER)]

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            assert self.path == f"/v2/models/{MODEL_NAME}/infer"
            assert json.loads(self.rfile.read(int(self.headers["Content-Length"])))["inputs"]
            code, document = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            body = json.dumps(document).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        monkeypatch.setattr(Service, "predictor_url", lambda *_: f"http://127.0.0.1:{server.server_port}")
        yield waiting
        server.shutdown()
        thread.join()


def test_the_canary_of_a_retraining_is_idempotent(cluster: Cluster, answers: list[tuple[int, Any]]) -> None:
    lines: list[str] = []
    with Service(NAME, NAMESPACE) as service:
        canary = CanaryDeployment(service, 10, timeout=10, report=lines.append)
        for _ in range(2):
            assert canary.start("3") == f"version 3 gets 10 % of the requests of {service.words}"
            assert cluster.weights == {f"{NAME}-predictor": 90, f"{NAME}-v3-predictor": 10}
        assert lines.count("version 3 passed the smoke test: 1 aspects of a review") == 1
        with pytest.raises(RolloutReverted, match="has no canary of version 2 to promote"):
            canary.promote("2")
        for _ in range(2):
            assert canary.promote("3") == f"version 3 serves all requests of {service.words}"
            assert cluster.pods() == {"predictor": model("3")}
        assert "serves version 3 already" in canary.start("3")
        answers[:] = [(200, {**ANSWER, "model_version": "2"})]
        canary.start("2")
        for line in ("the canary of version 2 is ended", f"{service.words} has no canary of version 2"):
            assert canary.undo("2") == line
        assert cluster.pods() == {"predictor": model("3")}


def test_the_canary_of_a_retraining_may_stay_dark_until_it_is_promoted(
    cluster: Cluster, answers: list[tuple[int, Any]]
) -> None:
    lines: list[str] = []
    with Service(NAME, NAMESPACE) as service:
        canary = CanaryDeployment(service, 0, timeout=10, report=lines.append)
        for _ in range(2):
            assert canary.start("3") == f"version 3 gets no requests of {service.words}"
            assert cluster.weights == {f"{NAME}-predictor": 100}
        assert lines.count("version 3 passed the smoke test: 1 aspects of a review") == 2
        assert "version 3 also parses 10 % of the reviews, within two minutes" in lines
        canary.promote("3")
    assert cluster.pods() == {"predictor": model("3")}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((503, {}), "it answers 503"),
        ((200, {}), "its answer cannot be read"),
        ((200, {**ANSWER, "model_version": "1"}), "version 1 answers at its Service"),
        ((200, {**ANSWER, "outputs": [{"data": ["[]"]}]}), "it finds no aspect"),
    ],
)
def test_a_canary_that_fails_its_smoke_test_gets_no_requests(
    cluster: Cluster, answers: list[tuple[int, Any]], answer: tuple[int, Any], words: str
) -> None:
    answers[:] = [answer]
    with (
        Service(NAME, NAMESPACE) as service,
        pytest.raises(RolloutReverted, match=f"version 3 failed the smoke test: {words}"),
    ):
        CanaryDeployment(service, 10, timeout=10, report=lambda _: None).start("3")
    assert cluster.pods() == {"predictor": model("1")}


def test_outside_of_the_cluster_there_is_no_smoke_test(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(Service, "predictor_url", lambda *_: f"http://127.0.0.1:{free_port(0)}")
    with Service(NAME, NAMESPACE) as service:
        CanaryDeployment(service, 10, timeout=10, report=lines.append).start("3")
    assert any("which cannot be reached from here" in line for line in lines)
    assert cluster.weights == {f"{NAME}-predictor": 90, f"{NAME}-v3-predictor": 10}


def test_without_a_route_a_retraining_starts_no_canary_with_a_share(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(route=None)
    known_to(cluster.url, TOKEN, tmp_path, monkeypatch)
    try:
        with Service(NAME, NAMESPACE) as service, pytest.raises(RolloutRefused, match="a classic Ingress splits none"):
            CanaryDeployment(service, 10, report=lambda _: None).start("3")
        assert cluster.pods() == {"predictor": model("1")}
    finally:
        cluster.close()
