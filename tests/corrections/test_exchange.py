"""Export of corrections to training data and Label Studio, and import of its exports."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from reviews_parsing import data
from reviews_parsing.cli.app import app
from reviews_parsing.corrections import Correction, CorrectionStore
from reviews_parsing.errors import ReviewsParsingError
from reviews_parsing.schema import Aspect, Opinion

TEXT = "Lush 🥐 croissants, curt cashier."
CROISSANTS = Aspect("FOOD", "croissants", 7, 17, "positive", Opinion("Lush", 0, 4))
CASHIER = Aspect("STAFF", "cashier", 24, 31, "negative")
ANSWER = (replace(CROISSANTS, score=0.9, polarity_score=0.8), Aspect("VALUE", polarity="negative", score=0.5))
CORRECTED_AT = datetime(2026, 3, 1, 10, tzinfo=UTC)
CROISSANT_CORRECTION = Correction(TEXT, (CROISSANTS, CASHIER), ANSWER, "reviews", "3", "Ana", CORRECTED_AT)
TEA_CORRECTION = Correction("Dull tea.", (Aspect("BEVERAGE", "tea", 5, 8, "negative"),), (), "reviews", "3")


@pytest.fixture
def store(tmp_path: Path) -> CorrectionStore:
    corrections = CorrectionStore(tmp_path / "c.db")
    corrections.save(CROISSANT_CORRECTION, None)
    corrections.save(TEA_CORRECTION, None)
    return corrections


def command(store: CorrectionStore, *arguments: object, code: int = 0) -> str:
    """Run `reviews-parsing corrections`; return its output, or the error message."""
    result = CliRunner().invoke(app, ["corrections", *map(str, arguments), "--store", str(store.path)])
    if isinstance(result.exception, ReviewsParsingError):
        assert code == 1
        return str(result.exception)
    assert result.exit_code == code, result.output
    return result.output


def export_annotated(store: CorrectionStore, folder: Path) -> list[dict[str, Any]]:
    """Export tasks; return them as Label Studio exports them when each one is annotated."""
    command(store, "export", folder / "tasks.json", "--to", "label-studio")
    tasks = json.loads((folder / "tasks.json").read_text())
    for number, task in enumerate(tasks, start=1):
        task["id"] = number
        task["annotations"][0] |= {"completed_by": {"id": 2, "email": "bo@example.org"}, "was_cancelled": False}
        task["annotations"][0] |= {"updated_at": "2026-03-05T08:30:00.250000Z"}
    return tasks  # type: ignore[no-any-return]


def import_tasks(
    store: CorrectionStore, folder: Path, tasks: list[dict[str, Any]], *options: object, code: int = 0
) -> str:
    """Run `corrections import`, with categories, so that no model is loaded."""
    (folder / "done.json").write_text(json.dumps(tasks))
    categories = () if {"--categories", "--model"} & set(options) else ("--categories", "BEVERAGE,FOOD,STAFF,SERVICE")
    return command(store, "import", folder / "done.json", *categories, *options, code=code)


def relabel(task: dict[str, Any], old: str, new: str) -> None:
    for result in task["annotations"][0]["result"]:
        if result.get("value", {}).get("labels") == [old]:
            result["value"]["labels"] = [new]


def categories_of(config: Path) -> list[str | None]:
    """Return the categories of a labelling configuration."""
    return [label.get("value") for label in ET.parse(config).iterfind("Labels[@name='category']/Label")]


def test_exported_jsonl_is_labelled_data(store: CorrectionStore, tmp_path: Path) -> None:
    store.save(replace(CROISSANT_CORRECTION, aspects=(CASHIER,), author=None), base_revision=1)
    assert "2 reviews ->" in command(store, "export", tmp_path / "out.jsonl")
    reviews = data.read(tmp_path / "out.jsonl")
    assert [(review.text, review.aspects) for review in reviews] == [
        (TEA_CORRECTION.text, TEA_CORRECTION.aspects),
        (TEXT, (CASHIER,)),
    ]
    assert not data.check(tmp_path / "out.jsonl")
    assert reviews[1].meta == {"revision": 2, "model": "reviews", "version": "3", "at": "2026-03-01T10:00:00+00:00"}
    assert json.loads(command(store, "export", tmp_path / "out.conll", "--json"))["lost"]["polarities"] == 2


def test_tasks_have_labels_prediction_version_and_scores(store: CorrectionStore, tmp_path: Path) -> None:
    command(store, "export", tmp_path / "tasks.json", "--to", "label-studio", "--config", tmp_path / "labels.xml")
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    (prediction,) = tasks[0]["predictions"]
    assert (prediction["model_version"], prediction["score"]) == ("reviews/3", 0.5)
    assert prediction["result"][0]["score"] == 0.9
    assert len(tasks[0]["annotations"][0]["result"]) == 6
    assert categories_of(tmp_path / "labels.xml") == ["BEVERAGE", "FOOD", "STAFF"]
    assert [c.get("value") for c in ET.parse(tmp_path / "labels.xml").iterfind("Taxonomy/Choice")] == ["VALUE"]


def test_an_import_is_the_next_revision(store: CorrectionStore, tmp_path: Path) -> None:
    tasks = export_annotated(store, tmp_path)
    relabel(tasks[0], "STAFF", "SERVICE")
    assert import_tasks(store, tmp_path, tasks) == "1 corrections saved, 1 were there already\n"
    latest = store.find_latest(TEXT)
    assert latest
    assert latest.number == 2
    correction = latest.correction
    assert correction.aspects == (CROISSANTS, replace(CASHIER, entity_group="SERVICE"))
    assert (correction.model, correction.version, correction.author) == ("reviews", "3", "bo@example.org")
    assert correction.corrected_at == datetime(2026, 3, 5, 8, 30, 0, 250_000, tzinfo=UTC)
    assert [aspect.score for aspect in correction.predicted_aspects] == [0.9, None]
    assert import_tasks(store, tmp_path, tasks).startswith("0 corrections saved, 2 were there")


def test_json_min_is_imported_without_relations_and_reported(store: CorrectionStore, tmp_path: Path) -> None:
    labels = [
        {"start": a.start, "end": a.end, "text": a.word, "labels": [a.entity_group]}
        for a in CROISSANT_CORRECTION.aspects
    ]
    opinion = {"start": 0, "end": 4, "text": "Lush", "labels": ["opinion"]}
    row = {"text": TEXT, "meta": {"revision": 1}, "id": 4, "annotator": 2, "annotation_id": 9, "category": labels}
    printed = import_tasks(store, tmp_path, [row | {"polarity": ["neutral", "negative"], "opinion": [opinion]}])
    assert "1 opinions left out" in printed
    latest = store.find_latest(TEXT)
    assert latest
    assert latest.correction.aspects == (replace(CROISSANTS, polarity="neutral", opinion=None), CASHIER)
    assert (latest.correction.predicted_aspects, latest.correction.version, latest.correction.author) == (
        ANSWER,
        "3",
        "2",
    )


def test_predictions_are_not_imported(store: CorrectionStore, tmp_path: Path) -> None:
    tasks = export_annotated(store, tmp_path)
    for task in tasks:
        del task["annotations"]
    for unlabelled in (tasks, []):
        assert "tasks is labelled: label some" in import_tasks(store, tmp_path, unlabelled, code=1)
    assert [revision.number for revision in store.list_latest()] == [1, 1]


def test_concurrent_corrections_are_conflicts_and_nothing_is_lost(store: CorrectionStore, tmp_path: Path) -> None:
    tasks = export_annotated(store, tmp_path)
    relabel(tasks[0], "STAFF", "SERVICE")
    relabel(tasks[1], "BEVERAGE", "FOOD")
    store.save(replace(CROISSANT_CORRECTION, aspects=(CASHIER,), author="Cy"), base_revision=1)
    printed = import_tasks(store, tmp_path, tasks, code=1)
    assert "1 corrections saved" in printed
    assert "done.json: task 1: Cy corrected this text meanwhile (revision 2, " in printed
    assert [revision.correction.aspects for revision in store.list_revisions(TEXT)] == [
        CROISSANT_CORRECTION.aspects,
        (CASHIER,),
    ]
    assert import_tasks(store, tmp_path, tasks, "--force").startswith("1 corrections saved, 1 were")
    assert len(store.list_revisions(TEXT)) == 3


def test_an_unknown_category_or_an_invalid_label_saves_nothing(store: CorrectionStore, tmp_path: Path) -> None:
    tasks = export_annotated(store, tmp_path)
    relabel(tasks[0], "STAFF", "SERVICE")
    relabel(tasks[1], "BEVERAGE", "BEVRAGE")
    printed = import_tasks(store, tmp_path, tasks, "--categories", "FOOD, SERVICE,BEVERAGE", code=1)
    assert "task 2: category 'BEVRAGE' is not one of BEVERAGE, FOOD, SERVICE: rename it" in printed
    tasks[1]["annotations"][0]["result"][0]["value"] |= {"start": 99, "end": 104}
    relabel(tasks[1], "BEVRAGE", "BEVERAGE")
    printed = import_tasks(store, tmp_path, tasks, code=1)
    assert "task 2: the correction is not saved: BEVERAGE 'tea' at 99:104 lies outside" in printed
    assert [revision.number for revision in store.list_latest()] == [1, 1]
    tasks = export_annotated(store, tmp_path)
    (tmp_path / "map.json").write_text('{"BEVERAGE": "DRINK"}')
    import_tasks(store, tmp_path, tasks, "--map", tmp_path / "map.json", "--categories", "FOOD,STAFF,DRINK")
    assert store.list_latest()[-1].correction.aspects[0].entity_group == "DRINK"


def test_the_default_categories_are_those_of_the_champion(with_champion: Path, tmp_path: Path) -> None:
    store = CorrectionStore()
    store.save(replace(CROISSANT_CORRECTION, aspects=(replace(CASHIER, entity_group="STAF"),)), None)
    tasks = export_annotated(store, tmp_path)
    champion = ("--model", "models:/reviews-parsing-ner-aspects@champion")
    assert "category 'STAF' is not one of AMBIENCE, BEVERAGE" in import_tasks(store, tmp_path, tasks, *champion, code=1)
    command(store, "export", tmp_path / "tasks.json", "--to", "label-studio", "--config", tmp_path / "labels.xml")
    assert {"STAF", "VIEW"} < set(categories_of(tmp_path / "labels.xml"))


def test_the_list_counts_right_wrong_and_missed_aspects(store: CorrectionStore) -> None:
    printed = command(store, "list")
    assert "Lush 🥐 croissants, curt cashier." in printed
    assert printed.splitlines()[-2].split()[:8] == ["2026-03-01", "10:00", "Ana", "3", "1", "1", "1", "1"]
    documents = json.loads(command(store, "list", "--json"))
    assert [(d["text"], d["revision"], len(d["aspects"]), len(d["answer"])) for d in documents] == [
        (TEXT, 1, 2, 2),
        (TEA_CORRECTION.text, 1, 1, 0),
    ]


def test_an_empty_store_is_reported(tmp_path: Path) -> None:
    empty = CorrectionStore(tmp_path / "none.db")
    assert "no corrections in" in command(empty, "list")
    assert json.loads(command(empty, "list", "--json")) == []
    assert "no corrections in" in command(empty, "export", tmp_path / "x.jsonl", code=1)
    assert not list(tmp_path.iterdir())


def test_unusable_files_are_one_line_errors(store: CorrectionStore, tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text('[{"data": {"text": "x"},')
    (tmp_path / "prose.db").write_text("Dear diary, " * 100)
    for printed in (
        *(
            command(store, "import", tmp_path / name, "--categories", "X", code=1)
            for name in ("none.json", "broken.json")
        ),
        command(store, "import", store.path, "--categories", "X", code=1),
        command(store, "export", tmp_path / "no" / "x.jsonl", code=1),
        command(CorrectionStore(tmp_path / "prose.db"), "list", code=1),
    ):
        assert str(tmp_path) in printed
        assert len(printed.strip().splitlines()) == 1


def test_corrections_of_strangers_are_approved_or_rejected_by_hand(store: CorrectionStore, tmp_path: Path) -> None:
    for text in ("Cold \x1b[2Jsoup.", "Warm soup."):
        store.save(Correction(text, (Aspect("FOOD", "soup", len(text) - 5, len(text) - 1),), ()), None, approved=False)
    assert "2 pending corrections are not exported" in command(store, "export", tmp_path / "out.jsonl")
    assert json.loads(command(store, "export", tmp_path / "out.jsonl", "--json"))["reviews"] == 2
    assert json.loads(command(store, "export", tmp_path / "out.jsonl", "--json", "--all"))["reviews"] == 4
    cold, warm = (document["id"] for document in json.loads(command(store, "list", "--pending", "--json")))
    shown = CliRunner().invoke(app, ["corrections", "approve", "--store", str(store.path)], input="n\n")
    assert shown.exit_code == 1
    assert "soup FOOD" in shown.output
    assert "\x1b" not in shown.output
    assert len(json.loads(command(store, "list", "--pending", "--json"))) == 2
    assert "1 corrections approved" in command(store, "approve", warm, "--yes")
    assert "1 corrections rejected" in command(store, "reject", cold, "--yes")
    assert "no pending corrections" in command(store, "approve")
    assert "there is no correction 99" in command(store, "approve", 99, "--yes", code=1)
    asked = CliRunner().invoke(app, ["corrections", "approve", "99", "--store", str(store.path)], input="y\n")
    assert "there is no correction 99" in str(asked.exception)  # before the question
    store.save(Correction("Warm soup.", (), ()), 1, approved=False)
    shown = CliRunner().invoke(app, ["corrections", "reject", str(warm), "--store", str(store.path)], input="n\n")
    assert "soup FOOD" in shown.output  # a revision that is not the latest is shown too
    assert "1 corrections approved" in command(store, "approve", warm, warm, "--yes")
    command(store, "export", tmp_path / "out.jsonl")
    assert [review.text for review in data.read(tmp_path / "out.jsonl")][2:] == ["Warm soup."]


def test_without_approved_corrections_export_says_how_to_approve(tmp_path: Path) -> None:
    store = CorrectionStore(tmp_path / "c.db")
    store.save(TEA_CORRECTION, None, approved=False)
    message = command(store, "export", tmp_path / "out.jsonl", code=1)
    assert "all 1 corrections" in message
    assert "corrections approve" in message


def test_an_import_approves_pending_corrections(tmp_path: Path) -> None:
    store = CorrectionStore(tmp_path / "c.db")
    store.save(TEA_CORRECTION, None, approved=False)
    command(store, "export", tmp_path / "tasks.json", "--all", "--to", "label-studio")
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert import_tasks(store, tmp_path, tasks) == "0 corrections saved, 1 were there already\n"
    assert len(store.list_latest(approved_only=True)) == 1
