import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reviews_parsing import data
from reviews_parsing.schema import Aspect, Opinion, Review

TEXT = "The smoked trout was worth the ferry ride, and the harbour bar poured a fair measure."
TROUT = Aspect("FOOD", "smoked trout", 4, 16)


def review(*aspects: Aspect, text: str = TEXT, **meta: Any) -> Review:
    return Review("planted", text, aspects, meta)


@pytest.mark.parametrize(
    ("planted", "kind", "severity", "message"),
    [
        (review(Aspect("FOOD", "trout", 4, 9)), "offsets", "error", "'smoke' stands there: it is at 11:16"),
        (review(Aspect("FOOD", "the", 0, 2)), "offsets", "error", "misaligned, 'Th' stands there: correct the offsets"),
        (review(Aspect("FOOD", "ferry", 80, 99)), "offsets", "error", "lies outside the text of 85 characters"),
        (review(Aspect("FOOD", "", 4, 4)), "offsets", "error", "is empty"),
        (review(Aspect("FOOD", "trout", -5, 3)), "offsets", "error", "lies outside"),
        (review(Aspect("FOOD", "trout")), "offsets", "error", "'trout' has no offsets"),
        (
            review(Aspect("FOOD", "smoked trout", 4, 16, opinion=Opinion("worth", 0, 5))),
            "opinion",
            "error",
            "'The s' stands there: it is at 21:26",
        ),
        (review(TROUT, Aspect("FOOD", "trout", 11, 16)), "overlap", "error", "4:16 and FOOD 'trout' at 11:16 overlap"),
        (review(TROUT, replace(TROUT, polarity="negative")), "overlap", "warning", "share one span"),
        (review(Aspect("FOOD", "smoked trou", 4, 15)), "inside-word", "warning", "ends inside a word"),
        (review(Aspect("FOOD", "moked trout", 5, 16)), "inside-word", "warning", "begins inside a word"),
        (review(Aspect("FOOD", " smoked trout", 3, 16)), "white-space", "warning", "begins or ends with white space"),
        (review(Aspect("FISH", "smoked trout", 4, 16)), "category", "error", "'FISH' is not one of FOOD, PRICE"),
        (review(Aspect("FISH")), "category", "error", "'FISH' is not one of FOOD, PRICE"),
        (review(text=" \n"), "empty", "error", "the text is empty"),
        (review(TROUT, tags=["O", "I-FOOD"]), "tags", "warning", "token 2: I-FOOD after O is not IOB2"),
        (review(TROUT, tags=["E-FOOD"]), "tags", "warning", "token 1: E-FOOD after O is not IOB2"),
    ],
)
def test_a_planted_defect_is_reported_with_its_location(
    tmp_path: Path, planted: Review, kind: str, severity: str, message: str
) -> None:
    file = tmp_path / "labels.jsonl"
    lines = [json.dumps(r.to_json()) for r in (Review("fine", "We sat by the stove.", ()), planted)]
    file.write_text("\n\n".join(lines))
    (finding,) = data.check(file, categories=["PRICE", "FOOD"])
    assert (finding.file, finding.line, finding.review, finding.kind, finding.severity) == (
        str(file),
        3,
        "planted",
        kind,
        severity,
    )
    assert message in finding.message
    assert str(finding).startswith(f"{file}:3: {severity}: {kind}: review planted: ")


def test_valid_labels_have_no_findings() -> None:
    good = review(
        TROUT,
        Aspect("PRICE", "smoked trout", 4, 16),
        Aspect("SERVICE", polarity="positive", opinion=Opinion("fair", 72, 76)),
        tags=["B-FOOD", "I-FOOD"],
    )
    assert data.check({"train": [good]}) == []


def test_repeated_ids_are_reported_but_not_positional_ids() -> None:
    splits = {
        "train": [Review("#1", "Soup was thin"), Review("a", "Bread was stale"), Review("a", "Wine was corked")],
        "test": [Review("#1", "Lamb was pink"), Review("a", "Crust was crisp")],
    }
    findings = data.check(splits)
    assert [(f.file, f.line, f.kind, f.severity) for f in findings] == [
        ("train", 3, "id", "error"),
        ("test", 2, "id", "error"),
    ]
    assert "also that of train:2" in findings[0].message


def test_repeated_ids_on_one_line_are_reported(tmp_path: Path) -> None:
    sentences = '<sentence id="a"><text>Ribs</text></sentence><sentence id="a"><text>Slaw</text></sentence>'
    (tmp_path / "x.xml").write_text(f"<sentences>{sentences}</sentences>")
    assert [finding.kind for finding in data.check(tmp_path / "x.xml")] == ["id"]


def test_duplicates_are_reported_within_and_across_splits(tmp_path: Path) -> None:
    changed = TEXT.replace("fair measure", "fair glass")
    train = [
        Review("t1", TEXT),
        Review("t2", changed),
        Review("t3", "Nothing like it at all."),
        Review("t4", TEXT.upper()),
    ]
    test = [Review("e1", changed + " Twice."), Review("e2", "nothing like  it, at all")]
    data.write(train, tmp_path / "train.jsonl")
    data.write(test, tmp_path / "test.conll")
    findings = data.check(tmp_path)
    assert [(f.review, f.kind, f.severity) for f in findings] == [
        ("t2", "near-duplicate", "warning"),
        ("t4", "duplicate", "error"),
        ("e1", "near-duplicate", "error"),
        ("e2", "duplicate", "error"),
    ]
    assert f"{tmp_path / 'train.jsonl'}:3 (review t3), which is in train" in findings[3].message
    assert findings[3].file == str(tmp_path / "test.conll")


def test_misaligned_labels_of_other_formats_have_a_line(tmp_path: Path) -> None:
    (tmp_path / "x.xml").write_text(
        "<sentences>\n<sentence><text>Ribs</text><aspectTerms>\n"
        '<aspectTerm term="Rib" from="1" to="4"/></aspectTerms></sentence></sentences>'
    )
    (finding,) = data.check(tmp_path / "x.xml")
    assert (finding.line, finding.review, finding.kind) == (2, "#1", "offsets")


def test_the_mapping_applies_before_categories_are_checked() -> None:
    splits = {"all": [review(Aspect("FISH", "smoked trout", 4, 16))]}
    assert [finding.kind for finding in data.check(splits, categories=["FOOD"])] == ["category"]
    assert data.check(splits, mapping={"FISH": "FOOD"}, categories=["FOOD"]) == []
