"""Steps of a rollout: start, promote, undo, status. Each applies a plan and waits until the cluster has reached it.

A canary starts without traffic and gets its share once it is ready: KServe 0.20 routes requests to pods that are not.
Promotion updates the champion's predictor to the canary's version, pod by pod, then ends the canary. KServe's other
way, renaming the predictor, would delete the champion's pods at once and leave all requests to the canary's few.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from reviews_parsing.errors import ClusterError, RolloutRefused, RolloutReverted
from reviews_parsing.registry.resolution import ModelReference, resolve
from reviews_parsing.rollout.cluster import ObjectModified, Progress, Service
from reviews_parsing.rollout.plan import Canary, Plan, build_spec, read_plan, replicas_for
from reviews_parsing.settings import Settings

Report = Callable[[str], None]
"""Callback for lines about the progress."""

POLL_SECONDS = 2.0
MAX_OUTAGE_SECONDS = 60.0
"""Outage of the cluster's API that does not end the waiting for pods."""
TRAFFIC_TIMEOUT_SECONDS = 60.0
"""Time for KServe to write a change of traffic into its route."""
GATEWAY_DELAY_SECONDS = 5.0
"""Time for a route to reach the gateway."""


@dataclass(frozen=True, slots=True)
class Status:
    """The plan that a service holds, and the progress of both predictors."""

    service: str
    plan: Plan
    champion: Progress
    canary: Progress | None

    @property
    def under_way(self) -> str | None:
        """A description of the rollout in progress, None if there is none."""
        canary, champion = self.plan.canary, self.plan.champion
        if canary is not None and canary.uri == champion.uri:
            return f"version {canary.version} is being promoted: {self.champion.words}"
        if canary is not None:
            return f"version {canary.version} gets {canary.percent} % of the requests since {canary.since}"
        if not self.champion.rolled:
            return f"version {champion.version} is being rolled out: {self.champion.words}"
        return None


def status(service: Service) -> Status:
    """Return the status of a service. Raises ClusterError."""
    return _status(service, read_plan(service.read()))


def start(
    service: Service,
    *,
    version: str | None = None,
    canary: int | None = None,
    timeout: float = 600,
    force: bool = False,
    report: Report = print,
) -> Status:
    """Deploy `version` (default: the champion) to all pods, or as a canary for `canary` percent of the requests.

    The alias is resolved here, once; the service gets a number. A version that is not ready within `timeout` seconds is
    undone. `force` takes over fields of other managers. Raises ModelError, TrackingError, ClusterError, RolloutRefused
    if a rollout is in progress, RolloutReverted if it was undone.
    """
    uri = _resolve_uri(version)
    document = service.read()
    current = _status(service, read_plan(document))
    if current.under_way:
        raise RolloutRefused(
            f"{service.words}: a rollout is under way: {current.under_way}; promote it or undo it first"
        )
    former = current.plan
    if former.champion.uri == uri:
        report(f"{service.words} serves version {former.champion.version} already")
        return current
    if canary is None:
        champion = replace(former.champion, uri=uri, since=_timestamp(), previous_uri=former.champion.uri)
        plan = _apply(service, former, Plan(champion), force)
        report(f"version {champion.version} is written to {service.words}, which served {former.champion.version}")
        failure = _wait(service, plan.champion.name, uri, timeout, report)
        if failure:
            _apply(service, plan, former)
            raise RolloutReverted(
                f"version {champion.version} did not become ready ({failure}); {_reverted_to(former)}"
            )
        report(f"version {champion.version} serves all requests")
        return status(service)
    if former.champion.uri is None:
        raise RolloutRefused(f"{service.words} serves no version yet to compare with; start without --canary")
    new = Canary(f"v{uri.rpartition('/')[2]}", uri, _timestamp(), percent=0, replicas=replicas_for(canary, document))
    plan = _apply(service, former, replace(former, canary=new), force)
    report(f"version {new.version} starts beside version {former.champion.version}, without requests")
    failure = _wait(service, new.name, uri, timeout, report)
    if failure:
        _apply(service, plan, former)
        raise RolloutReverted(f"version {new.version} did not become ready ({failure}); {_reverted_to(former)}")
    plan = _apply(service, plan, replace(plan, canary=replace(new, percent=canary)))
    if not _has_traffic(service, plan):
        end_canary(service, plan, report)
        raise RolloutReverted(f"KServe did not give version {new.version} its requests; {_reverted_to(former)}")
    report(f"version {new.version} gets {canary} % of the requests")
    return status(service)


def promote(service: Service, *, timeout: float = 600, force: bool = False, report: Report = print) -> Status:
    """Update the champion to the canary's version, pod by pod, then end the canary. Continues an interrupted promotion.

    Raises ClusterError, RolloutRefused if there is no canary, RolloutReverted if the version did not become ready.
    """
    former = read_plan(service.read())
    canary = former.canary
    if canary is None:
        raise RolloutRefused(f"{service.words} has no canary to promote; begin with: rollout start --canary 10")
    plan = former
    if former.champion.uri != canary.uri:
        champion = replace(former.champion, uri=canary.uri, since=_timestamp(), previous_uri=former.champion.uri)
        plan = _apply(service, former, replace(former, champion=champion), force)
    report(f"all pods become version {canary.version}")
    failure = _wait(service, plan.champion.name, canary.uri, timeout, report)
    if failure:
        old = former.champion
        if plan == former:
            old = replace(plan.champion, uri=plan.champion.previous_uri, previous_uri=None)
        end_canary(service, _apply(service, plan, replace(plan, champion=old)), report)
        raise RolloutReverted(
            f"version {canary.version} is not ready everywhere ({failure}); {_reverted_to(Plan(old))}"
        )
    end_canary(service, plan, report)
    report(f"version {canary.version} serves all requests")
    return status(service)


def undo(service: Service, *, timeout: float = 600, force: bool = False, report: Report = print) -> Status:
    """End the canary; without a canary, return to the previous version.

    Raises ClusterError, RolloutRefused if there is nothing to undo.
    """
    plan = read_plan(service.read())
    canary, champion = plan.canary, plan.champion
    if canary is not None and canary.uri != champion.uri:
        end_canary(service, plan, report, force)
        report(f"version {canary.version} is gone; version {champion.version} serves all requests")
        return status(service)
    if champion.previous_uri is None:
        raise RolloutRefused(f"{service.words} knows no version before {champion.version}: nothing to undo")
    previous = replace(champion, uri=champion.previous_uri, since=_timestamp(), previous_uri=None)
    plan = _apply(service, plan, replace(plan, champion=previous), force)
    report(f"version {previous.version} returns to {service.words}, which served {champion.version}")
    failure = _wait(service, plan.champion.name, previous.uri, timeout, report)
    if canary is not None:
        end_canary(service, plan, report)
    if failure:
        raise ClusterError(f"version {previous.version} is written but not ready ({failure}); look at its pods")
    report(f"version {previous.version} serves all requests")
    return status(service)


def end_canary(service: Service, plan: Plan, report: Report, force: bool = False) -> None:
    """End the canary of a plan: first its traffic, then its pods, so that no request reaches a deleted service.

    If the change of traffic is not confirmed in time, the pods end nevertheless.
    """
    if plan.canary is None:
        return
    if plan.canary.percent:
        version = plan.canary.version
        plan = _apply(service, plan, replace(plan, canary=replace(plan.canary, percent=0)), force)
        report(f"version {version} gets no more requests")
        if _has_traffic(service, plan):
            time.sleep(GATEWAY_DELAY_SECONDS)
    _apply(service, plan, replace(plan, canary=None), force)


def _resolve_uri(version: str | None) -> str:
    """Return `models:/NAME/N` of a registered version, by default of the champion."""
    settings = Settings()
    uri = f"models:/{settings.model_name}/{version}" if version else settings.champion_uri
    return f"models:/{settings.model_name}/{resolve(ModelReference.parse(uri)).version}"


def _status(service: Service, plan: Plan) -> Status:
    canary = service.progress(plan.canary.name, plan.canary.uri) if plan.canary else None
    return Status(service.words, plan, service.progress(plan.champion.name, plan.champion.uri), canary)


def _apply(service: Service, old: Plan, new: Plan, force: bool = False) -> Plan:
    """Replace plan `old` by `new` with optimistic locking: of two concurrent changes one is refused."""
    while True:
        document = service.read()
        if read_plan(document) != old:
            raise RolloutRefused(f"{service.words} was changed by somebody else meanwhile; see: rollout status")
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


def _wait(service: Service, predictor: str | None, uri: str | None, timeout: float, report: Report) -> str | None:
    """Wait until the pods of a predictor serve `uri`; returns None, or the reason why they do not."""
    last_answer = time.monotonic()
    deadline = last_answer + timeout
    last_line = ""
    while True:
        try:
            progress = service.progress(predictor, uri)
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


def _has_traffic(service: Service, plan: Plan) -> bool:
    """Wait until KServe reports the canary's share, which it does after writing the route; False after the timeout."""
    deadline = time.monotonic() + TRAFFIC_TIMEOUT_SECONDS
    canary = plan.canary
    while canary is not None and time.monotonic() < deadline:
        for entry in service.read().get("status", {}).get("canaryStatuses") or []:
            if (entry["name"], entry["trafficPercent"]) == (canary.name, canary.percent):
                return True
        time.sleep(POLL_SECONDS)
    return False


def _reverted_to(plan: Plan) -> str:
    return f"undone, {f'version {plan.champion.version}' if plan.champion.uri else 'what was before'} goes on serving"


def _timestamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
