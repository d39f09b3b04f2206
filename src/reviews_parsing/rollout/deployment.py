"""Canary of a retraining: `pipelines.retraining.Deployment` over the steps of a rollout."""

from __future__ import annotations

from dataclasses import dataclass

from reviews_parsing.errors import ClusterError, RolloutRefused
from reviews_parsing.rollout import steps
from reviews_parsing.rollout.cluster import Service
from reviews_parsing.rollout.comparison import read_agreement, start_comparison
from reviews_parsing.rollout.plan import read_plan
from reviews_parsing.rollout.prometheus import Prometheus

WINDOW_SECONDS = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class CanaryDeployment:
    """A canary that gets `percent` of the requests of `service`; a version has `timeout` seconds to become ready.

    It also parses that share of the champion's reviews, to be compared; `prometheus` holds the counts.
    """

    service: Service
    percent: int
    timeout: float = 600
    report: steps.Report = print
    prometheus: Prometheus | None = None

    def start(self, version: str) -> str:
        """Start the canary unless it runs. A pod is ready once the model in it has answered."""
        plan = read_plan(self.service.read())
        if plan.champion.version == version:
            return f"{self.service.words} serves version {version} already"
        if plan.canary is None or plan.canary.version != version or not plan.canary.percent:
            steps.start(self.service, version=version, canary=self.percent, timeout=self.timeout, report=self.report)
        try:
            self.report(start_comparison(self.service, version, self.percent))
        except (ClusterError, RolloutRefused) as error:  # the canary is tested by its requests alone
            self.report(f"warning: {error}")
        return f"version {version} gets {self.percent} % of the requests of {self.service.words}"

    def evidence(self, version: str) -> str:
        """Return the agreement of the version with the champion on live requests, as a line; empty if unknown."""
        if self.prometheus is None:
            return ""
        try:
            return read_agreement(self.prometheus, version, WINDOW_SECONDS).words
        except ClusterError as error:
            return str(error)

    def promote(self, version: str) -> str:
        """Give the version all requests."""
        plan = read_plan(self.service.read())
        if plan.canary is not None and plan.canary.version == version:
            steps.promote(self.service, timeout=self.timeout, report=self.report)
        elif plan.champion.version != version:
            raise RolloutRefused(f"{self.service.words} has no canary of version {version} to promote")
        return f"version {version} serves all requests of {self.service.words}"

    def undo(self, version: str) -> str:
        """End the canary, if it is one of this version."""
        plan = read_plan(self.service.read())
        if plan.canary is None or plan.canary.version != version:
            return f"{self.service.words} has no canary of version {version}"
        steps.undo(self.service, timeout=self.timeout, report=self.report)
        return f"the canary of version {version} is ended"
