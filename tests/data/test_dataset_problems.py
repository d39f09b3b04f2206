"""Checks of a dataset as a whole: labels at all, spelling, sizes, forms of other tools."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reviews_parsing import data
from reviews_parsing.cli.app import app
from reviews_parsing.data.dataset_problems import find_dataset_problems
from reviews_parsing.errors import DataError
from reviews_parsing.pipelines.evaluation import read_split
from reviews_parsing.pipelines.references import add_reference_set
from reviews_parsing.schema import Aspect, Review
from reviews_parsing.training.fit import Recipe
from reviews_parsing.training.run import prepare

PLAIN = [Review(f"r{number}", f"Tart number {number} was warm") for number in range(3)]
DOCCANO = {"id": 1, "text": "The plum tart was superb.", "label": [[4, 13, "FOOD"]]}


def tart(number: int, category: str, polarity: str | None = None) -> Review:
    aspect = Aspect(category, "Tart", 0, 4, polarity)
    return Review(f"t{number}", f"Tart number {number} {'was so warm ' * number}", (aspect,))


@pytest.mark.parametrize("name", ["x.jsonl", "x.conll", "x.parquet"])
def test_a_file_without_one_label_is_an_error_everywhere(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    data.write(PLAIN, file)
    done = CliRunner().invoke(app, ["data", "check", str(file)])
    assert (done.exit_code, "0 errors" in done.output) == (1, False)
    assert [finding.kind for finding in data.check_dataset(file)] == ["unlabelled"]
    for read in (
        lambda: prepare(str(file), Recipe()),
        lambda: prepare("corpus", Recipe(), extra_files=[str(file)]),
        lambda: read_split(str(file), "test"),
    ):
        with pytest.raises(DataError, match="not one label in 3 reviews"):
            read()


def test_corrections_may_state_that_a_text_holds_no_aspect(tmp_path: Path) -> None:
    data.write([Review("c", "We came by the noon ferry in the rain.", (), {"revision": 1})], tmp_path / "x.jsonl")
    extension = prepare("corpus", Recipe(), extra_files=[str(tmp_path / "x.jsonl")]).extension
    assert extension is not None
    assert extension.added_count == 1


TWO_TEXTS = {"title": "The plum tart was superb.", "note": "The plum tart was superb!", "first": [[4, 13, "FOOD"]]}
TWO_TEXTS["second"] = [[9, 13, "PIE"]]


def test_fields_are_named_for_training_and_evaluation(tmp_path: Path) -> None:
    rows = [{**TWO_TEXTS, "note": f"The plum tart was superb, {number}"} for number in range(9)]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    file, fields = str(tmp_path / "x.jsonl"), data.Fields("note", "second")
    splits = prepare(file, Recipe(), fields=fields).splits
    reviews = read_split(file, "test", fields=fields)
    assert sorted(r.text for split in splits.values() for r in split) == [row["note"] for row in rows]
    assert {(a.entity_group, a.word) for r in [*splits["train"], *reviews] for a in r.aspects} == {("PIE", "tart")}
    with pytest.raises(DataError, match="--text-field"):
        read_split(file, "test")


def test_fields_are_those_of_the_additions_if_the_corpus_is_trained_on(tmp_path: Path) -> None:
    region = {"id": "a", "from_name": "category", "to_name": "text", "type": "labels"}
    value = {"start": 4, "end": 13, "labels": ["FOOD"]}
    texts = {"title": TWO_TEXTS["title"], "note": TWO_TEXTS["note"]}
    task = {"id": 1, "data": texts, "annotations": [{"id": 1, "result": [{**region, "value": value}]}]}
    file = tmp_path / "export.json"
    file.write_text(json.dumps([task]))
    with pytest.raises(DataError, match="--text-field"):
        prepare("corpus", Recipe(), extra_files=[str(file)])
    job = prepare("corpus", Recipe(), extra_files=[str(file)], fields=data.Fields("note"))
    assert TWO_TEXTS["note"] in [review.text for review in job.splits["train"]]
    with pytest.raises(DataError, match="leave out --labels-field"):
        prepare("corpus", Recipe(), extra_files=[str(file)], fields=data.Fields("note", "first"))


def test_a_split_without_one_label_is_an_error() -> None:
    problems = find_dataset_problems({"train": [tart(1, "FOOD")], "test": PLAIN})
    assert [(problem.kind, "split test" in problem.message) for problem in problems] == [("unlabelled", True)]


@pytest.mark.parametrize(
    "record",
    [
        DOCCANO,
        {"text": "A tart", "gold": [{"from": 2, "to": 6, "kind": "FOOD"}]},
        {"words": ["A", "tart"], "iob": ["O", "B-FOOD"]},
    ],
)
def test_labels_of_another_tool_are_named_by_the_check_and_not_added(tmp_path: Path, record: dict[str, object]) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text(json.dumps(record))
    assert [(f.kind, f.severity) for f in data.check_dataset(file)] == [("format", "warning")]
    assert "0 errors, 0 warnings" not in CliRunner().invoke(app, ["data", "check", str(file)]).output
    with pytest.raises(DataError, match=r"form of another tool .*convert"):
        prepare("corpus", Recipe(), extra_files=[str(file)])
    converted = tmp_path / "converted.jsonl"
    assert CliRunner().invoke(app, ["data", "convert", str(file), str(converted)]).exit_code == 0
    assert not data.check_dataset(converted)
    assert data.read(converted)[0].aspects == data.read(file)[0].aspects


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (["FOOD", "FOOD", "Food", "FODO"], [("Food", "FOOD"), ("FODO", "FOOD"), ("FODO", "Food")]),
        (["SERVICE", "SERVICE", "SERVCE", "PRICE"], [("SERVCE", "SERVICE")]),
        (["Drink", "DRINKS", "DRINKS"], [("Drink", "DRINKS")]),
        (["FOOD", "ROOM", "PRICE", "VALUE", "STAFF", "L1", "L2", "LABEL_1", "LABEL_2"], []),
    ],
)
def test_similar_categories_are_reported(names: list[str], pairs: list[tuple[str, str]]) -> None:
    reviews = [tart(number, name) for number, name in enumerate(names)]
    messages = [p.message for p in find_dataset_problems({"all": reviews}) if p.kind == "spelling"]
    found = {frozenset(message.split("'")[1:4:2]) for message in messages}
    assert found == {frozenset(pair) for pair in pairs}


@pytest.mark.parametrize("name", ["postive", "Positive", "nagative"])
def test_misspelt_polarities_are_reported(name: str) -> None:
    problems = list(find_dataset_problems({"all": [tart(1, "FOOD", name)]}))
    assert [problem.kind for problem in problems] == ["spelling"]
    assert f"polarity '{name}' (1) beside" in problems[0].message


@pytest.mark.parametrize("field", ["aspect", "Aspects", "aspcts"])
def test_the_field_that_was_probably_meant_is_named(tmp_path: Path, field: str) -> None:
    rows = [tart(1, "FOOD").to_json(), {"id": "b", "text": "Pie", field: []}]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (finding,) = data.check_dataset(tmp_path / "x.jsonl")
    assert (finding.kind, finding.severity) == ("field", "error")
    assert f"'{field}' and no labels: 'aspects' was probably meant" in finding.message
    assert str(finding).startswith(f"{tmp_path / 'x.jsonl'}: error: field: ")


def test_a_misspelt_field_of_an_aspect_is_named(tmp_path: Path) -> None:
    form = {"text": "Tart", "aspects": [{"entity_group": "FOOD", "word": "Tart", "start": 0, "end": 4, "polarty": "x"}]}
    (tmp_path / "x.jsonl").write_text(json.dumps(form))
    with pytest.raises(DataError, match=r"no field 'polarty' \('polarity' was probably meant\)"):
        data.read(tmp_path / "x.jsonl")


def test_small_held_out_splits_are_warned_of() -> None:
    splits = {"train": [tart(1, "FOOD")], "validation": [tart(2, "FOOD")] * 100, "test": [tart(3, "FOOD")] * 99}
    (problem,) = find_dataset_problems(splits)
    assert (problem.kind, problem.severity) == ("small-split", "warning")
    assert "the split test holds 99 aspects" in problem.message


def test_the_shipped_corpus_has_no_problem() -> None:
    assert not data.check_dataset("corpus")


def test_labels_that_are_not_at_their_offsets_are_refused_or_few_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    shifted = Review("s", "A tart was warm", (Aspect("FOOD", "tart", 3, 7),))
    data.write([shifted, tart(1, "FOOD")], file)
    for read in (
        lambda: prepare(str(file), Recipe()),
        lambda: read_split(str(file), "test"),
        lambda: add_reference_set(str(file)),
    ):
        with pytest.raises(DataError, match=r"1 of 2 labels are not at their offsets .such as FOOD at 3:7 in review s"):
            read()
    data.write([shifted, *(tart(number, "FOOD") for number in range(1, 30))], file)
    with pytest.warns(data.LabelWarning, match="1 of 30 labels are not at their offsets"):
        read_split(str(file), "test")


@pytest.mark.parametrize(
    ("review", "message"),
    [
        (tart(1, "FOOD", "pos"), "polarity 'pos' .1. is short for 'positive'"),
        (tart(1, "FOOD", "-1"), "polarity '-1' .1. is a number"),
        (tart(1, "NEG"), "category 'NEG' .1. is the name of a polarity"),
    ],
)
def test_polarities_in_other_forms_are_warnings(review: Review, message: str) -> None:
    problems = [problem for problem in find_dataset_problems({"all": [review]}) if problem.kind == "spelling"]
    assert len(problems) == 1
    assert re.search(message, problems[0].message)


@pytest.mark.parametrize("review", [tart(1, ""), tart(1, "FOOD", " ")])
def test_empty_names_are_errors(review: Review) -> None:
    assert [finding.kind for finding in data.check({"all": [review]})] == ["category"]


def test_bioes_and_bilou_are_not_reported_as_wrong_tags(tmp_path: Path) -> None:
    file = tmp_path / "x.conll"
    for last, single in ("ES", "LU"):
        file.write_text(f"a O\nplum B-FOOD\ntart {last}-FOOD\ntea {single}-DRINK\n")
        assert data.check(file) == []
    file.write_text("a O\nplum B-FOOD\ntart E-DRINK\n")
    assert [finding.kind for finding in data.check(file)] == ["tags"]


def test_a_compressed_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(gzip.compress(b"{}"))
    with pytest.raises(DataError, match=r"x.jsonl is compressed .gzip.: unpack it"):
        data.read(tmp_path / "x.jsonl")
