"""Quotes are probable, short and unanimous, and link to their reviews."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insights.making import Row, parquet, review
from reviews_parsing.insights import analyse
from reviews_parsing.tagging.sentences import sentences as split


def test_the_clear_sentence_is_shown_with_its_span_and_its_review(tmp_path: Path) -> None:
    rows = [
        review("We sat down at eight. The 🍜 [ramen](FOOD+) was [superb](!) from the first spoon. Then we left."),
        review("The [ramen](FOOD+) here, and the [gyoza](FOOD-) as well, which is to say both of them at once, so so."),
        review("[Ramen](FOOD+), surely?", score=0.3),
    ]
    insights = analyse([parquet(tmp_path / "p.parquet", rows)])
    best = insights.sentences[0]
    assert best.sentence == "The 🍜 ramen was superb from the first spoon."
    assert best.sentence[best.start : best.end] == best.word == "ramen"
    assert best.review_name == "p.parquet, row 1"
    shown = insights.shown[best.review]
    assert shown.text == rows[0]["text"]
    assert [shown.text[s.start : s.end] for s in shown.spans] == ["ramen"]
    assert best.probability == pytest.approx(0.81)
    assert not any("surely" in sentence.sentence for sentence in insights.sentences)


def test_reviews_are_called_by_their_ids(tmp_path: Path) -> None:
    rows = [review("The [ramen](FOOD+) was fine on Monday.", Review_ID=17)]
    (said,) = analyse([parquet(tmp_path / "p.parquet", rows)]).sentences
    assert said.review_name == "17"


def test_a_copied_review_is_shown_once(tmp_path: Path) -> None:
    rows = [review("The [ramen](FOOD+) was fine on Monday.") for _ in range(5)]
    assert len(analyse([parquet(tmp_path / "p.parquet", rows)]).sentences) == 1


def test_a_sentence_that_hundreds_copy_takes_the_place_of_one(tmp_path: Path) -> None:
    rows = [review(f"The [soup](FOOD+) was fine today. That was visit {n}.", score=0.95) for n in range(300)]
    rows.append(review("The [ramen](FOOD+) was a joy from the first spoon."))
    said = {insights.word for insights in analyse([parquet(tmp_path / "p.parquet", rows)]).sentences}
    assert said == {"soup", "ramen"}


def test_without_the_texts_there_are_no_sentences(tmp_path: Path) -> None:
    rows: list[Row] = [{"text": "Parsed, then cut away.", "aspects": review("The [ramen](FOOD+).")["aspects"]}]
    insights = analyse([parquet(tmp_path / "p.parquet", rows)])
    assert (insights.sentences, insights.shown) == ((), ())
    assert insights.words[0].word == "ramen"


def test_the_text_is_the_column_that_the_offsets_point_into(tmp_path: Path) -> None:
    rows = [{"text": "noise", **{"what was said": (r := review("The [ramen](FOOD+) was fine."))["text"]}, **r}]
    rows[0]["text"] = "noise"
    assert analyse([parquet(tmp_path / "p.parquet", rows)]).shown[0].text == "The ramen was fine."


@given(st.text("aB .!?\n…。\"'🍜", max_size=60))
def test_sentences_are_parts_of_the_text_and_lose_no_letter(text: str) -> None:
    parts = [text[start:end] for start, end in split(text)]
    assert "".join("".join(parts).split()) == "".join(text.split())
    assert all(part == part.strip() and part for part in parts)


def test_a_price_does_not_end_a_sentence() -> None:
    text = "A bowl is $14.50 now. Worth it!"
    assert [text[start:end] for start, end in split(text)] == ["A bowl is $14.50 now.", "Worth it!"]


def test_quotes_agree_with_the_rating(tmp_path: Path) -> None:
    rows = [
        review("The [toilets](AMBIENCE-) have been redone at last!", stars=5),
        review("The [toilets](AMBIENCE-) were filthy on both days.", stars=1),
        review("The [garden](AMBIENCE+) was lovely in the evening.", stars=1),
        review("The [garden](AMBIENCE+) was lovely in the morning.", stars=4),
        review("The [lights](AMBIENCE-) were broken in the hall."),
    ]
    insights = analyse([parquet(tmp_path / "p.parquet", rows)])
    assert {(s.word, s.stars) for s in insights.sentences} == {("toilets", 1), ("garden", 4), ("lights", None)}


def test_the_most_probable_answer_is_quoted(tmp_path: Path) -> None:
    rows = []
    for score, polarity_score, word in (
        (0.99, 0.5, "soup"),
        (0.8, 0.9, "ramen"),
        (0.6, 0.6, "gyoza"),
        (0.9, 0.3, "tea"),
    ):
        row = review(f"The [{word}](FOOD-) was cold on that evening.", score=score)
        row["aspects"][0]["polarity_score"] = polarity_score
        rows.append(row)
    quotes = analyse([parquet(tmp_path / "p.parquet", rows)]).sentences
    assert [quote.word for quote in quotes] == ["ramen"]
    assert quotes[0].probability == pytest.approx(0.72)


def test_entities_and_tags_are_read_as_what_they_stand_for(tmp_path: Path) -> None:
    text = "Loved it.<br />The [fish &amp; chips](FOOD+) weren&#39;t <b>greasy</b> at all &hearts;."
    insights = analyse([parquet(tmp_path / "p.parquet", [review(text)])])
    (quote,) = insights.sentences
    assert quote.sentence.endswith("The fish & chips weren't greasy at all ♥.")
    assert quote.sentence[quote.start : quote.end] == quote.word == "fish & chips"
    shown = insights.shown[0]
    assert [shown.text[span.start : span.end] for span in shown.spans] == ["fish & chips"]


def test_a_quote_tells_place_date_and_stars(tmp_path: Path) -> None:
    row = review("The [soup](FOOD+) was fine on Monday.", business="Quay", date="2024-01-05", stars=5)
    (quote,) = analyse([parquet(tmp_path / "p.parquet", [row, review("Nothing.", stars=1)])]).sentences
    assert (quote.place, str(quote.day), quote.stars) == ("Quay", "2024-01-05", 5)
