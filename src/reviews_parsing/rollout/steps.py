"""The steps of a rollout: start, promote, undo, status. Each writes a plan and waits until the cluster holds it.

A canary starts dark and gets its share once it is ready. Its share is a weight in the gateway's HTTPRoute, which is
written and read back here: a canary is called one only if the gateway has its weight.
Promotion moves the champion's own predictor to the canary's version, pod by pod, and ends the canary after that: to
rename the predictor, KServe's other way, would delete the champion's pods at once and leave all to the canary's few.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from reviews_parsing.errors import ClusterError, ReviewsParsingError, RolloutRefused, RolloutReverted
from reviews_parsing.registry.store import Reference, glance, resolve, tracking
from reviews_parsing.rollout.cluster import Changed, Progress, Service
from reviews_parsing.rollout.plan import Canary, Plan, applied, plan_of, replicas_for
from reviews_parsing.rollout.route import HEADER, Backends, Traffic, holds, is_own, rules, traffic
from reviews_parsing.settings import Settings

Say = Callable[[str], None]

# Seconds: between looks at the cluster; for which it may be away while pods are waited for; for the gateway to take a
# change of traffic; from its report to its proxies.
POLL = 2.0
AWAY = 60.0
TAKE = 60.0
SETTLE = 5.0


@dataclass(frozen=True, slots=True)
class Status:
    """What a service holds now, and how far its pods are with it."""

    service: str
    plan: Plan
    champion: Progress
    canary: Progress | None
    # Percent of the requests that the gateway gives the canary, and why it is not what the plan says.
    percent: int = 0
    gateway: str | None = None

    @property
    def under_way(self) -> str | None:
        """What goes on, or None where nothing does."""
        canary, served = self.plan.canary, self.plan.champion
        if canary is not None and canary.uri == served.uri:
            return f"version {canary.version} is being promoted: {self.champion.words}"
        if canary is not None and canary.percent == self.percent == 0:
            return f"version {canary.version} is dark since {canary.since}: only requests with its number reach it"
        if canary is not None and self.gateway:
            return (
                f"version {canary.version} should get {canary.percent} % of the requests, "
                f"but it gets {self.percent} % ({self.gateway})"
            )
        if canary is not None:
            return f"version {canary.version} gets {canary.percent} % of the requests since {canary.since}"
        if not self.champion.rolled:
            return f"version {served.version} is being rolled out: {self.champion.words}"
        return None


def status(service: Service) -> Status:
    """What the service holds now. Raises ClusterError."""
    return _status(service, plan_of(service.read()))


def start(
    service: Service,
    *,
    version: str | None = None,
    canary: int | None = None,
    timeout: float = 600,
    force: bool = False,
    say: Say = print,
) -> Status:
    """Bring `version`, or what champion means now, to the service: to all pods, or `canary` percent of the requests.

    With `canary` 0 the version is launched dark: only requests that name it in a header reach it. A version that is
    canary already gets another share. The alias is resolved here, once; what is written is a number. What does not
    become ready within `timeout` seconds is undone. `force` takes over fields that others manage. Raises ModelError,
    TrackingError, ClusterError, RolloutRefused where a rollout is under way or the gateway splits no traffic,
    RolloutReverted where it was undone.
    """
    uri = _resolved(version)
    found = service.read()
    if canary and service.read_route() is None:
        raise RolloutRefused(
            f"{service.words} has no HTTPRoute, so no canary can get requests (a classic Ingress splits none): "
            "start without --canary, or with --canary 0 and test the version at its own Service"
        )
    now = _status(service, plan_of(found))
    launched = now.plan.canary
    if canary is not None and launched is not None and launched.uri == uri != now.plan.champion.uri:
        return _reshare(service, now.plan, canary, replicas_for(canary, found), timeout, force, say)
    if now.under_way:
        raise RolloutRefused(f"{service.words}: a rollout is under way: {now.under_way}; promote it or undo it first")
    before = now.plan
    if before.champion.uri == uri:
        say(f"{service.words} serves version {before.champion.version} already")
        _tell(say, _direct(service, before, force))
        return status(service)
    if canary is None:
        champion = replace(before.champion, uri=uri, since=_stamp(), before=before.champion.uri)
        plan = _write(service, before, Plan(champion), force)
        say(f"version {champion.version} is written to {service.words}, which served {before.champion.version}")
        failed = _wait(service, plan.champion.name, uri, timeout, say)
        if failed:
            _write(service, plan, before)
            raise RolloutReverted(f"version {champion.version} did not become ready ({failed}); {_stays(before)}")
        _tell(say, _direct(service, plan, force))
        say(f"version {champion.version} serves all requests")
        return status(service)
    if before.champion.uri is None:
        raise RolloutRefused(f"{service.words} serves no version yet to compare with; start without --canary")
    new = Canary(f"v{_number(uri)}", uri, _stamp(), 0, replicas_for(canary, found), before.champion.uri)
    plan = _write(service, before, replace(before, canary=new), force)
    say(f"version {new.version} starts beside version {before.champion.version}, without requests")
    return _share(service, plan, canary, timeout, force, say)


def _reshare(
    service: Service, plan: Plan, percent: int, replicas: int, timeout: float, force: bool, say: Say
) -> Status:
    """Give a canary another share, with the pods that it needs for it."""
    canary = plan.canary
    if canary is not None and canary.replicas != replicas:
        plan = _write(service, plan, replace(plan, canary=replace(canary, replicas=replicas)), force)
    return _share(service, plan, percent, timeout, force, say)


def _share(service: Service, plan: Plan, percent: int, timeout: float, force: bool, say: Say) -> Status:
    """Wait for the canary's pods, then give them `percent` of the requests; undo what does not succeed."""
    canary, stays = plan.canary, _stays(replace(plan, canary=None))
    if canary is None:
        raise RolloutRefused(f"{service.words} has no canary")
    failed = _wait(service, canary.name, canary.uri, timeout, say)
    if failed:
        end_canary(service, plan, say, force)
        raise RolloutReverted(f"version {canary.version} did not become ready ({failed}); {stays}")
    if canary.percent != percent:
        plan = _write(service, plan, replace(plan, canary=replace(canary, percent=percent)), force)
    try:
        refusal = _direct(service, plan, force)
    except ReviewsParsingError as error:
        refusal = str(error)
    if refusal:
        end_canary(service, plan, say, force)
        raise RolloutReverted(f"the gateway did not give version {canary.version} its requests ({refusal}); {stays}")
    if percent:
        say(f"version {canary.version} gets {percent} % of the requests")
    elif (route := service.read_route()) and is_own(route):
        say(f"version {canary.version} is dark: test it with the header {HEADER}: {canary.version}")
    else:
        say(f"version {canary.version} is dark: test it at the Service {service.predictor(canary.name)}")
    return status(service)


def promote(service: Service, *, timeout: float = 600, force: bool = False, say: Say = print) -> Status:
    """Make the canary's version the champion's, pod by pod, then end the canary.

    Raises ClusterError, RolloutRefused where there is no canary, RolloutReverted where it did not become ready.
    """
    before = plan_of(service.read())
    canary = before.canary
    if canary is None:
        raise RolloutRefused(f"{service.words} has no canary to promote; begin with: rollout start --canary 10")
    plan = before
    if before.champion.uri != canary.uri:  # else: the same promotion was cut off, and goes on
        champion = replace(before.champion, uri=canary.uri, since=_stamp(), before=before.champion.uri)
        plan = _write(service, before, replace(before, champion=champion), force)
    say(f"all pods become version {canary.version}")
    failed = _wait(service, plan.champion.name, canary.uri, timeout, say)
    if failed:
        old = replace(plan.champion, uri=plan.champion.before, before=None) if plan == before else before.champion
        end_canary(service, _write(service, plan, replace(plan, champion=old)), say)
        raise RolloutReverted(f"version {canary.version} is not ready everywhere ({failed}); {_stays(Plan(old))}")
    end_canary(service, plan, say)
    say(f"version {canary.version} serves all requests")
    return status(service)


def undo(service: Service, *, timeout: float = 600, force: bool = False, say: Say = print) -> Status:
    """End the canary; where there is none, return to the version that was served before.

    Raises ClusterError, RolloutRefused where there is nothing to undo.
    """
    plan = plan_of(service.read())
    canary, champion = plan.canary, plan.champion
    if canary is not None and canary.uri != champion.uri:
        end_canary(service, plan, say, force)
        say(f"version {canary.version} is gone; version {champion.version} serves all requests")
        return status(service)
    if champion.before is None:
        raise RolloutRefused(f"{service.words} knows no version before {champion.version}: nothing to undo")
    back = replace(champion, uri=champion.before, since=_stamp(), before=None)
    plan = _write(service, plan, replace(plan, champion=back), force)
    say(f"version {back.version} returns to {service.words}, which served {champion.version}")
    failed = _wait(service, plan.champion.name, back.uri, timeout, say)
    if canary is not None:
        end_canary(service, plan, say)
    if failed:
        raise ClusterError(f"version {back.version} is written but not ready ({failed}); look at its pods")
    say(f"version {back.version} serves all requests")
    return status(service)


def end_canary(service: Service, plan: Plan, say: Say, force: bool = False) -> None:
    """First its requests, then its pods, so that none goes to a service that is gone; what hangs ends all the same."""
    if plan.canary is None:
        return
    if plan.canary.percent:
        plan = _write(service, plan, replace(plan, canary=replace(plan.canary, percent=0)), force)
        say(f"version {plan.canary.version if plan.canary else ''} gets no more requests")
    try:
        refusal = _direct(service, replace(plan, canary=None), force)
    except ReviewsParsingError as error:
        refusal = str(error)
    _tell(say, refusal)
    if refusal is None:
        time.sleep(SETTLE)
    _write(service, plan, replace(plan, canary=None), force)


def _direct(service: Service, plan: Plan, force: bool = False) -> str | None:
    """Write the plan's weights into the gateway's route, and wait for it: None, or why the gateway has them not.

    A route that KServe wrote is not changed, only waited for. Without a route only the champion can get requests.
    """
    end = time.monotonic() + TAKE
    backends = _backends(service, plan)
    wanted = rules(backends, Settings().model_name)
    while True:
        route = service.read_route()
        if route is None:
            return "there is no HTTPRoute" if backends.percent else None
        if is_own(route) and not holds(route, wanted):
            try:
                route = service.apply_route(wanted, route["metadata"]["resourceVersion"], force)
            except Changed:  # the gateway has written its status
                continue
        seen = traffic(route)
        refusal = _gap(seen, backends)
        if refusal is None or time.monotonic() > end:
            return refusal
        time.sleep(POLL)


def share_of(service: Service, plan: Plan) -> tuple[int, str | None]:
    """Percent of the requests that the gateway gives the canary, and why that is not what the plan says, or None."""
    backends, route = _backends(service, plan), service.read_route()
    if route is None:  # an Ingress leads to the champion's Service
        return 0, "there is no HTTPRoute" if backends.percent else None
    seen = traffic(route)
    return seen.weights.get(backends.canary or "", 0), _gap(seen, backends)


def _gap(seen: Traffic, backends: Backends) -> str | None:
    """Why the gateway does not send requests as `backends` says, or None."""
    percent, rest = (seen.weights.get(name or "", 0) for name in (backends.canary, backends.champion))
    if (percent, rest) != (backends.percent, 100 - backends.percent):
        source = "the chart's HTTPRoute" if seen.is_own else "KServe's own HTTPRoute, which 0.20.0 does not split,"
        return f"{source} has {rest} % for the champion and {percent} % for a canary"
    return None if seen.accepted else seen.reason


def _backends(service: Service, plan: Plan) -> Backends:
    champion, canary = service.predictor(plan.champion.name), plan.canary
    if canary is None:
        return Backends(champion)
    return Backends(champion, service.predictor(canary.name), canary.version, canary.percent)


def _tell(say: Say, refusal: str | None) -> None:
    """Say that the gateway does not hold what was written, where that undoes nothing."""
    if refusal:
        say(f"warning: the gateway does not route as written: {refusal}")


def _resolved(version: str | None) -> str:
    """`models:/NAME/N` of a version that the registry has."""
    settings = Settings()
    wanted = Reference.of(f"models:/{settings.model_name}/{version}" if version else settings.champion_uri)
    found = glance(wanted)
    if found is None:
        with tracking(patient=False) as client:
            found = resolve(client, wanted)
    return f"models:/{settings.model_name}/{found.version}"


def _status(service: Service, plan: Plan) -> Status:
    canary = service.progress(plan.canary.name, plan.canary.uri) if plan.canary else None
    champion = service.progress(plan.champion.name, plan.champion.uri)
    return Status(service.words, plan, champion, canary, *share_of(service, plan))


def _write(service: Service, old: Plan, new: Plan, force: bool = False) -> Plan:
    """Replace `old` by `new`, or refuse where the service holds something else by now: of two, one goes through."""
    while True:
        found: dict[str, Any] = service.read()
        if plan_of(found) != old:
            raise RolloutRefused(f"{service.words} was changed by somebody else meanwhile; see: rollout status")
        try:
            got = service.apply(applied(new, found), found["metadata"]["resourceVersion"], force)
        except Changed:  # a controller has written its status; only the plan matters
            continue
        if plan_of(got) != new:
            raise ClusterError(
                f"{service.words} does not hold what was applied: others own the rest; "
                "see: kubectl get inferenceservice --show-managed-fields -o yaml"
            )
        return new


def _wait(service: Service, predictor: str | None, uri: str | None, timeout: float, say: Say) -> str | None:
    """Until the pods of a predictor serve `uri`: None, or why they do not."""
    heard = time.monotonic()
    end = heard + timeout
    said = ""
    while True:
        try:
            progress = service.progress(predictor, uri)
            heard = time.monotonic()
        except ClusterError as error:
            if time.monotonic() - heard > AWAY:
                raise
            progress = Progress(False, False, None, str(error))
        if progress.ready:
            return None
        if progress.failed:
            return progress.failed
        if time.monotonic() > end:
            return f"{progress.words} after {timeout:.0f} s"
        if progress.words != said:
            said = progress.words
            say(f"  {said}")
        time.sleep(POLL)


def _stays(plan: Plan) -> str:
    return f"undone, {f'version {plan.champion.version}' if plan.champion.uri else 'what was before'} goes on serving"


def _number(uri: str) -> str:
    return uri.rpartition("/")[2]


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
