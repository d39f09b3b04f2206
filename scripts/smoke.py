"""Smoke test of a running server: `python scripts/smoke.py URL [--version N]`.

Checks readiness, that a review is parsed into valid aspects, that repeated requests get the same answer and, while a
canary takes a share of the traffic, that the requested version answers. Needs only Python.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from typing import Any

MODEL = "/v2/models/reviews-parsing-ner-aspects"
TEXT = "The ramen was great 😋 but the waiter was rude."
ENOUGH = 5
MOST = 400
TIMEOUT = 10.0
AWAY = (urllib.error.URLError, ConnectionError, TimeoutError)


def main() -> None:
    """Run all checks and print a summary; exit with an error at the first failure."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("url", help="address of the server, such as http://127.0.0.1:8080")
    options.add_argument(
        "--version",
        help="repeat requests until this version has answered enough of them; a tenth of the traffic suffices",
    )
    options.add_argument("--text", default=TEXT, help="a review in which the model finds an aspect")
    options.add_argument("--patience", type=float, default=120, help="seconds to wait for readiness")
    args = options.parse_args()
    url = args.url.rstrip("/")
    ready(url, args.patience)
    counts: Counter[str] = Counter()
    answers: dict[str, list[Any]] = {}
    slowest = 0.0
    while (counts[args.version] if args.version else counts.total()) < ENOUGH:
        if counts.total() == MOST:
            sys.exit(f"error: {counts[args.version]} of {MOST} answers came from version {args.version}: {counts}")
        begin = time.monotonic()
        version, aspects = parse(url, args.text)
        slowest = max(slowest, time.monotonic() - begin)
        counts[version] += 1
        if answers.setdefault(version, aspects) != aspects:
            sys.exit(f"error: version {version} answers the same text in two ways: {answers[version]}, {aspects}")
    shares = ", ".join(f"version {version}: {count}" for version, count in sorted(counts.items()))
    print(f"{url}: {counts.total()} correct answers ({shares}), the slowest in {slowest:.3f} s")


def ready(url: str, patience: float) -> None:
    """Wait until the model is ready; exit if it is not within `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        try:
            call(f"{url}{MODEL}/ready")
            return
        except AWAY as error:
            if time.monotonic() > deadline:
                sys.exit(f"error: {url}{MODEL}/ready: {error}")
            time.sleep(0.2)


def parse(url: str, text: str) -> tuple[str, list[Any]]:
    """Return the version that answered and its aspects of a text; exit if an aspect is not valid."""
    request = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}]}
    try:
        answer = call(f"{url}{MODEL}/infer", json.dumps(request).encode())
    except AWAY as error:
        sys.exit(f"error: {url}{MODEL}/infer: {error}")
    try:
        (prediction,) = answer["outputs"][0]["data"]
        version, aspects = str(answer["model_version"]), list(json.loads(prediction))
        right = bool(aspects) and all(fits(aspect, text) for aspect in aspects)
    except (KeyError, TypeError, ValueError, IndexError):
        right = False
    if not right:
        sys.exit(f"error: {text!r} was answered with {json.dumps(answer, ensure_ascii=False)}")
    return version, aspects


def fits(aspect: dict[str, Any], text: str) -> bool:
    """Return whether an aspect has category, polarity, probabilities, and the span at its offsets unless implicit."""
    named = bool(aspect["entity_group"]) and bool(aspect["polarity"])
    probable = 0 < aspect["score"] <= 1 and 0 < aspect["polarity_score"] <= 1
    placed = aspect["word"] is None or text[aspect["start"] : aspect["end"]] == aspect["word"]
    return named and probable and placed


def call(address: str, body: bytes | None = None) -> Any:
    """Return the JSON body of a response, None if it is empty."""
    with urllib.request.urlopen(address, body, TIMEOUT) as answer:  # noqa: S310
        return json.loads(answer.read() or b"null")


if __name__ == "__main__":
    main()
