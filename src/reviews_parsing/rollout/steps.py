"""Steps of a rollout: start, promote, undo, status. Each applies a plan and waits until the cluster has reached it.

A canary starts dark and gets its share once it is ready. Its share is a weight in the gateway's HTTPRoute, which is
written and read back here: a canary is called one only if the gateway has its weight.
Promotion updates the champion's predictor to the canary's version, pod by pod, then ends the canary. KServe's other
way, renaming the predictor, would delete the champion's pods at once and leave all requests to the canary's few.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NoReturn

from reviews_parsing.errors import ClusterError, ReviewsParsingError, RolloutRefused, RolloutReverted
from reviews_parsing.registry.resolution import ModelReference, resolve
from reviews_parsing.rollout.cluster import ObjectModified, Progress, Service
from reviews_parsing.rollout.comparison import stop_comparison
from reviews_parsing.rollout.plan import Canary, Predictor, RolloutPlan, build_spec, read_plan, replicas_for
from reviews_parsing.rollout.route import (
    VERSION_HEADER,
    Backends,
    TrafficSplit,
    build_rules,
    has_rules,
    is_own,
    leads_to,
    read_traffic,
)
from reviews_parsing.settings import MODEL_NAME, Settings

Report = Callable[[str], None]
"""Callback for lines about the progress."""

POLL_SECONDS = 2.0
MAX_OUTAGE_SECONDS = 60.0
"""Outage of the cluster's API that does not end the waiting for pods."""
TRAFFIC_TIMEOUT_SECONDS = 60.0
"""Time for the gateway to take a change of traffic."""
GATEWAY_DELAY_SECONDS = 5.0
"""Time for a route to reach the gateway."""


@dataclass(frozen=True, slots=True)
class Status:
    """The plan that a service holds, and the progress of both predictors."""

    service: str
    plan: RolloutPlan
    champion: Progress
    canary: Progress | None
    percent: int = 0
    """Percent of the requests that the gateway gives the canary."""
    gateway: str | None = None
    """The reason why the gateway does not hold the plan, None if it does."""

    @property
    def under_way(self) -> str | None:
        """Description of the rollout in progress, None without one."""
        canary, champion = self.plan.canary, self.plan.champion
        if canary is not None and self.plan.is_promoting:
            return f"version {canary.version} is being promoted: {self.champion.words}"
        if canary is not None and canary.percent == self.percent == 0:
            return f"version {canary.version} is dark since {canary.since}: only requests with its number reach it"
        if canary is not None and self.gateway:
            fact = f"it gets {self.percent} %" if canary.percent != self.percent else "the gateway does not confirm it"
            share = f"version {canary.version} should get {canary.percent} % of the requests"
            return f"{share}, but {fact} ({self.gateway})"
        if canary is not None:
            return f"version {canary.version} gets {canary.percent} % of the requests since {canary.since}"
        if not self.champion.rolled:
            subject = f"version {champion.version}" if champion.version else "the first version"
            return f"{subject} is being rolled out: {self.champion.words}"
        return None


def status(service: Service) -> Status:
    """Return the status of a service. Raises ClusterError."""
    return _status(service, read_plan(service.read()))


def start(
    service: Service,
    *,
    version: str | None = None,
    canary: int | None = None,
    image: str | None = None,
    timeout: float = 600,
    force: bool = False,
    report: Report = print,
) -> Status:
    """Deploy `version` (default: the champion) to all pods, or as a canary for `canary` percent of the requests.

    With `canary` 0 the version is launched dark: only requests that name it in a header reach it. A running canary gets
    another share. `image`, named by its digest, replaces the image of the pods; without `version` the served version
    stays. The alias is resolved here, once; the service gets a number. A version that is not ready within `timeout`
    seconds is undone. `force` takes over fields of other managers. Raises ModelError, TrackingError, ClusterError,
    RolloutRefused if a rollout is in progress or the gateway splits no traffic, RolloutReverted if it was undone.
    """
    if image and not re.fullmatch(r"[^@\s]+@sha256:[0-9a-f]{64}", image):
        raise RolloutRefused(f"image {image} has no digest; name it as REPOSITORY@sha256:...")
    uri = None if image and not version else _resolve_uri(version)
    document = service.read()
    uri = uri or read_plan(document).champion.uri or _resolve_uri(None)
    if canary:
        require_route(service)
    current = _status(service, read_plan(document))
    former, running = current.plan, current.plan.canary
    is_same = running is not None and (running.uri, running.image) == (uri, image or running.image)
    if canary is not None and is_same and not former.is_promoting:
        return _change_share(service, former, canary, replicas_for(canary, document), timeout, force, report)
    if current.under_way:
        raise RolloutRefused(
            f"{service.words}: a rollout is under way: {current.under_way}; promote it or undo it first"
        )
    image = image or former.champion.image
    if (former.champion.uri, former.champion.image) == (uri, image):
        report(f"{service.words} serves version {former.champion.version} already")
        _warn(report, _route_traffic(service, former, force))
        return status(service)
    if canary is None:
        plan = _apply(service, former, RolloutPlan(_successor(service, former, uri, image)), force)
        champion = plan.champion
        change = f"version {champion.version}" if former.champion.uri != uri else f"image {image}"
        before = f", which served {former.champion.version}" if former.champion.uri else ""
        report(f"{change} is written to {service.words}{before}")
        failure = _wait(service, champion.name, uri, image, timeout, report)
        if failure:
            _apply(service, plan, former)
            raise RolloutReverted(
                f"version {champion.version} did not become ready ({failure}); {_reverted_to(former)}"
            )
        _warn(report, _route_traffic(service, plan, force))
        report(f"version {champion.version} serves all requests")
        return status(service)
    if former.champion.uri is None:
        raise RolloutRefused(f"{service.words} serves no version yet to compare with; start without --canary")
    if former.champion.uri == uri:
        raise RolloutRefused(
            f"{service.words} serves version {former.champion.version} already, and metrics tell canaries by their "
            "version: start the image without --canary"
        )
    name = f"v{uri.rpartition('/')[2]}"
    new = Canary(name, uri, _timestamp(), 0, replicas_for(canary, document), former.champion.uri, image)
    plan = _apply(service, former, replace(former, canary=new), force)
    report(f"version {new.version} starts beside version {former.champion.version}, without requests")
    _give_share(service, plan, canary, timeout, force, report)
    return status(service)


def require_route(service: Service) -> None:
    """Raise RolloutRefused if no canary can get requests."""
    if service.read_route() is None:
        raise RolloutRefused(
            f"{service.words} has no HTTPRoute, so no canary can get requests (a classic Ingress splits none): "
            "start without --canary, or with --canary 0 and test the version at its own Service"
        )


def _successor(service: Service, former: RolloutPlan, uri: str | None, image: str | None) -> Predictor:
    """Return the champion that follows the one of `former`, which it remembers."""
    old = former.champion
    previous_image = (old.image or service.image(old.name)) if image and image != old.image else None
    return replace(old, uri=uri, since=_timestamp(), previous_uri=old.uri, image=image, previous_image=previous_image)


def _change_share(
    service: Service, plan: RolloutPlan, percent: int, replicas: int, timeout: float, force: bool, report: Report
) -> Status:
    """Give a running canary another share. It gets the pods for a larger one before, and loses them after."""
    canary = plan.canary
    if canary is not None and canary.replicas < replicas:
        plan = _apply(service, plan, replace(plan, canary=replace(canary, replicas=replicas)), force)
    plan = _give_share(service, plan, percent, timeout, force, report, is_new=False)
    canary = plan.canary
    if canary is not None and canary.replicas > replicas:
        _apply(service, plan, replace(plan, canary=replace(canary, replicas=replicas)), force)
    return status(service)


def _give_share(
    service: Service, plan: RolloutPlan, percent: int, timeout: float, force: bool, report: Report, is_new: bool = True
) -> RolloutPlan:
    """Wait for the canary's pods, then give them `percent` of the requests; returns the plan.

    A failure ends the canary, but a change of a running one that the cluster refuses is taken back.
    """
    canary = plan.canary
    if canary is None:
        raise RolloutRefused(f"{service.words} has no canary")
    failure = _wait(service, canary.name, canary.uri, canary.image, timeout, report)
    if failure:
        _revert(service, plan, f"version {canary.version} did not become ready ({failure})", report, force)
    former = plan
    if canary.percent != percent:
        plan = _apply(service, plan, replace(plan, canary=replace(canary, percent=percent)), force)
    try:
        refusal = _route_traffic(service, plan, force)
    except ClusterError as error:
        if not is_new:
            _apply(service, plan, former, force)
            raise
        refusal = str(error)
    if refusal:
        reason = f"the gateway did not give version {canary.version} its requests ({refusal})"
        _revert(service, plan, reason, report, force)
    if percent:
        report(f"version {canary.version} gets {percent} % of the requests")
    elif (route := service.read_route()) and is_own(route):
        report(f"version {canary.version} is dark: test it with the header {VERSION_HEADER}: {canary.version}")
    else:
        report(f"version {canary.version} is dark: test it at the Service {service.predictor_name(canary.name)}")
    return plan


def _revert(service: Service, plan: RolloutPlan, reason: str, report: Report, force: bool) -> NoReturn:
    """End the canary for a reason. Raises RolloutReverted, or ClusterError if it cannot be ended."""
    try:
        end_canary(service, plan, report, force)
    except ClusterError as error:
        raise ClusterError(f"{reason}, but could not be ended: {error}") from error
    raise RolloutReverted(f"{reason}; {_reverted_to(replace(plan, canary=None))}")


def promote(service: Service, *, timeout: float = 600, force: bool = False, report: Report = print) -> Status:
    """Update the champion to the canary's version, pod by pod, then end the canary. Continues an interrupted promotion.

    Raises ClusterError, RolloutRefused if there is no canary, RolloutReverted if the version did not become ready.
    """
    former = read_plan(service.read())
    canary = former.canary
    if canary is None:
        raise RolloutRefused(f"{service.words} has no canary to promote; begin with: rollout start --canary 10")
    plan = former
    if not former.is_promoting:
        champion = _successor(service, former, canary.uri, canary.image)
        plan = _apply(service, former, replace(former, champion=champion), force)
    report(f"all pods become version {canary.version}")
    failure = _wait(service, plan.champion.name, canary.uri, canary.image, timeout, report)
    if failure:
        old = former.champion
        if plan == former:
            old = _predecessor(plan.champion, plan.champion.since)
        end_canary(service, _apply(service, plan, replace(plan, champion=old)), report, force)
        raise RolloutReverted(
            f"version {canary.version} is not ready everywhere ({failure}); {_reverted_to(RolloutPlan(old))}"
        )
    end_canary(service, plan, report, force)
    report(f"version {canary.version} serves all requests")
    return status(service)


def undo(service: Service, *, timeout: float = 600, force: bool = False, report: Report = print) -> Status:
    """End the canary; without a canary, return to the previous version.

    Raises ClusterError, RolloutRefused if there is nothing to undo.
    """
    plan = read_plan(service.read())
    canary, champion = plan.canary, plan.champion
    if canary is not None and not plan.is_promoting:
        end_canary(service, plan, report, force)
        report(f"version {canary.version} is gone; version {champion.version} serves all requests")
        return status(service)
    if champion.previous_uri is None:
        served = f"no version before {champion.version}" if champion.version else "no version yet"
        raise RolloutRefused(f"{service.words} knows {served}: nothing to undo")
    previous = _predecessor(champion, _timestamp())
    plan = _apply(service, plan, replace(plan, champion=previous), force)
    report(f"version {previous.version} returns to {service.words}, which served {champion.version}")
    failure = _wait(service, plan.champion.name, previous.uri, previous.image, timeout, report)
    if canary is not None:
        end_canary(service, plan, report, force)
    if failure:
        raise ClusterError(f"version {previous.version} is written but not ready ({failure}); look at its pods")
    report(f"version {previous.version} serves all requests")
    return status(service)


def end_canary(service: Service, plan: RolloutPlan, report: Report, force: bool = False) -> None:
    """End the canary of a plan: first its traffic, then its pods, so that no request reaches a deleted service.

    If the gateway does not confirm the change of traffic in time, the pods end nevertheless. A comparison ends with the
    canary. Raises ClusterError if the chart's route cannot be changed and leads requests to the canary.
    """
    if plan.canary is None:
        return
    version, name = plan.canary.version, service.predictor_name(plan.canary.name)
    if plan.canary.percent:
        plan = _apply(service, plan, replace(plan, canary=replace(plan.canary, percent=0)), force)
        report(f"version {version} gets no more requests")
    try:
        refusal = _route_traffic(service, plan, force, _backends(service, replace(plan, canary=None)))
    except ClusterError as error:
        refusal = str(error)
    if refusal and (route := service.read_route()) and is_own(route) and leads_to(route, name):
        raise ClusterError(f"version {version} keeps its pods: the HTTPRoute leads requests to them ({refusal})")
    _warn(report, refusal)
    try:
        if ended := stop_comparison(service):
            report(ended)
    except ReviewsParsingError as error:
        report(f"warning: {error}")
    time.sleep(GATEWAY_DELAY_SECONDS)
    _apply(service, plan, replace(plan, canary=None), force)


def traffic_share(service: Service, plan: RolloutPlan) -> tuple[int, str | None]:
    """Return the percent of requests that the gateway gives the canary, and why it is not the plan's, or None."""
    backends, route = _backends(service, plan), service.read_route()
    if route is None:  # an Ingress leads to the champion's Service
        return 0, "there is no HTTPRoute" if backends.percent else None
    traffic = read_traffic(route)
    return traffic.weights.get(backends.canary or "", 0), _difference(traffic, backends)


def _route_traffic(
    service: Service, plan: RolloutPlan, force: bool = False, backends: Backends | None = None
) -> str | None:
    """Write weights, by default the plan's, into the gateway's route and wait for it.

    Returns None, or why the gateway lacks them. A route that KServe wrote is not changed, only waited for. Without a
    route only the champion can get requests. Raises RolloutRefused if another rollout has changed the plan: of two, the
    one that was overtaken writes no weights.
    """
    deadline = time.monotonic() + TRAFFIC_TIMEOUT_SECONDS
    backends = backends or _backends(service, plan)
    rules = build_rules(backends, MODEL_NAME)  # the server's name of its model, whatever the registry's
    while True:
        route = service.read_route()
        if route is None:
            return "there is no HTTPRoute" if backends.percent else None
        if is_own(route) and not has_rules(route, rules):
            _read_unchanged(service, plan)
            try:
                route = service.apply_route(rules, route["metadata"]["resourceVersion"], force)
            except ObjectModified:  # the gateway has written its status
                continue
        refusal = _difference(read_traffic(route), backends)
        if refusal is None or time.monotonic() > deadline:
            return refusal
        time.sleep(POLL_SECONDS)


def _difference(traffic: TrafficSplit, backends: Backends) -> str | None:
    """Return why the gateway does not send requests to `backends` by their shares, None if it does."""
    percent, remainder = (traffic.weights.get(name or "", 0) for name in (backends.canary, backends.champion))
    if (percent, remainder) != (backends.percent, 100 - backends.percent):
        source = "the chart's HTTPRoute" if traffic.is_own else "KServe's own HTTPRoute, which 0.20.0 does not split,"
        return f"{source} has {remainder} % for the champion and {percent} % for a canary"
    return None if traffic.accepted else traffic.reason


def _backends(service: Service, plan: RolloutPlan) -> Backends:
    champion, canary = service.predictor_name(plan.champion.name), plan.canary
    if canary is None:
        return Backends(champion)
    return Backends(champion, service.predictor_name(canary.name), canary.version, canary.percent)


def _warn(report: Report, refusal: str | None) -> None:
    """Report that the gateway lacks the weights, in a case that undoes nothing."""
    if refusal:
        report(f"warning: the gateway does not route as written: {refusal}")


def _predecessor(champion: Predictor, since: str | None) -> Predictor:
    """Return the champion before this one."""
    return replace(
        champion,
        uri=champion.previous_uri,
        since=since,
        previous_uri=None,
        image=champion.previous_image or champion.image,
        previous_image=None,
    )


def _resolve_uri(version: str | None) -> str:
    """Return `models:/NAME/N` of a registered version, by default of the champion."""
    settings = Settings()
    uri = f"models:/{settings.model_name}/{version}" if version else settings.champion_uri
    return f"models:/{settings.model_name}/{resolve(ModelReference.parse(uri)).version}"


def _status(service: Service, plan: RolloutPlan) -> Status:
    canary = service.progress(plan.canary.name, plan.canary.uri, plan.canary.image) if plan.canary else None
    champion = service.progress(plan.champion.name, plan.champion.uri, plan.champion.image)
    return Status(service.words, plan, champion, canary, *traffic_share(service, plan))


def _read_unchanged(service: Service, plan: RolloutPlan) -> dict[str, Any]:
    """Return the object. Raises RolloutRefused if it does not hold the plan."""
    document = service.read()
    if read_plan(document) != plan:
        raise RolloutRefused(f"{service.words} was changed by another client meanwhile; see: rollout status")
    return document


def _apply(service: Service, old: RolloutPlan, new: RolloutPlan, force: bool = False) -> RolloutPlan:
    """Replace plan `old` by `new` with optimistic locking: of two concurrent changes one is refused."""
    while True:
        document = _read_unchanged(service, old)
        try:
            applied = service.apply(build_spec(new, document), document["metadata"]["resourceVersion"], force)
        except ObjectModified:  # a controller has written its status; only the plan matters
            continue
        if read_plan(applied) != new:
            raise ClusterError(
                f"{service.words} does not hold what was applied: others own the rest; "
                "see: kubectl get inferenceservice --show-managed-fields -o yaml"
            )
        return new


def _wait(
    service: Service, predictor: str | None, uri: str | None, image: str | None, timeout: float, report: Report
) -> str | None:
    """Wait until the pods of a predictor serve `uri` with `image`; returns None, or the reason why they do not."""
    last_answer = time.monotonic()
    deadline = last_answer + timeout
    last_line = ""
    while True:
        try:
            progress = service.progress(predictor, uri, image)
            last_answer = time.monotonic()
        except ClusterError as error:
            if time.monotonic() - last_answer > MAX_OUTAGE_SECONDS:
                raise
            progress = Progress(False, False, None, str(error))
        if progress.ready:
            return None
        if progress.failed:
            return progress.failed
        if time.monotonic() > deadline:
            return f"{progress.words} after {timeout:.0f} s"
        if progress.words != last_line:
            last_line = progress.words
            report(f"  {last_line}")
        time.sleep(POLL_SECONDS)


def _reverted_to(plan: RolloutPlan) -> str:
    champion = f"version {plan.champion.version}" if plan.champion.uri else "the previous model"
    return f"undone, {champion} goes on serving"


def _timestamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
