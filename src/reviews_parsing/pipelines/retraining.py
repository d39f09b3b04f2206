"""Retraining: a trigger, training with corrections, the gate, an optional canary, an approval, promotion.

A cycle is a run of an experiment of its own. Its tags hold the step that comes next and a reason for every step taken,
so that a killed process is continued by the next call, on any machine. A lease lets one process work at a time. A cycle
that the gate refused is the last one until there are new corrections, or a new cycle is requested.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from reviews_parsing import data
from reviews_parsing.corrections import CorrectionStatus, CorrectionStore, to_review
from reviews_parsing.errors import (
    ChampionChanged,
    DataError,
    ModelError,
    PromotionRefused,
    RetrainingFailed,
    ReviewsParsingError,
    RolloutReverted,
)
from reviews_parsing.pipelines.gate import promote, require, test_split
from reviews_parsing.pipelines.references import list_reference_sets
from reviews_parsing.pipelines.training import train
from reviews_parsing.pipelines.training_texts import digest_texts
from reviews_parsing.registry import locate, read_champion, register, rollback, versions
from reviews_parsing.registry.lease import Lease, lease
from reviews_parsing.registry.log import WriteOnceLog, choose_log_run, find_log_run
from reviews_parsing.registry.runs import RETRAINING, ensure_experiment, fetch_file, name_experiment
from reviews_parsing.registry.store import tracking
from reviews_parsing.registry.versions import MAX_TAG_CHARACTERS, run_of, tag
from reviews_parsing.settings import Settings
from reviews_parsing.training.fit import Recipe

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from reviews_parsing.schema import Aspect, Review
    from reviews_parsing.training.fit import Progress

LOG_PREFIX = "retraining"
CORRECTIONS_FILE = "corrections.jsonl"
STEPS = ("train", "gate", "rollout", "approval", "promote")
DONE, REFUSED, FAILED = "done", "refused", "failed"
Report = Callable[[str], None]
ReadTexts = Callable[[Sequence[str]], Sequence[str]]
"""Texts in files of reviews without labels. Raises DataError."""
Alarms = Callable[[str], Mapping[str, float]]
"""Features of a version's traffic for which an alarm of drift is active, with its age in seconds. Raises DataError."""


@dataclass(frozen=True, slots=True)
class Triggers:
    """Conditions for a new cycle; any of them suffices: time since the last training, corrections, drift, `now`.

    Drift is that of the traffic in a folder within the period `drift`; without a folder, alarms of that age.
    """

    every: timedelta | None = None
    corrections: int | None = None
    drift: timedelta | None = None
    traffic: Path | None = None
    alarms: Alarms | None = None
    now: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """A person's decision about a version that waits for approval."""

    version: str
    approved: bool
    reason: str


class Deployment(Protocol):
    """Protocol of a canary of the challenger. Every method is idempotent and returns a line about its result."""

    def start(self, version: str) -> str:
        """Start the canary and check it."""

    def evidence(self, version: str) -> str:
        """Return what is known of the canary for the approval, or an empty string."""

    def promote(self, version: str) -> str:
        """Give the version all requests."""

    def undo(self, version: str) -> str:
        """End the canary."""


@dataclass(frozen=True, slots=True)
class RetrainingOutcome:
    """Result of a call: the step that the cycle has reached, its run, its version if it has one, and the reason."""

    step: str
    run_id: str | None
    version: str | None
    reason: str


@dataclass(slots=True)
class Cycle:
    """An unfinished or finished cycle: a run with tags, which the holder of its lease writes."""

    client: MlflowClient
    run_id: str
    model_name: str
    lease: Lease | None = None

    def require_lease(self) -> None:
        """Raise RetrainingFailed if another process has taken over, because this one was taken for dead."""
        if self.lease and not self.lease.is_held():
            raise RetrainingFailed(f"another process has taken over the retraining (run {self.run_id})")

    def get(self, key: str) -> str | None:
        """Return a tag."""
        value = self.client.get_run(self.run_id).data.tags.get(f"retraining.{key}")
        return None if value is None else str(value)

    def set(self, key: str, value: str) -> None:
        """Set a tag; a text for people may be cut off. Raises RetrainingFailed without the lease."""
        self.require_lease()
        self.client.set_tag(self.run_id, f"retraining.{key}", value[:MAX_TAG_CHARACTERS])

    def advance(self, step: str, reason: str, report: Report) -> None:
        """Record the reason of the step that ends and the step that comes next."""
        ended = self.get("step") or ""
        self.set(f"reason.{ended}", reason)
        report(f"{ended}: {reason}")
        if step not in STEPS:
            self.client.set_terminated(self.run_id, "FINISHED" if step == DONE else "FAILED")
        # The step comes last: a call that is killed before is repeated.
        self.set("step", step)

    @property
    def step(self) -> str:
        """The step that comes next, or the end that the cycle came to; a person ends one by deleting its run."""
        run = self.client.get_run(self.run_id)
        step = run.data.tags.get("retraining.step") if run.info.lifecycle_stage == "active" else None
        return str(step or FAILED)

    @property
    def started(self) -> datetime:
        """Time at which the cycle was created."""
        return datetime.fromtimestamp(self.client.get_run(self.run_id).info.start_time / 1000, UTC)


def _no_texts(files: Sequence[str]) -> Sequence[str]:
    if files:
        raise DataError(f"the retraining learns from {', '.join(files)}, which nobody here reads")
    return ()


def retrain(
    source: str,
    recipe: Recipe,
    triggers: Triggers,
    *,
    store: Path | None = None,
    unlabelled: Sequence[str] = (),
    read_texts: ReadTexts = _no_texts,
    deployment: Deployment | None = None,
    approval: bool = False,
    decision: Decision | None = None,
    model_name: str | None = None,
    progress: Progress = lambda share, metrics: None,
    report: Report = lambda line: None,
) -> RetrainingOutcome:
    """Continue an unfinished cycle, or start one if a trigger says so, and take it as far as possible.

    `source` and `recipe` are those of the training, `store` the file of corrections, `unlabelled` files of reviews
    without labels, which `read_texts` reads when the training begins: the cycle holds their names alone. With
    `approval` a cycle waits after the gate until a call has a `decision`. A cycle with a canary goes on in calls with a
    `deployment` only; other calls may decide. Raises PromotionRefused if the gate refuses the challenger,
    RetrainingFailed if there is no champion, and the errors of the steps.
    """
    name = model_name or Settings().model_name
    with tracking() as client:
        number, cycle = _newest_cycle(client, name)
    with tracking(limits={}) as client:
        if cycle is None or cycle.step not in STEPS:
            if decision:
                raise RetrainingFailed(f"no retraining of {name} waits for a decision")
            start, reason = _decide(cycle, triggers, store, name)
            if not start:
                return RetrainingOutcome("idle", None, None, reason)
            cycle = _start_cycle(client, name, number + 1, source, recipe, reason, store, unlabelled, report)
        with lease(client, cycle.run_id) as cycle_lease:
            if cycle_lease is None:
                if decision:
                    raise RetrainingFailed(
                        f"the decision about version {decision.version} is not recorded: another process works on this "
                        "retraining; try again"
                    )
                return RetrainingOutcome(
                    "busy", cycle.run_id, cycle.get("version"), "another process works on this retraining"
                )
            cycle.lease = cycle_lease
            if decision:
                _record_decision(cycle, decision)
            return _run_steps(cycle, deployment, approval, read_texts, progress, report)


def _run_steps(
    cycle: Cycle,
    deployment: Deployment | None,
    approval: bool,
    read_texts: ReadTexts,
    progress: Progress,
    report: Report,
) -> RetrainingOutcome:
    while (step := cycle.step) in STEPS:
        cycle.require_lease()
        version = cycle.get("version") or ""
        if words := _awaited(cycle, step, deployment, approval):
            return RetrainingOutcome("waiting", cycle.run_id, version, words)
        try:
            if step == "train":
                cycle.advance("gate", _train(cycle, read_texts, progress, report), report)
            elif step == "gate":
                cycle.advance("rollout", _check(cycle, version), report)
            elif step == "rollout":
                cycle.advance("approval", _start_canary(cycle, version, deployment), report)
            elif step == "approval":
                cycle.advance("promote", _approved(cycle), report)
            else:
                cycle.advance(DONE, _promote(cycle, version, deployment), report)
        except ChampionChanged as error:
            # The gate decides again, against the new champion.
            cycle.set("step", "gate")
            report(str(error))
        except (PromotionRefused, ModelError, DataError, RolloutReverted) as error:
            cycle.require_lease()
            if deployment and cycle.get("canary"):
                report(deployment.undo(version))
            cycle.advance(REFUSED if isinstance(error, PromotionRefused) else FAILED, str(error), report)
            raise
    if step != DONE:
        raise RetrainingFailed(f"another process ended the retraining (run {cycle.run_id}): {step}")
    return RetrainingOutcome(step, cycle.run_id, cycle.get("version"), cycle.get("reason.promote") or "")


def _awaited(cycle: Cycle, step: str, deployment: Deployment | None, approval: bool) -> str | None:
    """Return what the cycle waits for before a step, as a text for people, None if it can go on."""
    version = cycle.get("version") or ""
    if step == "approval" and (approval or cycle.get("approval")) and cycle.get("decision") is None:
        cycle.set("approval", "required")  # by callers with other settings too
        words = f"version {version} passed the gate and waits: reviews-parsing retrain --approve {version}"
        evidence = deployment.evidence(version) if deployment else ""
        return f"{words}\n{evidence}" if evidence else words
    if deployment is None and cycle.get("canary"):
        # A person decides anywhere; the canary is promoted or ended where the cluster can be reached.
        return f"version {version} has a canary on the cluster: the next call with --canary goes on"
    return None


def _start_canary(cycle: Cycle, version: str, deployment: Deployment | None) -> str:
    if deployment is None:
        return "no canary"
    words = deployment.start(version)
    cycle.set("canary", "started")
    return words


def _decide(cycle: Cycle | None, triggers: Triggers, store: Path | None, name: str) -> tuple[bool, str]:
    """Return whether a cycle starts, and the reason in either case. Raises RetrainingFailed without a champion."""
    state = read_champion(name)
    if state.version is None:
        raise RetrainingFailed(f"{name} has no champion yet: reviews-parsing register, then reviews-parsing promote")
    if triggers.now:
        return True, "started by hand"
    last = cycle.started if cycle else datetime.fromtimestamp(versions(name)[0].created / 1000, UTC)
    new = _count_new(cycle, store, name, last)
    if cycle and cycle.step == REFUSED and not new:
        words = f"the gate refused version {cycle.get('version')}, and there are no new corrections since"
        return False, f"{words}; --now trains again"
    reasons = []
    if triggers.corrections is not None:
        if new >= triggers.corrections:
            return True, f"{new} corrections since {last:%Y-%m-%d %H:%M}"
        pending = _count_pending(store)
        waiting = f" ({pending} are pending: reviews-parsing corrections approve)" if pending else ""
        reasons.append(f"{new} of {triggers.corrections} corrections{waiting}")
    if triggers.every is not None:
        age = datetime.now(UTC) - last
        if age >= triggers.every:
            return True, f"the last training was {age.days} days ago"
        reasons.append(f"the last training was {age.days} days ago")
    if triggers.drift is not None:
        drifted, words = _find_drift(triggers, name, state.version)
        if drifted:
            return True, words
        reasons.append(words)
    return False, "; ".join(reasons)


def _find_drift(triggers: Triggers, name: str, version: str) -> tuple[bool, str]:
    """Compare the traffic of the window with the champion's profile, or look for an alarm of that age."""
    from reviews_parsing.monitor import Profile, detect_drift, read_traffic

    folder = triggers.traffic or Settings().traffic
    if folder is None and triggers.alarms is None:
        raise RetrainingFailed(
            "--drift needs the folder of the traffic (--traffic FOLDER or REVIEWS_PARSING_TRAFFIC) or PROMETHEUS_URL"
        )
    try:
        if folder is None:
            return _find_alarm(triggers, version)
        profile = Profile.read(locate(f"models:/{name}/{version}")[0])
        window = read_traffic(folder, profile, triggers.drift)
        result = detect_drift(profile.extractor.names, profile.features, window.features)
    except DataError as error:
        return False, f"no drift to be seen ({error})"
    names = ", ".join(drift.feature for drift in result.drifted[:5])
    if names:
        return True, f"drift of {names} in {result.reviews:,} reviews"
    return False, f"no drift in {result.reviews:,} reviews"


def _find_alarm(triggers: Triggers, version: str) -> tuple[bool, str]:
    alarms = triggers.alarms(version) if triggers.alarms else {}
    limit = triggers.drift.total_seconds() if triggers.drift else 0
    old = {feature: age for feature, age in alarms.items() if age >= limit}
    if old:
        features = ", ".join(sorted(old)[:5])
        return True, f"alarm of drift of {features} since {timedelta(seconds=round(max(old.values())))}"
    if alarms:
        return False, f"an alarm of drift of {', '.join(sorted(alarms)[:5])} is younger than {triggers.drift}"
    return False, "no alarm of drift"


def _newest_cycle(client: MlflowClient, name: str) -> tuple[int, Cycle | None]:
    """Return the number of the newest entry of the log, 0 if it is empty, and its cycle if its run still exists."""
    from mlflow.exceptions import MlflowException

    number = 0
    try:
        run_id = find_log_run(client, name)
        entry = WriteOnceLog(client, run_id, LOG_PREFIX).newest() if run_id else None
        if entry is None:
            return 0, None
        number = entry.number
        client.get_run(entry.document["run_id"])
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return number, None  # no version is registered yet, or the cycle was deleted for good
    return number, Cycle(client, entry.document["run_id"], name)


def _start_cycle(
    client: MlflowClient,
    name: str,
    number: int,
    source: str,
    recipe: Recipe,
    reason: str,
    store: Path | None,
    unlabelled: Sequence[str],
    report: Report,
) -> Cycle:
    """Create the run of a cycle with everything that it needs, then enter it into the log as `number`.

    Of two processes that start one at the same time, the second works on the first one's.
    """
    documents = {
        "recipe": _dump(asdict(recipe), "the recipe of the training"),
        "unlabelled": _dump(list(unlabelled), "the list of files without labels"),
    }
    run = client.create_run(ensure_experiment(client, name_experiment(RETRAINING, name)), run_name="retraining")
    cycle = Cycle(client, run.info.run_id, name)
    reviews, left_out = _split_off_held_out(_read_corrections(store), name)
    with tempfile.TemporaryDirectory() as scratch:
        if reviews:
            data.write(reviews, Path(scratch) / CORRECTIONS_FILE)
            client.log_artifact(cycle.run_id, str(Path(scratch) / CORRECTIONS_FILE))
    client.log_param(cycle.run_id, "source", source)
    cycle.set("corrections", str(len(reviews)))
    for key, document in documents.items():
        cycle.set(key, document)
    words = f"{reason}; {len(reviews)} corrections are added to {source}"
    words += f", {left_out} are left out because the gate evaluates on their texts" if left_out else ""
    words += f", {pending} are pending" if (pending := _count_pending(store)) else ""
    words += f"; the texts of {', '.join(unlabelled)} are learnt without labels" if unlabelled else ""
    cycle.set("reason.trigger", words)
    cycle.set("step", STEPS[0])
    if WriteOnceLog(client, choose_log_run(client, name), LOG_PREFIX).append(number, {"run_id": cycle.run_id}):
        report(f"trigger: {words}")
        return cycle
    client.delete_run(cycle.run_id)
    _, winner = _newest_cycle(client, name)
    if winner is None:
        raise RetrainingFailed(f"the log of retrainings of {name} changed meanwhile; try again")
    return winner


def _count_new(cycle: Cycle | None, store: Path | None, name: str, last: datetime) -> int:
    """Return the number of approved corrections to learn from that the last cycle did not have.

    No clock is asked, and a correction that was approved later counts. Without a cycle, those since `last` count.
    """
    if cycle is None:
        revisions = CorrectionStore(store).list_latest(approved_only=True)
        reviews = [to_review(revision) for revision in revisions if revision.correction.corrected_at > last]
    else:
        known = _read_learnt(cycle)
        reviews = [review for review in _read_corrections(store) if (review.id, review.aspects) not in known]
    return len(_split_off_held_out(reviews, name)[0]) if reviews else 0


def _read_learnt(cycle: Cycle) -> set[tuple[str, tuple[Aspect, ...]]]:
    """Return the corrections that a cycle learns from."""
    if not int(cycle.get("corrections") or 0):
        return set()
    with tempfile.TemporaryDirectory() as scratch:
        reviews = data.read(fetch_file(cycle.run_id, CORRECTIONS_FILE, Path(scratch)))
    return {(review.id, review.aspects) for review in reviews}


def _read_corrections(store: Path | None) -> list[Review]:
    return [to_review(revision) for revision in CorrectionStore(store).list_latest(approved_only=True)]


def _count_pending(store: Path | None) -> int:
    return sum(revision.status is CorrectionStatus.PENDING for revision in CorrectionStore(store).list_latest())


def _split_off_held_out(reviews: list[Review], name: str) -> tuple[list[Review], int]:
    """Return the reviews to train on, and the number of those that repeat a review of an evaluation set."""
    held_out = [review.text for reference in list_reference_sets(name) for review in reference.read()]
    champion = read_champion(name).version
    if champion:
        held_out += [review.text for review in test_split(run_of(champion, name))]
    repeated = {review.id for review in digest_texts(held_out).overlap(reviews)}
    return [review for review in reviews if review.id not in repeated], len(repeated)


def _dump(document: object, subject: str) -> str:
    """Return a document as JSON for a tag. Raises RetrainingFailed, which names `subject`, if it is too long."""
    text = json.dumps(document)
    if len(text) > MAX_TAG_CHARACTERS:
        raise RetrainingFailed(f"{subject} takes {len(text):,} characters of at most {MAX_TAG_CHARACTERS:,}")
    return text


def _train(cycle: Cycle, read_texts: ReadTexts, progress: Progress, report: Report) -> str:
    """Train and register the challenger, or register what a killed process has trained."""
    recipe = Recipe(**json.loads(cycle.get("recipe") or "{}"))
    source = cycle.client.get_run(cycle.run_id).data.params["source"]
    run_id = cycle.get("training_run")
    if run_id and cycle.client.get_run(run_id).info.status == "FINISHED":
        version = register(run_id, cycle.model_name)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            correction_files: Sequence[str] = ()
            if int(cycle.get("corrections") or 0):
                correction_files = [str(fetch_file(cycle.run_id, CORRECTIONS_FILE, Path(scratch)))]
            trained = train(
                source,
                recipe,
                extra_files=correction_files,
                texts=read_texts(json.loads(cycle.get("unlabelled") or "[]")),
                resume=True,
                progress=progress,
                say=report,
                model_name=cycle.model_name,
                on_run=lambda run_id: cycle.set("training_run", run_id),
            )
        run_id, version = trained.run_id, trained.version
    cycle.client.set_tag(run_id, "retraining.reason", cycle.get("reason.trigger") or "")
    cycle.set("version", version)
    f1 = cycle.client.get_run(run_id).data.metrics.get("test/aggregated/f1")
    score = "no F1 was logged" if f1 is None else f"F1 {f1:.3f}"
    return f"version {version} trained in run {run_id}: {score} on its test split"


def _check(cycle: Cycle, version: str) -> str:
    """Let the gate judge; a refusal is recorded with the version."""
    verdict = promote(version=version, dry_run=True, name=cycle.model_name)
    if not verdict.promoted:
        tag(version, {"gate": verdict.reason}, cycle.model_name)
    require(verdict)
    sets = ", ".join(comparison.name for comparison in verdict.comparisons)
    return f"version {version} is {verdict.reason} on {sets}"


def _record_decision(cycle: Cycle, decision: Decision) -> None:
    version = cycle.get("version")
    if cycle.step != "approval" or version != decision.version:
        waiting = f"version {version} waits" if cycle.step == "approval" else f"the next step is '{cycle.step}'"
        raise RetrainingFailed(f"version {decision.version} does not wait for a decision: {waiting}")
    cycle.set("decision", _dump(asdict(decision), "the reason of the decision"))


def _approved(cycle: Cycle) -> str:
    """Return the reason for a promotion. Raises PromotionRefused if the version was rejected."""
    recorded = cycle.get("decision")
    if recorded is None:
        return "no approval is required"
    decision = Decision(**json.loads(recorded))
    if not decision.approved:
        raise PromotionRefused(f"version {decision.version} was rejected: {decision.reason or 'without a reason'}")
    return f"version {decision.version} was approved: {decision.reason or 'without a reason'}"


def _promote(cycle: Cycle, version: str, deployment: Deployment | None) -> str:
    """Promote in the registry first, which is easily undone if the cluster does not follow."""
    verdict = require(promote(version=version, name=cycle.model_name))
    words = f"version {version} is champion ({verdict.reason})"
    if deployment is None:
        return words
    try:
        return f"{words}; {deployment.promote(version)}"
    except ReviewsParsingError:
        if read_champion(cycle.model_name).version == version:
            rollback(cycle.model_name)
        raise
