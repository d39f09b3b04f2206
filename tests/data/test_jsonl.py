import json
from pathlib import Path

import pytest
from hypothesis import given

from reviews_parsing import data
from reviews_parsing.data import jsonl
from reviews_parsing.errors import DataError
from reviews_parsing.schema import Aspect, Opinion, Review

from .strategies import lists, properties, reviews


@properties
@given(lists(reviews()))
def test_encode_then_decode_preserves_any_reviews(given_reviews: list[Review]) -> None:
    assert [review for _, review in jsonl.decode(jsonl.encode(given_reviews), "x")] == given_reviews


def test_a_line_is_the_json_form_of_a_review(tmp_path: Path) -> None:
    aspect = Aspect("FOOD", "gnocchi", 0, 7, "positive", Opinion("airy", 8, 12), score=0.5, polarity_score=0.25)
    review = Review("a", "gnocchi airy", (aspect, Aspect("STAFF", polarity="negative")), {"city": "Graz"})
    assert not data.write([review], tmp_path / "x.jsonl")
    assert json.loads((tmp_path / "x.jsonl").read_text(encoding="utf-8")) == review.to_json()
    assert data.read(tmp_path / "x.jsonl") == [review]


def test_blank_lines_and_a_byte_order_mark_are_skipped() -> None:
    numbered = list(jsonl.decode(b'\xef\xbb\xbf{"text": "Warm"}\r\n\n{"id": "b", "text": "Cold"}', "x"))
    assert [(line, review.id, review.text) for line, review in numbered] == [(1, "#1", "Warm"), (3, "b", "Cold")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "b", "text": "Half of', r"x:2: not JSON \(Unterminated string"),
        ('{"id": "b"}', "x:2: a review has no 'text'"),
        ("[1]", "x:2: a list, not an object"),
        ('{"text": NaN}', "x:2: not JSON .NaN"),
        ('{"text": "\\ud83c"}', "x:2: holds half of a surrogate pair"),
        ('{"text": "a", "aspects": [{"entity_group": "A", "note": 1}]}', "x:2: an aspect has no field 'note'"),
        ('{"text": "a", "aspects": [{"entity_group": "A", "opinion": {"by": 1}}]}', "x:2: .* no field 'by'"),
        ('{"text": "a", "aspects": [{"entity_group": "A", "start": "0"}]}', "x:2: field 'start' must not be str"),
        ('{"text": "a", "aspects": 3}', "x:2: 'aspects' must be a list"),
    ],
)
def test_invalid_lines_are_errors(line: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        list(jsonl.decode(f'{{"id": "a", "text": "Fine"}}\n{line}\n'.encode(), "x"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [float("nan"), object(), "\ud83c"])
def test_encode_rejects_values_that_json_cannot_hold(value: object) -> None:
    with pytest.raises(DataError, match="review a"):
        jsonl.encode([Review("a", "Fine", (), {"extra": value})])
