"""Marks keep the text unchanged, and show polarity by signs and words beside colour."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Page

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
TEXT_WITHOUT_TAGS = """async ([text, aspects, threshold]) => {
    const { hues, renderReview } = await import("/static/marks.js");
    const review = renderReview(text, aspects, hues(aspects.map((aspect) => aspect.entity_group)), { threshold });
    const shown = review.querySelector(".rp-text");
    shown.querySelectorAll(".rp-tag").forEach((tag) => tag.remove());
    return shown.textContent;
}"""
RENDER = """async ([text, aspects, others]) => {
    const { hues, renderReview } = await import("/static/marks.js");
    return renderReview(text, aspects, hues(aspects.map((aspect) => aspect.entity_group)), { others }).outerHTML;
}"""
HUES = """async (categories) => (await import("/static/marks.js")).hues(categories)"""


@st.composite
def parsed_reviews(draw: st.DrawFn) -> tuple[str, list[dict[str, Any]]]:
    """Any text with any spans, which may overlap; offsets count code points."""
    text = draw(TEXTS)
    aspects = []
    for _ in range(draw(st.integers(0, 4))):
        (a, b), (c, d) = (sorted(draw(st.lists(st.integers(0, len(text)), min_size=2, max_size=2))) for _ in range(2))
        aspect: dict[str, Any] = {
            "entity_group": draw(st.sampled_from(["FOOD", 'A"B'])),
            "word": None,
            "start": None,
            "end": None,
        }
        if a < b:
            aspect |= {"word": text[a:b], "start": a, "end": b}
        if c < d:
            aspect["opinion"] = {"word": text[c:d], "start": c, "end": d}
        aspect["polarity"] = draw(st.sampled_from(["positive", "negative", "<odd>", None]))
        aspect["score"] = draw(st.none() | st.floats(0, 1))
        aspects.append(aspect)
    return text, aspects


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(parsed_reviews(), st.floats(0, 1))
def test_without_the_tags_the_text_is_unchanged(
    window: Page, review: tuple[str, list[dict[str, Any]]], threshold: float
) -> None:
    text, aspects = review
    assert window.evaluate(TEXT_WITHOUT_TAGS, [text, aspects, threshold]) == text


def aspect(category: str, word: str, start: int, **fields: object) -> dict[str, Any]:
    return {"entity_group": category, "word": word, "start": start, "end": start + len(word), **fields}


def test_polarity_is_shown_by_a_sign_and_in_words(window: Page) -> None:
    soup = aspect("FOOD", "soup", 5, polarity="positive", score=0.8, polarity_score=0.9)
    html = window.evaluate(RENDER, ["Good soup", [soup], None])
    assert "rp-positive" in html
    assert ">+</b>" in html
    assert "(FOOD, positive)" in html
    assert "0.80" in html
    assert "0.90" in html


def test_aspects_of_one_of_two_answers_are_labelled(window: Page) -> None:
    soup, bread = aspect("FOOD", "soup", 0, polarity="positive"), aspect("FOOD", "bread", 5, polarity="positive")
    html = window.evaluate(RENDER, ["soup bread", [soup, bread], [soup]])
    assert html.count("only here") == 1
    assert html.index("only here") > html.index("<q>bread</q>")


def test_hues_are_spread_and_deterministic(window: Page) -> None:
    assert window.evaluate(HUES, ["B", "A", "B"]) == {"A": 0, "B": 180}
