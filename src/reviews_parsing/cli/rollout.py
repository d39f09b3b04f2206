"""`reviews-parsing rollout ...`: a registered version onto a cluster, watched and reversible."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from reviews_parsing.cli import output

if TYPE_CHECKING:
    from reviews_parsing.rollout import Prometheus, Service, Status

rollout_app = typer.Typer(no_args_is_help=True, help="Bring a version to a cluster (KServe), watch it, promote, undo.")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else on stdout.")]
Name = Annotated[str | None, typer.Option("--service", help="InferenceService. Default: REVIEWS_PARSING_SERVICE.")]
Namespace = Annotated[str | None, typer.Option("-n", "--namespace", help="Default: REVIEWS_PARSING_NAMESPACE.")]
Context = Annotated[str | None, typer.Option(help="Context of the kubeconfig. Default: the current one.")]
Timeout = Annotated[str, typer.Option(help="For how long pods may take to become ready: 90s, 10m, 1h.")]
Force = Annotated[bool, typer.Option("--force", help="Take over fields that others manage.")]
Auto = Annotated[bool, typer.Option("--auto", help="Watch the canary, then promote it or undo it.")]
For = Annotated[str, typer.Option("--for", help="For how long --auto watches: 90s, 10m, 1h.")]
PrometheusUrl = Annotated[str | None, typer.Option("--prometheus", help="URL for --auto. Default: PROMETHEUS_URL.")]
MinRequests = Annotated[int, typer.Option(min=1, help="Requests that --auto needs of each version to judge.")]


@rollout_app.command()
def start(
    version: Annotated[str | None, typer.Option(help="Registered version. Default: what champion means now.")] = None,
    canary: Annotated[
        int | None, typer.Option(min=0, max=99, help="Percent of the requests; 0: dark. Default: all, at once.")
    ] = None,
    auto: Auto = False,
    watch_for: For = "10m",
    prometheus: PrometheusUrl = None,
    min_requests: MinRequests = 100,
    timeout: Timeout = "10m",
    force: Force = False,
    service: Name = None,
    namespace: Namespace = None,
    context: Context = None,
    as_json: AsJson = False,
) -> None:
    """Begin a rollout: all requests at once, or a share of them for a canary; or change the canary's share.

    `--canary 0` starts the version dark: only requests with the header `reviews-parsing-version: N` reach it.

    Examples:

        reviews-parsing rollout start

        reviews-parsing rollout start --version 7 --canary 0

        reviews-parsing rollout start --version 7 --canary 10

        reviews-parsing rollout start --canary 10 --auto --for 10m --prometheus http://127.0.0.1:9090
    """
    from reviews_parsing import rollout

    if auto and not canary:
        raise typer.BadParameter("--auto watches a canary that gets requests: add --canary 10")
    seconds = _seconds(watch_for, "--for")
    patience = _seconds(timeout, "--timeout")
    with _service(service, namespace, context) as where:
        watcher = _prometheus(prometheus, where) if auto else None
        found = rollout.start(where, version=version, canary=canary, timeout=patience, force=force, say=_say)
        if watcher is not None and found.plan.canary is not None:
            found = rollout.hold(
                where, watcher, seconds=seconds, min_requests=min_requests, timeout=patience, force=force, say=_say
            )
    _show(found, as_json)


@rollout_app.command()
def status(service: Name = None, namespace: Namespace = None, context: Context = None, as_json: AsJson = False) -> None:
    """Tell which version serves, which is canary, and whether a rollout is under way.

    Examples:

        reviews-parsing rollout status

        reviews-parsing rollout status --json
    """
    from reviews_parsing import rollout

    with _service(service, namespace, context) as where:
        _show(rollout.status(where), as_json)


@rollout_app.command()
def promote(
    auto: Auto = False,
    watch_for: For = "10m",
    prometheus: PrometheusUrl = None,
    min_requests: MinRequests = 100,
    timeout: Timeout = "10m",
    force: Force = False,
    service: Name = None,
    namespace: Namespace = None,
    context: Context = None,
    as_json: AsJson = False,
) -> None:
    """Give the canary's version all requests; with --auto, only if it holds while watched.

    Examples:

        reviews-parsing rollout promote

        reviews-parsing rollout promote --auto --for 30m --prometheus http://127.0.0.1:9090
    """
    from reviews_parsing import rollout

    seconds = _seconds(watch_for, "--for")
    patience = _seconds(timeout, "--timeout")
    with _service(service, namespace, context) as where:
        if auto:
            watcher = _prometheus(prometheus, where)
            found = rollout.hold(
                where, watcher, seconds=seconds, min_requests=min_requests, timeout=patience, force=force, say=_say
            )
        else:
            found = rollout.promote(where, timeout=patience, force=force, say=_say)
    _show(found, as_json)


@rollout_app.command()
def undo(
    timeout: Timeout = "10m",
    force: Force = False,
    service: Name = None,
    namespace: Namespace = None,
    context: Context = None,
    as_json: AsJson = False,
) -> None:
    """End the canary; where there is none, return to the version that was served before.

    Examples:

        reviews-parsing rollout undo

        reviews-parsing rollout undo --namespace reviews-parsing --context kind-reviews
    """
    from reviews_parsing import rollout

    patience = _seconds(timeout, "--timeout")
    with _service(service, namespace, context) as where:
        _show(rollout.undo(where, timeout=patience, force=force, say=_say), as_json)


def _service(name: str | None, namespace: str | None, context: str | None) -> Service:
    from reviews_parsing.rollout import Service
    from reviews_parsing.settings import Settings

    settings = Settings()
    return Service(name or settings.service, namespace or settings.namespace, context)


def _prometheus(url: str | None, service: Service) -> Prometheus:
    from reviews_parsing.rollout import Prometheus
    from reviews_parsing.settings import Settings

    found = url or Settings().prometheus_url
    if not found:
        raise typer.BadParameter("--auto needs --prometheus URL (or PROMETHEUS_URL)")
    return Prometheus(found, service.namespace)


def _seconds(text: str, option: str) -> float:
    from reviews_parsing.rollout import duration

    try:
        return duration(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option}: {error}") from error


def _say(line: str) -> None:
    output.err.print(line, markup=False, soft_wrap=True)


def _show(found: Status, as_json: bool) -> None:
    if as_json:
        output.print_json(_form(found))
        return
    champion, canary = found.plan.champion, found.plan.canary
    rows = [["champion", champion.version or champion.uri or "", 100 - found.percent]]
    rows[0] += [champion.since or "", found.champion.words]
    if canary is not None and found.canary is not None:
        rows.append(["canary", canary.version or "", found.percent, canary.since or "", found.canary.words])
    output.table(found.service, ["", "version", "% of requests", "since", "pods"], rows)
    output.out.print(f"\n{found.under_way or 'no rollout is under way'}", markup=False)


def _form(found: Status) -> dict[str, Any]:
    """The status as JSON."""
    champion, canary = found.plan.champion, found.plan.canary
    form: dict[str, Any] = {
        "service": found.service,
        "under_way": found.under_way,
        "gateway": found.gateway,
        "champion": {
            "version": champion.version,
            "model_uri": champion.uri,
            "deploy_timestamp": champion.since,
            "previous_model_uri": champion.before,
            "ready": found.champion.ready,
            "pods": found.champion.words,
        },
        "canary": None,
    }
    if canary is not None and found.canary is not None:
        form["canary"] = {
            "version": canary.version,
            "model_uri": canary.uri,
            "deploy_timestamp": canary.since,
            "percent": found.percent,
            "requested_percent": canary.percent,
            "ready": found.canary.ready,
            "pods": found.canary.words,
        }
    return form
