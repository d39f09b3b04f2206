"""Counts equal figures computed by hand and by a plain loop."""

from __future__ import annotations

import csv
import json
import tempfile
from collections import Counter
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from insights.making import Row, jsonl, parquet, review
from reviews_parsing.errors import DataError
from reviews_parsing.insights import analyse, to_json


def test_reviews_and_aspects_by_hand(parsed: Path) -> None:
    insights = analyse([parsed])
    assert (insights.reviews, insights.with_aspects, insights.aspects, insights.implicit) == (5, 4, 7, 1)
    food, staff, ambience = insights.categories
    assert (food.category, staff.category, ambience.category) == ("FOOD", "STAFF", "AMBIENCE")
    assert (food.reviews, food.praising, food.blaming) == (3, 3, 1)
    assert (food.aspects, food.implicit, food.positive, food.neutral, food.negative) == (4, 1, 3, 0, 1)
    assert food.mentions.value == pytest.approx(3 / 5)
    assert food.praise.value == 1
    assert food.blame.value == pytest.approx(1 / 3)
    assert (staff.reviews, staff.praising, staff.blaming) == (2, 1, 1)
    assert (ambience.neutral, ambience.other) == (1, 0)


def test_aspects_that_are_not_sure_enough_do_not_count(tmp_path: Path) -> None:
    rows = [review("[Tea](BEVERAGE+), warm.", score=0.4), review("[Tea](BEVERAGE-), cold.", score=0.8)]
    path = parquet(tmp_path / "p.parquet", rows)
    assert [c.negative for c in analyse([path], min_score=0.5).categories] == [1]
    assert [c.aspects for c in analyse([path], min_score=0.5).categories] == [1]
    assert analyse([path], min_score=0.9).categories == ()


def test_a_file_of_one_review_without_aspects(tmp_path: Path) -> None:
    insights = analyse([parquet(tmp_path / "one.parquet", [review("We came on a Monday.")])], ["text"])
    assert (insights.reviews, insights.aspects, insights.categories, insights.words) == (1, 0, (), ())
    assert "No review has an aspect that counts." in insights.notes
    assert insights.comparisons[0].note is not None


def test_periods_count_all_reviews_of_their_time(parsed: Path) -> None:
    insights = analyse([parsed])
    assert (insights.time, insights.first, insights.last, insights.dated) == (
        "date",
        date(2024, 1, 5),
        date(2024, 3, 3),
        5,
    )
    food = [p for p in insights.periods if p.category == "FOOD"]
    assert sum(p.total for p in food) == 5
    assert sum(p.reviews for p in food) == 3
    assert {p.category for p in insights.periods} == {"FOOD", "STAFF", "AMBIENCE"}


def test_several_columns_are_crossed(tmp_path: Path) -> None:
    rows = [review("[Tea](BEVERAGE+).", city=c, shop=s) for c, s in ("ax", "ax", "ay", "bx")]
    insights = analyse([parquet(tmp_path / "p.parquet", rows)], ["city", "shop"])
    cells = {cell.values: (cell.total, cell.reviews, cell.praising) for cell in insights.cells}
    assert cells == {("a", "x"): (2, 2, 2), ("a", "y"): (1, 1, 1), ("b", "x"): (1, 1, 1)}


ASPECTS = st.lists(
    st.fixed_dictionaries(
        {
            "entity_group": st.sampled_from(["FOOD", "STAFF", 'PRICE\'S "x"']),
            "score": st.one_of(st.none(), st.floats(0, 1)),
            "polarity": st.sampled_from(["positive", "negative", "neutral", "conflict", None]),
            "word": st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=4)),
        }
    ),
    max_size=4,
)
REVIEWS = st.lists(st.tuples(ASPECTS, st.sampled_from(["x", "y", None])), min_size=1, max_size=12)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(reviews=REVIEWS, least=st.sampled_from([0.0, 0.5]))
def test_counts_agree_with_a_plain_loop(reviews: list[tuple[list[Row], str | None]], least: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows = [{"text": "Words.", "where": where, "aspects": aspects} for aspects, where in reviews]
        insights = analyse([jsonl(Path(folder) / "p.jsonl", rows)], ["where"], min_score=least)
    mentioning: Counter[str] = Counter()
    polar: Counter[tuple[str, str | None]] = Counter()
    praising: Counter[str] = Counter()
    implicit = 0
    for aspects, _ in reviews:
        kept = [a for a in aspects if (a["score"] or 0) >= least]
        mentioning.update({a["entity_group"] for a in kept})
        praising.update({a["entity_group"] for a in kept if a["polarity"] == "positive"})
        polar.update((a["entity_group"], a["polarity"]) for a in kept)
        implicit += sum(a["word"] is None for a in kept)
    assert insights.reviews == len(reviews)
    assert insights.implicit == implicit
    assert {c.category: c.reviews for c in insights.categories} == mentioning
    assert {c.category: c.praising for c in insights.categories} == {name: praising[name] for name in mentioning}
    for category in insights.categories:
        assert category.positive == polar[category.category, "positive"]
        assert category.other == polar[category.category, "conflict"] + polar[category.category, None]
        assert category.mentions.low <= category.mentions.value <= category.mentions.high


@pytest.mark.parametrize("form", ["parquet", "jsonl", "csv"])
def test_empty_texts_are_not_reviews(tmp_path: Path, form: str) -> None:
    rows = [review("The [soup](FOOD+) was fine.", shop="Quay", stars=5, date="2024-01-05") for _ in range(30)]
    rows += [review("We came on a Monday.", shop="Hill", stars=1, date="2024-02-05") for _ in range(10)]
    empty = [review(text, shop="Hill", stars=1, date="2020-01-05") for text in ("", "NaN", "\u200b\u3000\ufeff")]
    rows[5:5] = [*empty, *({**row, "text": None} for row in empty)]
    path = tmp_path / f"p.{form}"
    if form == "csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows({**row, "aspects": json.dumps(row["aspects"])} for row in rows)
    else:
        (parquet if form == "parquet" else jsonl)(path, rows)
    insights = analyse([path], ["shop"], rating="stars")
    assert (insights.reviews, insights.empty, insights.with_aspects) == (40, 6, 30)
    assert insights.notes[0] == "6 of 46 rows have an empty text and are not counted."
    assert (insights.first, insights.dated) == (date(2024, 1, 5), 40)
    assert insights.categories[0].mentions.value == pytest.approx(30 / 40)
    assert insights.rating is not None
    assert (insights.rating.rated, insights.rating.mean) == (40, 4)
    assert {group.value: group.reviews for group in insights.comparisons[0].groups} == {"Quay": 30, "Hill": 10}
    assert to_json(insights)["empty"] == 6


def test_a_file_of_empty_texts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no review: the column 'text' is empty in all 3 rows"):
        analyse([parquet(tmp_path / "p.parquet", [review(""), review(" "), review("")])])
