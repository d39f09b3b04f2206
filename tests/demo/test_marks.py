"""Marks change nothing of the text, and say in words what they say in colour."""

from __future__ import annotations

import re
from html import unescape

from hypothesis import given
from hypothesis import strategies as st

from reviews_parsing.demo import marks
from reviews_parsing.schema import Aspect, Opinion, ParsedReview

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@st.composite
def parsed(draw: st.DrawFn) -> ParsedReview:
    """Any text with any spans, also such as overlap."""
    text = draw(TEXTS)
    aspects = []
    for _ in range(draw(st.integers(0, 4))):
        (a, b), (c, d) = (sorted(draw(st.lists(st.integers(0, len(text)), min_size=2, max_size=2))) for _ in range(2))
        opinion = Opinion(text[c:d], c, d) if c < d else None
        polarity = draw(st.sampled_from(["positive", "negative", "<odd>", None]))
        score = draw(st.none() | st.floats(0, 1))
        span = (text[a:b], a, b) if a < b else (None, None, None)
        aspects.append(Aspect(draw(st.sampled_from(["FOOD", 'A"B'])), *span, polarity, opinion, score))
    return ParsedReview(text, tuple(aspects))


@given(parsed(), st.floats(0, 1))
def test_without_the_marks_the_text_is_as_it_was(review: ParsedReview, threshold: float) -> None:
    html = marks.text(review, marks.hues(a.entity_group for a in review.aspects), threshold)
    tag = r'<span class="rp-tag"><span aria-hidden="true">.*?</span><span class="rp-heard">.*?</span></span>'
    numbers = re.sub(r' ?<(span|b) class="rp-(number|sign)".*?</\1>', "", html, flags=re.DOTALL)
    assert unescape(re.sub("<[^>]*>", "", re.sub(tag, "", numbers, flags=re.DOTALL))) == review.text


def test_polarity_is_said_by_a_sign_and_in_words() -> None:
    review = ParsedReview("Good soup", (Aspect("FOOD", "soup", 5, 9, "positive", score=0.8, polarity_score=0.9),))
    html = marks.review(review)
    assert "rp-positive" in html
    assert ">+</b>" in html
    assert "(FOOD, positive)" in html
    assert "0.80" in html
    assert "0.90" in html


def test_what_only_one_of_two_answers_has_is_labelled() -> None:
    soup, bread = Aspect("FOOD", "soup", 0, 4, "positive"), Aspect("FOOD", "bread", 5, 10, "positive")
    html = marks.review(ParsedReview("soup bread", (soup, bread)), others=[soup])
    assert html.count("only here") == 1
    assert html.index("only here") > html.index("<q>bread</q>")


def test_hues_are_spread_and_stay() -> None:
    assert marks.hues(["B", "A", "B"]) == {"A": 0, "B": 180}
