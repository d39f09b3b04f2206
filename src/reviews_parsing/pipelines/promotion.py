"""The gate: a challenger becomes champion when it is not worse."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reviews_parsing import data
from reviews_parsing.errors import ModelError, PromotionRefused
from reviews_parsing.parser import AspectParser
from reviews_parsing.registry.fetch import fetch
from reviews_parsing.registry.runs import fetch_file
from reviews_parsing.registry.versions import champion, register, run_of, set_champion, tag
from reviews_parsing.schema import Review
from reviews_parsing.settings import Settings
from reviews_parsing.training.evaluate import Evaluation, evaluate
from reviews_parsing.training.metrics import Difference, paired_bootstrap

TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate found. `champion` and `difference` are None where there was no rival."""

    version: str
    champion_version: str | None
    challenger: Evaluation
    champion: Evaluation | None
    difference: Difference | None
    promoted: bool
    reason: str


def promote(
    *,
    run_id: str | None = None,
    version: str | None = None,
    force: bool = False,
    reason: str = "",
    reviews: Sequence[Review] | None = None,
    dry_run: bool = False,
) -> Verdict:
    """Evaluate the challenger and the champion now, on the same reviews, and promote the challenger if not worse.

    Worse is: the 95 % interval of the difference in F1 (paired bootstrap over reviews) lies below zero, or the
    difference is below -1 point. The reviews are the challenger's own test split unless given. With `force` a worse
    challenger is promoted all the same and `reason` is recorded. The interval is stored as tags of the version.
    With `dry_run` nothing is written, and `Verdict.promoted` says what would be done.
    Raises ModelError where there is no such run or version.
    """
    if version is None:
        if run_id is None:
            raise ModelError("name what to promote: --run-id ID or --version N")
        version = register(run_id)
    reviews = reviews or _test_split(run_of(version))
    rival = champion()
    name = Settings().model_name
    challenger = evaluate(AspectParser(fetch(f"models:/{name}/{version}")[0]), reviews)
    if rival is None or rival == version:
        words = "is champion already" if rival == version else "the first model needs no rival"
        verdict = Verdict(version, None, challenger, None, None, True, words)
    else:
        holder = evaluate(AspectParser(fetch(f"models:/{name}/{rival}")[0]), reviews)
        difference = paired_bootstrap(challenger.counts, holder.counts)
        worse = difference.high < 0 or difference.mean < -TOLERANCE
        words = f"{'worse than' if worse else 'not worse than'} version {rival}"
        if worse and force:
            words = f"forced although {words}: {reason}"
        verdict = Verdict(version, rival, challenger, holder, difference, force or not worse, words)
    if not dry_run:
        _record(verdict)
    return verdict


def require(verdict: Verdict) -> Verdict:
    """The verdict, if it promotes. Raises PromotionRefused otherwise."""
    if not verdict.promoted and verdict.difference is not None:
        mean, low, high = (100 * d for d in verdict.difference)
        raise PromotionRefused(
            f"version {verdict.version} is {verdict.reason} (F1 {mean:+.1f} points, 95 % interval {low:+.1f} to "
            f"{high:+.1f}); train a better one, or --force --reason '...'"
        )
    return verdict


def _record(verdict: Verdict) -> None:
    tags = {"gate": verdict.reason, "gate_f1": f"{verdict.challenger.f1:.4f}"}
    if verdict.champion and verdict.difference:
        mean, low, high = verdict.difference
        tags |= {
            "gate_champion": verdict.champion_version or "",
            "gate_champion_f1": f"{verdict.champion.f1:.4f}",
            "gate_difference": f"{mean:+.4f}",
            "gate_interval_95": f"{low:+.4f} {high:+.4f}",
        }
    if verdict.promoted:
        set_champion(verdict.version, tags)
    else:
        tag(verdict.version, tags)


def _test_split(run_id: str) -> list[Review]:
    with tempfile.TemporaryDirectory() as folder:
        return data.read(fetch_file(run_id, "data/test.jsonl", Path(folder)))
