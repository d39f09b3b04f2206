"""Topics gather targets; a topic file merges, splits, renames and hides them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tokenizers import Tokenizer

from insights.making import parquet, review
from reviews_parsing import pretrained
from reviews_parsing.errors import DataError
from reviews_parsing.insights import analyse
from reviews_parsing.insights.report import render
from reviews_parsing.insights.results import Topic
from reviews_parsing.insights.similar import find_similar_topics, merge_lines
from reviews_parsing.pretrained.embeddings import read_embeddings

WORDS = (
    "ribs",
    "short rib",
    "the ribs",
    "Rib",
    "ice cream",
    "cream",
    "plate of ribs",
    "café",
    "cafe",
    "glass of wine",
    "wine",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    rows = [
        review(f"The [{word}](FOOD{'+' if n else '-'}) again.", date=f"2024-{n + 1:02}-05")
        for word in WORDS
        for n in range(4)
    ]
    return parquet(tmp_path / "p.parquet", rows)


def topics(path: Path, **options: Any) -> dict[str, Topic]:
    return {topic.id: topic for topic in analyse([path], **options).topics}


def test_targets_are_gathered_under_their_head(path: Path) -> None:
    result = topics(path)
    rib = result["FOOD/rib"]
    assert set(rib.forms) == {"ribs", "short rib", "the ribs", "rib", "plate of ribs"}
    assert (rib.category, rib.name, rib.reviews, rib.praising, rib.blaming) == ("FOOD", "ribs", 20, 15, 5)
    assert rib.net == pytest.approx(0.5)
    assert rib.counts == (5, 5, 5, 5)
    assert set(result["FOOD/cafe"].forms) == {"café", "cafe"}
    assert set(result["FOOD/wine"].forms) == {"wine", "glass of wine"}
    assert "FOOD/cream" in result


def test_compounds_in_two_spellings_are_one_topic(tmp_path: Path) -> None:
    words = ("key card", "key cards", "keycard", "air con", "aircon", "aircon", "car park")
    rows = [review(f"The [{word}](ROOM+) again.") for word in words for _ in range(3)]
    result = topics(parquet(tmp_path / "q.parquet", rows))
    assert {name: topic.reviews for name, topic in result.items()} == {
        "ROOM/key-card": 9,
        "ROOM/aircon": 9,
        "ROOM/car-park": 3,
    }


def test_topics_that_mean_the_same_are_proposed_for_the_topic_file(tmp_path: Path) -> None:
    words = ("waiter", "waiter", "waitresses", "manager", "crab", "lobster", "mutton", "muffin", "naan", "nacho")
    rows = [review(f"The [{word}](STAFF+) again.") for word in words for _ in range(3)]
    rows += [
        review(f"The [{word}](ROOM+) again.") for word in ("bathroom", "bathroom", "restroom", "bed") for _ in range(3)
    ]
    path = parquet(tmp_path / "q.parquet", rows)
    insights = analyse([path])
    assert [(pair.topic, pair.other) for pair in insights.similar_topics] == [
        ("ROOM/bathroom", "ROOM/restroom"),
        ("STAFF/waiter", "STAFF/waitress"),
    ]
    assert all(0.6 <= pair.similarity <= 1 for pair in insights.similar_topics)
    assert find_similar_topics(insights.topics, "en") == insights.similar_topics
    assert find_similar_topics(insights.topics, "de") == ()
    file = tmp_path / "topics.toml"
    file.write_text("\n".join(["[merge]", *merge_lines(insights.similar_topics)]))
    assert b"[merge]" in b"".join(render(insights))
    edited = analyse([path], topics=file)
    assert {topic.id: topic.reviews for topic in edited.topics}["STAFF/waiter"] == 9
    assert edited.similar_topics == ()


def test_embeddings_are_those_of_the_model() -> None:
    words, vectors = read_embeddings(["bathroom", "restroom", "no such word", "keycardx"])
    assert words == ["bathroom", "restroom"]
    model = onnx.load(pretrained.model_folder() / "model.onnx")
    [table] = [t for t in model.graph.initializer if t.name.endswith("word_embeddings.weight.levels")]
    levels = numpy_helper.to_array(table).astype(float)
    tokenizer = Tokenizer.from_file(str(pretrained.model_folder() / "tokenizer.json"))
    expected = levels[[tokenizer.token_to_id(word) for word in words]]
    assert vectors == pytest.approx(expected / np.linalg.norm(expected, axis=1, keepdims=True), abs=1e-6)


def test_ids_do_not_depend_on_the_run_or_on_other_reviews(path: Path, tmp_path: Path) -> None:
    more = parquet(tmp_path / "more.parquet", [review("[Ramen](FOOD+)!") for _ in range(200)])
    assert set(topics(path)) < set({t.id for t in analyse([path, more]).topics})
    assert analyse([path]).topics == analyse([path]).topics


def test_a_topic_file_merges_splits_renames_and_hides(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "topics.toml"
    file.write_text(
        """
        [merge]
        "FOOD/drinks" = ["FOOD/wine", "FOOD/cafe"]
        [split]
        "FOOD/rib" = ["short rib"]
        [rename]
        "FOOD/drinks" = "all drinks"
        [hide]
        ids = ["FOOD/cream"]
        """
    )
    result = topics(path, topics=file)
    assert "FOOD/cream" not in result
    assert (result["FOOD/drinks"].name, result["FOOD/drinks"].reviews) == ("all drinks", 16)
    assert result["FOOD/short-rib"].forms == ("short rib",)
    assert (result["FOOD/short-rib"].reviews, result["FOOD/rib"].reviews) == (4, 16)
    assert "short rib" not in result["FOOD/rib"].forms


def test_unknown_ids_are_named(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "topics.toml"
    file.write_text('[merge]\n"FOOD/rib" = ["FOOD/ribz"]\n[rename]\n"FODO/rib" = "Rib"\n[hide]\nids = ["FOOD/none"]\n')
    notes = analyse([path], topics=file).notes
    assert "The topic file names topics that no review has: FOOD/ribz, FODO/rib, FOOD/none." in notes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[merge", "is not TOML"),
        ("[join]\na = []", "section 'join' is unknown"),
        ("[merge]\na = 'b'", "'a' in section 'merge' is not a list of texts"),
        ("[rename]\na = ['b']", "'a' in section 'rename' is not a text"),
        ("hide = ['a']", "section 'hide' is unknown"),
    ],
)
def test_a_damaged_topic_file_is_one_line(path: Path, tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "topics.toml"
    file.write_text(text)
    with pytest.raises(DataError, match=message):
        analyse([path], topics=file)
    with pytest.raises(DataError, match=r"none\.toml cannot be read"):
        analyse([path], topics=tmp_path / "none.toml")


def test_new_and_gone_topics_have_a_trend(tmp_path: Path) -> None:
    rows = [
        review(
            f"The [{'ramen' if month < 7 else 'gyoza'}](FOOD+), the [tea](BEVERAGE+).",
            date=f"2024-{month:02}-{n + 1:02}",
        )
        for month in range(1, 13)
        for n in range(20)
    ]
    trends = {
        t.id: (t.trend, t.since and t.since.month) for t in analyse([parquet(tmp_path / "p.parquet", rows)]).topics
    }
    assert trends == {"FOOD/ramen": ("gone", 7), "FOOD/gyoza": ("new", 7), "BEVERAGE/tea": ("steady", None)}
