"""`--auto`: a real Prometheus scrapes servers whose failures and latencies the test sets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from reviews_parsing.io.ports import free_port
from reviews_parsing.rollout import duration
from reviews_parsing.rollout.prometheus import EndpointStatistics
from reviews_parsing.rollout.watch import FINAL_LIMITS, INTERIM_LIMITS, binomial_tail, find_failure

from .api import NAME, NAMESPACE, Cluster, model
from .conftest import Run
from .metrics import Exporter, PrometheusServer

AUTO = ("--auto", "--for", "2s", "--prometheus")
CANARY = ("start", "--version", "3", "--canary", "10")


@contextmanager
def scraped(prometheus: PrometheusServer, *servers: Exporter) -> Iterator[str]:
    with ExitStack() as stack:
        for server in servers:
            stack.callback(server.close)
        prometheus.scrape(NAMESPACE, list(servers))
        yield prometheus.url


def test_a_canary_that_holds_is_promoted(cluster: Cluster, run: Run, prometheus: PrometheusServer) -> None:
    champion = [Exporter("1", requests=90, failed=1) for _ in range(2)]
    with scraped(prometheus, Exporter("3", requests=20), *champion) as url:
        done = run(*CANARY, *AUTO, url, "--json")
    assert done.json["champion"]["version"] == "3", done.err
    assert cluster.pods() == {"predictor": model("3")}
    assert "version 3 held" in done.err
    assert re.search(r"version 3: \d+ requests, 0 failed, p95 \d+ ms; version 1: \d+ requests, \d+ failed", done.err)


def test_a_canary_that_fails_more_is_undone_before_the_time_is_over(
    cluster: Cluster, run: Run, prometheus: PrometheusServer
) -> None:
    with scraped(prometheus, Exporter("3", requests=20, failed=4), Exporter("1", requests=180, failed=1)) as url:
        error = run(*CANARY, "--auto", "--for", "1h", "--prometheus", url).error
    words = r"version 3 is undone: over rest, \d+ of \d+ requests failed, of version 1 \d+ of \d+; version 1 goes on"
    assert re.match(words, error), error
    assert cluster.pods() == {"predictor": model("1")}


@pytest.mark.parametrize(("ours", "theirs", "watched"), [(0.15, 0.09, "2s"), (0.9, 0.02, "1h")])
def test_a_canary_that_is_slower_is_undone_at_the_end_and_one_far_slower_at_once(
    cluster: Cluster, run: Run, prometheus: PrometheusServer, ours: float, theirs: float, watched: str
) -> None:
    with scraped(prometheus, Exporter("3", 20, seconds=ours), Exporter("1", 180, seconds=theirs)) as url:
        error = run(*CANARY, "--auto", "--for", watched, "--prometheus", url).error
    assert re.search(r"over rest, 95 of 100 requests took up to \d+ ms, of version 1 \d+ ms", error), error
    assert cluster.pods() == {"predictor": model("1")}


def test_too_little_traffic_promotes_nothing(cluster: Cluster, run: Run, prometheus: PrometheusServer) -> None:
    with scraped(prometheus, Exporter("3", requests=1), Exporter("1", requests=9)) as url:
        error = run(*CANARY, *AUTO, url).error
    assert re.search(r"too little to tell: \d+ requests, 100 are needed of each version at one endpoint", error), error
    assert cluster.pods() == {"predictor": model("1")}


def test_what_was_before_the_watch_excuses_nothing(cluster: Cluster, run: Run, prometheus: PrometheusServer) -> None:
    champion = Exporter("1", requests=500, failed=250)
    with scraped(prometheus, Exporter("3", requests=20, failed=4), champion) as url:
        run(*CANARY)
        champion.requests, champion.failed = 180, 0
        error = run("promote", "--auto", "--for", "1h", "--prometheus", url).error
    assert re.match(r"version 3 is undone: over rest, \d+ of \d+ requests failed", error), error


def test_metrics_of_other_namespaces_do_not_count(cluster: Cluster, run: Run, prometheus: PrometheusServer) -> None:
    with ExitStack() as stack:
        servers = [Exporter("3", requests=200), Exporter("1", requests=200)]
        for server in servers:
            stack.callback(server.close)
        prometheus.scrape("somebody-elses", servers)
        assert "too little to tell: 0 requests" in run(*CANARY, *AUTO, prometheus.url).error


def test_without_prometheus_a_canary_is_undone_after_a_while(cluster: Cluster, run: Run) -> None:
    url = f"http://127.0.0.1:{free_port(0)}"
    done = run(*CANARY, "--auto", "--for", "1h", "--prometheus", url)
    assert f"version 3 is undone: Prometheus at {url} does not answer" in done.error
    assert cluster.pods() == {"predictor": model("1")}


def test_a_prometheus_that_is_none_is_away(cluster: Cluster, run: Run) -> None:
    assert "does not answer" in run(*CANARY, "--auto", "--for", "1h", "--prometheus", cluster.url).error


def test_a_canary_whose_pods_break_is_undone(cluster: Cluster, run: Run, prometheus: PrometheusServer) -> None:
    run(*CANARY)
    cluster.deployments[f"{NAME}-v3-predictor"]["status"]["availableReplicas"] = 0
    with scraped(prometheus, Exporter("3", requests=20), Exporter("1", requests=180)) as url:
        error = run("promote", "--auto", "--for", "1h", "--prometheus", url).error
    assert "its pods are not ready (0 of 1 pods ready)" in error
    # Its share was lost until the gateway had other weights, and nobody else's.
    assert set(cluster.lost) <= {f"{NAME}-v3-predictor"}
    cluster.lost.clear()


def test_who_ends_a_canary_that_is_watched_ends_the_watch(
    cluster: Cluster, run: Run, prometheus: PrometheusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reviews_parsing.rollout.prometheus import Prometheus

    figures = Prometheus.query

    def undone_meanwhile(
        self: Prometheus, versions: tuple[str, str], seconds: float
    ) -> dict[tuple[str, str], EndpointStatistics]:
        cluster.apply({"spec": {"predictor": {"model": {"env": [_uri("1")]}}}}, "reviews-parsing-rollout")
        return figures(self, versions, seconds)

    run(*CANARY)
    monkeypatch.setattr(Prometheus, "query", undone_meanwhile)
    with scraped(prometheus, Exporter("3", requests=20), Exporter("1", requests=180)) as url:
        assert "another client changed the canary" in run("promote", *AUTO, url).error


def test_auto_needs_a_canary_and_a_prometheus(cluster: Cluster, run: Run) -> None:
    assert run("start", "--auto").code == 2
    assert run("start", "--canary", "10", "--auto").code == 2
    assert run("promote", "--auto", "--prometheus", "http://127.0.0.1:1", "--for", "soon").code == 2
    assert "no canary to watch" in run("promote", "--auto", "--prometheus", "http://127.0.0.1:1").error
    assert not any(line.startswith("PATCH") for line in cluster.requests)


def told(ours: EndpointStatistics, theirs: EndpointStatistics, over: bool = True) -> str | None:
    found = {("3", "rest"): ours, ("1", "rest"): theirs}
    return find_failure(found, "3", "1", 100, FINAL_LIMITS if over else INTERIM_LIMITS, over)


def test_the_rule() -> None:
    champion = EndpointStatistics(1000, 2, 0.050)
    assert told(EndpointStatistics(100, 0, 0.050), champion) is None
    assert told(EndpointStatistics(100, 1, 0.055), champion) is None, "one failure in a hundred is chance"
    assert "4 of 100 requests failed" in (told(EndpointStatistics(100, 4, 0.050), champion) or "")
    assert told(EndpointStatistics(100, 2, 0.050), champion, over=False) is None, "too early to tell"
    assert "3 of 10 requests failed" in (told(EndpointStatistics(10, 3, 0.050), champion, over=False) or "")
    assert "70 ms" in (told(EndpointStatistics(100, 0, 0.070), champion) or "")
    assert told(EndpointStatistics(100, 0, 0.070), champion, over=False) is None
    assert "110 ms" in (told(EndpointStatistics(100, 0, 0.110), champion, over=False) or "")
    assert told(EndpointStatistics(100, 0, 0.007), EndpointStatistics(1000, 0, 0.003)) is None, (
        "4 ms are not worth a word"
    )
    assert "too little to tell" in (told(EndpointStatistics(99, 0, 0.050), champion) or "")
    assert "too little to tell" in (told(EndpointStatistics(1000, 0, 0.050), EndpointStatistics(99, 0, 0.050)) or "")
    assert told(EndpointStatistics(99, 0, 0.050), champion, over=False) is None


@given(st.integers(1, 3000), st.integers(0, 3000), st.floats(1e-4, 0.999))
def test_the_tail_is_the_binomial_one(requests: int, failed: int, rate: float) -> None:
    failed = min(failed, requests)
    assert binomial_tail(failed, requests, rate) == pytest.approx(
        binom.sf(failed - 1, requests, rate), rel=1e-6, abs=1e-12
    )


def test_durations() -> None:
    assert [duration(text) for text in ("90s", "10m", "1.5h")] == [90, 600, 5400]
    for text in ("", "10", "m", "-1s", "10 m", "1d"):
        with pytest.raises(ValueError, match="90s, 10m or 1h"):
            duration(text)


def _uri(version: str) -> dict[str, str]:
    return {"name": "REVIEWS_PARSING_MODEL_URI", "value": model(version)}
