"""`rollout compare`: the version that champions are told of, and the counts that a real Prometheus has of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from reviews_parsing.errors import ClusterError
from reviews_parsing.rollout import CanaryDeployment, Prometheus, Service
from reviews_parsing.serving.comparison import ComparisonTarget
from reviews_parsing.serving.metrics import LATENCY_BUCKETS_SECONDS

from .api import NAME, NAMESPACE, Cluster
from .conftest import Run
from .metrics import PrometheusServer

DARK = ("start", "--version", "2", "--canary", "0")


def test_the_champion_is_told_of_the_canary_and_of_its_end(cluster: Cluster, run: Run) -> None:
    assert "has no canary of version 2; begin with: rollout start --version 2 --canary 0" in run("compare", "2").error
    assert run(*DARK).code == 0
    started = run("compare", "2", "--percent", "5")
    assert "version 2 also parses 5 % of the reviews" in started.err
    assert cluster.comparison is not None
    form = json.loads(cluster.comparison["comparison.json"])
    assert form == {"url": f"http://{NAME}-v2-predictor.{NAMESPACE}.svc", "version": "2", "percent": 5.0}
    assert ComparisonTarget(**form) == ComparisonTarget(form["url"], "2", 5.0)
    ended = run("undo")
    assert "the comparison is ended" in ended.err
    assert cluster.comparison == {"comparison.json": ""}
    assert "compares no version" in run("compare", "--stop").err


def test_a_comparison_can_be_stopped_alone_and_promotion_ends_it(cluster: Cluster, run: Run) -> None:
    run(*DARK)
    run("compare", "2")
    assert "the comparison is ended" in run("compare", "--stop").err
    assert "compares no version" in run("compare").error
    run("compare", "2")
    assert "the comparison is ended" in run("promote").err


def test_a_chart_of_before_is_one_line(cluster: Cluster, run: Run) -> None:
    run(*DARK)
    cluster.comparison = None
    assert "has no ConfigMap for comparisons" in run("compare", "2").error
    assert run("undo").code == 0


def test_without_the_right_a_canary_still_ends(cluster: Cluster, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(service: Service) -> None:
        raise ClusterError(f"you may not read the comparison of {service.words}")

    monkeypatch.setattr(Service, "read_comparison", forbidden)
    run(*DARK)
    ended = run("undo")
    assert ended.code == 0
    assert "warning: you may not read the comparison" in ended.err
    assert "v2-predictor" not in cluster.pods()


def test_stop_takes_no_version(run: Run) -> None:
    refused = run("compare", "2", "--stop")
    assert refused.code == 2
    assert "leave the version out" in refused.err


@pytest.fixture
def counted(prometheus: PrometheusServer) -> Iterator[str]:
    """Yield a version that a champion compares itself with: 90 of 100 reviews are the same."""
    version, registry = "42", CollectorRegistry()
    labels = ["version", "result"]
    reviews = Counter("reviews_parsing_compared_reviews", "", labels, registry=registry)
    for result, number in (("same", 90), ("differ", 10), ("shed", 3), ("failed", 2)):
        reviews.labels(version, result).inc(number)
    aspects = Counter("reviews_parsing_compared_aspects", "", ["version", "part", "result"], registry=registry)
    for part, agree, differ in (("spans", 95, 10), ("categories", 90, 20), ("polarities", 80, 40)):
        aspects.labels(version, part, "agree").inc(agree)
        aspects.labels(version, part, "differ").inc(differ)
    latency = Histogram(
        "reviews_parsing_compared_seconds", "", ["version"], buckets=LATENCY_BUCKETS_SECONDS, registry=registry
    )
    for _ in range(100):
        latency.labels(version).observe(0.02)
    info = Gauge("reviews_parsing_model_info", "", ["version", "precision"], registry=registry)
    info.labels("1", "int8").set(1)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(generate_latest(registry))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    prometheus.scrape_targets(NAMESPACE, [f"127.0.0.1:{server.server_port}"])
    yield version
    server.shutdown()
    server.server_close()
    thread.join()


def test_counts_are_shown(cluster: Cluster, run: Run, prometheus: PrometheusServer, counted: str) -> None:
    cluster.comparison = {"comparison.json": json.dumps({"url": "http://x", "version": counted, "percent": 10})}
    shown = run("compare", "--prometheus", prometheus.url)
    assert shown.code == 0, shown.err
    assert "version 42 agrees with the champion on 90 of 100 reviews" in shown.out
    for words in ("spans 95.0%", "categories 90.0%", "polarities 80.0%", "within 24 ms", "3 shed, 2 failed"):
        assert words in " ".join(shown.out.split()), words
    form = run("compare", "--prometheus", prometheus.url, "--json").json
    assert (form["compared"], form["same"], form["parts"]["polarities"]) == (100, 90, pytest.approx(0.8))
    assert "does not answer" in run("compare", "--prometheus", "http://127.0.0.1:9").error


def test_the_approval_of_a_retraining_sees_them(
    cluster: Cluster, prometheus: PrometheusServer, counted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reviews_parsing.rollout.deployment.smoke_test", lambda *_: "tested")
    lines: list[str] = []
    with Service(NAME, NAMESPACE) as service:
        deployment = CanaryDeployment(
            service, 10, report=lines.append, prometheus=Prometheus(prometheus.url, NAMESPACE)
        )
        deployment.start("2")
        assert "version 2 also parses 10 % of the reviews, within two minutes" in lines
        assert "90 of 100 reviews" in deployment.evidence(counted)
        assert "no review was compared" in deployment.evidence("2")
        assert CanaryDeployment(service, 10).evidence("2") == ""
        deployment.undo("2")
    assert cluster.comparison == {"comparison.json": ""}
