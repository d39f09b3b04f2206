"""The promotion gate: the evaluation sets, a test for each refusal, reference sets, and two domains side by side."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import copy_home
from reviews_parsing import DataError, PromotionRefused, data, pipelines, pretrained, registry
from reviews_parsing.errors import ChampionChanged
from reviews_parsing.pipelines import gate
from reviews_parsing.registry.store import tracking
from reviews_parsing.schema import Aspect, Review
from reviews_parsing.settings import MODEL_NAME
from reviews_parsing.training.fit import Recipe

Change = Callable[[dict[str, Any]], object]
GYM_SUBJECTS = {
    "treadmills": "EQUIPMENT",
    "rowing machines": "EQUIPMENT",
    "dumbbells": "EQUIPMENT",
    "sauna": "EQUIPMENT",
    "trainer": "COACHING",
    "coach": "COACHING",
    "spin class": "CLASSES",
    "yoga lesson": "CLASSES",
    "boxing course": "CLASSES",
    "locker room": "CHANGING",
    "showers": "CHANGING",
    "lockers": "CHANGING",
}
GYM_JUDGEMENTS = {
    "made my whole month": "positive",
    "got me back into shape after an injury": "positive",
    "put everything else in town to shame": "positive",
    "kept me motivated through a dark winter": "positive",
    "broke down twice within a fortnight": "negative",
    "left my shoulders aching for days": "negative",
    "never seemed to be free before nine": "negative",
    "turned out far worse than advertised": "negative",
}


def labelled(count: int, *, first: int = 0, without: str | None = None) -> list[Review]:
    """Reviews of the corpus's test split, optionally without those that mention a category."""
    reviews = data.read_splits("corpus")["test"]
    chosen = [r for r in reviews if without not in {aspect.entity_group for aspect in r.aspects}]
    return chosen[first : first + count]


def gym_reviews(count: int) -> list[Review]:
    """Labelled reviews of gyms, each of two sentences."""
    draw = random.Random(1)
    reviews = []
    for number in range(count):
        text, aspects = "", []
        for subject in draw.sample(list(GYM_SUBJECTS), 2):
            start = len(text) + len("The ")
            judgement = draw.choice(list(GYM_JUDGEMENTS))
            text += f"The {subject} {judgement}. "
            polarity = GYM_JUDGEMENTS[judgement]
            aspects.append(Aspect(GYM_SUBJECTS[subject], subject, start, start + len(subject), polarity))
        reviews.append(Review(str(number), text.strip(), tuple(aspects)))
    return reviews


def mentions(text: str, word: str, category: str, polarity: str) -> tuple[Aspect, ...]:
    """Return an aspect for each noun phrase of the text that ends with a word."""
    found = re.finditer(rf"((?:sea|mountain|ocean|lake) )?{word}", text)
    return tuple(Aspect(category, match[0], match.start(), match.end(), polarity) for match in found)


def write(reviews: list[Review], file: Path) -> str:
    data.write(reviews, file)
    return str(file)


def publish(folder: Path, labels: str, change: Change = lambda form: None) -> str:
    """Register a copy of the pretrained model with a changed parser.json; returns its version."""
    copy = folder / f"model-{len(list(folder.glob('model-*')))}"
    shutil.copytree(pretrained.model_folder(), copy)
    form = json.loads((copy / "parser.json").read_text())
    change(form)
    (copy / "parser.json").write_text(json.dumps(form))
    return pipelines.publish(str(copy), labels).version


def artifact_folder(version: str) -> Path:
    """Return the local folder with the artifacts of the run behind a version."""
    with tracking() as client:
        run = client.get_run(client.get_model_version(MODEL_NAME, version).run_id)
    return Path(run.info.artifact_uri.removeprefix("file://"))


def replace_test_split(version: str, reviews: list[Review]) -> None:
    """Let other reviews be the test split of a registered version."""
    write(reviews, artifact_folder(version) / "data" / "test.jsonl")


def set_threshold(value: float) -> Change:
    def change(form: dict[str, Any]) -> None:
        form["calibration"]["threshold"] = value

    return change


def rename(old: str, new: str) -> Change:
    def change(form: dict[str, Any]) -> None:
        for kind in ("categories", "implicit"):
            form["taxonomy"][kind] = [new if name == old else name for name in form["taxonomy"][kind]]

    return change


def swap(first: str, second: str) -> Change:
    """Let the model answer with one category where it means the other."""

    def change(form: dict[str, Any]) -> None:
        names = form["taxonomy"]["categories"]
        i, j = names.index(first), names.index(second)
        names[i], names[j] = names[j], names[i]

    return change


@pytest.fixture(scope="module")
def gate_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a read-only home whose champion is the pretrained model, with 150 reviews as its test split."""
    home = tmp_path_factory.mktemp("gate") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REVIEWS_PARSING_HOME", str(home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        version = pipelines.publish(labelled=write(labelled(150), home.parent / "champion.jsonl")).version
        assert pipelines.promote(version=version).reason == "the first model needs no rival"
    return home


@pytest.fixture
def home(gate_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of that home in the environment."""
    copy_home(gate_home, tmp_path / "gate-home")
    monkeypatch.setenv("REVIEWS_PARSING_HOME", str(tmp_path / "gate-home"))
    return tmp_path / "gate-home"


@pytest.fixture
def own_split(tmp_path: Path) -> str:
    """Return the challenger's own test split: other reviews than the champion's."""
    return write(labelled(150, first=200), tmp_path / "challenger.jsonl")


def test_an_equal_challenger_passes_on_both_test_splits_and_every_reference_set(
    home: Path, tmp_path: Path, own_split: str
) -> None:
    pipelines.add_reference_set(write(labelled(150, first=400), tmp_path / "hard.jsonl"))
    version = publish(tmp_path, own_split)
    verdict = pipelines.promote(version=version)
    assert [comparison.name for comparison in verdict.comparisons] == [
        "the test split of version 2",
        "the test split of version 1",
        "reference set hard",
    ]
    assert all(comparison.difference and comparison.difference.mean == 0 for comparison in verdict.comparisons)
    assert (verdict.promoted, verdict.refusals) == (True, ())
    assert verdict.reason == "not worse than version 1"
    assert registry.champion() == version
    sets = json.loads(registry.versions()[0].tags["gate_sets"])
    assert [entry["set"] for entry in sets] == [comparison.name for comparison in verdict.comparisons]


def test_one_that_is_worse_is_refused(home: Path, tmp_path: Path, own_split: str) -> None:
    verdict = pipelines.promote(version=publish(tmp_path, own_split, set_threshold(0.97)))
    assert re.search(
        r"^worse than version 1 on the test split of version 2 \(F1 -\d+\.\d points, 95 % interval -.* to -.*, "
        r"\d+ labelled spans\)",
        verdict.reason,
    )
    with pytest.raises(PromotionRefused, match=r"version 2 is worse than version 1 .*train a better one"):
        pipelines.require(verdict)
    assert registry.champion() == "1"
    assert registry.versions()[0].tags["gate"] == verdict.reason


def test_one_that_is_worse_on_a_reference_set_alone_is_refused(home: Path, tmp_path: Path) -> None:
    easy = write(labelled(150, without="CLEANLINESS"), tmp_path / "easy.jsonl")
    # The champion's test split is the challenger's.
    replace_test_split("1", labelled(150, without="CLEANLINESS"))
    version = publish(tmp_path, easy, swap("CLEANLINESS", "VIEW"))
    hard = [r for r in data.read_splits("corpus")["test"] if "CLEANLINESS" in {a.entity_group for a in r.aspects}]
    pipelines.add_reference_set(write(hard, tmp_path / "clean.jsonl"), "clean")
    verdict = pipelines.promote(version=version)
    assert any(refusal.startswith("worse than version 1 on reference set clean (F1 -") for refusal in verdict.refusals)
    assert not verdict.promoted
    pipelines.remove_reference_set("clean")
    assert not any("clean" in comparison.name for comparison in pipelines.promote(version=version).comparisons)


def test_a_category_or_a_polarity_that_disappears_is_refused(home: Path, tmp_path: Path, own_split: str) -> None:
    def change(form: dict[str, Any]) -> None:
        rename("VIEW", "PANORAMA")(form)
        form["taxonomy"]["polarities"] = [
            "meh" if name == "neutral" else name for name in form["taxonomy"]["polarities"]
        ]

    verdict = pipelines.promote(version=publish(tmp_path, own_split, change))
    assert "without the categories VIEW of version 1" in verdict.refusals
    assert "without the polarities neutral of version 1" in verdict.refusals
    assert registry.champion() == "1"
    with pytest.raises(PromotionRefused, match="side by side: promote --run-id RUN --domain NAME"):
        pipelines.require(verdict)


def invert_polarities(form: dict[str, Any]) -> None:
    """Let the model answer negative where it means positive, and positive for negative."""
    names = form["taxonomy"]["polarities"]
    i, j = names.index("positive"), names.index("negative")
    names[i], names[j] = names[j], names[i]


def test_one_with_worse_polarities_is_refused_though_its_spans_are_as_good(
    home: Path, tmp_path: Path, own_split: str
) -> None:
    verdict = pipelines.promote(version=publish(tmp_path, own_split, invert_polarities))
    assert verdict.difference is not None
    assert verdict.difference.mean == 0
    assert re.search(
        r"worse than version 1 in polarities on the test split of version 2 \(F1 -\d+\.\d points, 95 % interval .*to -",
        verdict.reason,
    )
    assert registry.champion() == "1"


def test_one_without_opinions_is_refused(home: Path, tmp_path: Path, own_split: str) -> None:
    version = publish(tmp_path, own_split, lambda form: form["taxonomy"].update(opinions=False))
    verdict = pipelines.promote(version=version)
    assert "without the opinions of aspects, which version 1 has" in verdict.refusals
    assert any(refusal.startswith("worse than version 1 in opinions on ") for refusal in verdict.refusals)


def test_a_category_of_which_nothing_is_found_is_refused(home: Path, tmp_path: Path) -> None:
    """FOOD of enough reviews hides that no VIEW is right any more."""
    reviews = [r for r in labelled(680, without="ROOM") if "VIEW" not in {a.entity_group for a in r.aspects}]
    # All in two reviews, so that the interval of the difference, a bootstrap over reviews, reaches zero.
    views = [
        Review("v1", "The view was stunning. The sea view was lovely. The mountain view was superb.", ()),
        Review("v2", "A great view. The ocean view was gorgeous, and the lake view was beautiful.", ()),
    ]
    views = [replace(review, aspects=mentions(review.text, "view", "VIEW", "positive")) for review in views]
    split = [*reviews[:400], *views]
    replace_test_split("1", split)
    version = publish(tmp_path, write(split, tmp_path / "own.jsonl"), swap("VIEW", "ROOM"))
    verdict = pipelines.promote(version=version)
    [comparison] = verdict.comparisons
    assert comparison.name == "the test split of version 2 and the test split of version 1"
    assert re.fullmatch(
        r"without a right VIEW on the test split of version 2 and .*, where version 1 has \d+", verdict.reason
    ), verdict.reason


def test_too_few_spans_to_exclude_a_loss_are_refused(home: Path, tmp_path: Path) -> None:
    verdict = pipelines.promote(version=publish(tmp_path, write(labelled(20, first=300), tmp_path / "few.jsonl")))
    assert re.fullmatch(
        r"not shown to be as good as version 1 on the test split of version 2, which is too small to exclude a loss of "
        r"2 points \(F1 \+0\.0 points, 95 % interval -\d+\.\d to \+0\.0, \d+ labelled spans\)",
        verdict.reason,
    )
    assert registry.champion() == "1"


def test_two_models_that_find_nothing_are_not_equal(tmp_path: Path, own_split: str) -> None:
    for _ in range(2):
        publish(tmp_path, own_split, set_threshold(1.0))
    assert pipelines.promote(version="1").promoted
    verdict = pipelines.promote(version="2")
    assert re.search("without a right span on .*, and so is version 1 ", verdict.reason)
    assert registry.champion() == "1"


def test_reviews_that_were_trained_on_are_refused(home: Path, tmp_path: Path, own_split: str) -> None:
    seen = data.read_splits("corpus")["train"][:80]
    # Case, punctuation and white space make no other review.
    loud = Review("loud", f"  {seen[0].text.upper()} !!", ())
    pipelines.add_reference_set(write([loud, *seen[1:], *labelled(80, first=500)], tmp_path / "mixed.jsonl"))
    version = pipelines.publish(labelled=own_split).version
    verdict = pipelines.promote(version=version)
    assert verdict.reason == "trained on 80 of the 160 reviews of reference set mixed (such as review loud)"
    assert not verdict.promoted
    assert registry.champion() == "1"


def test_unknown_training_texts_are_noted(home: Path, tmp_path: Path, own_split: str) -> None:
    version = publish(tmp_path, own_split)
    [note] = pipelines.promote(version=version, dry_run=True).notes
    assert note.startswith("not all training texts of version 2 are known")


def test_what_cannot_be_compared_is_refused(home: Path, tmp_path: Path, own_split: str) -> None:
    version = publish(tmp_path, own_split)
    (artifact_folder("1") / "data" / "test.jsonl").unlink()
    verdict = pipelines.promote(version=version)
    assert verdict.reason.startswith("not comparable on the test split of version 1 (")
    foreign = [Review("1", "The yoga mats smell.", (Aspect("EQUIPMENT", "yoga mats", 4, 13),))]
    verdict = pipelines.promote(version=version, reviews=foreign)
    assert verdict.reason == "not comparable with version 1: they share no labelled category"
    for artifacts in (home / "artifacts" / "models").iterdir():
        if str(artifacts.name) in _source("1"):
            shutil.rmtree(artifacts)
    shutil.rmtree(home / "models" / MODEL_NAME)
    verdict = pipelines.promote(version=version)
    assert verdict.refusals[0].startswith(
        "not comparable with version 1 (version 1 of reviews-parsing-ner-aspects has "
    )
    assert registry.champion() == "1"


def _source(version: str) -> str:
    with tracking() as client:
        found = client.get_model_version(MODEL_NAME, version)
        return f"{found.source} {client.get_model_version_download_uri(MODEL_NAME, version)} {found.model_id}"


def test_a_champion_that_changed_meanwhile_is_compared_again(
    home: Path, tmp_path: Path, own_split: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, rival = publish(tmp_path, own_split), publish(tmp_path, own_split)
    judge = gate.judge

    def overtaken(*arguments: Any, **options: Any) -> Any:
        verdict = judge(*arguments, **options)
        registry.set_champion(rival, {})
        return verdict

    monkeypatch.setattr(gate, "judge", overtaken)
    with pytest.raises(ChampionChanged, match=rf"compared with version 1, but the champion is now version {rival}"):
        pipelines.promote(version=version)
    assert registry.champion() == rival
    monkeypatch.undo()


def test_sixty_gym_reviews_replace_no_champion_but_get_a_domain(
    home: Path, tmp_path: Path, tiny: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = pipelines.train(write(gym_reviews(60), tmp_path / "gym.jsonl"), tiny)
    verdict = pipelines.promote(run_id=run.run_id)
    assert not verdict.promoted
    assert re.search("without the categories AMBIENCE, .* of version 1", verdict.reason)
    assert registry.champion() == "1"
    command = [sys.executable, "-m", "reviews_parsing.cli", "promote", "--run-id", run.run_id]
    refusal = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refusal.returncode == 1
    [line] = refusal.stderr.strip().splitlines()
    assert line.startswith("error: version 2 is without the categories AMBIENCE")
    assert line.endswith("kept side by side: promote --run-id RUN --domain NAME")
    accepted = subprocess.run([*command, "--domain", "gym"], capture_output=True, text=True, check=True)
    assert f"use it with --model models:/{MODEL_NAME}-gym@champion" in accepted.stdout
    assert (registry.champion(), registry.champion(f"{MODEL_NAME}-gym")) == ("1", "1")
    monkeypatch.setenv("REVIEWS_PARSING_MODEL_NAME", f"{MODEL_NAME}-gym")
    assert registry.champion() == "1"
    assert registry.locate()[0].parent.name == f"{MODEL_NAME}-gym"


def test_reference_sets_are_kept_with_the_registry(home: Path, tmp_path: Path) -> None:
    file = write(labelled(150, first=400), tmp_path / "hard.jsonl")

    def command(*arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "reviews_parsing.cli", "data", "reference", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ,
        )
        assert done.returncode == expect, done.stderr
        return done

    assert "no reference sets yet" in command("list").stdout
    added = json.loads(command("add", file, "--json").stdout)
    assert (added["name"], added["reviews"]) == ("hard", 150)
    assert json.loads(command("list", "--json").stdout) == [added]
    # Idempotent, and its reviews are those of the file.
    assert json.loads(command("add", file, "--json").stdout) == added
    [known] = pipelines.list_reference_sets()
    assert known.read() == data.read(file)
    # A set of the same name is replaced; a small one is warned about.
    small = write(labelled(5), tmp_path / "small.jsonl")
    done = command("add", small, "--name", "hard")
    assert re.search(r"warning: reference set hard has \d+ labelled spans: with fewer than 150 the gate", done.stderr)
    assert [known.reviews for known in pipelines.list_reference_sets()] == [5]
    assert pipelines.list_reference_sets(f"{MODEL_NAME}-gym") == []
    assert "removed" in command("remove", "hard").stdout
    assert "there is no reference set hard" in command("remove", "hard", expect=1).stderr


def test_reference_sets_without_labels_or_with_splits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no labelled span"):
        pipelines.add_reference_set(write([Review("1", "Hello.", ())], tmp_path / "empty.jsonl"))
    with pytest.raises(DataError, match="give the file of one"):
        pipelines.add_reference_set("corpus")
    with pytest.raises(DataError, match="is no name of a reference set"):
        pipelines.add_reference_set(write(labelled(3), tmp_path / "a.jsonl"), "two words")
