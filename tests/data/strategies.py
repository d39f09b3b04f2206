"""Hypothesis strategies for arbitrary texts and reviews."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from reviews_parsing.schema import Aspect, Opinion, Review

properties = settings(deadline=None, max_examples=60)

AWKWARD = ["\r\n", "\r", "\n", "\t", " ", "  ", "\u00a0", "\u2028", "\x85", "\ufeff", "🍜", "👩‍🍳", "e\u0301", "क्षि"]
AWKWARD += ["<b>", "&amp;", "]]>", '"', "'", "#", "# id = 7", "-DOCSTART-", "{", "=", "NULL", "寿司", "\u0600 ", "\x7f"]

texts = st.one_of(
    st.text(max_size=40),
    st.lists(st.one_of(st.sampled_from(AWKWARD), st.text(max_size=6)), max_size=8).map("".join),
)
names = st.one_of(st.sampled_from(["FOOD", "STAFF", "FOOD#QUALITY", "ASPECT"]), st.text(min_size=1, max_size=8))
polarities = st.sampled_from([None, "positive", "negative", "neutral", "conflict"])


def is_xml_text(text: str) -> bool:
    """Return True if XML 1.0 can hold the text (section 2.2)."""
    return all(c in "\t\n\r" or "\x20" <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff" for c in text)


def is_single_line(text: str) -> bool:
    return not any(c in text for c in "\t\r\n")


@st.composite
def aspects(draw: Callable[..., Any], text: str, groups: st.SearchStrategy[str] = names) -> Aspect:
    """Draw an aspect of the text; it has a span only if the text is not empty."""
    polarity = draw(polarities)
    if not text or draw(st.booleans()):
        return Aspect(draw(groups), polarity=polarity)
    start = draw(st.integers(0, len(text) - 1))
    end = draw(st.integers(start + 1, len(text)))
    opinion = Opinion(text[:start], 0, start) if draw(st.booleans()) else None
    return Aspect(draw(groups), text[start:end], start, end, polarity, opinion)


@st.composite
def reviews(
    draw: Callable[..., Any], texts: st.SearchStrategy[str] = texts, groups: st.SearchStrategy[str] = names
) -> Review:
    text = draw(texts)
    labels = draw(st.lists(aspects(text, groups), max_size=4))
    meta = draw(st.dictionaries(st.sampled_from(["review", "source", "stars"]), texts, max_size=2))
    return Review(draw(texts), text, tuple(labels), meta)


def lists(review: st.SearchStrategy[Review]) -> st.SearchStrategy[list[Review]]:
    return st.lists(review, min_size=1, max_size=4)
