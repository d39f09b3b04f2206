"""Conversion between spans and IOB2 tags."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from nervaluate.utils import collect_named_entities

from reviews_parsing.schema import Taxonomy
from reviews_parsing.tagging import WordSpan, spans_to_tags, tags_to_spans

TAXONOMY = Taxonomy(("BEVERAGE", "FOOD", "STAFF"))


@st.composite
def disjoint_spans(draw: st.DrawFn) -> tuple[list[WordSpan], int]:
    """Draw ordered spans, some of them adjacent, and a number of words that is large enough for them."""
    spans, end = [], 0
    for gap, length, category in draw(st.lists(st.tuples(*(st.integers(a, b) for a, b in ((0, 2), (1, 4), (0, 2)))))):
        spans.append(WordSpan(end + gap, end + gap + length, category))
        end = spans[-1].stop
    return spans, end + draw(st.integers(0, 3))


@given(disjoint_spans())
def test_spans_to_tags_to_spans_round_trips(spans_and_count: tuple[list[WordSpan], int]) -> None:
    spans, count = spans_and_count
    assert tags_to_spans(spans_to_tags(spans, count)) == spans


@given(st.lists(st.integers(0, 6)))
def test_spans_of_any_tag_sequence_agree_with_nervaluate(tags: list[int]) -> None:
    names = [TAXONOMY.tags[tag] for tag in tags]
    entities = [
        {"label": TAXONOMY.categories[c], "start": start, "end": stop - 1} for start, stop, c in tags_to_spans(tags)
    ]
    assert entities == collect_named_entities(names)


def test_the_earlier_of_two_overlapping_spans_wins() -> None:
    assert spans_to_tags([WordSpan(0, 2, 0), WordSpan(1, 3, 1)], 3) == [1, 2, 0]


def test_tags_are_alphabetical_iob2() -> None:
    assert TAXONOMY.tags == ("O", "B-BEVERAGE", "I-BEVERAGE", "B-FOOD", "I-FOOD", "B-STAFF", "I-STAFF")
