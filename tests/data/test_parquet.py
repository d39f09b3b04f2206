import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviews_parsing import data
from reviews_parsing.data import arrow
from reviews_parsing.errors import DataError
from reviews_parsing.schema import Aspect, Opinion, Review

from .strategies import lists, properties, reviews, texts

TAGS = ["O", "B-FOOD", "I-FOOD", "B-STAFF", "I-STAFF"]
tags = st.sampled_from([*TAGS, "B", "I-", "S-FOOD"])
REVIEWS = [
    Review("a", "Ribs, slaw.", (Aspect("FOOD", "Ribs", 0, 4, "positive"), Aspect("FOOD", polarity="neutral"))),
    Review("b", "Waiter hid", (Aspect("STAFF", "Waiter", 0, 6, "negative", Opinion("hid", 7, 10)),), {"stars": 2}),
]


def decoded(file: bytes) -> list[Review]:
    return [review for _, review in arrow.decode(file, "x")]


@properties
@given(lists(reviews()))
def test_any_reviews_come_back_as_they_were(given_reviews: list[Review]) -> None:
    found = decoded(arrow.encode(given_reviews))
    assert [(r.id, r.text, r.aspects) for r in found] == [(r.id, r.text, r.aspects) for r in given_reviews]
    for review, given_review in zip(found, given_reviews, strict=True):
        assert given_review.meta.items() <= review.meta.items()


@properties
@given(st.lists(st.lists(st.tuples(texts, tags), max_size=5), min_size=1, max_size=3), st.booleans())
def test_any_tokens_and_tags_survive_valid_or_not(sentences: list[list[tuple[str, str]]], labels: bool) -> None:
    rows = [{"tokens": [t for t, _ in s], "ner_tags": [t for _, t in s], "n": i} for i, s in enumerate(sentences)]
    file = dataset(rows, labels=sorted({t for s in sentences for _, t in s}) if labels else None)
    first = decoded(file)
    assert decoded(arrow.encode(first)) == first
    table = pq.read_table(pa.BufferReader(arrow.encode(first)))
    names = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]["ner_tags"]["feature"]["names"]
    for row, given_row in zip(table.to_pylist(), rows, strict=True):
        named = [names[tag] for tag in row["ner_tags"]]
        assert {**row, "ner_tags": named} | given_row == {**row, "ner_tags": named}


def dataset(rows: list[dict[str, Any]], labels: list[str] | None) -> bytes:
    """A Parquet file as the datasets library writes it, with ClassLabel tags where there are labels."""
    features: dict[str, Any] = {"ner_tags": {"feature": {"dtype": "string", "_type": "Value"}, "_type": "List"}}
    if labels is not None:
        rows = [{**row, "ner_tags": [labels.index(tag) for tag in row["ner_tags"]]} for row in rows]
        features = {"ner_tags": {"feature": {"names": labels, "_type": "ClassLabel"}, "_type": "List"}}
    kinds = pa.schema(
        [("tokens", pa.list_(pa.string())), ("ner_tags", pa.list_(pa.int64() if labels is not None else pa.string()))]
        + [(key, pa.infer_type([row[key] for row in rows])) for key in rows[0] if key not in ("tokens", "ner_tags")]
    )
    table = pa.Table.from_pylist(rows, schema=kinds)
    sink = pa.BufferOutputStream()
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), sink)
    return sink.getvalue().to_pybytes()


def test_a_saved_folder_comes_back_and_the_datasets_library_reads_it(tmp_path: Path) -> None:
    import datasets

    assert not data.write(REVIEWS, tmp_path / "saved")
    assert data.read(tmp_path / "saved") == [
        Review(r.id, r.text, r.aspects, {"stars": None, **r.meta}) for r in REVIEWS
    ]
    loaded = datasets.load_from_disk(str(tmp_path / "saved"))
    assert loaded.features["ner_tags"].feature.names == TAGS
    assert loaded[1]["tokens"] == ["Waiter", "hid"]
    assert loaded[1]["ner_tags"] == [3, 0]


def test_folders_of_the_datasets_library_are_read_split_by_split(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features(
        tokens=datasets.Sequence(datasets.Value("string")), ner_tags=datasets.Sequence(datasets.ClassLabel(names=TAGS))
    )
    rows = {"tokens": [["Good", "fish", "tacos"]], "ner_tags": [[0, 1, 2]]}
    split = datasets.Dataset.from_dict(rows, features=features)
    datasets.disable_progress_bars()
    datasets.DatasetDict({"train": split, "dev": split}).save_to_disk(tmp_path / "saved")
    (tmp_path / "files" / "data").mkdir(parents=True)
    split.to_parquet(tmp_path / "files" / "data" / "train-00000-of-00002.parquet")
    split.to_parquet(tmp_path / "files" / "data" / "train-00001-of-00002.parquet")
    split.to_json(tmp_path / "files" / "data" / "test.jsonl")
    label = Aspect("FOOD", "fish tacos", 5, 15)
    saved = data.read_splits(tmp_path / "saved")
    assert list(saved) == ["train", "validation"]
    assert [review.aspects for reviews in saved.values() for review in reviews] == [(label,), (label,)]
    assert saved["train"][0].meta == {"tag_names": TAGS}
    with pytest.raises(DataError, match="name the labels in a ClassLabel"):
        data.read_splits(tmp_path / "files")  # JSON says numbers only
    (tmp_path / "files" / "data" / "test.jsonl").unlink()
    assert len(data.read_splits(tmp_path / "files")["train"]) == 2
    assert data.check(tmp_path / "files")[0].file.endswith("train-00001-of-00002.parquet")


def test_rows_with_string_tags_are_read_from_jsonl(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"id": 5, "tokens": ["Good", "fish"], "ner_tags": ["O", "B-FOOD"], "lang": "en"}\n')
    assert data.read(file) == [Review("5", "Good fish", (Aspect("FOOD", "fish", 5, 9),), {"lang": "en"})]


def test_columns_that_collide_with_ours_are_kept_apart_and_written_back() -> None:
    rows = [{"tokens": ["Fish"], "ner_tags": ["O"], "text": "another", "aspects": "two", "tags": "x", "kind": None}]
    first = decoded(dataset(rows, labels=None))
    assert first[0].text == "Fish"
    assert first[0].meta == {"row": {"tags": "x", "text": "another", "aspects": "two"}, "kind": None}
    assert decoded(arrow.encode(first)) == first


def test_a_new_category_gets_a_label_when_the_source_had_none() -> None:
    review = Review("a", "Fish", (Aspect("FISH", "Fish", 0, 4),), {"tag_names": TAGS})
    (found,) = decoded(arrow.encode([review]))
    assert found.aspects == review.aspects


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        ([{"tokens": ["a"], "labels": ["O"]}], None, "no column 'ner_tags' among tokens, labels"),
        ([{"tokens": ["a"], "ner_tags": ["O", "O"]}], None, "row 1: 1 tokens but 2 tags"),
        ([{"tokens": ["a"], "ner_tags": ["NN"]}], None, "row 1: 'NN' is not an IOB2 tag"),
    ],
)
def test_bad_rows_are_named(rows: list[dict[str, Any]], labels: None, message: str) -> None:
    file = "\n".join(json.dumps(row) for row in rows).encode()
    with pytest.raises(DataError, match=message):
        decoded(file)


def test_a_label_number_without_a_name_is_an_error() -> None:
    table = pq.read_table(pa.BufferReader(dataset([{"tokens": ["a"], "ner_tags": ["O"]}], labels=["O"])))
    table = table.set_column(1, "ner_tags", pa.array([[7]])).replace_schema_metadata(table.schema.metadata)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    with pytest.raises(DataError, match="row 1: label 7 has no name among 1"):
        decoded(sink.getvalue().to_pybytes())


def test_damaged_files_and_folders_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="damaged Parquet or Arrow"):
        decoded(b"PAR1 and then nothing")
    data.write(REVIEWS, tmp_path / "saved")
    (tmp_path / "saved" / "state.json").write_text("{}")
    with pytest.raises(DataError, match=r"state.json or dataset_info.json is damaged"):
        data.read(tmp_path / "saved")


def test_a_folder_of_something_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"cat")
    with pytest.raises(DataError, match="holds something else"):
        data.write(REVIEWS, tmp_path / "photos")
    data.write(REVIEWS, tmp_path / "saved")
    data.write(REVIEWS[:1], tmp_path / "saved")
    assert len(data.read(tmp_path / "saved")) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "saved"}


def test_a_dataset_on_the_hub_is_read_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def load(name: str) -> dict[str, datasets.Dataset]:
        rows = {"tokens": [[name]], "ner_tags": [["B-FOOD"]]}
        return {split: datasets.Dataset.from_dict(rows) for split in ("train", "dev", "unlabelled")}

    monkeypatch.setattr(datasets, "load_dataset", load)
    splits = data.read_splits("cook/reviews")
    assert list(splits) == ["train", "validation"]
    assert splits["train"][0].aspects == (Aspect("FOOD", "cook/reviews", 0, 12),)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            ConnectionError("Couldn't reach it\nat all"),
            r"hub cannot be reached \(Couldn't reach it\): give a local file",
        ),
        (ValueError("Config name is missing"), r"not to be read .*Config name is missing\): check the name"),
    ],
)
def test_a_hub_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch, error: Exception, message: str) -> None:
    def load(_: str) -> None:
        raise error

    monkeypatch.setattr("datasets.load_dataset", load)
    with pytest.raises(DataError, match=message) as raised:
        data.read_splits("cook/reviews")
    assert "\n" not in str(raised.value)


def test_without_the_datasets_library_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'reviews-parsing\[train\]'"):
        data.read_splits("cook/reviews")
