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
from reviews_parsing.data import LabelWarning, parquet
from reviews_parsing.errors import DataError
from reviews_parsing.schema import Aspect, Opinion, Review

from .strategies import lists, properties, reviews, texts

TAGS = ["O", "B-FOOD", "I-FOOD", "B-STAFF", "I-STAFF"]
tags = st.sampled_from([*TAGS, "B", "I-", "S-FOOD"])
REVIEWS = [
    Review("a", "Ribs, slaw.", (Aspect("FOOD", "Ribs", 0, 4, "positive"), Aspect("FOOD", polarity="neutral"))),
    Review("b", "Waiter hid", (Aspect("STAFF", "Waiter", 0, 6, "negative", Opinion("hid", 7, 10)),), {"stars": 2}),
]


def decode(file: bytes) -> list[Review]:
    return [review for _, review in parquet.decode(file, "x")]


@properties
@given(lists(reviews()))
def test_encode_then_decode_preserves_any_reviews(given_reviews: list[Review]) -> None:
    decoded = decode(parquet.encode(given_reviews))
    assert [(r.id, r.text, r.aspects) for r in decoded] == [(r.id, r.text, r.aspects) for r in given_reviews]
    for review, given_review in zip(decoded, given_reviews, strict=True):
        assert given_review.meta.items() <= review.meta.items()


@properties
@given(st.lists(st.lists(st.tuples(texts, tags), max_size=5), min_size=1, max_size=3), st.booleans())
def test_tokens_and_tags_are_preserved_even_if_invalid(sentences: list[list[tuple[str, str]]], labels: bool) -> None:
    rows = [{"tokens": [t for t, _ in s], "ner_tags": [t for _, t in s], "n": i} for i, s in enumerate(sentences)]
    file = dataset(rows, labels=sorted({t for s in sentences for _, t in s}) if labels else None)
    first = decode(file)
    assert decode(parquet.encode(first)) == first
    table = pq.read_table(pa.BufferReader(parquet.encode(first)))
    names = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]["ner_tags"]["feature"]["names"]
    for row, given_row in zip(table.to_pylist(), rows, strict=True):
        named = [names[tag] for tag in row["ner_tags"]]
        assert {**row, "ner_tags": named} | given_row == {**row, "ner_tags": named}


def dataset(rows: list[dict[str, Any]], labels: list[str] | None) -> bytes:
    """Return a Parquet file as the datasets library writes it, with ClassLabel tags if there are labels."""
    features: dict[str, Any] = {"ner_tags": {"feature": {"dtype": "string", "_type": "Value"}, "_type": "List"}}
    if labels is not None:
        rows = [{**row, "ner_tags": [labels.index(tag) for tag in row["ner_tags"]]} for row in rows]
        features = {"ner_tags": {"feature": {"names": labels, "_type": "ClassLabel"}, "_type": "List"}}
    schema = pa.schema(
        [("tokens", pa.list_(pa.string())), ("ner_tags", pa.list_(pa.int64() if labels is not None else pa.string()))]
        + [(key, pa.infer_type([row[key] for row in rows])) for key in rows[0] if key not in ("tokens", "ner_tags")]
    )
    table = pa.Table.from_pylist(rows, schema=schema)
    sink = pa.BufferOutputStream()
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def test_a_written_folder_is_read_back_and_the_datasets_library_loads_it(tmp_path: Path) -> None:
    import datasets

    assert not data.write(REVIEWS, tmp_path / "dataset")
    assert data.read(tmp_path / "dataset") == [
        Review(r.id, r.text, r.aspects, {"stars": None, **r.meta}) for r in REVIEWS
    ]
    loaded = datasets.load_dataset(str(tmp_path / "dataset"), cache_dir=str(tmp_path / "cache"))["train"]
    assert loaded.features["ner_tags"].feature.names == TAGS
    assert loaded[1]["tokens"] == ["Waiter", "hid"]
    assert loaded[1]["ner_tags"] == [3, 0]


def test_splits_with_different_labels_and_columns_share_one_schema(tmp_path: Path) -> None:
    import datasets

    splits = {"train": REVIEWS[:1], "validation": [Review("#1", "Fine tea")], "test": REVIEWS[1:]}
    assert not data.write_splits(splits, tmp_path / "dataset")
    assert {path.name for path in (tmp_path / "dataset").iterdir()} == {f"{split}.parquet" for split in splits}
    decoded = data.read_splits(tmp_path / "dataset")
    for split, reviews_of_split in splits.items():
        assert [(r.id, r.text, r.aspects) for r in decoded[split]] == [
            (r.id, r.text, r.aspects) for r in reviews_of_split
        ]
    loaded = datasets.load_dataset(str(tmp_path / "dataset"), cache_dir=str(tmp_path / "cache"))
    assert list(loaded) == ["train", "validation", "test"]
    assert {tuple(split.features["ner_tags"].feature.names) for split in loaded.values()} == {tuple(TAGS)}
    assert loaded["test"][0]["ner_tags"] == [3, 0]


def test_datasets_of_the_datasets_library_are_read_per_split(tmp_path: Path) -> None:
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
        data.read_splits(tmp_path / "files")  # JSON has the label ids but not their names
    (tmp_path / "files" / "data" / "test.jsonl").unlink()
    assert len(data.read_splits(tmp_path / "files")["train"]) == 2
    assert data.check(tmp_path / "files")[0].file.endswith("train-00001-of-00002.parquet")


def test_rows_with_string_tags_are_read_from_jsonl(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"id": 5, "tokens": ["Good", "fish"], "ner_tags": ["O", "B-FOOD"], "lang": "en"}\n')
    assert data.read(file) == [Review("5", "Good fish", (Aspect("FOOD", "fish", 5, 9),), {"lang": "en"})]


def test_columns_with_reserved_names_are_preserved() -> None:
    rows = [{"tokens": ["Fish"], "ner_tags": ["O"], "text": "another", "aspects": "two", "tags": "x", "kind": None}]
    warning = r"not read: 1 texts that do not hold their tokens \(the first: row 1\): the tokens with spaces between"
    with pytest.warns(LabelWarning, match=warning):
        first = decode(dataset(rows, labels=None))
    assert first[0].text == "Fish"
    assert first[0].meta == {"row": {"tags": "x", "text": "another", "aspects": "two"}, "kind": None}
    with pytest.warns(LabelWarning, match=warning):
        assert decode(parquet.encode(first)) == first


def test_a_category_that_the_source_lacks_gets_a_label() -> None:
    review = Review("a", "Fish", (Aspect("FISH", "Fish", 0, 4),), {"tag_names": TAGS})
    (decoded,) = decode(parquet.encode([review]))
    assert decoded.aspects == review.aspects


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        ([{"tokens": ["a"], "labels": ["O"]}], None, "no column 'ner_tags' among tokens, labels"),
        ([{"tokens": ["a"], "ner_tags": ["O", "O"]}], None, "row 1: 1 tokens but 2 tags"),
        ([{"tokens": ["a"], "ner_tags": ["NN"]}], None, "row 1: 'NN' is not an IOB2 tag"),
    ],
)
def test_invalid_rows_are_errors(rows: list[dict[str, Any]], labels: None, message: str) -> None:
    file = "\n".join(json.dumps(row) for row in rows).encode()
    with pytest.raises(DataError, match=message):
        decode(file)


def test_a_label_number_without_a_name_is_an_error() -> None:
    table = pq.read_table(pa.BufferReader(dataset([{"tokens": ["a"], "ner_tags": ["O"]}], labels=["O"])))
    table = table.set_column(1, "ner_tags", pa.array([[7]])).replace_schema_metadata(table.schema.metadata)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    with pytest.raises(DataError, match="row 1: label 7 has no name among 1"):
        decode(sink.getvalue().to_pybytes())


def test_damaged_files_and_folders_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="damaged Parquet or Arrow"):
        decode(b"PAR1 and then nothing")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "state.json").write_text("{}")
    with pytest.raises(DataError, match=r"state.json is damaged"):
        data.read(tmp_path / "saved")


def test_a_folder_with_other_files_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"cat")
    with pytest.raises(DataError, match=r"holds more than train\.parquet"):
        data.write(REVIEWS, tmp_path / "photos")
    data.write(REVIEWS, tmp_path / "dataset")
    data.write(REVIEWS[:1], tmp_path / "dataset")
    assert len(data.read(tmp_path / "dataset")) == 1
    with pytest.raises(DataError, match=r"holds more than test\.parquet"):
        data.write_splits({"test": REVIEWS}, tmp_path / "dataset")
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "dataset"}


def test_text_that_utf8_cannot_hold_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither Parquet nor JSON can hold the reviews"):
        data.write([Review("a", "half \ud83c")], tmp_path / "x.parquet")
    assert not list(tmp_path.iterdir())


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
        (ValueError("Config name is missing"), r"cannot provide it \(Config name is missing\): check the name"),
    ],
)
def test_hub_failures_are_one_line_errors(monkeypatch: pytest.MonkeyPatch, error: Exception, message: str) -> None:
    def load(_: str) -> None:
        raise error

    monkeypatch.setattr("datasets.load_dataset", load)
    with pytest.raises(DataError, match=message) as raised:
        data.read_splits("cook/reviews")
    assert "\n" not in str(raised.value)


def test_without_the_datasets_library_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'reviews-parsing\[train\]'"):
        data.read_splits("cook/reviews")
