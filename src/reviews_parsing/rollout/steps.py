"""The steps of a rollout: start, promote, undo, status. Each writes a plan and waits until the cluster holds it.

A canary starts with no traffic and gets its share once it is ready: KServe 0.20 sends requests to pods that are not.
Promotion moves the champion's own predictor to the canary's version, pod by pod, and ends the canary after that: to
rename the predictor, KServe's other way, would delete the champion's pods at once and leave all to the canary's few.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from reviews_parsing.errors import ClusterError, RolloutRefused, RolloutReverted
from reviews_parsing.registry.store import Reference, glance, resolve, tracking
from reviews_parsing.rollout.cluster import Changed, Progress, Service
from reviews_parsing.rollout.plan import Canary, Plan, applied, plan_of, replicas_for
from reviews_parsing.settings import Settings

Say = Callable[[str], None]

# Seconds: between looks at the cluster; for which it may be away while pods are waited for; for KServe to take a change
# of traffic; from its route to the gateway.
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

    @property
    def under_way(self) -> str | None:
        """What goes on, or None where nothing does."""
        canary, served = self.plan.canary, self.plan.champion
        if canary is not None and canary.uri == served.uri:
            return f"version {canary.version} is being promoted: {self.champion.words}"
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

    The alias is resolved here, once; what is written is a number. What does not become ready within `timeout` seconds
    is undone. `force` takes over fields that others manage. Raises ModelError, TrackingError, ClusterError,
    RolloutRefused where a rollout is under way, RolloutReverted where it was undone.
    """
    uri = _resolved(version)
    found = service.read()
    now = _status(service, plan_of(found))
    if now.under_way:
        raise RolloutRefused(f"{service.words}: a rollout is under way: {now.under_way}; promote it or undo it first")
    before = now.plan
    if before.champion.uri == uri:
        say(f"{service.words} serves version {before.champion.version} already")
        return now
    if canary is None:
        champion = replace(before.champion, uri=uri, since=_stamp(), before=before.champion.uri)
        plan = _write(service, before, Plan(champion), force)
        say(f"version {champion.version} is written to {service.words}, which served {before.champion.version}")
        failed = _wait(service, plan.champion.name, uri, timeout, say)
        if failed:
            _write(service, plan, before)
            raise RolloutReverted(f"version {champion.version} did not become ready ({failed}); {_stays(before)}")
        say(f"version {champion.version} serves all requests")
        return status(service)
    if before.champion.uri is None:
        raise RolloutRefused(f"{service.words} serves no version yet to compare with; start without --canary")
    new = Canary(f"v{_number(uri)}", uri, _stamp(), percent=0, replicas=replicas_for(canary, found))
    plan = _write(service, before, replace(before, canary=new), force)
    say(f"version {new.version} starts beside version {before.champion.version}, without requests")
    failed = _wait(service, new.name, uri, timeout, say)
    if failed:
        _write(service, plan, before)
        raise RolloutReverted(f"version {new.version} did not become ready ({failed}); {_stays(before)}")
    plan = _write(service, plan, replace(plan, canary=replace(new, percent=canary)))
    if not _taken(service, plan):
        end_canary(service, plan, say)
        raise RolloutReverted(f"KServe did not give version {new.version} its requests; {_stays(before)}")
    say(f"version {new.version} gets {canary} % of the requests")
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
        if _taken(service, plan):
            time.sleep(SETTLE)
    _write(service, plan, replace(plan, canary=None), force)


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
    return Status(service.words, plan, service.progress(plan.champion.name, plan.champion.uri), canary)


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


def _taken(service: Service, plan: Plan) -> bool:
    """Until KServe reports the canary's share, which it does after it has written the route."""
    end = time.monotonic() + TAKE
    canary = plan.canary
    while canary is not None and time.monotonic() < end:
        for one in service.read().get("status", {}).get("canaryStatuses") or []:
            if (one["name"], one["trafficPercent"]) == (canary.name, canary.percent):
                return True
        time.sleep(POLL)
    return False


def _stays(plan: Plan) -> str:
    return f"undone, {f'version {plan.champion.version}' if plan.champion.uri else 'what was before'} goes on serving"


def _number(uri: str) -> str:
    return uri.rpartition("/")[2]


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
