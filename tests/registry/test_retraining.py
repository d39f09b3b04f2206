"""Retraining: triggers, the steps and their reasons, kills at each write, one process at a time, approval, a canary."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote_plus

import pytest
from typer.testing import CliRunner

from reviews_parsing import data, pipelines, registry
from reviews_parsing.cli.app import app
from reviews_parsing.corrections import Correction, CorrectionStatus, CorrectionStore
from reviews_parsing.errors import (
    ChampionChanged,
    ClusterError,
    DataError,
    PromotionRefused,
    RetrainingFailed,
    RolloutReverted,
)
from reviews_parsing.pipelines import gate, retraining
from reviews_parsing.pipelines.gate import Verdict
from reviews_parsing.pipelines.retraining import Decision, RetrainingOutcome, Triggers, retrain
from reviews_parsing.registry.champion import read_champion
from reviews_parsing.registry.lease import lease
from reviews_parsing.registry.log import WriteOnceLog
from reviews_parsing.registry.runs import ensure_experiment, fetch_file
from reviews_parsing.rollout import Prometheus
from reviews_parsing.schema import Aspect, Opinion
from reviews_parsing.settings import MODEL_NAME, Settings
from reviews_parsing.training.fit import Recipe

from .kills import Killed, kill_at

NOW = Triggers(now=True)


@dataclass
class FakeCanary:
    """A deployment that records its calls, and fails where a test says so."""

    calls: list[str] = field(default_factory=list)
    failures: dict[str, Exception] = field(default_factory=dict)

    def _call(self, name: str, version: str) -> str:
        self.calls.append(f"{name} {version}")
        if name in self.failures:
            raise self.failures[name]
        return f"{name} of version {version}"

    def start(self, version: str) -> str:
        return self._call("start", version)

    def evidence(self, version: str) -> str:
        return f"version {version} agrees on 98 of 100 reviews"

    def promote(self, version: str) -> str:
        return self._call("promote", version)

    def undo(self, version: str) -> str:
        return self._call("undo", version)


@pytest.fixture
def trainings(with_champion: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Replace the training by a stub and the gate by one that always passes; yield the texts that each call learns."""
    calls: list[list[str]] = []

    def train(
        source: str, recipe: Recipe, *, extra_files: Any, texts: Any, on_run: Any, model_name: str, **_: Any
    ) -> Any:
        calls.append([*(Path(file).read_text(encoding="utf-8") for file in extra_files), *texts])
        with registry.tracking() as client:
            former = client.get_model_version(model_name, "1")
            run = client.create_run(client.get_run(former.run_id).info.experiment_id)
            on_run(run.info.run_id)
            client.log_text(run.info.run_id, '{"id": "1", "text": "Good soup.", "aspects": []}\n', "data/test.jsonl")
            client.log_metric(run.info.run_id, "test/aggregated/f1", 0.5)
            client.set_terminated(run.info.run_id)
            version = client.create_model_version(model_name, former.source, run.info.run_id)
        return SimpleNamespace(run_id=run.info.run_id, version=str(version.version))

    def register(run_id: str, name: str) -> str:
        """As the registry does, for runs that have no model of their own."""
        with registry.tracking() as client:
            known = [v for v in client.search_model_versions(f"name = '{name}'") if v.run_id == run_id]
            if known:
                return str(known[0].version)
            source = client.get_model_version(name, "1").source
            return str(client.create_model_version(name, source, run_id).version)

    def judge(version: str, state: Any, **_: Any) -> Verdict:
        rival = state.version if state.version != version else None
        return Verdict(version, rival, (), (), (), True, f"not worse than version {rival}")

    monkeypatch.setattr(retraining, "train", train)
    monkeypatch.setattr(retraining, "register", register)
    monkeypatch.setattr(gate, "judge", judge)
    return calls


def refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the gate refuse everything."""

    def judge(version: str, state: Any, **_: Any) -> Verdict:
        words = f"worse than version {state.version} on the test split (F1 -9.0 points)"
        return Verdict(version, state.version, (), (words,), (), False, words)

    monkeypatch.setattr(gate, "judge", judge)


def correct(text: str) -> None:
    """Save a correction: the first word is FOOD."""
    word = text.split(maxsplit=1)[0]
    correction = Correction(text, (Aspect("FOOD", word, 0, len(word), "positive"),), (), MODEL_NAME, "1", "Ada")
    CorrectionStore().save(correction, None)


def call(triggers: Triggers = NOW, **options: Any) -> RetrainingOutcome:
    return retrain("corpus", Recipe(epochs=1), triggers, **options)


def reasons(run_id: str) -> dict[str, str]:
    with registry.tracking() as client:
        tags = client.get_run(run_id).data.tags
    return {key.rpartition(".")[2]: value for key, value in tags.items() if key.startswith("retraining.reason.")}


def test_every_step_leaves_a_reason_in_the_run(trainings: list[list[str]]) -> None:
    correct("Dumplings that melt.")
    lines: list[str] = []
    outcome = call(report=lines.append)
    assert (outcome.step, outcome.version, registry.champion()) == ("done", "2", "2")
    assert set(reasons(outcome.run_id or "")) == {"trigger", "train", "gate", "rollout", "approval", "promote"}
    assert reasons(outcome.run_id or "")["trigger"] == "started by hand; 1 corrections are added to corpus"
    assert "F1 0.500 on its test split" in reasons(outcome.run_id or "")["train"]
    assert [line.partition(":")[0] for line in lines] == ["trigger", "train", "gate", "rollout", "approval", "promote"]
    [[corrections]] = trainings
    assert "Dumplings that melt." in corrections
    assert registry.rollback() == ("2", "1")


def test_kept_traffic_is_learnt_without_labels_and_only_its_file_is_recorded(
    trainings: list[list[str]], tmp_path: Path
) -> None:
    kept = tmp_path / "kept.csv"
    kept.write_text("text\nThe soup was cold.\nA quiet room.\n", encoding="utf-8")
    done = CliRunner().invoke(app, ["retrain", "--now", "--unlabelled", str(kept)])
    assert done.exit_code == 0, done.output
    assert trainings == [["The soup was cold.", "A quiet room."]]
    with registry.tracking() as client:
        experiment = client.get_experiment_by_name(f"{MODEL_NAME}-retraining")
        assert experiment
        [run] = client.search_runs([experiment.experiment_id])
    assert f"the texts of {kept} are learnt without labels" in reasons(run.info.run_id)["trigger"]
    assert "soup" not in json.dumps(run.data.to_dictionary())


def test_a_missing_file_of_kept_traffic_fails_the_cycle(trainings: list[list[str]], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["retrain", "--now", "--unlabelled", str(tmp_path / "gone.csv")])
    assert done.exit_code == 1
    assert not trainings


def test_a_scheduler_may_call_it_as_often_as_it_likes(trainings: list[list[str]]) -> None:
    triggers = Triggers(corrections=2, every=timedelta(days=3000))
    outcome = call(triggers)
    assert (outcome.step, outcome.run_id, outcome.version) == ("idle", None, None)
    assert re.fullmatch(r"0 of 2 corrections; the last training was \d+ days ago", outcome.reason)
    correct("Dumplings that melt.")
    assert call(triggers).step == "idle"
    correct("Noodles that sing.")
    assert call(triggers).step == "done"
    # Those corrections are used up.
    assert call(triggers).reason == "0 of 2 corrections; the last training was 0 days ago"
    assert call(Triggers(every=timedelta(0))).step == "done"
    assert len(trainings) == 2


def test_an_alarm_of_drift_starts_it_when_it_is_old_enough(trainings: list[list[str]]) -> None:
    def alarms(version: str) -> dict[str, float]:
        return {"words": 90_000.0, "capitals": 60.0} if version == "1" else {}

    drift = timedelta(days=2)
    outcome = call(Triggers(drift=drift, alarms=alarms))
    assert (outcome.step, outcome.reason) == (
        "idle",
        "an alarm of drift of capitals, words is younger than 2 days, 0:00:00",
    )
    outcome = call(Triggers(drift=timedelta(days=1), alarms=alarms))
    assert outcome.step == "done"
    assert reasons(outcome.run_id or "")["trigger"].startswith("alarm of drift of words since 1 day, 1:00:00; ")
    # The new champion has no alarm yet.
    assert call(Triggers(drift=timedelta(days=1), alarms=alarms)).reason == "no alarm of drift"


def test_alarms_come_from_prometheus(with_champion: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            asked.append(unquote_plus(self.rfile.read(int(self.headers["Content-Length"])).decode()))
            result = [{"metric": {"number": "words"}, "value": [1, "60"]}]
            body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def printed() -> str:
        done = CliRunner().invoke(app, ["retrain", "--drift", "1d"])
        assert done.exit_code == 0, done.output
        return done.output

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        monkeypatch.setenv("PROMETHEUS_URL", f"http://127.0.0.1:{server.server_port}")
        assert "idle: an alarm of drift of words is younger than 1 day" in printed()
        assert asked == [f"query={Prometheus('', 'reviews-parsing').drift_query('1')}"]
        server.shutdown()
    assert "idle: no drift to be seen (Prometheus at" in printed()
    monkeypatch.delenv("PROMETHEUS_URL")
    done = CliRunner().invoke(app, ["retrain", "--drift", "1d"])
    assert isinstance(done.exception, RetrainingFailed)
    assert "or PROMETHEUS_URL" in str(done.exception)


def test_corrections_that_the_gate_evaluates_on_are_left_out(trainings: list[list[str]], tmp_path: Path) -> None:
    review = data.read_splits("corpus")["test"][0]
    correct(review.text)
    hard = data.read_splits("corpus")["train"][:40]
    data.write(hard, tmp_path / "hard.jsonl")
    pipelines.add_reference_set(str(tmp_path / "hard.jsonl"))
    correct(hard[0].text.upper())
    correct("Dumplings that melt.")
    outcome = call()
    [[corrections]] = trainings
    assert [json.loads(line)["text"] for line in corrections.splitlines()] == ["Dumplings that melt."]
    assert "2 are left out because the gate evaluates on their texts" in reasons(outcome.run_id or "")["trigger"]


def test_only_what_an_operator_approved_is_learnt_and_counted(trainings: list[list[str]]) -> None:
    store = CorrectionStore()
    for number, text in enumerate(("Dumplings that melt.", "Noodles that sing.", "Soup that sulks.")):
        aspect = Aspect("FOOD", text.split()[0], 0, len(text.split()[0]), "positive")
        store.save(Correction(text, (aspect,), (), MODEL_NAME, "1", "a stranger"), None, approved=number == 0)
    waiting = "(2 are pending: reviews-parsing corrections approve)"
    assert call(Triggers(corrections=2)).reason == f"1 of 2 corrections {waiting}"
    outcome = call()
    assert reasons(outcome.run_id or "")["trigger"] == (
        "started by hand; 1 corrections are added to corpus, 2 are pending"
    )
    [[learnt]] = trainings
    assert [json.loads(line)["text"] for line in learnt.splitlines()] == ["Dumplings that melt."]
    # Approved after the training, and made before.
    first, second, third = (revision.id for revision in store.list_latest())
    store.decide([second], CorrectionStatus.APPROVED)
    store.decide([third], CorrectionStatus.REJECTED)
    assert call(Triggers(corrections=2)).reason == "1 of 2 corrections"
    assert call(Triggers(corrections=1)).step == "done"
    assert "sulks" not in trainings[1][0]
    assert "sing" in trainings[1][0]
    assert call(Triggers(corrections=1)).reason == "0 of 1 corrections"
    store.decide([first], CorrectionStatus.REJECTED)
    assert call(Triggers(corrections=1)).step == "idle"


def test_corrections_are_counted_by_what_was_learnt_and_not_by_a_clock(
    trainings: list[list[str]], tmp_path: Path
) -> None:
    past, future = datetime(2001, 1, 1, tzinfo=UTC), datetime(2101, 1, 1, tzinfo=UTC)
    implicit = Aspect("FOOD", None, None, None, "positive")
    opinion = Aspect("FOOD", "Noodles", 0, 7, "positive", opinion=Opinion("sing", 13, 17))
    held_out, *others = data.read_splits("corpus")["train"][:40]
    data.write([held_out, *others], tmp_path / "hard.jsonl")
    pipelines.add_reference_set(str(tmp_path / "hard.jsonl"))
    for text, aspects, at in (
        ("Yum!", (implicit,), past),
        ("Noodles that sing.", (opinion,), future),
        (held_out.text, held_out.aspects, future),
    ):
        CorrectionStore().save(Correction(text, aspects, (), MODEL_NAME, "1", "Ada", at), None)
    assert call().step == "done"
    # Both were learnt, whatever their dates are, and the third is of no use to a training.
    assert call(Triggers(corrections=1)).reason == "0 of 1 corrections"
    CorrectionStore().save(Correction("Soup that sulks.", (), (), MODEL_NAME, "1", "Ada", past), None)
    assert call(Triggers(corrections=1)).step == "done"
    # Other labels are a new correction.
    CorrectionStore().save(Correction("Yum!", (), (), MODEL_NAME, "1", "Ada", past), 1)
    assert call(Triggers(corrections=1)).step == "done"
    assert call(Triggers(corrections=1)).step == "idle"


def test_of_two_that_start_at_once_the_slower_one_joins_the_other(
    trainings: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = ensure_experiment
    overtaken: list[str] = []

    def overtake(client: Any, name: str) -> str:
        """Let another call start a cycle between the decision and the entry into the log."""
        monkeypatch.setattr(retraining, "ensure_experiment", begin)
        overtaken.append(call(approval=True).run_id or "")
        return begin(client, name)

    monkeypatch.setattr(retraining, "ensure_experiment", overtake)
    outcome = call(approval=True)
    assert [outcome.run_id] == overtaken
    assert (outcome.step, outcome.version, len(trainings)) == ("waiting", "2", 1)


@pytest.mark.parametrize("failure", [None, DataError("a file is damaged")])
def test_a_process_that_was_taken_for_dead_changes_nothing_when_it_wakes(
    trainings: list[list[str]], monkeypatch: pytest.MonkeyPatch, failure: Exception | None
) -> None:
    train = vars(retraining)["train"]  # the stub
    canary = FakeCanary()

    def sleep_through(*arguments: Any, **options: Any) -> Any:
        """Train, while another process takes over and finishes the retraining."""
        trained = train(*arguments, **options)
        with registry.tracking() as client:
            lease_of_another = {"host": "elsewhere", "pid": 1, "started": "1"}
            [run_id] = [run.info.run_id for run in cycles(client)]
            WriteOnceLog(client, run_id, "lease").append(2, lease_of_another)
            client.set_tag(run_id, "retraining.step", "approval")
            client.set_tag(run_id, "retraining.version", "7")
            client.set_tag(run_id, "retraining.canary", "started")
        if failure:
            raise failure
        return trained

    monkeypatch.setattr(retraining, "train", sleep_through)
    with pytest.raises(RetrainingFailed, match="another process has taken over the retraining"):
        call(deployment=canary)
    with registry.tracking() as client:
        [run] = cycles(client)
    assert (run.data.tags["retraining.step"], run.data.tags["retraining.version"]) == ("approval", "7")
    assert (canary.calls, "retraining.reason.train" in run.data.tags) == ([], False)


def cycles(client: Any) -> list[Any]:
    """Return the runs of retrainings."""
    experiment = client.get_experiment_by_name(f"{MODEL_NAME}-retraining")
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


def test_who_deletes_the_run_of_a_retraining_ends_it(trainings: list[list[str]]) -> None:
    outcome = call(approval=True)
    with registry.tracking() as client:
        client.delete_run(outcome.run_id or "")
    assert call(Triggers(corrections=1), approval=True).reason == "0 of 1 corrections"
    with pytest.raises(RetrainingFailed, match="waits for a decision"):
        call(approval=True, decision=Decision("2", True, "Ada"))
    assert call(approval=True).version == "3"
    with sqlite3.connect(Settings().home / "mlflow.db") as store:
        # As `mlflow gc` leaves it.
        store.execute("DELETE FROM tags WHERE run_uuid = ?", [outcome.run_id])
        store.execute("DELETE FROM params WHERE run_uuid = ?", [outcome.run_id])
        store.execute("DELETE FROM runs WHERE run_uuid = ?", [outcome.run_id])
    assert call(approval=True, decision=Decision("3", True, "Ada")).step == "done"


def test_a_text_that_no_tag_can_hold_is_refused_and_not_cut(trainings: list[list[str]]) -> None:
    with pytest.raises(RetrainingFailed, match="the list of files without labels takes 5,"):
        call(unlabelled=["x" * 5000])
    assert call(approval=True).version == "2"
    with pytest.raises(RetrainingFailed, match=r"the reason of the decision takes 6,.* characters of at most 5,000"):
        call(decision=Decision("2", True, "x" * 6000))
    assert call(decision=Decision("2", True, "Ada")).step == "done"


def test_a_period_that_no_clock_can_hold_is_a_wrong_call() -> None:
    done = CliRunner().invoke(app, ["retrain", "--every", "99999999999d"])
    assert (done.exit_code, "is too long" in done.output) == (2, True)


def test_after_a_refusal_it_waits_for_new_corrections(
    trainings: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch)
    triggers = Triggers(every=timedelta(0))
    with pytest.raises(PromotionRefused, match="version 2 is worse than version 1"):
        call(triggers)
    assert registry.champion() == "1"
    assert registry.versions()[0].tags["gate"].startswith("worse than version 1")
    for _ in range(3):
        outcome = call(triggers)
        assert (outcome.step, len(trainings)) == ("idle", 1)
        assert (
            "the gate refused version 2, and there are no new corrections since; --now trains again" in outcome.reason
        )
    correct("Dumplings that melt.")
    with pytest.raises(PromotionRefused):
        call(triggers)
    assert len(trainings) == 2


def test_without_a_champion_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    with pytest.raises(RetrainingFailed, match="has no champion yet: reviews-parsing register"):
        call()


def test_it_waits_for_a_persons_approval(trainings: list[list[str]]) -> None:
    outcome = call(approval=True)
    assert (outcome.step, outcome.version, registry.champion()) == ("waiting", "2", "1")
    assert "reviews-parsing retrain --approve 2" in outcome.reason
    assert call(approval=True).step == "waiting"
    with pytest.raises(RetrainingFailed, match="version 7 does not wait for a decision: version 2 waits"):
        call(approval=True, decision=Decision("7", True, "Ada"))
    outcome = call(approval=True, decision=Decision("2", True, "Ada looked at it"))
    assert (outcome.step, registry.champion(), len(trainings)) == ("done", "2", 1)
    assert reasons(outcome.run_id or "")["approval"] == "version 2 was approved: Ada looked at it"
    with pytest.raises(RetrainingFailed, match="waits for a decision"):
        call(approval=True, decision=Decision("2", True, "Ada"))


def test_what_a_person_rejects_is_not_promoted(trainings: list[list[str]]) -> None:
    canary = FakeCanary()
    outcome = call(approval=True, deployment=canary)
    assert outcome.reason.splitlines()[1:] == ["version 2 agrees on 98 of 100 reviews"]
    with pytest.raises(PromotionRefused, match="version 2 was rejected: too many mistakes"):
        call(approval=True, deployment=canary, decision=Decision("2", False, "too many mistakes"))
    assert registry.champion() == "1"
    assert canary.calls == ["start 2", "undo 2"]
    assert call(Triggers(every=timedelta(0))).step == "idle"


def test_a_person_decides_without_access_to_the_cluster(trainings: list[list[str]]) -> None:
    canary = FakeCanary()
    call(approval=True, deployment=canary)
    outcome = call(decision=Decision("2", True, "Ada"))
    assert (outcome.step, registry.champion(), canary.calls) == ("waiting", "1", ["start 2"])
    assert "the next call with --canary goes on" in outcome.reason
    assert call(Triggers(corrections=100), approval=True, deployment=canary).step == "done"
    assert (registry.champion(), canary.calls) == ("2", ["start 2", "promote 2"])


def test_a_rejection_ends_the_canary_where_the_cluster_can_be_reached(trainings: list[list[str]]) -> None:
    canary = FakeCanary()
    call(approval=True, deployment=canary)
    assert call(decision=Decision("2", False, "too many mistakes")).step == "waiting"
    with pytest.raises(PromotionRefused, match="version 2 was rejected: too many mistakes"):
        call(Triggers(corrections=100), approval=True, deployment=canary)
    assert (registry.champion(), canary.calls) == ("1", ["start 2", "undo 2"])


def test_an_approval_that_one_caller_demands_binds_the_others(trainings: list[list[str]]) -> None:
    assert call(approval=True).step == "waiting"
    assert (call().step, registry.champion()) == ("waiting", "1")


def test_a_canary_ends_if_the_gate_changes_its_mind(
    trainings: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = FakeCanary()
    call(approval=True, deployment=canary)
    changed = ChampionChanged("the champion is now version 3")

    def overtaken(*_: Any, **__: Any) -> str:
        refuse(monkeypatch)
        raise changed

    monkeypatch.setattr(retraining, "_promote", overtaken)
    with pytest.raises(PromotionRefused, match="worse than"):
        call(approval=True, deployment=canary, decision=Decision("2", True, "Ada"))
    assert canary.calls == ["start 2", "undo 2"]


def test_a_canary_is_started_promoted_and_the_registry_follows(trainings: list[list[str]]) -> None:
    canary = FakeCanary()
    assert call(deployment=canary).step == "done"
    assert canary.calls == ["start 2", "promote 2"]
    assert registry.champion() == "2"


def test_a_canary_that_fails_ends_the_retraining(trainings: list[list[str]]) -> None:
    canary = FakeCanary(failures={"start": RolloutReverted("version 2 did not become ready; undone")})
    with pytest.raises(RolloutReverted):
        call(deployment=canary)
    assert registry.champion() == "1"
    outcome = call(Triggers(corrections=5))
    assert outcome.step == "idle"


def test_the_registry_returns_if_the_cluster_does_not_follow(trainings: list[list[str]]) -> None:
    canary = FakeCanary(failures={"promote": ClusterError("the cluster does not answer")})
    with pytest.raises(ClusterError):
        call(deployment=canary)
    assert registry.champion() == "1"
    # The next call tries again.
    canary.failures.clear()
    assert call(Triggers(corrections=5), deployment=canary).step == "done"
    assert (registry.champion(), len(trainings)) == ("2", 1)


def test_a_champion_that_changed_meanwhile_sends_it_back_to_the_gate(
    trainings: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = gate.judge
    moments = iter([False, True, False, False])

    def overtaken(version: str, state: Any, **options: Any) -> Verdict:
        verdict = judge(version, state, **options)
        if next(moments):
            with registry.tracking() as client:
                former = client.get_model_version(MODEL_NAME, "1")
                rival = client.create_model_version(MODEL_NAME, former.source, former.run_id)
            registry.set_champion(str(rival.version), {})
        return verdict

    monkeypatch.setattr(gate, "judge", overtaken)
    lines: list[str] = []
    assert call(report=lines.append).step == "done"
    assert any("the champion is now version 3" in line for line in lines)
    assert read_champion().history == ("1", "3")


def test_a_retraining_that_is_killed_at_any_write_is_continued(trainings: list[list[str]]) -> None:
    correct("Dumplings that melt.")
    for number in range(1, 100):
        champion, trained = registry.champion(), len(trainings)
        canary = FakeCanary()
        with pytest.MonkeyPatch.context() as patch:
            writes = kill_at(patch, number)
            with contextlib.suppress(Killed):
                call(deployment=canary)
            finished = writes() < number
        if not finished:
            # An unfinished retraining needs no trigger to be continued; one that had not begun needs another.
            outcome = call(Triggers(corrections=100), deployment=canary)
            if outcome.step == "idle" and registry.champion() == champion:
                outcome = call(deployment=canary)
            assert outcome.step in ("done", "idle")
        assert registry.champion() == registry.versions()[0].version != champion
        assert canary.calls[-1] == f"promote {registry.champion()}"
        # A kill before the run of the training is known costs a training, and no other does.
        assert len(trainings) - trained <= 2
        if finished:
            break
    assert number > 20


HOLD = """
import sys, time
from reviews_parsing import registry
from reviews_parsing.registry.lease import lease
from reviews_parsing.registry.log import WriteOnceLog
with registry.tracking() as client, lease(client, sys.argv[1]) as held:
    print("held" if held else "refused", flush=True)
    time.sleep(600)
"""


def test_one_process_works_at_a_time_and_another_takes_over_if_it_dies(trainings: list[list[str]]) -> None:
    outcome = call(approval=True)
    program = [sys.executable, "-c", HOLD, outcome.run_id or ""]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        busy = call()
        assert (busy.step, busy.reason) == ("busy", "another process works on this retraining")
        with pytest.raises(RetrainingFailed, match="the decision about version 2 is not recorded: another process"):
            call(decision=Decision("2", True, "Ada"))
        assert registry.champion() == "1"
        holder.kill()
    assert call(decision=Decision("2", True, "Ada")).step == "done"
    assert registry.champion() == "2"


def test_a_holder_on_another_machine_is_watched_by_its_heartbeat(with_champion: Path) -> None:
    with registry.tracking() as client:
        run_id = client.create_run("0").info.run_id
        entry = {"host": "elsewhere", "pid": 1, "started": "1", "token": "x"}
        client.log_param(run_id, "lease.000001", json.dumps(entry))

        def beat(_: float) -> None:
            client.set_tag(run_id, "lease_heartbeat", "1.1")

        with lease(client, run_id, wait=beat) as held:
            assert held is None
        with lease(client, run_id, wait=lambda _: None) as held:
            assert held is not None
            assert held.is_held()


def test_the_whole_circle_on_a_laptop(
    with_trained: Path, few_reviews: str, tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Corrections are saved, the command trains, the gate compares, and the better version is champion."""
    for number, review in enumerate(data.read_splits("corpus")["train"][200:260]):
        CorrectionStore().save(Correction(review.text, review.aspects, (), MODEL_NAME, "1", f"{number}"), None)
    command = [sys.executable, "-m", "reviews_parsing.cli", "retrain", few_reviews, "--corrections", "50"]
    command += ["--backbone", tiny.backbone, "--epochs", "8", "--foundation", "none"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    verdict = registry.versions()[0]
    if done.returncode:
        # The training is small and so is the split: the gate may find no difference that it can show.
        assert "version 2 is " in done.stderr
        assert registry.champion() == "1"
    else:
        outcome = json.loads(done.stdout)
        assert (outcome["step"], outcome["version"], registry.champion()) == ("done", "2", "2")
    assert verdict.version == "2"
    with registry.tracking() as client:
        run = client.get_run(verdict.run_id)
    assert run.data.tags["retraining.reason"].startswith("60 corrections since")
    assert int(run.data.params["data_added"]) > 50
    assert fetch_file(verdict.run_id, "data/training_texts.txt", tmp_path).is_file()
    again = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(again.stdout)["step"] == "idle"
