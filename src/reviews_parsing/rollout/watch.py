"""Watch a canary beside the champion for a set time, then promote it or end it, saying why."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from reviews_parsing.errors import ClusterError, ReviewsParsingError, RolloutRefused, RolloutReverted
from reviews_parsing.rollout.cluster import Service
from reviews_parsing.rollout.plan import Canary, plan_of
from reviews_parsing.rollout.prometheus import Figures, Prometheus, PrometheusAway
from reviews_parsing.rollout.steps import Say, Status, end_canary, promote, share_of

# Seconds: between looks; for how long Prometheus, the cluster or the canary's pods may be away before that decides.
LOOK = 15.0
GRACE = 60.0
# What a champion may fail of itself, and seconds of p95 that are not worth a word.
NOISE_FAILED = 0.001
NOISE_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Limits:
    """What is too bad: failures less probable than `chance` were the canary as good, p95 beyond `slower` times."""

    chance: float
    slower: float


# Many looks would find something by chance alone; at the end the champion gets the benefit of the doubt.
MEANWHILE = Limits(chance=0.001, slower=2.0)
AT_END = Limits(chance=0.05, slower=1.25)


def hold(
    service: Service,
    prometheus: Prometheus,
    *,
    seconds: float = 600,
    min_requests: int = 100,
    timeout: float = 600,
    force: bool = False,
    say: Say = print,
) -> Status:
    """Watch the service's canary for `seconds`; promote it where it holds, else end it.

    It holds where at one door at least it and the champion answered `min_requests` each, and at no door it failed more
    or took longer than the champion. Raises RolloutReverted, saying why, where it was ended; RolloutRefused where there
    is no canary or somebody else ended it; ClusterError.
    """
    plan = plan_of(service.read())
    canary, champion = plan.canary, plan.champion
    if canary is None or canary.version is None or champion.version is None:
        raise RolloutRefused(f"{service.words} has no canary to watch; begin with: rollout start --canary 10")
    if not canary.percent:
        raise RolloutRefused(
            f"version {canary.version} is dark: give it requests first, with: rollout start --canary 10"
        )
    say(f"watching version {canary.version} beside {champion.version} for {seconds:.0f} s")
    why = _watch(service, prometheus, canary, champion.version, seconds, min_requests, say)
    if why is None:
        say(f"version {canary.version} held")
        return promote(service, timeout=timeout, force=force, say=say)
    try:
        end_canary(service, plan, say, force)
    except ReviewsParsingError as error:
        raise ClusterError(f"version {canary.version} must go ({why}), but could not be ended: {error}") from error
    raise RolloutReverted(f"version {canary.version} is undone: {why}; version {champion.version} goes on serving")


def _watch(
    service: Service, prometheus: Prometheus, canary: Canary, rival: str, seconds: float, enough: int, say: Say
) -> str | None:
    """None where the canary held, or why it did not."""
    begun = time.monotonic()
    well: dict[str, float] = dict.fromkeys(("prometheus", "cluster", "pods", "gateway"), begun)
    while True:
        now = time.monotonic()
        over = now - begun >= seconds
        trouble = _pods(service, canary, well)
        found: Mapping[tuple[str, str], Figures] | None = None
        try:
            found = prometheus.figures((canary.version or "", rival), max(now - begun, 1.0))
            well["prometheus"] = now
        except PrometheusAway as error:
            trouble = trouble or (str(error), "prometheus")
        if found is not None:
            why = judged(found, canary.version or "", rival, enough, AT_END if over else MEANWHILE, over)
            if why or (over and trouble is None):
                return why
            say(f"  {now - begun:.0f} s: {_words(found, canary.version or '', rival)}")
        if trouble is not None:
            words, what = trouble
            if now - well[what] >= GRACE:
                return f"{words}, for {GRACE:.0f} s"
            say(f"  {words}")
        wait = LOOK if over else min(LOOK, begun + seconds - now)
        time.sleep(max(wait, 0.01))


def _pods(service: Service, canary: Canary, well: dict[str, float]) -> tuple[str, str] | None:
    """What is wrong with the canary as the cluster sees it, and which clock counts that. Raises RolloutRefused."""
    now = time.monotonic()
    try:
        plan = plan_of(service.read())
        if plan.canary != canary:
            raise RolloutRefused(f"{service.words}: somebody else changed the canary; see: rollout status")
        progress = service.progress(canary.name, canary.uri)
        gap = share_of(service, plan)[1]
    except ClusterError as error:
        return str(error), "cluster"
    well["cluster"] = now
    if not progress.ready:
        return f"its pods are not ready ({progress.failed or progress.words})", "pods"
    well["pods"] = now
    if gap:
        return f"the gateway does not send it its share ({gap})", "gateway"
    well["gateway"] = now
    return None


def judged(
    found: Mapping[tuple[str, str], Figures], canary: str, champion: str, enough: int, limits: Limits, over: bool
) -> str | None:
    """Why the canary must go, or None. Too little to tell is a reason only when the time is over."""
    told = False
    most = 0.0
    for door in sorted({door for _, door in found}):
        ours, theirs = found.get((canary, door), Figures()), found.get((champion, door), Figures())
        most = max(most, ours.requests)
        # One failure more than was seen: a champion that answered little may be worse than it looks.
        rate = max(NOISE_FAILED, (theirs.failed + 1) / (theirs.requests + 2))
        if ours.failed and tail(ours.failed, ours.requests, rate) < limits.chance:
            return (
                f"over {door}, {ours.failed:.0f} of {ours.requests:.0f} requests failed, "
                f"of version {champion} {theirs.failed:.0f} of {theirs.requests:.0f}"
            )
        if min(ours.requests, theirs.requests) < enough or ours.p95 is None or theirs.p95 is None:
            continue
        told = True
        if ours.p95 > theirs.p95 * limits.slower and ours.p95 - theirs.p95 > NOISE_SECONDS:
            return (
                f"over {door}, 95 of 100 requests took up to {1000 * ours.p95:.0f} ms, "
                f"of version {champion} {1000 * theirs.p95:.0f} ms"
            )
    if over and not told:
        return f"too little to tell: {most:.0f} requests, {enough} are needed of each version at one door"
    return None


def tail(failed: float, requests: float, rate: float) -> float:
    """Probability of `failed` or more failures among `requests` where each fails at `rate` (binomial)."""
    n = round(requests)
    k = min(n, round(failed))
    if k <= 0 or rate >= 1:
        return 1.0

    def log_chance(x: int) -> float:
        ways = math.lgamma(n + 1) - math.lgamma(x + 1) - math.lgamma(n - x + 1)
        return ways + x * math.log(rate) + (n - x) * math.log1p(-rate)

    # Terms beyond the mean fall quickly; those that are left out are less than what a float holds.
    total = 0.0
    for x in range(k, n + 1):
        term = math.exp(log_chance(x))
        total += term
        if x > n * rate and term < total * 1e-12:
            break
    return min(1.0, total)


def duration(text: str) -> float:
    """Seconds of `90s`, `10m` or `1h`. Raises ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no duration; write 90s, 10m or 1h")
    return float(match.group(1)) * {"s": 1, "m": 60, "h": 3600}[match.group(2)]


def _words(found: Mapping[tuple[str, str], Figures], canary: str, champion: str) -> str:
    def one(version: str) -> str:
        its = [figures for (whose, _), figures in found.items() if whose == version]
        slow = max((figures.p95 for figures in its if figures.p95 is not None), default=None)
        p95 = f", p95 {1000 * slow:.0f} ms" if slow is not None else ""
        return (
            f"version {version}: {sum(f.requests for f in its):.0f} requests, {sum(f.failed for f in its):.0f} failed"
            + p95
        )

    return f"{one(canary)}; {one(champion)}"
