"""ACOS reader and writer."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviews_parsing import data
from reviews_parsing.data import acos
from reviews_parsing.data.conversion_loss import count_losses
from reviews_parsing.errors import DataError
from reviews_parsing.schema import Aspect, Opinion, Review

from .strategies import lists, properties, reviews

LINE = "the tofu stew was too salty , but cheap\t1,3 FOOD#QUALITY 0 4,6\t-1,-1 FOOD#PRICES 2 8,9\t1,3 X 1 -1,-1"
words = st.text(st.characters(exclude_characters=" \t\r\n", exclude_categories=["Cs"]), min_size=1, max_size=4)


def decode_one(text: str) -> Review:
    ((_, review),) = acos.decode(text.encode(), "x")
    return review


def test_decode_reads_text_and_quads() -> None:
    review = decode_one(LINE)
    assert review.text == "the tofu stew was too salty , but cheap"
    assert review.aspects == (
        Aspect("FOOD#QUALITY", "tofu stew", 4, 13, "negative", Opinion("too salty", 18, 27)),
        Aspect("FOOD#PRICES", None, None, None, "positive", Opinion("cheap", 34, 39)),
        Aspect("X", "tofu stew", 4, 13, "neutral"),
    )


def test_negative_and_empty_token_ranges_are_implicit() -> None:
    with pytest.warns(data.LabelWarning, match="x: not read: 1 of 1 spans as words, which are empty"):
        assert decode_one("dear\t-1,-1 PRICE 0 1,1").aspects == (Aspect("PRICE", polarity="negative"),)


@properties
@given(st.data())
def test_decode_then_encode_restores_the_line(draw: st.DataObject) -> None:
    tokens = draw.draw(st.lists(words, min_size=1, max_size=6))
    token_range = st.tuples(st.integers(0, len(tokens) - 1), st.integers(1, len(tokens))).filter(lambda p: p[0] < p[1])
    pairs = st.one_of(st.just((-1, -1)), token_range).map(lambda p: f"{p[0]},{p[1]}")
    quads = draw.draw(st.lists(st.tuples(pairs, st.sampled_from("012"), pairs), max_size=3))
    rows = [f"{aspect} FOOD {polarity} {opinion}" for aspect, polarity, opinion in quads]
    line = "\t".join([" ".join(tokens), *rows])
    assert acos.encode([decode_one(line)]).decode() == f"{line}\n"


@properties
@given(lists(reviews()))
def test_encode_preserves_any_review_or_rejects_it(given_reviews: list[Review]) -> None:
    try:
        written = acos.encode(given_reviews)
    except DataError:
        return
    decoded = [review for _, review in acos.decode(written, "x")]
    assert not {"polarities", "categories"} & set(count_losses(given_reviews, decoded))
    for review in decoded:
        assert all(review.text[a.start : a.end] == a.word for a in review.aspects if a.span)


@pytest.mark.parametrize(
    ("quad", "message"),
    [
        ("1,3 FOOD 3 4,5", "x:1: '1,3 FOOD 3 4,5' is not a quad"),
        ("1,3 FOOD 2", "is not a quad"),
        ("2,4 FOOD 2 0,1", "x:1: tokens 2,4 are not among the 3"),
        ("2,1 FOOD 2 0,1", "tokens 2,1 are not among"),
    ],
)
def test_invalid_quads_are_errors(quad: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        decode_one(f"good tofu stew\t{quad}")


def test_format_is_detected_by_the_first_line(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text(f"{LINE}\n")
    (review,) = data.read(tmp_path / "train.tsv")
    assert len(review.aspects) == 3
    data.write([review], tmp_path / "again.acos")
    assert (tmp_path / "again.acos").read_text() == f"{LINE}\n"
