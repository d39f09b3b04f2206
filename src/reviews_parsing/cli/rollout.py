"""`reviews-parsing rollout ...`: deploy a registered version to a cluster, watch it, undo it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reviews_parsing.cli import output
from reviews_parsing.cli.options import AsJson
from reviews_parsing.errors import RolloutRefused

if TYPE_CHECKING:
    from reviews_parsing.rollout import Prometheus, Service, Status

rollout_app = typer.Typer(
    no_args_is_help=True, help="Deploy a version to a cluster (KServe), watch it, promote it, undo it."
)

Name = Annotated[str | None, typer.Option("--service", help="InferenceService. Default: REVIEWS_PARSING_SERVICE.")]
Namespace = Annotated[
    str | None, typer.Option("-n", "--namespace", help="Namespace. Default: REVIEWS_PARSING_NAMESPACE.")
]
Context = Annotated[str | None, typer.Option(help="Context of the kubeconfig. Default: the current one.")]
Timeout = Annotated[str, typer.Option(help="Time limit for pods to become ready: 90s, 10m, 1h.")]
Force = Annotated[bool, typer.Option("--force", help="Take over fields of other managers.")]
Auto = Annotated[bool, typer.Option("--auto", help="Watch the canary, then promote it or undo it.")]
WatchFor = Annotated[str, typer.Option("--for", help="Duration of the watch of --auto: 90s, 10m, 1h.")]
PrometheusUrl = Annotated[str | None, typer.Option("--prometheus", help="URL of Prometheus. Default: PROMETHEUS_URL.")]
MinRequests = Annotated[int, typer.Option(min=1, help="Minimum requests of each version for --auto to decide.")]


@rollout_app.command()
def start(
    version: Annotated[str | None, typer.Option(help="Registered version. Default: the champion.")] = None,
    canary: Annotated[
        int | None, typer.Option(min=0, max=99, help="Percent of the requests; 0: dark. Default: all, at once.")
    ] = None,
    image: Annotated[
        str | None, typer.Option(help="Image of the server, REPOSITORY@sha256:... Default: the one that runs.")
    ] = None,
    auto: Auto = False,
    watch_for: WatchFor = "10m",
    prometheus: PrometheusUrl = None,
    min_requests: MinRequests = 100,
    timeout: Timeout = "10m",
    force: Force = False,
    service: Name = None,
    namespace: Namespace = None,
    context: Context = None,
    as_json: AsJson = False,
) -> None:
    """Start a rollout: for all requests at once, or for a share of them as a canary; or change the canary's share.

    `--canary 0` starts the version dark: only requests with the header `reviews-parsing-version: N` reach it. With
    `--image` and without `--version` the served version stays.

    Examples:

        reviews-parsing rollout start

        reviews-parsing rollout start --version 7 --canary 10

        reviews-parsing rollout start --canary 10 --auto --for 10m --prometheus http://127.0.0.1:9090
    """
    from reviews_parsing import rollout

    if auto and not canary:
        raise typer.BadParameter("--auto watches a canary that gets requests: add --canary 10")
    seconds, limit = _seconds(watch_for, "--for"), _seconds(timeout, "--timeout")
    with _service(service, namespace, context) as target:
        watcher = _prometheus(prometheus, target) if auto else None
        status = rollout.start(
            target,
            version=version,
            canary=canary,
            image=image,
            timeout=limit,
            force=force,
            report=output.print_line,
        )
        if watcher is not None and status.plan.canary is not None:
            status = _watch(target, watcher, seconds, min_requests, limit, force)
    _show(status, as_json)


@rollout_app.command()
def status(service: Name = None, namespace: Namespace = None, context: Context = None, as_json: AsJson = False) -> None:
    """Show the serving version, the canary, and whether a rollout is in progress.

    Examples:

        reviews-parsing rollout status

        reviews-parsing rollout status --json
    """
    from reviews_parsing import rollout

    with _service(service, namespace, context) as target:
        _show(rollout.status(target), as_json)


@rollout_app.command()
def promote(
    auto: Auto = False,
    watch_for: WatchFor = "10m",
    prometheus: PrometheusUrl = None,
    min_requests: MinRequests = 100,
    timeout: Timeout = "10m",
    force: Force = False,
    service: Name = None,
    namespace: Namespace = None,
    context: Context = None,
    as_json: AsJson = False,
) -> None:
    """Give the canary's version all requests; with --auto, only if it passes the watch.

    Examples:

        reviews-parsing rollout promote

        reviews-parsing rollout promote --auto --for 30m --prometheus http://127.0.0.1:9090
    """
    from reviews_parsing import rollout

    seconds, limit = _seconds(watch_for, "--for"), _seconds(timeout, "--timeout")
    with _service(service, namespace, context) as target:
        if auto:
            status = _watch(target, _prometheus(prometheus, target), seconds, min_requests, limit, force)
        else:
            status = rollout.promote(target, timeout=limit, force=force, report=output.print_line)
    _show(status, as_json)


@rollout_app.command()
def undo(
    timeout: Timeout = "10m",
    force: Force = False,
    service: Name = None,
    namespace: Namespace = None,
    context: Context = None,
    as_json: AsJson = False,
) -> None:
    """End the canary; without a canary, return to the previous version.

    Examples:

        reviews-parsing rollout undo

        reviews-parsing rollout undo --namespace reviews-parsing --context kind-reviews
    """
    from reviews_parsing import rollout

    limit = _seconds(timeout, "--timeout")
    with _service(service, namespace, context) as target:
        _show(rollout.undo(target, timeout=limit, force=force, report=output.print_line), as_json)


@rollout_app.command()
def compare(
    version: Annotated[str | None, typer.Argument(help="Version of the canary to start comparing with.")] = None,
    percent: Annotated[
        float, typer.Option(min=0.01, max=100, help="Percent of the champion's reviews that it parses too.")
    ] = 10,
    stop: Annotated[bool, typer.Option("--stop", help="End the comparison.")] = False,
    window: Annotated[str, typer.Option("--for", help="Time range of the counts: 30m, 1h, 24h.")] = "1h",
    prometheus: PrometheusUrl = None,
    service: Name = None,
    namespace: Namespace = None,
    context: Context = None,
    as_json: AsJson = False,
) -> None:
    """Compare a canary, dark or not, with the champion on live reviews: counts of agreement, and no texts.

    With a version the comparison starts; without one its counts are shown. It ends with the canary.

    Examples:

        reviews-parsing rollout compare 7 --percent 10

        reviews-parsing rollout compare --for 24h --prometheus http://127.0.0.1:9090

        reviews-parsing rollout compare --stop
    """
    from reviews_parsing import rollout

    if stop and version:
        raise typer.BadParameter("--stop ends the comparison that runs: leave the version out")
    seconds = _seconds(window, "--for")
    with _service(service, namespace, context) as target:
        if version or stop:
            line = rollout.start_comparison(target, version, percent) if version else rollout.stop_comparison(target)
            output.print_line(line or f"{target.words} compares no version")
            return
        compared = rollout.compared_version(target)
        if compared is None:
            raise RolloutRefused(f"{target.words} compares no version; begin with: rollout compare 7")
        agreement = rollout.read_agreement(_prometheus(prometheus, target, "compare"), compared, seconds)
    if as_json:
        output.print_json(asdict(agreement))
    else:
        output.out.print(agreement.words, markup=False, soft_wrap=True)


def _service(name: str | None, namespace: str | None, context: str | None) -> Service:
    from reviews_parsing.rollout import Service
    from reviews_parsing.settings import Settings

    settings = Settings()
    return Service(name or settings.service, namespace or settings.namespace, context)


def _prometheus(url: str | None, service: Service, subject: str = "--auto") -> Prometheus:
    from reviews_parsing.rollout import Prometheus
    from reviews_parsing.settings import Settings

    url = url or Settings().prometheus_url
    if not url:
        raise typer.BadParameter(f"{subject} needs --prometheus URL (or PROMETHEUS_URL)")
    return Prometheus(url, service.namespace)


def _watch(
    service: Service, prometheus: Prometheus, seconds: float, min_requests: int, timeout: float, force: bool
) -> Status:
    from reviews_parsing.rollout import watch_canary

    return watch_canary(
        service,
        prometheus,
        seconds=seconds,
        min_requests=min_requests,
        timeout=timeout,
        force=force,
        report=output.print_line,
    )


def _seconds(text: str, option: str) -> float:
    from reviews_parsing.rollout import duration

    try:
        return duration(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option}: {error}") from error


def _show(status: Status, as_json: bool) -> None:
    if as_json:
        output.print_json(_form(status))
        return
    champion, canary = status.plan.champion, status.plan.canary
    rows = [["champion", champion.version or champion.uri or "", 100 - status.percent]]
    rows[0] += [champion.since or "", status.champion.words]
    if canary is not None and status.canary is not None:
        rows.append(["canary", canary.version or "", status.percent, canary.since or "", status.canary.words])
    output.table(status.service, ["", "version", "% of requests", "since", "pods"], rows)
    output.out.print(f"\n{status.under_way or 'no rollout is under way'}", markup=False)


def _form(status: Status) -> dict[str, Any]:
    """Return the status as JSON."""
    champion, canary = status.plan.champion, status.plan.canary
    form: dict[str, Any] = {
        "service": status.service,
        "under_way": status.under_way,
        "gateway": status.gateway,
        "champion": {
            "version": champion.version,
            "model_uri": champion.uri,
            "deploy_timestamp": champion.since,
            "image": champion.image,
            "previous_model_uri": champion.previous_uri,
            "ready": status.champion.ready,
            "pods": status.champion.words,
        },
        "canary": None,
    }
    if canary is not None and status.canary is not None:
        form["canary"] = {
            "version": canary.version,
            "model_uri": canary.uri,
            "deploy_timestamp": canary.since,
            "percent": status.percent,
            "requested_percent": canary.percent,
            "image": canary.image,
            "ready": status.canary.ready,
            "pods": status.canary.words,
        }
    return form
