"""One review on the page, in a real browser: shown, filtered, corrected, also by keyboard and by two people."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from serving.client import Server

from .conftest import PHONE, Site, Visit, correct, no_requests, parse

REVIEW = "The pho was lovely 🍜 but the waiter was rude. Yum, though!"
# Controls that are seen and have no name that a screen reader could say.
NAMELESS = """() => [...document.querySelectorAll('button, input, textarea, select, [role=tab], a')]
    .filter(e => e.offsetParent && !(e.getAttribute('aria-label') || e.innerText?.trim() || e.labels?.length
        || e.getAttribute('aria-labelledby') || e.title)).map(e => e.outerHTML.slice(0, 120))"""
WIDER = "() => document.documentElement.scrollWidth - window.innerWidth"


def test_it_shows_what_the_server_answers(page: Page, server: Server) -> None:
    parse(page, REVIEW)
    [found] = server.infer([REVIEW]).predictions
    rows = page.locator("#rp-first .rp-aspects > li")
    expect(rows).to_have_count(len(found))
    for row, aspect in zip(rows.all(), found, strict=True):
        expect(row).to_contain_text(aspect["word"] or "no word in particular")
        for shown in (aspect["entity_group"], aspect["polarity"], f"{aspect['score']:.2f}"):
            expect(row).to_contain_text(shown)
    assert {a["word"] for a in found} >= {"pho", "waiter"}
    expect(page.locator("#rp-first mark")).to_have_count(sum(a["word"] is not None for a in found))
    expect(page.locator("#rp-first h3")).to_have_text("Version 1")


def test_the_slider_filters_without_a_request(page: Page) -> None:
    parse(page, REVIEW)
    slider = page.get_by_role("slider", name=re.compile("Least probability"))
    rows = page.locator("#rp-first .rp-aspects > li:visible")
    all_of_them = rows.count()
    with no_requests(page):
        slider.focus()
        slider.press("End")
        expect(rows).to_have_count(0)
        expect(page.locator("#rp-first .rp-count")).to_contain_text("less probable")
        slider.press("Home")
        expect(rows).to_have_count(all_of_them)


def test_what_cannot_be_parsed_is_told_and_stays_and_any_text_is_shown_as_text(page: Page) -> None:
    parse(page, " \n")
    expect(page.locator(".rp-note")).to_contain_text("nothing to parse yet")
    long = "The soup was fine. " * 1100
    page.get_by_label("A review", exact=True).fill(long)
    page.get_by_role("button", name="Parse", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("413")
    expect(page.get_by_label("A review", exact=True)).to_have_value(long)
    parse(page, "The <img src=x onerror=alert(1)> soup & <b>bread</b> were good.")
    assert page.locator("#rp-first .rp-text img, #rp-first .rp-text b:not(.rp-sign)").count() == 0


def test_an_answer_is_corrected_by_keyboard_alone(page: Page, site: Site, server: Server) -> None:
    text = "🍜 The pho was lovely but the waiter was rude; so it goes."
    correct(page, text)
    keys = page.keyboard
    # Select "t goes" from the end of the text, which means the two words, and try to overwrite them.
    source = page.get_by_label("The review. Select words")
    source.focus()
    keys.press("Control+End")
    keys.press("ArrowLeft")
    for _ in "t goes":
        keys.press("Shift+ArrowLeft")
    keys.type("x")
    expect(source).to_have_value(text)
    page.get_by_role("button", name="Add an aspect at the selected words").press("Enter")
    category = page.get_by_role("combobox", name="Category of “it goes”")
    expect(category).to_be_focused()
    category.select_option("AMBIENCE")
    page.get_by_role("button", name="Begin “it goes” one word later").press("Enter")
    expect(page.get_by_role("button", name="Begin “goes” one word later")).to_be_focused()
    page.get_by_role("button", name="Delete “waiter”").press("Enter")
    page.get_by_role("combobox", name="Polarity of “pho”").select_option("neutral")
    page.get_by_role("button", name="“lovely” do not judge “pho”").press("Enter")
    page.get_by_role("button", name="Add what is said of no word").press("Enter")
    page.get_by_role("button", name="Undo").press("Enter")
    page.get_by_label("Your name").fill("Ada")
    page.get_by_role("button", name="Save the correction").press("Enter")
    expect(page.locator(".rp-said-by-editor")).to_have_text("Saved as revision 1. Thank you.")
    kept = site.store.find_latest(text)
    assert kept is not None
    labels = {(a.word, a.entity_group, a.polarity) for a in kept.correction.aspects if a.span}
    assert ("pho", "FOOD", "neutral") in labels
    assert not [a.opinion for a in kept.correction.aspects if a.word == "pho" and a.opinion]
    assert any(label[:2] == ("goes", "AMBIENCE") for label in labels)
    assert "waiter" not in {word for word, _, _ in labels}
    assert all(text[a.start : a.end] == a.word for a in kept.correction.aspects if a.span)
    assert (kept.correction.version, kept.correction.author) == ("1", "Ada")
    [answer] = server.infer([text]).predictions
    assert [a.to_json() for a in kept.correction.predicted_aspects] == answer


def test_two_people_who_correct_one_review_lose_nothing(page: Page, visit: Visit, site: Site) -> None:
    text = "The pho was lovely but the waiter was rude, they both say."
    first, second = page, visit()
    for person in (first, second):
        correct(person, text)
    first.get_by_role("combobox", name="Polarity of “pho”").select_option("negative")
    first.get_by_role("button", name="Save the correction").click()
    expect(first.locator(".rp-said-by-editor")).to_contain_text("revision 1")
    second.get_by_role("button", name="Delete “waiter”").click()
    second.get_by_role("button", name="Save the correction").click()
    told = second.get_by_role("alert")
    expect(told).to_contain_text("saved another version")
    expect(told).to_contain_text("“pho” · FOOD · negative")
    second.get_by_role("button", name="Save my version over it").click()
    expect(second.locator(".rp-said-by-editor")).to_contain_text("revision 2")
    theirs, mine = (saved.correction.aspects for saved in site.store.list_revisions(text))
    assert {a.polarity for a in theirs if a.word == "pho"} == {"negative"}
    assert [a for a in mine if a.word == "pho"]
    assert not [a for a in mine if a.word == "waiter"]
    # Whoever comes later goes on from there.
    correct(first, text)
    expect(first.locator(".rp-hint")).to_contain_text("corrected this review before")
    expect(first.get_by_role("button", name="Delete “waiter”")).to_have_count(0)


@pytest.mark.parametrize("look", [{"viewport": PHONE, "has_touch": True}, {"color_scheme": "dark"}])
def test_it_fits_and_every_control_has_a_name(visit: Visit, look: dict[str, object]) -> None:
    page = visit(**look)
    page.get_by_role("button", name="A hotel").click()
    expect(page.locator("#rp-first .rp-aspects")).to_be_visible()
    page.get_by_role("button", name="Correct this answer").click()
    expect(page.locator(".rp-editor")).to_be_visible()
    assert page.evaluate(WIDER) <= 0
    assert page.evaluate(NAMELESS) == []
    if look.get("color_scheme") == "dark":
        assert page.evaluate("() => document.body.classList.contains('dark')")


def test_no_review_is_in_the_log(site: Site) -> None:
    assert "pho" not in site.log_file.read_text()
