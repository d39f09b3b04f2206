"""Smoke test of a dark canary: its Service answers a review, as the version that was started."""

from __future__ import annotations

import json
from typing import Any

from reviews_parsing.errors import RolloutReverted
from reviews_parsing.rollout.cluster import Service
from reviews_parsing.rollout.plan import Canary
from reviews_parsing.settings import MODEL_NAME

TEXT = "The ramen was great but the waiter was rude."
TIMEOUT_SECONDS = 10.0


def smoke_test(service: Service, canary: Canary) -> str:
    """Send a review to the Service of a canary; returns a line about it.

    Outside of the cluster's network the Service cannot be reached; a pod is ready only after an answer of its own.
    Raises RolloutReverted if the answer is an error, of another version, or has no aspect.
    """
    import httpx2

    url = f"{service.predictor_url(canary.name)}/v2/models/{MODEL_NAME}/infer"
    body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [TEXT]}]}
    try:
        response = httpx2.post(url, json=body, timeout=TIMEOUT_SECONDS, trust_env=False)
    except httpx2.HTTPError as error:
        return f"version {canary.version} was not tested at {url}, which cannot be reached from here ({error})"
    aspects = _read(response, canary.version)
    return f"version {canary.version} passed the smoke test: {aspects} aspects of a review"


def _read(response: Any, version: str | None) -> int:
    """Return the number of aspects in an answer."""
    subject = f"version {version} failed the smoke test"
    if response.status_code != 200:
        raise RolloutReverted(f"{subject}: it answers {response.status_code}")
    try:
        document = response.json()
        answered, (prediction,) = document["model_version"], document["outputs"][0]["data"]
        aspects = len(json.loads(prediction))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise RolloutReverted(f"{subject}: its answer cannot be read ({type(error).__name__})") from error
    if answered != version:
        raise RolloutReverted(f"{subject}: version {answered} answers at its Service")
    if not aspects:
        raise RolloutReverted(f"{subject}: it finds no aspect in {TEXT!r}")
    return aspects
