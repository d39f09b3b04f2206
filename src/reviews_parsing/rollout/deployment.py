"""Canary of a retraining: `pipelines.retraining.Deployment` over the steps of a rollout."""

from __future__ import annotations

from dataclasses import dataclass

from reviews_parsing.errors import ClusterError, RolloutRefused, RolloutReverted
from reviews_parsing.rollout import steps
from reviews_parsing.rollout.cluster import Service
from reviews_parsing.rollout.comparison import read_agreement, start_comparison
from reviews_parsing.rollout.plan import Canary, read_plan
from reviews_parsing.rollout.prometheus import Prometheus
from reviews_parsing.rollout.smoke import smoke_test

WINDOW_SECONDS = 7 * 86_400.0
COMPARED_PERCENT = 10
"""Percent of the champion's reviews that a dark canary parses too."""


@dataclass(frozen=True, slots=True)
class CanaryDeployment:
    """A canary that gets `percent` of the requests of `service`, 0: none; a version has `timeout` seconds to be ready.

    It also parses a share of the champion's reviews, to be compared; `prometheus` holds the counts.
    """

    service: Service
    percent: int
    timeout: float = 600
    report: steps.Report = print
    prometheus: Prometheus | None = None

    def start(self, version: str) -> str:
        """Start the canary dark unless it runs, test it, then give it its share. A failed test ends it."""
        canary = self._canary(version)
        if canary is None:
            if read_plan(self.service.read()).champion.version == version:
                return f"{self.service.words} serves version {version} already"
            if self.percent:
                steps.require_route(self.service)
            self._step(version, 0)
            canary = self._canary(version)
        if canary and not canary.percent:
            try:
                self.report(smoke_test(self.service, canary))
            except RolloutReverted:
                self.undo(version)
                raise
        if self.percent and (canary is None or canary.percent != self.percent):
            self._step(version, self.percent)
        try:
            self.report(start_comparison(self.service, version, self.percent or COMPARED_PERCENT))
        except (ClusterError, RolloutRefused) as error:  # the canary is tested by its requests alone
            self.report(f"warning: {error}")
        share = f"{self.percent} % of the requests" if self.percent else "no requests"
        return f"version {version} gets {share} of {self.service.words}"

    def _canary(self, version: str) -> Canary | None:
        """Return the canary if it is one of this version."""
        canary = read_plan(self.service.read()).canary
        return canary if canary is not None and canary.version == version else None

    def _step(self, version: str, percent: int) -> None:
        steps.start(self.service, version=version, canary=percent, timeout=self.timeout, report=self.report)

    def evidence(self, version: str) -> str:
        """Return the agreement of the version with the champion on live requests, as a line; empty if unknown."""
        if self.prometheus is None:
            return ""
        try:
            return read_agreement(self.prometheus, version, WINDOW_SECONDS).words
        except ClusterError as error:
            return str(error)

    def promote(self, version: str) -> str:
        """Give the version all requests. Raises RolloutReverted if the canary was ended meanwhile."""
        if self._canary(version):
            steps.promote(self.service, timeout=self.timeout, report=self.report)
        elif read_plan(self.service.read()).champion.version != version:
            raise RolloutReverted(f"{self.service.words} has no canary of version {version} to promote")
        return f"version {version} serves all requests of {self.service.words}"

    def undo(self, version: str) -> str:
        """End the canary, if it is one of this version."""
        if self._canary(version) is None:
            return f"{self.service.words} has no canary of version {version}"
        steps.undo(self.service, timeout=self.timeout, report=self.report)
        return f"the canary of version {version} is ended"
