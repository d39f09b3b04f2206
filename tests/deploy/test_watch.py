"""Dashboards and alerts: each query finds what a running server tells, each alert is tried and explained."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from reviews_parsing.io.ports import free_port
from reviews_parsing.rollout import Prometheus
from reviews_parsing.schema import Aspect
from reviews_parsing.serving.metrics import LATENCY_BUCKETS_SECONDS
from serving.client import Server
from serving.conftest import start  # noqa: F401  a fixture
from serving.other_server import other_server, response

from .promql import Selector, grouped_by, selectors

PROJECT = Path(__file__).parents[2]
CHART = PROJECT / "deploy" / "charts" / "reviews-parsing"
RUNBOOKS = PROJECT / "docs" / "runbooks"
BOARDS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((CHART / "dashboards").glob("*"))}
RULES = sorted((CHART / "rules").glob("*.yaml"))
RULE_TESTS = sorted((Path(__file__).parent / "rules").glob("*.test.yaml"))
# What a scrape adds, in a cluster and elsewhere.
SCRAPED = {"job", "instance", "namespace", "pod", "le"}
# What we take from kube-state-metrics and cAdvisor, and the labels that these have there.
CLUSTER = {
    "container_cpu_cfs_periods_total": "namespace pod container",
    "container_cpu_cfs_throttled_periods_total": "namespace pod container",
    "container_cpu_usage_seconds_total": "namespace pod container",
    "container_memory_working_set_bytes": "namespace pod container",
    "kube_deployment_spec_replicas": "namespace deployment",
    "kube_deployment_status_replicas": "namespace deployment",
    "kube_deployment_status_replicas_ready": "namespace deployment",
    "kube_deployment_status_replicas_updated": "namespace deployment",
    "kube_horizontalpodautoscaler_spec_max_replicas": "namespace horizontalpodautoscaler",
    "kube_horizontalpodautoscaler_status_desired_replicas": "namespace horizontalpodautoscaler",
    "kube_node_status_allocatable": "node resource unit",
    "kube_node_status_condition": "node condition status",
    "kube_pod_container_resource_limits": "namespace pod container node resource unit",
    "kube_pod_container_resource_requests": "namespace pod container node resource unit",
    "kube_pod_container_status_last_terminated_reason": "namespace pod container reason",
    "kube_pod_container_status_restarts_total": "namespace pod container",
    "kube_pod_container_status_waiting_reason": "namespace pod container reason",
    "kube_pod_info": "namespace pod node",
    "kube_pod_status_ready": "namespace pod condition",
}
# What the cost of requests is reckoned from, beside these.
COUNTED = {"reviews_parsing_requests_total": "namespace status", "reviews_parsing_reviews_total": "namespace"}
DEADLINE = 60.0

Target = tuple[dict[str, Any], dict[str, Any]]


MEASURED = ("cluster", "model", "service")


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the panels that show queries."""
    return [panel for panel in board["panels"] if panel["type"] not in ("row", "text")]


def queries(*names: str) -> list[Target]:
    """Each query of these dashboards, with its panel."""
    return [(panel, target) for name in names for panel in panels(BOARDS[name]) for target in panel["targets"]]


def filled(query: str) -> str:
    """As Grafana sends it when all is chosen, and a price is given."""
    query = query.replace("$__rate_interval", "1m").replace("$__range", "1h")
    query = re.sub(r"\$(core|gib)_hour\b", "0.03", query)
    return re.sub(r"\$(namespace|version)\b", ".*", query)


def rules(kind: str) -> list[dict[str, Any]]:
    """Return the rules that have an `alert` or a `record`."""
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


def promtool(*arguments: object) -> str:
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


ALERTS, RECORDS = rules("alert"), rules("record")
ALERT_NAMES = sorted({rule["alert"] for rule in ALERTS})


def test_the_dashboards_are_those_that_the_code_writes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, PROJECT / "scripts" / "dashboards.py", tmp_path], check=True)
    written = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert written == {path.name: path.read_text(encoding="utf-8") for path in (CHART / "dashboards").iterdir()}
    assert sorted(BOARDS) == ["cluster", "model", "runbooks", "service"]


def test_dashboards_have_addresses_of_their_own() -> None:
    assert len({board["uid"] for board in BOARDS.values()}) == len({board["title"] for board in BOARDS.values()}) == 4
    assert all(re.fullmatch(r"[\w-]{1,40}", board["uid"]) for board in BOARDS.values())


@pytest.mark.parametrize("name", MEASURED)
def test_a_dashboard_is_whole(name: str) -> None:
    board = BOARDS[name]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    source, *variables = board["templating"]["list"]
    assert (source["type"], source["query"]) == ("datasource", "prometheus")
    chosen = {"type": "prometheus", "uid": f"${{{source['name']}}}"}
    assert all(variable["datasource"] == chosen for variable in variables if variable["type"] == "query")
    used = set(re.findall(r"\$(\w+)", " ".join(target["expr"] for _, target in queries(name))))
    assert used - {"__rate_interval", "__range"} == {variable["name"] for variable in variables}
    titles = [panel["title"] for panel in panels(board)]
    assert all(titles)
    for panel in panels(board):
        assert panel["datasource"] == chosen, panel["title"]
        assert all(target["datasource"] == chosen for target in panel["targets"])
        assert [target["refId"] for target in panel["targets"]] == list("ABCDE"[: len(panel["targets"])])
        unit = panel["options"]["yAxis"] if panel["type"] == "heatmap" else panel["fieldConfig"]["defaults"]
        assert unit["unit"], panel["title"]


@pytest.mark.parametrize("name", BOARDS)
def test_no_panel_covers_another(name: str) -> None:
    cells = []
    for panel in BOARDS[name]["panels"]:
        place = panel["gridPos"]
        assert place["w"] > 0
        assert place["x"] + place["w"] <= 24
        across, down = (range(place[at], place[at] + place[size]) for at, size in ("xw", "yh"))
        cells += list(itertools.product(across, down))
    assert len(set(cells)) == len(cells)


@pytest.mark.parametrize("name", BOARDS)
def test_a_legend_names_what_its_query_keeps(name: str) -> None:
    for panel, target in queries(name):
        # What is not grouped keeps its labels, such as the scrape's.
        kept = grouped_by(target["expr"]) | ({"instance", "namespace"} if " by " not in target["expr"] else set())
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= kept, panel["title"]


def test_every_query_parses(tmp_path: Path) -> None:
    every = [filled(target["expr"]) for _, target in queries(*BOARDS)]
    every += [filled(entry["expr"]) for board in BOARDS.values() for entry in board["annotations"]["list"]]
    assert not [query for query in every if "$" in query]
    group = {"name": "dashboards", "rules": [{"record": f"q{n}", "expr": query} for n, query in enumerate(every)]}
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump({"groups": [group]}), encoding="utf-8")
    assert f"{len(every)} rules found" in promtool("check", "rules", tmp_path / "queries.yaml")


def test_the_rules_are_rules() -> None:
    promtool("check", "rules", *RULES)


def test_alerts_fire_when_they_should_and_only_then() -> None:
    promtool("test", "rules", *RULE_TESTS)


def test_the_age_of_the_alert_of_drift_is_what_retraining_asks_for() -> None:
    asked = {
        query["expr"]
        for path in RULE_TESTS
        for case in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]
        for query in case.get("promql_expr_test", [])
    }
    assert Prometheus("", "reviews-parsing").drift_query("3") in asked


def test_each_alert_is_tested_both_ways() -> None:
    tests = [
        (test["alertname"], {alert["exp_labels"]["severity"] for alert in test["exp_alerts"]})
        for path in RULE_TESTS
        for case in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]
        for test in case["alert_rule_test"]
    ]
    for rule in ALERTS:
        fired = [rule["labels"]["severity"] in severities for name, severities in tests if name == rule["alert"]]
        assert set(fired) == {True, False}, rule["alert"]


def test_each_alert_says_what_is_wrong_and_where_to_read_on() -> None:
    for rule in ALERTS:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert sorted(rule["annotations"]) == ["description", "runbook_url", "summary"]
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{rule['alert']}.md"
    assert sorted(path.stem for path in RUNBOOKS.glob("ReviewsParsing*.md")) == ALERT_NAMES


def test_each_runbook_is_a_panel_that_panels_and_other_runbooks_link_to() -> None:
    numbers = {panel["title"]: panel["id"] for panel in BOARDS["runbooks"]["panels"]}
    assert sorted(numbers) == ALERT_NAMES
    addresses = {f"/d/reviews-parsing-runbooks?viewPanel={number}": name for name, number in numbers.items()}
    links = [link for name in MEASURED for panel in panels(BOARDS[name]) for link in panel.get("links", [])]
    assert {addresses[link["url"]] for link in links} == set(ALERT_NAMES)
    assert all(link["title"] == f"Runbook: {addresses[link['url']]}" for link in links)
    contents = [panel["options"]["content"] for panel in BOARDS["runbooks"]["panels"]]
    for content in contents:
        assert set(re.findall(r"\]\(([^)]*)\)", content)) <= set(addresses)
    assert any("](" in content for content in contents)


def test_promises_are_lines() -> None:
    lines = {
        panel["title"]: [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1:]]
        for name in MEASURED
        for panel in panels(BOARDS[name])
        if "thresholdsStyle" in panel["fieldConfig"]["defaults"].get("custom", {})
    }
    assert lines["Single reviews"] == [0.1]
    assert lines["Failed"] == [0.001]
    assert lines["Latency: burn rate of the error budget"] == [1, 6, 14.4]
    assert lines["Reviews in other quintiles, by feature"] == [0.2]
    assert set(lines["Memory, of the limit"]) == {1}


@pytest.mark.parametrize("name", ALERT_NAMES)
def test_a_runbook_is_one_screen_with_four_answers(name: str) -> None:
    text = (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {name}\n")
    assert re.findall(r"^## (.*)", text, re.MULTILINE) == [
        "What it means",
        "How to look",
        "What to do",
        "When it is over",
    ]
    assert len(text.splitlines()) <= 60


def test_a_recorded_window_is_the_one_in_its_name() -> None:
    for rule in RECORDS:
        window = re.search(r":(?:ratio_rate|increase)(\w+)$", rule["record"])
        assert window is not None, rule["record"]
        assert set(re.findall(r"\[(\w+)\]", rule["expr"])) == {window[1]}
    expressions = {re.sub(r"\[\w+\]", "", rule["expr"]) for rule in RECORDS}
    assert len(expressions) == 4


def test_what_is_recorded_is_used_and_the_other_way_round() -> None:
    recorded = {rule["record"] for rule in RECORDS}
    every = [rule["expr"] for rule in ALERTS] + [target["expr"] for _, target in queries(*BOARDS)]
    used = {selector.metric for query in every for selector in selectors(query) if ":" in selector.metric}
    assert used == recorded


def test_the_promised_latency_is_a_bucket() -> None:
    assert 0.1 in LATENCY_BUCKETS_SECONDS
    limits = {float(le) for rule in RECORDS for le in re.findall(r'le="([\d.]+)"', rule["expr"])}
    assert limits == {0.1}


def test_nothing_of_a_cluster_is_used_that_it_does_not_tell() -> None:
    found: set[str] = set()
    for query in [target["expr"] for _, target in queries("cluster")] + [rule["expr"] for rule in ALERTS]:
        theirs = [selector for selector in selectors(query) if selector.metric.startswith(("kube_", "container_"))]
        found |= {selector.metric for selector in theirs}
        for selector in theirs:
            assert selector.labels <= set(CLUSTER[selector.metric].split()), selector
    assert found == set(CLUSTER)
    for _, target in queries("cluster"):
        told = {**CLUSTER, **COUNTED}
        known = {label for selector in selectors(target["expr"]) for label in told[selector.metric].split()}
        assert grouped_by(target["expr"]) <= known, target["expr"]


def test_the_cluster_dashboard_finds_what_a_cluster_tells(tmp_path: Path) -> None:
    values = {
        "namespace": ["reviews-parsing"],
        "pod": ["one", "two"],
        "condition": ["true", "Ready"],
        "status": ["true", "false", "unknown", "200"],
        "resource": ["cpu", "memory"],
    }
    told = []
    for metric, labels in {**CLUSTER, **COUNTED}.items():
        pairs = [[f'{label}="{value}"' for value in values.get(label, ["x"])] for label in labels.split()]
        told += [{"series": f"{metric}{{{', '.join(p)}}}", "values": "0+1x20"} for p in itertools.product(*pairs)]
    found = [
        {
            "expr": f"count({filled(target['expr'])}) > bool 0",
            "eval_time": "5m",
            "exp_samples": [{"labels": "{}", "value": 1}],
        }
        for _, target in queries("cluster")
    ]
    case = {"interval": "15s", "input_series": told, "promql_expr_test": found}
    (tmp_path / "cluster.test.yaml").write_text(yaml.safe_dump({"tests": [case]}), encoding="utf-8")
    promtool("test", "rules", tmp_path / "cluster.test.yaml")


def test_requests_for_a_euro_and_the_price_of_reviews_are_those_of_the_pods(tmp_path: Path) -> None:
    """Two pods of one core and 1 GiB, at 3 cents a core and 3 a GiB: 12 cents an hour."""
    both = ("one", "two")
    told = [
        {
            "series": f'kube_pod_container_resource_requests{{namespace="a", pod="{pod}", resource="{name}"}}',
            "values": v,
        }
        for pod in both
        for name, v in (("cpu", "1x20"), ("memory", f"{2**30}x20"))
    ]
    # Ten requests a second, two of which fail, and a hundred reviews.
    for series, a_quarter in (
        ('reviews_parsing_requests_total{namespace="a", status="200"}', 120),
        ('reviews_parsing_requests_total{namespace="a", status="503"}', 30),
        ('reviews_parsing_reviews_total{namespace="a"}', 1500),
    ):
        told.append({"series": series, "values": f"0+{a_quarter}x20"})
    expected = {"Euro an hour": 0.12, "Requests for a euro": 240_000.0, "Euro for a million reviews": 0.333}
    found = [
        {
            "expr": f"round({filled(target['expr'])}, 0.001)",
            "eval_time": "5m",
            "exp_samples": [{"labels": "{}", "value": expected.pop(panel["title"])}],
        }
        for panel, target in queries("cluster")
        if panel["title"] in expected
    ]
    assert expected == {}
    case = {"interval": "15s", "input_series": told, "promql_expr_test": found}
    (tmp_path / "cost.test.yaml").write_text(yaml.safe_dump({"tests": [case]}), encoding="utf-8")
    promtool("test", "rules", tmp_path / "cost.test.yaml")


class Told:
    """A server, and a Prometheus that has its rules and scrapes it as outside a cluster, without a namespace."""

    def __init__(self, server: Server, prometheus: str) -> None:
        self.server = server
        self._prometheus = prometheus

    def values(self, query: str) -> list[float]:
        """Those that are numbers."""
        body = urllib.parse.urlencode({"query": query}).encode()
        with urllib.request.urlopen(f"{self._prometheus}/api/v1/query", body) as answer:
            data = json.loads(answer.read())["data"]
        samples = [data] if data["resultType"] == "scalar" else [row["value"] for row in data["result"]]
        return [value for _, text in samples if (value := float(text)) == value]

    def load(self) -> None:
        """Send requests that succeed, that are invalid, and that are shed."""
        texts = [["The lobster was superb and the waiter was rude."] * 64, *[["Lovely pho."], ["At seven."]] * 2]
        with ThreadPoolExecutor(4) as pool:
            until(
                lambda: {200, 503} <= {answer.status for answer in pool.map(self.server.infer, texts)},
                "nobody was turned away",
            )
        # The worker is still at what follows an answer for a moment.
        until(lambda: self.server.infer(["Lovely."], parameters={"min_score": 7}).status == 400, "it is not told so")


@pytest.fixture(scope="module")
def told(start: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:  # noqa: F811
    folder = tmp_path_factory.mktemp("prometheus")
    answer = response("2", Aspect("FOOD", "pho", 7, 10, "positive"))
    with ExitStack() as stack:
        target = {"url": stack.enter_context(other_server(lambda: answer)), "version": "2", "percent": 100}
        (folder / "comparison.json").write_text(json.dumps(target), encoding="utf-8")
        variables = {"REVIEWS_PARSING_COMPARISON": str(folder / "comparison.json")}
        server = stack.enter_context(start(REVIEWS_PARSING_MAX_WAIT="0", REVIEWS_PARSING_THREADS="1", **variables))
        config = {
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
            "rule_files": [str(CHART / "rules" / "*.yaml")],
            "scrape_configs": [
                {"job_name": "server", "static_configs": [{"targets": [f"127.0.0.1:{server.metrics}"]}]},
            ],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config), encoding="utf-8")
        yield Told(server, stack.enter_context(prometheus(folder)))


@contextmanager
def prometheus(folder: Path) -> Iterator[str]:
    address = f"127.0.0.1:{free_port(0)}"
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stdout=log, stderr=log)
    try:
        until(lambda: reached(f"http://{address}/-/ready"), f"Prometheus is not ready, see {folder}/log")
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(DEADLINE)


def reached(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2):
            return True
    except OSError:
        return False


def until(condition: Callable[[], bool], otherwise: object) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, otherwise


def test_every_query_of_service_and_model_finds_numbers(told: Told) -> None:
    left = {filled(target["expr"]): panel["title"] for panel, target in queries("service", "model")}

    def none_is_left() -> bool:
        told.load()
        for query in list(left):
            if told.values(query):
                del left[query]
        return not left

    until(none_is_left, left)


def test_a_version_that_starts_is_an_annotation(told: Told) -> None:
    starts, ends = (filled(entry["expr"]) for entry in BOARDS["model"]["annotations"]["list"])
    until(lambda: told.values(starts) == [1.0], starts)
    assert told.values(ends) == []


def test_every_label_is_one_that_the_server_tells(told: Told) -> None:
    told.load()
    text = told.server.get("/metrics", told.server.metrics).body.decode()
    families = text_string_to_metric_families(text)
    known: dict[str, set[str]] = {}
    for sample in (sample for family in families for sample in family.samples):
        known.setdefault(sample.name, set()).update(sample.labels)
    recorded = {rule["record"]: {"namespace"} for rule in RECORDS}
    boards = [target["expr"] for panel, target in queries("service", "model") if panel["type"] != "table"]
    choices = [
        variable["query"]["query"]
        for name in ("service", "model")
        for variable in BOARDS[name]["templating"]["list"][1:]
    ]
    for query in boards + [rule["expr"] for rule in RECORDS]:
        own = [selector for selector in selectors(query) if not selector.metric.startswith("kube_")]
        assert own, query
        labels = {label for selector in own for label in check(selector, {**known, **recorded})}
        assert grouped_by(query) <= labels, query
    for rule in ALERTS:
        for selector in selectors(rule["expr"]):
            if selector.metric not in CLUSTER:
                check(selector, {**known, **recorded})
    for choice in choices:
        match = re.fullmatch(r"label_values\((.*), (\w+)\)", choice)
        assert match is not None, choice
        [selector] = selectors(match[1])
        assert match[2] in check(selector, known)


def check(selector: Selector, known: dict[str, set[str]]) -> set[str]:
    """Return the labels of one of the project's own metrics."""
    assert selector.metric.startswith(("reviews_parsing_", "process_", "namespace:reviews_parsing_")), selector
    labels = known[selector.metric] | SCRAPED
    assert selector.labels <= labels, selector
    return labels


def test_a_request_that_is_turned_away_is_counted_once(told: Told) -> None:
    def counted() -> tuple[float, float, float]:
        counter = told.server.counter
        prefix = "reviews_parsing_requests"
        return counter(f"{prefix}_shed_total"), counter(f"{prefix}_total", status="503"), counter(f"{prefix}_total")

    before = counted()
    with ThreadPoolExecutor(8) as pool:
        statuses = [answer.status for answer in pool.map(lambda _: told.server.infer(["Lovely pho."] * 40), range(24))]
    shed = statuses.count(503)
    assert shed
    assert [after - one for after, one in zip(counted(), before, strict=True)] == [shed, shed, len(statuses)]
    # They are among the 503s: a query or a panel that has both, other than as a share, has them twice.
    shown = [
        " + ".join(target["expr"] for target in panel["targets"])
        for board in BOARDS.values()
        for panel in panels(board)
    ]
    for query in [*shown, *(rule["expr"] for rule in ALERTS + RECORDS)]:
        dividends = {selector.metric for selector in selectors(query.partition("/")[0])}
        both = {"reviews_parsing_requests_shed_total", "reviews_parsing_requests_total"}
        assert not both <= dividends, query
