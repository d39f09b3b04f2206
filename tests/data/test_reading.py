import json
from pathlib import Path

import pytest

from reviews_parsing import data
from reviews_parsing.data.reading import read_located_splits
from reviews_parsing.errors import DataError
from reviews_parsing.schema import Aspect, Review

REVIEW = Review("a", "Ribs fell apart", (Aspect("FOOD", "Ribs", 0, 4),))
LINE = json.dumps(REVIEW.to_json())
SEMEVAL = (
    '<Reviews><Review rid="a"><sentences><sentence id="a"><text>Ribs fell apart</text>'
    '<Opinions><Opinion target="Ribs" category="FOOD" from="0" to="4"/></Opinions>'
    "</sentence></sentences></Review></Reviews>"
)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.jsonl", LINE),
        ("x.unknown", LINE),
        ("x.conll", "# id = a\nRibs B-FOOD\nfell O\napart O\n"),
        ("x", "# id = a\nRibs B-FOOD\nfell O\napart O\n"),
        ("x.xml", SEMEVAL),
        ("x.json", '{"id": "a", "tokens": ["Ribs", "fell", "apart"], "ner_tags": ["B-FOOD", "O", "O"]}'),
    ],
)
def test_the_format_is_detected_by_ending_and_content(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert data.read(tmp_path / name) == [REVIEW]


def test_an_explicit_format_overrides_the_ending(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text(LINE)
    assert data.read(tmp_path / "x.txt", format="jsonl") == [REVIEW]
    with pytest.raises(DataError, match=r"x.txt: it seems to be text without labels"):
        data.read(tmp_path / "x.txt")


def test_the_mapping_applies_to_files_and_splits(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(LINE)
    (review,) = data.read(tmp_path / "train.jsonl", {"FOOD": "DISH", "OTHER": None})
    assert review.aspects == (Aspect("DISH", "Ribs", 0, 4),)
    assert data.read_splits(tmp_path, {"FOOD": None})["train"][0].aspects == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (
            b'{"id": "a", "text": "fine"}\n{"id": "b", "text": "caf\xe9"}',
            r"x.jsonl:2: byte 0xe9 at offset 52 is not UTF-8",
        ),
        (b"\xef\xbb\xbf\n", "holds no reviews"),
    ],
)
def test_invalid_files_are_one_line_errors(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        data.read(tmp_path / "x.jsonl")
    assert str(error.value).startswith(str(tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", "a,b\n1,2\n", "unknown format: give one of jsonl, conll, hf, semeval14, semeval16"),
        ("x.xml", "<Tweets/>", "XML with the root <Tweets>"),
        ("x.xml", "", "is empty"),
        ("x.xml", "<sentences/>", "holds no reviews"),
        ("x.conll", "# only comments\n", "holds no reviews"),
        ("x.parquet", '{"tokens": ["a"]}', "no column 'ner_tags' among tokens"),
    ],
)
def test_unknown_formats_are_one_line_errors(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        data.read(tmp_path / name)


def test_missing_sources_are_one_line_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.jsonl does not exist: check the path"):
        data.read(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match="does not exist"):
        data.read("absent/none.jsonl")  # the ending marks it as a file, not as a name on the hub
    with pytest.raises(DataError, match=r"holds no labelled splits: .*train.jsonl, validation.jsonl, test.jsonl"):
        data.read_splits(tmp_path)
    with pytest.raises(DataError, match="unknown format 'excel': give one of jsonl, conll"):
        data.read(tmp_path / "none.jsonl", format="excel")


def test_splits_of_a_folder_may_have_any_names_and_formats(tmp_path: Path) -> None:
    (tmp_path / "Restaurants_Train.xml").write_text(SEMEVAL)
    data.write([REVIEW], tmp_path / "dev.conll")
    data.write([REVIEW], tmp_path / "rest-test.jsonl")
    (tmp_path / "README.md").write_text("# Reviews")
    splits = data.read_splits(tmp_path)
    assert list(splits) == ["train", "validation", "test"]
    assert all(reviews[0].aspects == REVIEW.aspects for reviews in splits.values())
    with pytest.raises(DataError, match=r"holds several splits \(train, validation, test\)"):
        data.read(tmp_path)


def test_two_files_for_one_split_are_an_error(tmp_path: Path) -> None:
    data.write([REVIEW], tmp_path / "train.jsonl")
    data.write([REVIEW], tmp_path / "train.conll")
    with pytest.raises(DataError, match=r"several files for train \(train.conll, train.jsonl\): keep one"):
        data.read_splits(tmp_path)
    (tmp_path / "train.conll").rename(tmp_path / "train_or_test.conll")
    with pytest.raises(DataError, match="is it test or train"):
        data.read_splits(tmp_path)


def test_a_single_file_is_the_split_all(tmp_path: Path) -> None:
    data.write([REVIEW], tmp_path / "x.jsonl")
    assert data.read_splits(tmp_path / "x.jsonl") == {"all": [REVIEW]}


def test_the_word_corpus_is_the_shipped_corpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert data.CORPUS_FOLDER.parent == Path(data.__file__).parent
    for split in ("train", "validation", "test"):
        data.write([REVIEW], tmp_path / f"{split}.jsonl")
    monkeypatch.setattr("reviews_parsing.data.reading.CORPUS_FOLDER", tmp_path)
    assert data.read_splits("corpus") == {split: [REVIEW] for split in ("train", "validation", "test")}


def test_each_review_has_a_file_and_a_line(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(f"\n{LINE}\n\n{LINE}\n")
    located = read_located_splits(tmp_path)["train"]
    assert [(file, line) for file, line, _ in located] == [(str(tmp_path / "train.jsonl"), n) for n in (2, 4)]
    (tmp_path / "x.xml").write_text("<sentences>\n\n<sentence><text>Hm</text></sentence>\n</sentences>")
    assert [line for _, line, _ in read_located_splits(tmp_path / "x.xml")["all"]] == [3]
