"""Write Grafana's dashboards: `python scripts/dashboards.py [FOLDER]`, by default to the folder that the chart reads.

Each dashboard also works if Prometheus sets no namespace.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from panels import (
    QUANTILES,
    RUNBOOK_NAMES,
    RUNBOOKS_UID,
    Board,
    alert_list,
    grown,
    heatmap,
    price,
    quantile,
    quantiles,
    rate,
    runbook,
    series,
    stacked,
    stat,
    variable,
)
from reviews_parsing.serving.queue import BATCH_TEXTS

FOLDER = Path(__file__).parent.parent / "deploy" / "charts" / "reviews-parsing" / "dashboards"

HERE = 'namespace=~"$namespace"'
SERVED = f'{HERE}, version=~"$version"'
REQUESTS, SECONDS = "reviews_parsing_requests_total", "reviews_parsing_request_seconds"
# Process metrics are everybody's: those of instances that serve a model.
OURS = f"and on (job, instance) reviews_parsing_model_info{{{HERE}}}"
# Rates at which an error budget is spent: within 30 days, and those of the alerts.
BURN_LIMITS = (1, 6, 14.4)
AVAILABILITY, LATENCY, SHEDDING, DRIFT = (
    f"ReviewsParsing{name}" for name in ("AvailabilityBudgetBurn", "LatencyBudgetBurn", "Shedding", "TrafficDrift")
)
NO_POD, CRASHES = "ReviewsParsingNoReadyPod", "ReviewsParsingCrashLooping"
BURN = "1 spends all of it in 30 days. A page: 14.4 over 1 h and 5 min, or 6 over 6 h and 30 min."


def service() -> Board:
    """Return the dashboard of requests, errors, latency and the queue."""
    board = Board("reviews-parsing-service", "Reviews Parsing: service")
    single, batch = (f'{HERE}, texts="{texts}"' for texts in ("one", "many"))
    failed, valid = 'status=~"5.."', 'status!~"4.."'
    phases = "reviews_parsing_phase_seconds_bucket"

    def burn(recorded: str, budget: float) -> dict[str, str]:
        name = f"namespace:reviews_parsing_{recorded}:ratio_rate"
        return {f"{{{{namespace}}}} {over}": f"{name}{over}{{{HERE}}} / {budget}" for over in ("5m", "1h", "6h")}

    board.row(
        "Objectives",
        stat(
            "Available",
            "percentunit",
            f"1 - {grown(REQUESTS, HERE, failed)} / {grown(REQUESTS, HERE, valid)}",
            "Share of requests without a failure (5xx); client errors do not count. Objective: 99.9 %.",
            good=0.999,
        ),
        stat(
            "Single reviews within 100 ms",
            "percentunit",
            grown(f"{SECONDS}_bucket", single, 'le="0.1"') + " / " + grown(f"{SECONDS}_count", single),
            "Share of successful requests with one review. Objective: 95 %.",
            good=0.95,
        ),
        stat("Requests", "short", grown(REQUESTS, HERE)),
        stat("Reviews", "short", grown("reviews_parsing_reviews_total", HERE)),
    )
    board.row(
        "",
        series(
            "Availability: burn rate of the error budget",
            "short",
            burn("requests_failed", 0.001),
            BURN,
            limits=BURN_LIMITS,
            runbooks=[AVAILABILITY],
        ),
        series(
            "Latency: burn rate of the error budget",
            "short",
            burn("single_reviews_slow", 0.05),
            BURN,
            limits=BURN_LIMITS,
            runbooks=[LATENCY],
        ),
        alert_list(
            "Alerts",
            f'ALERTS{{{HERE}, alertname=~"ReviewsParsing.*"}}',
            "Firing and pending alerts, with links to their runbooks.",
        ),
    )
    board.row(
        "Rate and errors",
        stacked("Requests by endpoint", "reqps", {"{{door}}": rate(REQUESTS, HERE, by="door")}),
        stacked(
            "Requests by status",
            "reqps",
            {"{{status}}": rate(REQUESTS, HERE, by="status")},
            "HTTP status, of gRPC too. 499: the client disconnected. 503: shed.",
        ),
        series(
            "Failed",
            "percentunit",
            {"{{status}}": f"{rate(REQUESTS, HERE, failed, by='status')} / scalar({rate(REQUESTS, HERE)})"},
            "Share of all requests. Objective: at most 0.1 %.",
            limits=[0.001],
            runbooks=[AVAILABILITY],
        ),
        series(
            "Shed, by pod",
            "reqps",
            {"{{instance}}": rate("reviews_parsing_requests_shed_total", HERE, by="instance")},
            "Requests with status 503.",
            runbooks=[SHEDDING],
        ),
    )
    board.row(
        "Duration",
        series(
            "Single reviews",
            "s",
            quantiles(f"{SECONDS}_bucket", single),
            "From request to response. Objective: p95 within 100 ms.",
            limits=[0.1],
            runbooks=[LATENCY],
        ),
        series("Requests with many reviews", "s", quantiles(f"{SECONDS}_bucket", batch), "From request to response."),
        series(
            "p95 by endpoint",
            "s",
            {"{{door}}, {{texts}}": quantile(0.95, f"{SECONDS}_bucket", HERE, 'texts!="none"', by="door, texts")},
        ),
    )
    board.row(
        "",
        *(
            series(
                f"Phases, {name}",
                "s",
                {"{{phase}}": quantile(share, phases, HERE, by="phase")},
                "decode-input, wait and encode-output are of a request, the others of a batch.",
            )
            for name, share in QUANTILES.items()
        ),
    )
    board.row(
        "Saturation",
        series(
            "Requests in progress, by pod",
            "short",
            {"{{instance}}": f"sum by (instance) (reviews_parsing_requests_in_progress{{{HERE}}})"},
            "Metric of the autoscaler.",
        ),
        series(
            "Queued texts, by pod",
            "short",
            {"{{instance}}": f"sum by (instance) (reviews_parsing_waiting{{{HERE}}})"},
            "A long text counts once more for each 125 tokens.",
        ),
        series(
            "Queueing time",
            "s",
            quantiles(phases, HERE, 'phase="wait"'),
            "Requests that would wait longer than REVIEWS_PARSING_MAX_WAIT are shed.",
        ),
    )
    board.row(
        "",
        heatmap(
            "Texts in a batch",
            "short",
            ("reviews_parsing_batch_texts_bucket", HERE),
            f"Batches grow with the load, up to {BATCH_TEXTS}.",
        ),
        series(
            "CPU, by pod",
            "short",
            {"{{instance}}": f"rate(process_cpu_seconds_total[$__rate_interval]) {OURS}"},
            "Cores in use.",
        ),
        series("Memory, by pod", "bytes", {"{{instance}}": f"process_resident_memory_bytes {OURS}"}),
    )
    return board


def model() -> Board:
    """Return the dashboard of predictions and traffic of each version."""
    versions = variable("version", "Version", f"label_values(reviews_parsing_model_info{{{HERE}}}, version)")
    board = Board("reviews-parsing-model", "Reviews Parsing: model", versions)
    reviews, silent = "reviews_parsing_reviews_total", "reviews_parsing_reviews_without_aspect_total"
    aspects, scores = "reviews_parsing_aspects_total", "reviews_parsing_aspect_score_bucket"
    tokens = rate("reviews_parsing_tokens_total", HERE)
    board.row(
        "Served versions",
        stat(
            "Pods by version",
            "short",
            f"count by (version, precision) (reviews_parsing_model_info{{{SERVED}}} > 0)",
            legend="version {{version}} ({{precision}})",
            runbooks=["ReviewsParsingVersionsDiffer"],
        ),
        stat("Reviews", "short", grown(reviews, SERVED)),
        stat("Aspects", "short", grown(aspects, SERVED)),
        stat("Reviews without aspect", "percentunit", f"{grown(silent, SERVED)} / {grown(reviews, SERVED)}"),
    )
    board.row(
        "Versions side by side",
        stacked("Reviews a second", "short", {"version {{version}}": rate(reviews, SERVED, by="version")}),
        series(
            "Reviews without aspect",
            "percentunit",
            {"version {{version}}": f"{rate(silent, SERVED, by='version')} / {rate(reviews, SERVED, by='version')}"},
            "A rise means that the model finds less, or that the texts have changed.",
        ),
        series(
            "Aspects in a review",
            "short",
            {"version {{version}}": f"{rate(aspects, SERVED, by='version')} / {rate(reviews, SERVED, by='version')}"},
        ),
    )
    positive = rate(aspects, SERVED, 'polarity="positive"', by="category")
    board.row(
        "Aspects",
        stacked("By category, a second", "short", {"{{category}}": rate(aspects, SERVED, by="category")}),
        stacked("By polarity, a second", "short", {"{{polarity}}": rate(aspects, SERVED, by="polarity")}),
        series(
            "Positive, by category",
            "percentunit",
            {"{{category}}": f"{positive} / {rate(aspects, SERVED, by='category')}"},
            "Share of the category's aspects.",
        ),
    )
    board.row(
        "Probabilities and tokens",
        heatmap(
            "Probabilities of aspects",
            "percentunit",
            (scores, SERVED),
            "Calibrated: of aspects with score 0.8, four in five are right. A shift downwards can indicate drift.",
        ),
        series(
            "Probabilities of aspects",
            "percentunit",
            {
                f"p{share * 100:g}, version {{{{version}}}}": quantile(share, scores, SERVED, by="version")
                for share in (0.1, 0.5)
            },
        ),
        series(
            "Tokens",
            "short",
            {"a second": tokens, "a review": f"{tokens} / {rate(reviews, HERE)}"},
            "Tokens read by the encoder, of all versions.",
        ),
    )
    compared = "reviews_parsing_compared"
    agree, differ = (
        rate(f"{compared}_aspects_total", SERVED, f'result="{result}"', by="version, part")
        for result in ("agree", "differ")
    )
    board.row(
        "Compared on live reviews",
        series(
            "Agreement with the champion",
            "percentunit",
            {"version {{version}}, {{part}}": f"2 * {agree} / (2 * {agree} + {differ})"},
            "Of the aspects of both versions. `rollout compare` starts it.",
        ),
        stacked(
            "Reviews, a second",
            "short",
            {"version {{version}}, {{result}}": rate(f"{compared}_reviews_total", SERVED, by="version, result")},
            "shed: dropped, because a server was busy. failed: no answer.",
        ),
        series(
            "Time of an answer, p95",
            "s",
            {"version {{version}}": quantile(0.95, f"{compared}_seconds_bucket", SERVED, by="version")},
            "Measured by the champion, the network included.",
        ),
    )
    of_number, increase = "namespace, version, number", f"increase(reviews_parsing_traffic_total{{{SERVED}}}[1h])"
    expected = f"max by ({of_number}, bin) (reviews_parsing_traffic_expected{{{SERVED}}})"
    share = f"sum by ({of_number}, bin) ({increase}) / on ({of_number}) group_left sum by ({of_number}) ({increase})"
    board.row(
        "Drift from training",
        series(
            "Reviews in other quintiles, by feature",
            "percentunit",
            {"{{number}}": f"max by (number) (sum by ({of_number}) (abs({share} - {expected})) / 2)"},
            "Last hour. A few per cent are chance, more with few reviews; the alert fires at 20 % over six hours.",
            limits=[0.2],
            runbooks=[DRIFT],
        ),
    )
    return board


def cluster() -> Board:
    """Return the dashboard of pods and nodes."""
    board = Board(
        "reviews-parsing-cluster",
        "Reviews Parsing: cluster",
        price("core_hour", "Euro per core and hour", "0.03"),
        price("gib_hour", "Euro per GiB and hour", "0.004"),
        present="kube_pod_info",
        default="reviews-parsing",
    )
    # Without the sums over a pod, which have no container.
    containers, by_pod = f'{HERE}, container!=""', "namespace, pod"
    restarts = "kube_pod_container_status_restarts_total"
    autoscaler = "kube_horizontalpodautoscaler"
    throttled, periods = (f"container_cpu_cfs_{prefix}periods_total" for prefix in ("throttled_", ""))

    def of_limit(resource: str, use: str) -> dict[str, str]:
        limit = f'kube_pod_container_resource_limits{{{containers}, resource="{resource}"}}'
        return {"{{pod}}": f"{use} / sum by ({by_pod}) ({limit})"}

    def of_node(resource: str) -> dict[str, str]:
        requests = f'sum by ({by_pod}) (kube_pod_container_resource_requests{{resource="{resource}"}})'
        by_node = f"on ({by_pod}) group_left (node) max by ({by_pod}, node) (kube_pod_info)"
        room = f'sum by (node) (kube_node_status_allocatable{{resource="{resource}"}})'
        return {"{{node}}": f"sum by (node) ({requests} * {by_node}) / {room}"}

    board.row(
        "Pods",
        stat("Ready", "short", f'sum(kube_pod_status_ready{{{HERE}, condition="true"}})'),
        stat("Wanted", "short", f"sum(kube_deployment_spec_replicas{{{HERE}}})"),
        stat("Restarts", "short", grown(restarts, HERE)),
        stat(
            "Nodes not ready",
            "short",
            'sum(kube_node_status_condition{condition="Ready", status=~"false|unknown"})',
            "Of the whole cluster.",
        ),
    )
    board.row(
        "",
        series(
            "Replicas",
            "short",
            {
                "{{deployment}} ready": f"sum by (deployment) (kube_deployment_status_replicas_ready{{{HERE}}})",
                "{{deployment}} wanted": f"sum by (deployment) (kube_deployment_spec_replicas{{{HERE}}})",
            },
            runbooks=[NO_POD],
        ),
        series(
            "Autoscaler",
            "short",
            {
                "wants": f"sum({autoscaler}_status_desired_replicas{{{HERE}}})",
                "may have": f"sum({autoscaler}_spec_max_replicas{{{HERE}}})",
            },
        ),
        series(
            "Restarts",
            "short",
            {"{{pod}}": f"sum by (pod) (increase({restarts}{{{HERE}}}[$__rate_interval]))"},
            runbooks=[CRASHES],
        ),
        series(
            "Reasons of terminated and waiting containers",
            "short",
            {
                f"{{{{pod}}}} {did}: {{{{reason}}}}": f"sum by (pod, reason) ({metric}{{{HERE}}}) > 0"
                for did, metric in (
                    ("ended", "kube_pod_container_status_last_terminated_reason"),
                    ("waits", "kube_pod_container_status_waiting_reason"),
                )
            },
            "OOMKilled: the memory limit was reached.",
        ),
    )
    board.row(
        "CPU and memory",
        series(
            "CPU, of the limit",
            "percentunit",
            of_limit("cpu", rate("container_cpu_usage_seconds_total", containers, by=by_pod)),
            limits=[1],
        ),
        series(
            "CPU throttled",
            "percentunit",
            {"{{pod}}": f"{rate(throttled, containers, by=by_pod)} / {rate(periods, containers, by=by_pod)}"},
            "Share of CFS periods in which a pod was throttled at its CPU limit.",
        ),
        series(
            "Memory, of the limit",
            "percentunit",
            of_limit("memory", f"sum by ({by_pod}) (container_memory_working_set_bytes{{{containers}}})"),
            limits=[1],
        ),
    )
    board.row(
        "Nodes",
        stacked(
            "Pods by node",
            "short",
            {"{{node}}": f"count by (node) (kube_pod_info{{{HERE}}})"},
            "Pods on one node fail together.",
        ),
        series(
            "CPU requests, of the node's",
            "percentunit",
            of_node("cpu"),
            "At 1 no more pods can be scheduled there.",
            limits=[1],
        ),
        series("Memory requests, of the node's", "percentunit", of_node("memory"), limits=[1]),
    )
    cost = " + ".join(
        f'{scale} * sum(kube_pod_container_resource_requests{{{HERE}, resource="{resource}"}})'
        for resource, scale in (("cpu", "$core_hour"), ("memory", "$gib_hour / 2 ^ 30"))
    )
    answered, parsed = rate(REQUESTS, HERE, 'status=~"2.."'), rate("reviews_parsing_reviews_total", HERE)
    asked = "Resource requests of pods at the prices above (your cloud's price of a node, divided by cores and memory)."
    board.row(
        "Cost",
        series("Euro an hour", "currencyEUR", {"of the namespaces": cost}, asked),
        series(
            "Requests for a euro",
            "short",
            {"answered": f"3600 * {answered} / ({cost})"},
            "Successful requests, at the current rate.",
        ),
        series(
            "Euro for a million reviews",
            "currencyEUR",
            {"at the current rate": f"1e6 * ({cost}) / (3600 * {parsed})"},
            "Falls under load: idle pods cost the same.",
        ),
    )
    return board


def runbooks() -> Board:
    """Return the dashboard of the runbooks, two side by side; panels are numbered as `panels.runbook_address` does."""
    board = Board(RUNBOOKS_UID, "Reviews Parsing: runbooks", has_queries=False)
    for first in range(0, len(RUNBOOK_NAMES), 2):
        board.row("", *map(runbook, RUNBOOK_NAMES[first : first + 2]))
    return board


def main(folder: Path = FOLDER) -> None:
    """Write all dashboards to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for build in (service, model, cluster, runbooks):
        text = json.dumps(build().json, indent=1)
        (folder / f"{build.__name__}.json").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
