"""Behaviour of the default model: minimum functionality, directional and invariance tests."""

from __future__ import annotations

import pytest

from reviews_parsing import AspectParser


def parse_spans(parser: AspectParser, text: str) -> dict[str, tuple[str, str | None]]:
    parsed = parser.parse([text], min_score=0.3, spans_only=True)[0]
    return {(a.word or ""): (a.entity_group, a.polarity) for a in parsed.aspects}


@pytest.mark.parametrize(
    ("text", "word", "category"),
    [
        ("The lasagna was delicious.", "lasagna", "FOOD"),
        ("Our waitress was so friendly.", "waitress", "STAFF"),
        ("The service was painfully slow.", "service", "SERVICE"),
        ("Prices are very reasonable.", "Prices", "PRICE"),
        ("The cocktails were watery.", "cocktails", "BEVERAGE"),
        ("Beautiful view over the harbour.", "view", "VIEW"),
        ("The music was far too loud.", "music", "AMBIENCE"),
        ("Great location, right next to the station.", "location", "LOCATION"),
        ("This restaurant is fantastic.", "restaurant", "OVERALL"),
    ],
)
def test_categories_in_simple_sentences(parser: AspectParser, text: str, word: str, category: str) -> None:
    assert parse_spans(parser, text).get(word, ("", None))[0] == category


@pytest.mark.parametrize(
    ("text", "category", "polarity"),
    [
        ("Never again.", "OVERALL", "negative"),
        ("Will not return.", "OVERALL", "negative"),
        ("Avoid.", "OVERALL", "negative"),
    ],
)
def test_implicit_aspects(parser: AspectParser, text: str, category: str, polarity: str) -> None:
    aspects = parser.parse([text])[0].aspects
    assert (None, category, polarity) in {(a.word, a.entity_group, a.polarity) for a in aspects}


@pytest.mark.parametrize(
    ("good", "bad", "word"),
    [
        ("The soup was good.", "The soup was not good.", "soup"),
        ("The staff were helpful.", "The staff were not helpful at all.", "staff"),
        ("I would recommend the dumplings.", "I would never recommend the dumplings.", "dumplings"),
        ("The wine list is impressive.", "The wine list isn't impressive.", "wine list"),
    ],
)
def test_negation_reverses_the_polarity(parser: AspectParser, good: str, bad: str, word: str) -> None:
    assert parse_spans(parser, good)[word][1] == "positive"
    assert parse_spans(parser, bad)[word][1] == "negative"


@pytest.mark.parametrize(
    ("text", "word", "opinion"),
    [
        ("The soup was delicious.", "soup", "delicious"),
        ("Our waiter was rude but the dumplings were superb.", "dumplings", "superb"),
        ("Our waiter was rude but the dumplings were superb.", "waiter", "rude"),
        ("Terrible coffee.", "coffee", "Terrible"),
    ],
)
def test_aspects_have_the_opinion_that_judges_them(parser: AspectParser, text: str, word: str, opinion: str) -> None:
    opinions = {a.word: a.opinion and a.opinion.word for a in parser.parse([text])[0].aspects}
    assert opinions[word] == opinion


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        ("The food was amazing but the service was terrible.", "food", "service"),
        ("Although the waiter was rude, the pasta was wonderful.", "pasta", "waiter"),
        ("Lovely atmosphere, awful coffee.", "atmosphere", "coffee"),
    ],
)
def test_contrast_gives_each_side_its_own_polarity(parser: AspectParser, text: str, good: str, bad: str) -> None:
    spans = parse_spans(parser, text)
    assert spans[good][1] == "positive"
    assert spans[bad][1] == "negative"


@pytest.mark.parametrize("name", ["Anna", "Giorgos", "Mr. Okafor", "Xiu Ying"])
def test_a_name_does_not_change_the_answer(parser: AspectParser, name: str) -> None:
    spans = parse_spans(parser, f"{name} and I loved the grilled halloumi, but the room was freezing.")
    assert spans["grilled halloumi"] == ("FOOD", "positive")
    assert spans["room"] == ("AMBIENCE", "negative")


@pytest.mark.parametrize("tail", [" ", "\n", "\r\n\r\n", "\t", "\u00a0"])
def test_trailing_white_space_does_not_change_the_answer(parser: AspectParser, tail: str) -> None:
    text = "The duck was dry and the bill was huge."
    assert parser.parse([text + tail])[0].aspects == parser.parse([text])[0].aspects


@pytest.mark.parametrize(
    "text",
    [
        "We went there on Tuesday with my parents.",
        "Do you open on Sundays?",
        "I had booked a table for four at eight.",
    ],
)
def test_texts_without_judgements_have_no_aspects(parser: AspectParser, text: str) -> None:
    assert parser.parse([text], min_score=0.5)[0].aspects == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Burgers & fries are great.", {"Burgers", "fries"}),
        ("great pizza &amp; beer", {"pizza", "beer"}),
        ("Loved the mac & cheese.", {"mac & cheese"}),
        ("Kettle & Crumb was great.", {"Kettle & Crumb"}),
    ],
)
def test_an_ampersand_joins_names_and_dishes_but_not_two_things(
    parser: AspectParser, text: str, words: set[str]
) -> None:
    assert parse_spans(parser, text).keys() == words
