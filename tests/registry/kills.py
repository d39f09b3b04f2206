"""Processes that are killed at a write to the tracking store."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mlflow import MlflowClient

WRITES = (
    "create_run",
    "log_artifact",
    "log_param",
    "set_tag",
    "set_terminated",
    "set_model_version_tag",
    "set_registered_model_alias",
    "set_registered_model_tag",
)


class Killed(BaseException):
    """The end of the process, as far as the code under test can see."""


def kill_at(monkeypatch: pytest.MonkeyPatch, number: int, *, after: bool = False) -> Callable[[], int]:
    """Raise Killed at the write with that number, before or after it; returns the count of writes so far."""
    count = [0]

    def wrap(method: Callable[..., object]) -> Callable[..., object]:
        def write(self: MlflowClient, *arguments: object, **options: object) -> object:
            # The lease of a process that was really killed is taken over, which has a test of its own.
            if "lease_released" in arguments:
                return method(self, *arguments, **options)
            count[0] += 1
            is_last = count[0] == number
            if is_last and not after:
                raise Killed
            answer = method(self, *arguments, **options)
            if is_last:
                raise Killed
            return answer

        return write

    for name in WRITES:
        monkeypatch.setattr(MlflowClient, name, wrap(getattr(MlflowClient, name)))
    return lambda: count[0]
