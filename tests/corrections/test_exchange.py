"""Corrections out to training and to Label Studio, and home again from its exports."""

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
from reviews_parsing.corrections import Correction, Store
from reviews_parsing.errors import ReviewsParsingError
from reviews_parsing.schema import Aspect, Opinion

TEXT = "Lush 🥐 croissants, curt cashier."
CROISSANTS = Aspect("FOOD", "croissants", 7, 17, "positive", Opinion("Lush", 0, 4))
CASHIER = Aspect("STAFF", "cashier", 24, 31, "negative")
ANSWER = (replace(CROISSANTS, score=0.9, polarity_score=0.8), Aspect("VALUE", polarity="negative", score=0.5))
GIVEN = Correction(TEXT, (CROISSANTS, CASHIER), ANSWER, "reviews", "3", "Ana", datetime(2026, 3, 1, 10, tzinfo=UTC))
OTHER = Correction("Dull tea.", (Aspect("BEVERAGE", "tea", 5, 8, "negative"),), (), "reviews", "3")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    kept = Store(tmp_path / "c.db")
    kept.save(GIVEN, None)
    kept.save(OTHER, None)
    return kept


def command(store: Store, *arguments: object, code: int = 0) -> str:
    """What `corrections` prints."""
    done = CliRunner().invoke(app, ["corrections", *map(str, arguments), "--store", str(store.path)])
    if isinstance(done.exception, ReviewsParsingError):
        assert code == 1
        return str(done.exception)
    assert done.exit_code == code, done.output
    return done.output


def exported(store: Store, folder: Path) -> list[dict[str, Any]]:
    """The tasks as Label Studio has them after somebody looked at each of them."""
    command(store, "export", folder / "tasks.json", "--to", "label-studio")
    forms = json.loads((folder / "tasks.json").read_text())
    for number, form in enumerate(forms, start=1):
        form["id"] = number
        form["annotations"][0] |= {"completed_by": {"id": 2, "email": "bo@example.org"}, "was_cancelled": False}
        form["annotations"][0] |= {"updated_at": "2026-03-05T08:30:00.250000Z"}
    return forms  # type: ignore[no-any-return]


def imported(store: Store, folder: Path, forms: list[dict[str, Any]], *more: object, code: int = 0) -> str:
    """What `import` prints; the categories are given, so that no model is asked for them."""
    (folder / "done.json").write_text(json.dumps(forms))
    known = () if {"--categories", "--model"} & set(more) else ("--categories", "BEVERAGE,FOOD,STAFF,SERVICE")
    return command(store, "import", folder / "done.json", *known, *more, code=code)


def relabel(form: dict[str, Any], was: str, becomes: str) -> None:
    for result in form["annotations"][0]["result"]:
        if result.get("value", {}).get("labels") == [was]:
            result["value"]["labels"] = [becomes]


def offered(config: Path) -> list[str | None]:
    """The categories of a labelling configuration."""
    return [label.get("value") for label in ET.parse(config).iterfind("Labels[@name='category']/Label")]


def test_the_jsonl_is_labelled_data_at_once(store: Store, tmp_path: Path) -> None:
    store.save(replace(GIVEN, aspects=(CASHIER,), author=None), seen=1)
    assert "2 reviews ->" in command(store, "export", tmp_path / "out.jsonl")
    found = data.read(tmp_path / "out.jsonl")
    assert [(review.text, review.aspects) for review in found] == [(OTHER.text, OTHER.aspects), (TEXT, (CASHIER,))]
    assert not data.check(tmp_path / "out.jsonl")
    assert found[1].meta == {"revision": 2, "model": "reviews", "version": "3", "at": "2026-03-01T10:00:00+00:00"}
    assert json.loads(command(store, "export", tmp_path / "out.conll", "--json"))["lost"]["polarities"] == 2


def test_tasks_hold_labels_answer_version_and_scores(store: Store, tmp_path: Path) -> None:
    command(store, "export", tmp_path / "tasks.json", "--to", "label-studio", "--config", tmp_path / "labels.xml")
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    (prediction,) = tasks[0]["predictions"]
    assert (prediction["model_version"], prediction["score"]) == ("reviews/3", 0.5)
    assert prediction["result"][0]["score"] == 0.9
    assert len(tasks[0]["annotations"][0]["result"]) == 6
    labels = [
        label.get("value") for label in ET.parse(tmp_path / "labels.xml").iterfind("Labels[@name='category']/Label")
    ]
    assert labels == ["BEVERAGE", "FOOD", "STAFF"]
    assert [c.get("value") for c in ET.parse(tmp_path / "labels.xml").iterfind("Taxonomy/Choice")] == ["VALUE"]


def test_what_was_labelled_comes_home_as_the_next_revision(store: Store, tmp_path: Path) -> None:
    forms = exported(store, tmp_path)
    relabel(forms[0], "STAFF", "SERVICE")
    assert imported(store, tmp_path, forms) == "1 corrections saved, 1 were there already\n"
    saved = store.latest(TEXT)
    assert saved
    assert saved.revision == 2
    found = saved.correction
    assert found.aspects == (CROISSANTS, replace(CASHIER, entity_group="SERVICE"))
    assert (found.model, found.version, found.author) == ("reviews", "3", "bo@example.org")
    assert found.at == datetime(2026, 3, 5, 8, 30, 0, 250_000, tzinfo=UTC)
    assert [aspect.score for aspect in found.answer] == [0.9, None]
    assert imported(store, tmp_path, forms).startswith("0 corrections saved, 2 were there")


def test_json_min_comes_home_without_relations_and_says_so(store: Store, tmp_path: Path) -> None:
    places = [{"start": a.start, "end": a.end, "text": a.word, "labels": [a.entity_group]} for a in GIVEN.aspects]
    opinion = {"start": 0, "end": 4, "text": "Lush", "labels": ["opinion"]}
    row = {"text": TEXT, "meta": {"revision": 1}, "id": 4, "annotator": 2, "annotation_id": 9, "category": places}
    said = imported(store, tmp_path, [row | {"polarity": ["neutral", "negative"], "opinion": [opinion]}])
    assert "1 opinions left out" in said
    saved = store.latest(TEXT)
    assert saved
    assert saved.correction.aspects == (replace(CROISSANTS, polarity="neutral", opinion=None), CASHIER)
    assert (saved.correction.answer, saved.correction.version, saved.correction.author) == (ANSWER, "3", "2")


def test_what_a_model_said_is_no_correction(store: Store, tmp_path: Path) -> None:
    forms = exported(store, tmp_path)
    for form in forms:
        del form["annotations"]
    for unlabelled in (forms, []):
        assert "tasks is labelled: label some" in imported(store, tmp_path, unlabelled, code=1)
    assert [saved.revision for saved in store.all()] == [1, 1]


def test_of_two_who_correct_one_text_nobody_loses_anything(store: Store, tmp_path: Path) -> None:
    forms = exported(store, tmp_path)
    relabel(forms[0], "STAFF", "SERVICE")
    relabel(forms[1], "BEVERAGE", "FOOD")
    store.save(replace(GIVEN, aspects=(CASHIER,), author="Cy"), seen=1)
    said = imported(store, tmp_path, forms, code=1)
    assert "1 corrections saved" in said
    assert "done.json: task 1: Cy corrected this text meanwhile (revision 2, " in said
    assert [saved.correction.aspects for saved in store.history(TEXT)] == [GIVEN.aspects, (CASHIER,)]
    assert imported(store, tmp_path, forms, "--force").startswith("1 corrections saved, 1 were")
    assert len(store.history(TEXT)) == 3


def test_an_unknown_category_or_a_wrong_label_saves_nothing(store: Store, tmp_path: Path) -> None:
    forms = exported(store, tmp_path)
    relabel(forms[0], "STAFF", "SERVICE")
    relabel(forms[1], "BEVERAGE", "BEVRAGE")
    said = imported(store, tmp_path, forms, "--categories", "FOOD, SERVICE,BEVERAGE", code=1)
    assert "task 2: category 'BEVRAGE' is not one of BEVERAGE, FOOD, SERVICE: rename it" in said
    forms[1]["annotations"][0]["result"][0]["value"] |= {"start": 99, "end": 104}
    relabel(forms[1], "BEVRAGE", "BEVERAGE")
    said = imported(store, tmp_path, forms, code=1)
    assert "task 2: the correction is not saved: BEVERAGE 'tea' at 99:104 lies outside" in said
    assert [saved.revision for saved in store.all()] == [1, 1]
    forms = exported(store, tmp_path)
    (tmp_path / "map.json").write_text('{"BEVERAGE": "DRINK"}')
    imported(store, tmp_path, forms, "--map", tmp_path / "map.json", "--categories", "FOOD,STAFF,DRINK")
    assert store.all()[-1].correction.aspects[0].entity_group == "DRINK"


def test_the_champions_categories_are_those_known(with_champion: Path, tmp_path: Path) -> None:
    store = Store()
    store.save(replace(GIVEN, aspects=(replace(CASHIER, entity_group="STAF"),)), None)
    forms = exported(store, tmp_path)
    champion = ("--model", "models:/reviews-parsing-ner-aspects@champion")
    assert "category 'STAF' is not one of AMBIENCE, BEVERAGE" in imported(store, tmp_path, forms, *champion, code=1)
    command(store, "export", tmp_path / "tasks.json", "--to", "label-studio", "--config", tmp_path / "labels.xml")
    labels = [
        label.get("value") for label in ET.parse(tmp_path / "labels.xml").iterfind("Labels[@name='category']/Label")
    ]
    assert {"STAF", "VIEW"} < set(labels)


def test_the_list_says_what_was_right_wrong_and_missed(store: Store) -> None:
    said = command(store, "list")
    assert "Lush 🥐 croissants, curt cashier." in said
    assert said.splitlines()[-2].split()[:8] == ["2026-03-01", "10:00", "Ana", "3", "1", "1", "1", "1"]
    documents = json.loads(command(store, "list", "--json"))
    assert [(d["text"], d["revision"], len(d["aspects"]), len(d["answer"])) for d in documents] == [
        (TEXT, 1, 2, 2),
        (OTHER.text, 1, 1, 0),
    ]


def test_an_empty_store_says_so(tmp_path: Path) -> None:
    empty = Store(tmp_path / "none.db")
    assert "no corrections in" in command(empty, "list")
    assert json.loads(command(empty, "list", "--json")) == []
    assert "no corrections in" in command(empty, "export", tmp_path / "x.jsonl", code=1)
    assert not list(tmp_path.iterdir())


def test_files_that_cannot_be_used_are_one_line(store: Store, tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text('[{"data": {"text": "x"},')
    (tmp_path / "prose.db").write_text("Dear diary, " * 100)
    for said in (
        *(
            command(store, "import", tmp_path / name, "--categories", "X", code=1)
            for name in ("none.json", "broken.json")
        ),
        command(store, "import", store.path, "--categories", "X", code=1),
        command(store, "export", tmp_path / "no" / "x.jsonl", code=1),
        command(Store(tmp_path / "prose.db"), "list", code=1),
    ):
        assert str(tmp_path) in said
        assert len(said.strip().splitlines()) == 1
