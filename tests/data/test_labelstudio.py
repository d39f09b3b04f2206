"""Label Studio: encoder of tasks, decoder of exports, labelling configuration."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from reviews_parsing import data
from reviews_parsing.data import labelstudio
from reviews_parsing.data.conversion_loss import count_losses
from reviews_parsing.errors import DataError
from reviews_parsing.schema import Aspect, Opinion, Review, Taxonomy

from .strategies import lists, properties, reviews

TEXT = "Wow 👩‍🍳🍜 the\r\nramen is divine, the host gruff. Yum!"
RAMEN = Aspect("FOOD", "ramen", 14, 19, "positive", Opinion("divine", 23, 29))
HOST = Aspect("STAFF", "host", 35, 39, "negative")
YUM = Aspect("FOOD", polarity="positive", opinion=Opinion("Yum", 47, 50))
DEAR = Aspect("PRICE", polarity="negative")
RICH = Review("r-1", TEXT, (RAMEN, HOST, YUM, DEAR), {"stars": 4, "id": "mine", "meta": {"a": None}})


def region(name: str, start: int, end: int, label: str, **more: Any) -> dict[str, Any]:
    value = {"start": start, "end": end, "labels": [label], **more}
    return {"id": name, "from_name": "category", "to_name": "text", "type": "labels", "value": value}


def export(*result: dict[str, Any], text: str = TEXT, **more: Any) -> bytes:
    """Return the Label Studio export of one task."""
    annotation = {"id": 7, "completed_by": 3, "result": result, "was_cancelled": False, "ground_truth": False}
    return json.dumps([{"id": 12, "data": {"text": text}, "annotations": [{**annotation, **more}]}]).encode()


def decode_task(exported: bytes) -> labelstudio.Task:
    (task,) = labelstudio.decode_tasks(exported, "export.json")
    return task


def read(form: dict[str, Any]) -> Review:
    ((_, review),) = labelstudio.decode(json.dumps([form]).encode(), "export.json")
    return review


def test_labels_survive_the_round_trip(tmp_path: Path) -> None:
    assert not data.write([RICH, Review("r-2", "Fine.")], tmp_path / "tasks.json", "label-studio")
    assert data.read(tmp_path / "tasks.json") == [
        replace(RICH, aspects=(RAMEN, HOST, YUM, DEAR)),
        Review("r-2", "Fine."),
    ]
    assert not data.check(tmp_path / "tasks.json")


@properties
@given(given_reviews=lists(reviews()))
def test_any_reviews_survive_the_round_trip_without_repeated_aspects(given_reviews: list[Review]) -> None:
    unique = [replace(review, aspects=tuple(dict.fromkeys(review.aspects))) for review in given_reviews]
    decoded = [review for _, review in labelstudio.decode(labelstudio.encode(unique), "x")]
    assert not count_losses(unique, decoded)


def test_aspects_with_scores_are_a_prediction() -> None:
    answer = (replace(RAMEN, score=0.91, polarity_score=0.8), replace(HOST, score=0.6, polarity_score=0.7))
    (form,) = json.loads(labelstudio.encode([replace(RICH, aspects=answer)]))
    assert "annotations" not in form
    assert form["predictions"][0]["score"] == 0.6
    assert [result["score"] for result in form["predictions"][0]["result"] if "score" in result] == [
        0.91,
        0.8,
        0.6,
        0.7,
    ]
    assert read(form).aspects == answer
    both = labelstudio.to_task(replace(RICH, aspects=(HOST,)), predicted_aspects=answer, model_version="reviews/3")
    task = decode_task(json.dumps([both, form]).encode())
    assert (task.model_version, task.predicted_aspects, task.review.aspects) == ("reviews/3", answer, (HOST,))


def test_annotations_come_before_predictions_and_the_last_annotation_counts() -> None:
    def annotation(label: str, at: str, **more: Any) -> dict[str, Any]:
        return {"result": [region("a", 14, 19, label)], "updated_at": at, "was_cancelled": False, **more}

    early, late = (
        annotation("FOOD", "2026-03-01T10:00:00Z", completed_by={"id": 1, "email": "a@b.c"}),
        annotation("STAFF", "2026-03-02"),
    )
    skipped = annotation("VIEW", "2026-03-03", was_cancelled=True)
    form = {"id": 1, "data": {"text": TEXT}, "predictions": [annotation("MODEL", "2026-03-09", model_version=2)]}

    def label(*annotations: dict[str, Any]) -> str:
        return read(form | {"annotations": annotations}).aspects[0].entity_group

    with pytest.warns(data.LabelWarning, match="not read: 1 annotations of tasks that have a later one"):
        assert label(early, late, skipped) == "STAFF"
    with pytest.warns(data.LabelWarning, match="or a ground truth"):
        assert label({**early, "ground_truth": True}, late) == "FOOD"
    assert label(skipped) == "MODEL"
    with pytest.raises(DataError, match="none of its 1 tasks is labelled"):
        labelstudio.decode_tasks(json.dumps([form]).encode(), "x")
    task = decode_task(json.dumps([form | {"annotations": [early]}, form]).encode())
    assert (task.author, task.labelled_at, task.model_version) == ("a@b.c", datetime(2026, 3, 1, 10, tzinfo=UTC), "2")


@pytest.mark.parametrize(("start", "end"), [(14, 19), (17, 22)])
def test_offsets_are_code_points_or_utf16_code_units(start: int, end: int) -> None:
    """Three characters before the word are two UTF-16 code units each."""
    (aspect,) = decode_task(export(region("a", start, end, "FOOD", text="ramen"))).review.aspects
    assert aspect == Aspect("FOOD", "ramen", 14, 19)


@properties
@given(review=reviews())
def test_utf16_offsets_of_any_span_are_resolved(review: Review) -> None:
    spans = [aspect for aspect in review.aspects if aspect.span]

    def units(offset: int | None) -> int:
        return len(review.text[:offset].encode("utf-16-le")) // 2

    regions = [region(str(n), units(a.start), units(a.end), "X", text=a.word) for n, a in enumerate(spans)]
    for aspect, decoded in zip(spans, decode_task(export(*regions, text=review.text)).review.aspects, strict=True):
        assert review.text[decoded.start : decoded.end] == decoded.word
        assert "".join((decoded.word or "").split()) == "".join((aspect.word or "").split())


def test_line_breaks_and_spaces_may_differ_from_the_text() -> None:
    text = "Soft  \r\nnoodles"
    (aspect,) = decode_task(export(region("a", 0, 15, "FOOD", text="Soft \\n\\nnoodles"), text=text)).review.aspects
    assert aspect.word == text


def test_misaligned_regions_are_reported_by_the_check(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(export(region("a", 3, 8, "FOOD", text="ramen")))
    (finding,) = data.check(tmp_path / "x.json")
    assert "misaligned" in finding.message
    assert finding.message.endswith("it is at 14:19")


def test_relations_hold_in_both_directions_and_unlinked_opinions_are_counted() -> None:
    opinion = {**region("o", 23, 29, "opinion", text="divine"), "from_name": "opinion"}
    late = {**region("p", 47, 50, "opinion"), "from_name": "opinion"}
    for ends in (("a", "o"), ("o", "a")):
        relation = {"type": "relation", "from_id": ends[0], "to_id": ends[1], "direction": "right"}
        task = decode_task(export(region("a", 14, 19, "FOOD"), opinion, late, relation))
        assert (task.review.aspects[0].opinion, task.unlinked_opinions) == (RAMEN.opinion, 1)


def row(**outputs: Any) -> bytes:
    """Return a JSON-MIN export of one row."""
    metadata = {"id": 12, "annotator": 3, "annotation_id": 7, "created_at": "2026-03-01T10:00:00.5Z", "lead_time": 2.5}
    return json.dumps([{"text": TEXT, "review_id": "r-1", **metadata, **outputs}]).encode()


def test_json_min_has_spans_polarities_and_implicit_aspects() -> None:
    ramen, host = ({"start": a.start, "end": a.end, "text": a.word, "labels": [a.entity_group]} for a in (RAMEN, HOST))
    yum = {"start": 47, "end": 50, "text": "Yum"}
    task = decode_task(
        row(
            category=[ramen, host],
            polarity=["positive", "negative"],
            opinion=[yum | {"labels": ["opinion"]}],
            judges=[yum | {"taxonomy": [["FOOD", "positive"]]}],
            implicit=[{"taxonomy": [["PRICE", "negative"]]}],
            meta={"stars": 4},
        )
    )
    assert task.review == Review("r-1", TEXT, (replace(RAMEN, opinion=None), HOST, YUM, DEAR), {"stars": 4})
    assert (task.author, task.labelled_at, task.unlinked_opinions) == (
        "3",
        datetime(2026, 3, 1, 10, 0, 0, 500_000, tzinfo=UTC),
        0,
    )
    assert decode_task(row(category=[host], polarity="negative")).review.aspects == (HOST,)
    region_polarity = [{"start": 35, "end": 39, "choices": ["negative"]}]
    assert decode_task(row(category=[ramen, host], polarity=region_polarity)).review.aspects[1] == HOST
    assert decode_task(row()).review.aspects == ()


def test_projects_with_other_control_names_are_read() -> None:
    form = json.loads(export({**region("x", 14, 19, "Dish"), "from_name": "label"}))
    form[0]["data"] = {"body": TEXT, "stars": 2}
    assert decode_task(json.dumps(form).encode()).review == Review(
        "12", TEXT, (Aspect("Dish", "ramen", 14, 19),), {"stars": 2}
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"data": {"text": "x"},\n', r"x\.json: not JSON \(.+ at line 2, column 1\): export it again"),
        (b"[{}]", r"x\.json: task 1: neither a task \('data'\) nor a row of JSON-MIN"),
        (b'[{"data": {"text": "x"}}, {"id": "1", "text": "Ours.", "aspects": []}]', "task 2: neither a task"),
        (b"[1]", "x.json:1: a list, not an object|is unknown"),
        (b"[]", "x.json holds no reviews"),
        (b'[{"data": {"text": "x"}}]', "none of its 1 tasks is labelled"),
        (b'[{"data": {"a": "x", "b": "y"}, "annotations": [{"result": []}]}]', "has no 'text', only a, b"),
        (b'[{"data": {"text": "x"}, "annotations": [{"result": [7]}]}]', "a result is not an object"),
        (export(region("a", 0, 3, "X") | {"value": {"start": "/p[1]", "end": "/p[1]"}}), "no 'start' and 'end'"),
        (export(region("a", 0, 3, "X", labels=[7])), "'labels' are not strings"),
        (
            export(
                region("a", 0, 3, "X"), {"id": "a", "type": "choices", "value": {"choices": ["positive", "negative"]}}
            ),
            "the span at 0:3 has 2 polarities",
        ),
        (export({"type": "taxonomy", "value": {"taxonomy": [["a", "b", "c"]]}}), "is not a category with a polarity"),
        (row(category=[{"start": 0, "end": 3, "labels": ["X"]}] * 2, polarity="positive"), "of 2 spans its 1 pol"),
        (b'[{"data": {"text": "\\ud800"}}]', "half of a surrogate pair"),
        (b'[{"data": NaN}]', "NaN is not a number"),
    ],
)
def test_damaged_exports_are_one_line_errors(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        data.read(tmp_path / "x.json")
    assert "\n" not in str(error.value)


def test_the_configuration_has_the_controls_of_the_taxonomy() -> None:
    root = ET.fromstring(
        labelstudio.build_labelling_config(Taxonomy(("A&B", "C"), ("bad", "good"), ("C",), opinions=True))
    )
    values = {name: [label.get("value") for label in control] for name, control in controls_by_name(root).items()}
    assert values == {
        "category": ["A&B", "C"],
        "opinion": ["opinion"],
        "text": [],
        "polarity": ["bad", "good"],
        "judges": ["C"],
        "implicit": ["C"],
    }
    assert [choice.get("value") for choice in controls_by_name(root)["implicit"][0]] == ["bad", "good"]
    assert controls_by_name(root)["polarity"].get("perRegion") == "true"
    assert root.find("Relations/Relation") is not None
    plain = ET.fromstring(labelstudio.build_labelling_config(Taxonomy(("FOOD",))))
    assert set(controls_by_name(plain)) == {"category", "text"}
    assert plain.find("Relations") is None


def test_impossible_configurations_are_errors() -> None:
    with pytest.raises(DataError, match="no category is known"):
        labelstudio.build_labelling_config(Taxonomy(()))
    with pytest.raises(DataError, match=r"XML cannot hold the character U\+0000"):
        labelstudio.build_labelling_config(Taxonomy(("\0",)))


def controls_by_name(root: ET.Element) -> dict[str, ET.Element]:
    return {name: element for element in root.iter() if (name := element.get("name"))}


def choice(name: str, value: str, control: str) -> dict[str, Any]:
    return {"id": name, "from_name": control, "to_name": "text", "type": "choices", "value": {"choices": [value]}}


def hypertext(start: int, end: int, word: str | None) -> dict[str, Any]:
    value = {
        "start": "/p[1]",
        "end": "/p[1]",
        "globalOffsets": {"start": start, "end": end},
        "hypertextlabels": ["FOOD"],
    }
    value |= {} if word is None else {"text": word}
    return {"id": "h", "from_name": "ner", "to_name": "text", "type": "hypertextlabels", "value": value}


@pytest.mark.parametrize("form", ["object", "pretty", "lines", "storage"])
def test_one_task_a_file_and_one_a_line_are_read(tmp_path: Path, form: str) -> None:
    (task,) = json.loads(export(region("a", 14, 19, "FOOD", text="ramen")))
    content = json.dumps(task, indent=1 if form == "pretty" else None)
    if form == "lines":
        content = f"{content}\n{content}\n"
    if form == "storage":
        content = json.dumps({**task["annotations"][0], "task": {"id": 12, "data": task["data"]}})
    (tmp_path / "x.json").write_text(content)
    assert [review.aspects for review in data.read(tmp_path / "x.json")] == [(Aspect("FOOD", "ramen", 14, 19),)] * (
        2 if form == "lines" else 1
    )


def test_hypertext_is_read_by_its_global_offsets() -> None:
    assert decode_task(export(hypertext(14, 19, "ramen"))).review.aspects == (Aspect("FOOD", "ramen", 14, 19),)
    minimal = {key: value for key, value in hypertext(14, 19, "ramen")["value"].items() if key != "to_name"}
    assert decode_task(row(ner=[minimal])).review.aspects == (Aspect("FOOD", "ramen", 14, 19),)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (export(hypertext(13, 18, "ramen")), "offsets of a region of hypertext do not fit"),
        (export(hypertext(14, 19, None)), "has no 'text' to check"),
        (export({**hypertext(14, 19, "ramen"), "value": {"start": "/p", "text": "ramen"}}), "no 'globalOffsets'"),
        (
            export({"id": "r", "from_name": "box", "type": "rectanglelabels", "value": {}}),
            "control 'box' gives 'rectangle",
        ),
        (export({"id": "r", "from_name": "p", "type": "paragraphlabels", "value": {}}), "gives 'paragraphlabels'"),
        (export({"id": "r", "from_name": "m", "type": "brush", "value": {}}), "gives 'brush'"),
        (row(box=[{"x": 1, "y": 2, "ellipselabels": ["Cup"]}]), "gives 'ellipselabels'"),
        (export(text="/data/upload/3/photo.png"), "its text is an address"),
        (export(text="https://example.org/a.wav"), "its text is an address"),
        (
            export(
                {**region("a", 14, 19, "X"), "from_name": "dish"}, {**region("b", 35, 39, "Y"), "from_name": "person"}
            ),
            "controls dish, person all label spans: rename",
        ),
        (
            export(region("a", 14, 19, "X"), choice("a", "low", "urgency"), choice("a", "big", "size")),
            "controls size, urgency all choose for spans",
        ),
    ],
)
def test_a_correction_is_never_read_from_a_part_that_is_not_understood(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        labelstudio.decode_tasks(content, "export.json")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("others", "unused"),
    [
        ([choice("a", "urgent", "priority")], "choices of control 'priority'"),
        ([choice("whole", "complaint", "kind")], "choices of control 'kind'"),
        ([{**region("b", 35, 39, "PERSON"), "from_name": "who"}], "labels of control 'who'"),
        (
            [{"id": "n", "from_name": "note", "type": "textarea", "value": {"text": ["x"]}}],
            "textarea of control 'note'",
        ),
        ([{"id": "n", "from_name": "stars", "type": "rating", "value": {"rating": 4}}], "rating of control 'stars'"),
    ],
)
def test_a_control_is_taken_by_its_name_and_the_others_are_counted(others: list[dict[str, Any]], unused: str) -> None:
    results = (region("a", 14, 19, "FOOD"), choice("a", "negative", "polarity"))
    for result in ((*results, *others), (*others, *results)):
        task = decode_task(export(*result))
        assert task.review.aspects == (Aspect("FOOD", "ramen", 14, 19, "negative"),)
        assert task.unused == (unused,)
        with pytest.warns(data.LabelWarning, match=f"not read: 1 {unused}"):
            list(labelstudio.decode(export(*result), "x"))


def test_an_empty_task_is_passed_over_and_counted() -> None:
    (task,) = json.loads(export(region("a", 14, 19, "FOOD")))
    empty_tasks = [
        {"id": 1, "data": {}},
        {"id": 2, "data": {"text": None}, "annotations": []},
        {"id": 3, "data": {"text": ""}},
    ]
    exported = json.dumps([*empty_tasks, task]).encode()
    assert decode_task(exported).number == 4
    with pytest.warns(data.LabelWarning, match="not read: 3 empty tasks"):
        list(labelstudio.decode(exported, "x"))


def test_the_field_of_the_text_is_found_by_the_words_of_the_regions_or_named() -> None:
    (task,) = json.loads(export(region("a", 14, 19, "FOOD", text="ramen")))
    columns = {"review": TEXT, "author": "A. Tester", "stars": "5"}
    plain = {"id": 13, "data": {**columns, "review": "Dull."}, "annotations": [{"result": []}]}
    tasks = labelstudio.decode_tasks(json.dumps([{**task, "data": columns}, plain]).encode(), "x")
    assert [task.review.text for task in tasks] == [TEXT, "Dull."]
    assert tasks[0].review.meta == {"author": "A. Tester", "stars": "5"}
    with pytest.raises(DataError, match="has no 'text', only review, author, stars: name the right one"):
        labelstudio.decode_tasks(json.dumps([plain]).encode(), "x")
    assert labelstudio.decode_tasks(json.dumps([plain]).encode(), "x", "review")[0].review.text == "Dull."
    with pytest.raises(DataError, match="not all tasks have a text in the field 'body'"):
        labelstudio.decode_tasks(json.dumps([plain]).encode(), "x", "body")


def test_annotations_relations_and_choices_that_are_not_read_are_counted() -> None:
    food, speed = region("a", 14, 19, "FOOD", text="ramen"), region("b", 0, 3, "SPEED")
    relation = {"type": "relation", "from_id": "a", "to_id": "b", "direction": "right"}
    strength = choice("a", "strong", "strength")
    (task,) = json.loads(export(food, speed, relation, strength))
    earlier = {**task["annotations"][0], "id": 1, "created_at": "2001-01-01T00:00:00Z", "updated_at": None}
    task["annotations"].insert(0, earlier)
    exported = json.dumps([task, {"id": 9, "data": task["data"], "annotations": []}]).encode()
    with pytest.warns(data.LabelWarning) as caught:
        ((_, review),) = labelstudio.decode(exported, "x")
    assert [aspect.polarity for aspect in review.aspects] == [None, None]
    message = str(caught[0].message)
    for part in (
        "1 relations of other controls",
        "1 choices of control 'strength'",
        "1 annotations of tasks that have a later one",
        "1 tasks without annotations",
    ):
        assert part in message


def test_polarities_of_whole_texts_in_json_min_are_counted() -> None:
    row = {"annotation_id": 1, "id": 1, "text": "The ramen was hot.", "mood": "positive"}
    row["label"] = [{"start": 4, "end": 9, "text": "ramen", "labels": ["FOOD"]}]
    with pytest.warns(data.LabelWarning, match="not read: 1 choices of control 'mood'"):
        list(labelstudio.decode(json.dumps([row]).encode(), "x"))
