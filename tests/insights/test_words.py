"""Forms of a target are counted together."""

from __future__ import annotations

from pathlib import Path

import pytest

from insights.making import parquet, review
from reviews_parsing.errors import DataError
from reviews_parsing.insights import analyse
from reviews_parsing.insights.topics import lemmatiser


def test_forms_are_merged_by_lemma_and_case(parsed: Path) -> None:
    words = {word.word: word for word in analyse([parsed]).words}
    assert set(words) == {"soup", "waiter"}  # nobody praises or blames the table
    soup = words["soup"]
    assert (soup.category, soup.aspects, soup.positive, soup.negative) == ("FOOD", 3, 2, 1)
    assert set(soup.forms) == {"soup", "soups"}
    assert soup.praised_with == ("love", "lovely")
    assert words["waiter"].blamed_with == ("rude",)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Lobster Rolls", "the lobster roll", True),
        ("pastries", "Pastry", True),
        ("women", "woman", True),
        ("menu  card", "menu\ncards", True),
        ("seating", "seats", False),
        ("fried rice", "fry rice", False),
        ("glass", "glasses", True),
        ("bus", "bu", False),
    ],
)
def test_what_is_one_thing(one: str, other: str, same: bool) -> None:
    lemmatise = lemmatiser("en")
    assert (lemmatise(one) == lemmatise(other)) is same


def test_other_languages_have_other_lemmas() -> None:
    assert lemmatiser("nl")("Broden") == lemmatiser("nl")("brood")


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(DataError, match="language 'xx'"):
        lemmatiser("xx")


def test_the_spelling_is_the_usual_one_without_the_capital_of_a_beginning(tmp_path: Path) -> None:
    rows = [review(f"[{word}](BEVERAGE+).") for word in ("Tea", "Tea", "tea", "Guinness", "guinness stout", "IPA")]
    words = {word.word for word in analyse([parquet(tmp_path / "p.parquet", rows)]).words}
    assert words == {"tea", "Guinness", "guinness stout", "IPA"}
