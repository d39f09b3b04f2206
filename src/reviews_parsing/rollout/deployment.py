"""Canary of a retraining: `pipelines.retraining.Deployment` over the steps of a rollout."""

from __future__ import annotations

from dataclasses import dataclass

from reviews_parsing.errors import RolloutRefused
from reviews_parsing.rollout import steps
from reviews_parsing.rollout.cluster import Service
from reviews_parsing.rollout.plan import read_plan


@dataclass(frozen=True, slots=True)
class CanaryDeployment:
    """A canary that gets `percent` of the requests of `service`; a version has `timeout` seconds to become ready."""

    service: Service
    percent: int
    timeout: float = 600
    report: steps.Report = print

    def start(self, version: str) -> str:
        """Start the canary unless it runs. A pod is ready once the model in it has answered."""
        plan = read_plan(self.service.read())
        if plan.champion.version == version:
            return f"{self.service.words} serves version {version} already"
        if plan.canary is None or plan.canary.version != version or not plan.canary.percent:
            steps.start(self.service, version=version, canary=self.percent, timeout=self.timeout, report=self.report)
        return f"version {version} gets {self.percent} % of the requests of {self.service.words}"

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
