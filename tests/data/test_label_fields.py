"""JSON label files of other tools: each form is read by its shape, or refused in one line; none is misread."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from reviews_parsing import data
from reviews_parsing.errors import DataError

EXAMPLES = int(os.environ.get("DIALECT_EXAMPLES", "2000"))
TEXT = "The plum tart was superb though the cashier was rude."
TART, CASHIER = (4, 13), (36, 43)
TOKENS = TEXT.split()
TAGS = ["O", "B-FOOD", "I-FOOD", *["O"] * 4, "B-STAFF", "O", "O"]
FOOD, STAFF = ("FOOD", "plum tart"), ("STAFF", "cashier")


def read(folder: Path, content: Any, fields: data.Fields = data.Fields(), name: str = "x.json") -> list[Any]:
    file = folder / name
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return data.read(file, fields=fields)


def labels(folder: Path, content: Any, fields: data.Fields = data.Fields()) -> list[tuple[Any, ...]]:
    return [(a.entity_group, a.word) for review in read(folder, content, fields) for a in review.aspects]


@pytest.mark.parametrize(
    "record",
    [
        {"sentence": TEXT, "gold": [[4, 13, "FOOD"], [36, 43, "STAFF"]]},
        {"body": TEXT, "marks": [["FOOD", 4, 13], ["STAFF", 36, 43]]},
        {"body": TEXT, "marks": [[[4, 13], "FOOD"], [[36, 43], "STAFF"]]},
        {"doc": TEXT, "ents": [[4, 13, "plum tart", "FOOD"], [36, 43, "cashier", "STAFF"]]},
        {"text": TEXT, "regions": [{"b": 4, "e": 13, "kind": "FOOD"}, {"b": 36, "e": 43, "kind": "STAFF"}]},
        {"text": TEXT, "found": [{"begin": 4, "stop": 13, "tag": "FOOD"}, {"begin": 36, "stop": 43, "tag": "STAFF"}]},
        {
            "utterance": TEXT,
            "slots": [
                {"offset": 4, "length": 9, "text": "plum tart", "category": "FOOD"},
                {"offset": 36, "length": 7, "text": "cashier", "category": "STAFF"},
            ],
        },
        {
            "query": TEXT,
            "slots": [
                {"startPos": 4, "endPos": 12, "phrase": "plum tart", "entity": "FOOD"},
                {"startPos": 36, "endPos": 42, "phrase": "cashier", "entity": "STAFF"},
            ],
        },
        {
            "content": TEXT,
            "annotation": [
                {"label": ["FOOD"], "points": [{"start": 4, "end": 12, "text": "plum tart"}]},
                {"label": ["STAFF"], "points": [{"start": 36, "end": 42, "text": "cashier"}]},
            ],
        },
        {"text": TEXT, "spans": {"FOOD": [[4, 13]], "STAFF": [[36, 43]]}},
        {"text": TEXT, "spans": {"FOOD": ["plum tart"], "STAFF": ["cashier"]}},
        {"text": TEXT, "spans": {"start": [4, 36], "end": [13, 43], "label": ["FOOD", "STAFF"]}},
        {
            "text": TEXT,
            "aspects": [{"category": "FOOD", "word": "plum tart", "start": 4, "end": 13}, [36, 43, "STAFF"]][:1],
        },
        {
            "text": TEXT,
            "tokens": [{"text": w, "start": TEXT.index(w), "end": TEXT.index(w) + len(w), "id": 0} for w in TOKENS],
            "spans": [{"start": 4, "end": 13, "token_start": 1, "token_end": 2, "label": "FOOD"}],
            "answer": "accept",
        },
        {
            "id": 7,
            "text": TEXT,
            "entities": [{"id": 3, "label": "FOOD", "start_offset": 4, "end_offset": 13}],
            "relations": [],
        },
        {"words": TOKENS, "labels": TAGS},
        {
            "tok": TOKENS,
            "pos": ["NN"] * len(TOKENS),
            "bilou": ["O", "B-FOOD", "L-FOOD", *["O"] * 4, "U-STAFF", "O", "O"],
        },
        {"sentence": TEXT, "tags": " ".join(["O", "B-FOOD", "E-FOOD", *["O"] * 4, "S-STAFF", "O", "O"])},
        {"rows": [list(pair) for pair in zip(TOKENS, TAGS, strict=True)]},
        {"rows": [{"form": token, "ner": tag} for token, tag in zip(TOKENS, TAGS, strict=True)]},
        {"tokens": TOKENS, "chunks": ["B-NP"] * len(TOKENS), "ner": TAGS},
    ],
)
def test_a_form_is_read_by_its_shape_in_any_container(tmp_path: Path, record: dict[str, Any]) -> None:
    found = labels(tmp_path, record)
    assert found in ([FOOD, STAFF], [FOOD])
    for content in ([record], json.dumps([record], indent=2), {"data": {"examples": [record]}}):
        assert labels(tmp_path, content) == found
    assert labels(tmp_path, json.dumps(record) + "\n" + json.dumps(record)) == found * 2
    for review in read(tmp_path, record):
        assert all(review.text[a.start : a.end] == a.word for a in review.aspects)


def test_pairs_of_text_and_object_are_read_as_in_spacy(tmp_path: Path) -> None:
    pair = [TEXT, {"entities": [[4, 13, "FOOD"]]}]
    assert labels(tmp_path, [pair, ["Nothing to see.", {"entities": []}]]) == [FOOD]
    assert labels(tmp_path, "\n".join([json.dumps(pair)] * 2)) == [FOOD] * 2
    assert labels(tmp_path, {"classes": ["FOOD"], "annotations": [pair]}) == [FOOD]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (
            {
                "text": TEXT,
                "opinions": [{"term": "plum tart", "expression": "superb", "sentiment": "POS", "cat": "FOOD"}],
            },
            ("FOOD", "plum tart", "positive", "superb"),
        ),
        (
            {
                "text": TEXT,
                "quads": [{"aspect": "NULL", "opinion": "rude", "polarity": "negative", "category": "STAFF"}],
            },
            ("STAFF", None, "negative", "rude"),
        ),
        (
            {"text": TEXT, "x": [{"target": {"text": "plum tart", "start": 4, "end": 13}, "kind": "FOOD", "y": "neu"}]},
            ("FOOD", "plum tart", "neutral", None),
        ),
        ({"review": TEXT, "term": "plum tart", "class": "negative"}, ("ASPECT", "plum tart", "negative", None)),
        (
            {"text": TEXT, "term": "plum tart", "from": 4, "to": 13, "polarity": "positive", "category": "FOOD"},
            ("FOOD", "plum tart", "positive", None),
        ),
        (
            {"text": TEXT, "terms": [{"term": "plum tart", "polarity": "positive", "from": "4", "to": "13"}]},
            ("ASPECT", "plum tart", "positive", None),
        ),
        ({"text": TEXT, "gold": [[4, 13, "positive"]]}, ("ASPECT", "plum tart", "positive", None)),
    ],
)
def test_polarities_opinions_and_implicit_aspects_are_read(
    tmp_path: Path, record: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    ((aspect,),) = ([*review.aspects] for review in read(tmp_path, record))
    opinion = aspect.opinion.word if aspect.opinion else None
    assert (aspect.entity_group, aspect.word, aspect.polarity, opinion) == expected


def test_flat_records_of_one_text_are_one_review(tmp_path: Path) -> None:
    rows = [{"text": TEXT, "span": word, "label": "positive", "ordinal": 0} for word in ("plum tart", "cashier")]
    (review,) = read(tmp_path, "\n".join(map(json.dumps, rows)))
    assert [aspect.word for aspect in review.aspects] == ["plum tart", "cashier"]
    row = {"text": "a pie and a pie", "span": "pie", "label": "negative", "ordinal": 1}
    assert read(tmp_path, row)[0].aspects[0].span == (12, 15)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"text": TEXT, "annotations": [{"label": 2, "start_offset": 4, "end_offset": 13}]}, "numbers without names"),
        ({"tokens": TOKENS, "tags": [0] * len(TOKENS)}, "numbers of tags without their names"),
        ({"text": TEXT, "labels": ["FOOD", "STAFF"]}, "names for whole texts"),
        ({"text": TEXT, "label": "positive"}, "no field of labels is recognised among text, label"),
        ({"text": TEXT, "stars": 5}, "no field of labels is recognised among text, stars"),
        ({"text": TEXT, "entities": []}, "no field of labels is recognised"),
        ({"text": TEXT, "marks": [{"start": 4, "end": 12, "label": "FOOD"}]}, "cut words"),
        (
            {"text": TEXT, "marks": [{"start": 5, "end": 14, "label": "FOOD", "text": "plum tart"}]},
            "do not fit the words",
        ),
        ({"text": TEXT, "marks": [{"start": 4, "end": 130, "label": "FOOD"}]}, "outside the text"),
        ({"text": TEXT, "tokens": TOKENS, "spans": [{"start": 1, "end": 3, "label": "FOOD"}]}, "may count tokens"),
        ({"tokens": TOKENS, "entities": [{"start": 1, "end": 3, "type": "FOOD"}]}, "no field of labels"),
        ({"title": TEXT, "note": TEXT + "!", "marks": [[4, 13, "FOOD"]]}, "name the text with --text-field"),
        ({"text": TEXT, "first": [[4, 13, "FOOD"]], "second": [[36, 43, "STAFF"]]}, "choose with --labels-field"),
        ({"text": TEXT, "x": [{"s": 4, "e": 13, "kind": "FOOD", "author": "ann"}]}, "unclear which of kind, author"),
        ({"text": "pie and pie", "x": [{"aspect": "pie", "polarity": "positive"}]}, "occurs 2 times"),
        ({"text": TEXT, "spans": [{"start": 4, "end": 13, "label": "FOOD"}], "answer": "reject"}, "not accepted"),
        (
            {
                "text": TEXT,
                "x": [{"aspect": "plum tart", "mood": "positive"}, {"aspect": "cashier", "mood": "negtive"}],
            },
            "'mood' holds 'negtive', not only polarities",
        ),
        (
            {
                "text": TEXT,
                "x": [{"aspect": "plum tart", "mood": "very positive"}, {"aspect": "cashier", "mood": "pos"}],
            },
            "holds 'very positive', not only polarities",
        ),
        ({"text": TEXT, "x": [{"aspect": "plum tart", "sentiment": "great"}]}, "holds 'great', not only polarities"),
        ({"text": TEXT, "x": [{"aspect": "plum tart", "polarity": -1}]}, "the polarities in 'polarity' are numbers"),
        ({"text": TEXT, "x": [{"s": 4, "e": 13, "c": "FOOD", "sentiment": 1}]}, "'sentiment' are numbers"),
        ({"text": TEXT, "x": [[4, 13, "FOOD", 1], [36, 43, "STAFF", -1]]}, "numbers at position 3 of each item"),
    ],
)
def test_a_form_that_may_be_misread_is_refused_in_one_line(
    tmp_path: Path, record: dict[str, Any], message: str
) -> None:
    for content in (record, [record]):
        with pytest.raises(DataError, match=message) as error:
            read(tmp_path, content)
        assert "\n" not in str(error.value)


def test_fields_may_be_named(tmp_path: Path) -> None:
    two_texts = {"title": TEXT, "note": TEXT + "!", "marks": [[4, 13, "FOOD"]]}
    (review,) = read(tmp_path, two_texts, data.Fields("title"))
    assert (review.text, review.meta) == (TEXT, {"note": TEXT + "!"})
    two_labels = {"text": TEXT, "first": [[4, 13, "FOOD"]], "second": [[36, 43, "STAFF"]]}
    assert labels(tmp_path, two_labels, data.Fields(labels="second")) == [STAFF]
    with pytest.raises(DataError, match="no field 'third' among text, first, second"):
        read(tmp_path, two_labels, data.Fields(labels="third"))


def test_empty_aspects_beside_labels_are_refused(tmp_path: Path) -> None:
    record = {"text": TEXT, "aspects": [], "marks": [[4, 13, "FOOD"]]}
    with pytest.raises(DataError, match="'aspects' is empty, but 'marks' holds labels"):
        read(tmp_path, record)
    assert labels(tmp_path, record, data.Fields(labels="marks")) == [FOOD]


def test_our_own_form_is_read_from_an_array(tmp_path: Path) -> None:
    form = {"id": "a", "text": TEXT, "aspects": [{"entity_group": "FOOD", "word": "plum tart", "start": 4, "end": 13}]}
    lines = read(tmp_path, json.dumps(form))
    for content in ([form], json.dumps([form], indent=2), json.dumps(form, indent=2)):
        assert read(tmp_path, content) == lines


# Any file in a random form is read back or refused.

field_names = st.from_regex(r"[a-z]{1,6}(_[a-z]{1,4})?", fullmatch=True).filter(lambda name: name != "id")
category_names = st.sampled_from(["FOOD", "STAFF", "PRICE#GENERAL", "soup", "of", "Ort"])
words = st.sampled_from(["soup", "of", "the", "day", "café", "寿司", "bar", "it's", "5", "a", "👍", "slow"])


@st.composite
def labelled_texts(draw: st.DrawFn) -> tuple[str, list[tuple[int, int, str]]]:
    tokens = draw(st.lists(words, min_size=3, max_size=9))
    text = " ".join(tokens)
    starts = [sum(len(token) + 1 for token in tokens[:i]) for i in range(len(tokens))]
    spans: list[tuple[int, int, str]] = []
    position = 0
    while position < len(tokens) and len(spans) < 3:
        first = draw(st.integers(position, len(tokens) - 1))
        last = draw(st.integers(first, min(first + 1, len(tokens) - 1)))
        spans.append((starts[first], starts[last] + len(tokens[last]), draw(category_names)))
        position = last + 1 + draw(st.integers(0, 3))
    return text, spans


@st.composite
def label_files(draw: st.DrawFn) -> tuple[str, list[tuple[str, list[tuple[int, int, str]]]]]:
    """Draw a file in a random form, and its texts with their spans."""
    reviews = draw(st.lists(labelled_texts(), min_size=1, max_size=3))
    text_key, label_key = draw(st.lists(field_names, min_size=2, max_size=2, unique=True))
    keys = draw(st.permutations(draw(st.lists(field_names, min_size=4, max_size=4, unique=True))))
    if draw(st.booleans()):
        keys = ["start", "end", "label", "text"]
    end_shift = draw(st.sampled_from([0, 0, 0, -1]))
    is_length, has_words, form = draw(st.booleans()), draw(st.booleans()), draw(st.sampled_from(["object", "array"]))
    if is_length and not has_words:  # without words a length is told from an end by its name
        keys, form = ["offset", "length", "label", ""], "object"
    if end_shift and not has_words:  # in scripts without spaces nothing tells whether the last character is included
        assume(not any("寿司" in text for text, _ in reviews))
    order = draw(st.permutations(range(4 if has_words else 3)))
    records = []
    for text, spans in reviews:
        items: list[Any] = []
        for start, end, category in spans:
            values = [start, end - start if is_length else end + end_shift, category, text[start:end]]
            indices = [i for i in order if i < 3 or has_words]
            items.append({keys[i]: values[i] for i in indices} if form == "object" else [values[i] for i in indices])
        record = {text_key: text, label_key: items}
        if draw(st.booleans()):
            record["note"] = draw(st.sampled_from(["by ann", "soup of the day", text]))
        records.append(record)
    container = draw(st.sampled_from(["lines", "array", "pretty"]))
    if container == "lines":
        return "\n".join(map(json.dumps, records)), reviews
    return json.dumps(records, indent=1 if container == "pretty" else None), reviews


@settings(deadline=None, max_examples=EXAMPLES)
@given(label_files())
def test_a_file_in_a_random_form_is_read_back_or_refused(
    file: tuple[str, list[tuple[str, list[tuple[int, int, str]]]]],
) -> None:
    from reviews_parsing.data import label_fields

    content, reviews = file
    decoded, error = [], None
    try:
        decoded = [review for _, review in label_fields.decode(content.encode(), "x")]
    except DataError as refusal:
        error = str(refusal)
    if error is not None:
        assert re.fullmatch(r"x(:\d+)?: .+", error)
        return
    assert [review.text for review in decoded] == [text for text, _ in reviews]
    for review, (_, spans) in zip(decoded, reviews, strict=True):
        assert [(a.start, a.end, a.entity_group) for a in review.aspects] == spans


@pytest.mark.parametrize(
    ("text", "span", "unit"),
    [
        ("\U0001f370 The plum tart was superb.", (7, 16), "UTF-16 code units"),
        ("Caf\u00e9: the plum tart was superb.", (11, 20), "bytes"),
        ("So.\r\nThe plum tart was superb.", (8, 17), "a line break of two characters as one"),
        ("  The plum tart was superb.", (4, 13), "from the first character that is not white space"),
    ],
)
def test_offsets_in_other_units_are_refused_even_if_few_texts_show_them(
    tmp_path: Path, text: str, span: tuple[int, int], unit: str
) -> None:
    plain = [{"text": f"{TEXT} {number}", "marks": [[4, 13, "FOOD"]]} for number in range(9)]
    with pytest.raises(DataError, match=f"seem to count {unit}"):
        read(tmp_path, [*plain, {"text": text, "marks": [[*span, "FOOD"]]}])


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (
            {"text": TEXT, "marks": [[4, 13, "FOOD"]], "links": [{"from_id": 1, "to_id": 2, "type": "judged"}]},
            "1 labels of the field 'links'",
        ),
        (
            {"text": TEXT, "marks": [[4, 13, "FOOD"]], "topics": [{"topic": "food", "mood": "positive"}] * 2},
            "2 labels of the field 'topics'",
        ),
        ({"text": TEXT, "marks": [[4, 13, "FOOD"], [36, 43, None]]}, "the category of 1 of 2 labels"),
        ({"tokens": TOKENS, "ner": TAGS, "moods": ["O", "pos", "pos", *["O"] * 7]}, "2 labels of the field 'moods'"),
    ],
)
def test_labels_that_are_not_read_are_counted(tmp_path: Path, record: dict[str, Any], message: str) -> None:
    with pytest.warns(data.LabelWarning, match=f"not read: {message}"):
        read(tmp_path, record)


def test_scores_beside_polarities_are_no_polarities(tmp_path: Path) -> None:
    item = {"start": 4, "end": 13, "label": "FOOD", "sentiment": "positive", "sentiment_score": 1}
    (review,) = read(tmp_path, {"text": TEXT, "spans": [item]})
    assert [(a.entity_group, a.word, a.polarity) for a in review.aspects] == [(*FOOD, "positive")]


def test_examples_that_were_not_accepted_are_refused_beside_others_without_an_answer(tmp_path: Path) -> None:
    spans = [{"start": 4, "end": 13, "label": "FOOD"}]
    with pytest.raises(DataError, match="1 of 2 examples are not accepted"):
        read(tmp_path, [{"text": TEXT, "spans": spans}, {"text": TEXT, "spans": spans, "answer": "ignore"}])


def test_labels_in_another_field_of_some_reviews_are_refused(tmp_path: Path) -> None:
    aspect = {"entity_group": "FOOD", "word": "plum tart", "start": 4, "end": 13}
    own, other = {"text": TEXT, "aspects": [aspect]}, {"text": TEXT, "gold": [aspect]}
    with pytest.raises(DataError, match="1 of 2 reviews have no 'aspects', but labels in 'gold'"):
        read(tmp_path, [own, other])
    assert len(read(tmp_path, [own, {"text": TEXT, "note": "no labels"}])) == 2


def test_a_document_with_pairs_and_a_list_of_categories_is_read(tmp_path: Path) -> None:
    document = {"classes": ["FOOD", "STAFF"], "annotations": [[TEXT, {"entities": [[4, 13, "FOOD"]]}]]}
    assert labels(tmp_path, document) == [FOOD]
