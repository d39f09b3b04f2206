"""Sentence splitter: boundaries as a reader would set them, no text lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviews_parsing.tagging import boundaries, sentences


def split(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@given(st.text(alphabet=st.sampled_from('ab .!?\n…"A1。é')))
def test_only_white_space_is_omitted(text: str) -> None:
    assert "".join("".join(split(text)).split()) == "".join(text.split())
    assert boundaries(text) == sorted(boundaries(text))


@pytest.mark.parametrize(
    "text",
    [
        "We paid approx. $20 for the St. Louis ribs at Dr. Lee's.",
        "Open till 9 p.m. on Sundays.",
        "A bowl is $14.50 now.",
        "Booked on booking.com for 2 nights.",
        "The bar, i.e. the counter, was full.",
        "Mr. J. Patel at the desk helped us.",
        "It took approx. 20 min. to be seated.",
    ],
)
def test_abbreviations_decimals_and_addresses_do_not_end_a_sentence(text: str) -> None:
    assert split(text) == [text]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Nice!! Will be back", ["Nice!!", "Will be back"]),
        ("good food. slow service", ["good food.", "slow service"]),
        ("Very tasty.The waiter was rude.", ["Very tasty.", "The waiter was rude."]),
        ("Pros: bed\nCons: noise", ["Pros: bed", "Cons: noise"]),
        ("We closed the place at 2 a.m. The staff stayed.", ["We closed the place at 2 a.m.", "The staff stayed."]),
        ("Loved it... really.", ["Loved it...", "really."]),
        ('"Awful." That is all.', ['"Awful."', "That is all."]),
        ("美味しい。また来ます。", ["美味しい。", "また来ます。"]),
        ("So did I. We left.", ["So did I.", "We left."]),
    ],
)
def test_sentences_end_at_stops_and_line_breaks(text: str, parts: list[str]) -> None:
    assert split(text) == parts
