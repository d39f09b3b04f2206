"""One review on the page in a real browser: answers, filter, corrections by keyboard and by two people."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from serving.client import Server

from .conftest import PHONE, Site, Visit, correct, no_requests, parse, save

REVIEW = "The pho was lovely 🍜 but the waiter was rude. Yum, though!"
# Visible controls without a name that a screen reader could say.
NAMELESS = """() => [...document.querySelectorAll('button, input, textarea, select, [role=tab], a')]
    .filter(e => e.offsetParent && !(e.getAttribute('aria-label') || e.innerText?.trim() || e.labels?.length
        || e.getAttribute('aria-labelledby') || e.title)).map(e => e.outerHTML.slice(0, 120))"""
OVERFLOW = "() => document.documentElement.scrollWidth - window.innerWidth"


def test_the_page_shows_the_answer_of_the_server(page: Page, server: Server) -> None:
    parse(page, REVIEW)
    [aspects] = server.infer([REVIEW]).predictions
    rows = page.locator("#rp-first .rp-aspects > li")
    expect(rows).to_have_count(len(aspects))
    for row, aspect in zip(rows.all(), aspects, strict=True):
        expect(row).to_contain_text(aspect["word"] or "implicit")
        for value in (aspect["entity_group"], aspect["polarity"], f"{aspect['score']:.2f}"):
            expect(row).to_contain_text(value)
    assert {aspect["word"] for aspect in aspects} >= {"pho", "waiter"}
    expect(page.locator("#rp-first mark")).to_have_count(sum(aspect["word"] is not None for aspect in aspects))
    expect(page.locator("#rp-first h2")).to_have_text("Version 1")


def test_implicit_aspects_are_in_the_text_and_the_list(page: Page) -> None:
    parse(page, "Yum! We'll be back.")
    expect(page.locator("#rp-first .rp-text")).to_contain_text(re.compile(r"implicit: \w+ \+"))
    expect(page.locator("#rp-first .rp-aspects")).to_contain_text("implicit")


def test_a_foreign_text_says_that_the_model_does_not_read_it(page: Page) -> None:
    for text, notes in (("Das Essen war kalt, der Kellner unfreundlich.", 1), ("The soup was warm.", 0)):
        parse(page, text)
        expect(page.locator("#rp-first .rp-foreign")).to_have_count(notes)
        if notes:
            expect(page.locator("#rp-first .rp-foreign")).to_have_text(
                "Language: German. The model does not read it: no probability is above 0.5."
            )


def test_enter_parses_and_shift_enter_begins_a_line(page: Page) -> None:
    box = page.get_by_label("A review", exact=True)
    box.press_sequentially("The soup was fine.")
    box.press("Shift+Enter")
    box.press_sequentially("The staff was rude.")
    box.press("Enter")
    expect(page.locator("#rp-first .rp-text")).to_contain_text("The staff")
    expect(box).to_have_value("The soup was fine.\nThe staff was rude.")


def test_the_slider_filters_without_a_request(page: Page) -> None:
    parse(page, REVIEW)
    slider = page.get_by_role("slider", name="Minimum probability")
    rows = page.locator("#rp-first .rp-aspects > li:visible")
    count = rows.count()
    with no_requests(page):
        slider.focus()
        slider.press("End")
        expect(rows).to_have_count(0)
        expect(page.locator("#rp-first .rp-count")).to_contain_text("less probable")
        slider.press("Home")
        expect(rows).to_have_count(count)


def test_errors_keep_the_text_and_markup_is_shown_as_text(page: Page) -> None:
    parse(page, " \n")
    expect(page.locator(".rp-note")).to_contain_text("nothing to parse yet")
    long_text = "The soup was fine. " * 1100
    page.get_by_label("A review", exact=True).fill(long_text)
    page.get_by_role("button", name="Parse", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("413")
    expect(page.get_by_label("A review", exact=True)).to_have_value(long_text)
    parse(page, "The <img src=x onerror=alert(1)> soup & <b>bread</b> were good.")
    assert page.locator("#rp-first .rp-text img, #rp-first .rp-text b:not(.rp-sign)").count() == 0


def test_an_empty_press_does_not_take_away_the_correct_button(page: Page) -> None:
    parse(page, " ")
    page.get_by_role("button", name="A hotel").click()
    expect(page.locator("#rp-first .rp-aspects")).to_be_visible()
    expect(page.get_by_role("button", name="Correct this answer")).to_be_visible()


def test_an_answer_is_corrected_by_keyboard_alone(page: Page, site: Site, server: Server) -> None:
    text = "🍜 The pho was lovely but the waiter was rude; so it goes."
    correct(page, text)
    keys = page.keyboard
    # Select "t goes" from the end of the text, which means both words, and try to overwrite them.
    source = page.get_by_label("The review. Select words")
    source.focus()
    keys.press("Control+End")
    keys.press("ArrowLeft")
    for _ in "t goes":
        keys.press("Shift+ArrowLeft")
    keys.type("x")
    expect(source).to_have_value(text)
    page.get_by_role("button", name="add an aspect at the selected words").press("Enter")
    category = page.get_by_role("combobox", name="Category of “it goes”")
    expect(category).to_be_focused()
    category.select_option("AMBIENCE")
    page.get_by_role("button", name="Begin “it goes” one word later").press("Enter")
    expect(page.get_by_role("button", name="Begin “goes” one word later")).to_be_focused()
    page.get_by_role("button", name="Delete “waiter”").press("Enter")
    page.get_by_role("combobox", name="Polarity of “pho”").select_option("neutral")
    page.get_by_role("button", name="“lovely” do not judge “pho”").press("Enter")
    page.get_by_role("button", name="Add implicit aspect").press("Enter")
    page.get_by_role("button", name="Undo").press("Enter")
    page.get_by_label("Your name").fill("Ada")
    page.get_by_role("button", name="Save the correction").press("Enter")
    expect(page.locator("#rp-message")).to_contain_text("Saved as revision 1. Thank you.")
    revision = site.store.find_latest(text)
    assert revision is not None
    correction = revision.correction
    labels = {(a.word, a.entity_group, a.polarity) for a in correction.aspects if a.span}
    assert ("pho", "FOOD", "neutral") in labels
    assert not [a.opinion for a in correction.aspects if a.word == "pho" and a.opinion]
    assert any(label[:2] == ("goes", "AMBIENCE") for label in labels)
    assert "waiter" not in {word for word, _, _ in labels}
    assert all(text[a.start : a.end] == a.word for a in correction.aspects if a.span)
    assert (correction.version, correction.author, revision.status) == ("1", "Ada", "pending")
    [answer] = server.infer([text]).predictions
    assert [a.to_json() for a in correction.predicted_aspects] == answer


def test_opinions_are_added_and_new_categories_are_named(page: Page, site: Site) -> None:
    text = "The pho was lovely, parking a nightmare."
    correct(page, text)
    while (delete := page.get_by_role("button", name="Delete")).count():
        delete.first.click()
    source = page.get_by_label("The review. Select words")
    start = text.index("parking")
    source.evaluate("(area, span) => area.setSelectionRange(...span)", [start, start + 7])
    page.get_by_role("button", name="add an aspect at the selected words").click()
    page.get_by_role("combobox", name="Category of “parking”").select_option(label="New category …")
    page.get_by_label("New category of “parking”").fill("parking space")
    page.get_by_label("New category of “parking”").press("Enter")
    expect(page.get_by_role("combobox", name="Category of “parking”")).to_have_value("PARKING_SPACE")
    source.evaluate("(area, span) => area.setSelectionRange(...span)", [len(text) - 10, len(text) - 1])
    page.get_by_role("button", name="the selected words judge “parking”").click()
    save(page)
    expect(page.locator("#rp-first")).to_contain_text("PARKING_SPACE")
    revision = site.store.find_latest(text)
    assert revision is not None
    [parking] = [a for a in revision.correction.aspects if a.word == "parking"]
    assert parking.opinion is not None
    assert (parking.entity_group, parking.opinion.word) == ("PARKING_SPACE", "nightmare")


def test_a_corrected_answer_says_by_whom_and_when(page: Page, visit: Visit) -> None:
    text = "The pho was lovely, as everybody says."
    correct(page, text)
    page.get_by_role("combobox", name="Polarity of “pho”").select_option("negative")
    page.get_by_label("Your name").fill("Ada")
    save(page)
    for person in (page, visit()):
        if person is not page:
            parse(person, text)
        note = person.locator("#rp-first .rp-corrected")
        expect(note).to_contain_text(
            re.compile(r"Corrected by Ada, 20\d\d-\d\d-\d\d \d\d:\d\d UTC \(revision 1, waiting")
        )
        corrected = person.locator("#rp-first .rp-aspects").first
        expect(corrected).to_contain_text("negative")
        person.get_by_text("The answer of version 1").click()
        expect(person.locator("#rp-first details .rp-aspects")).to_contain_text("positive")


def test_two_people_who_correct_one_review_lose_nothing(page: Page, visit: Visit, site: Site) -> None:
    text = "The pho was lovely but the waiter was rude, they both say."
    first, second = page, visit()
    for person in (first, second):
        correct(person, text)
    first.get_by_role("combobox", name="Polarity of “pho”").select_option("negative")
    save(first)
    second.get_by_role("button", name="Delete “waiter”").click()
    second.get_by_role("button", name="Save the correction").click()
    conflict = second.get_by_role("alert")
    expect(conflict).to_contain_text("saved another version")
    expect(conflict).to_contain_text("“pho” · FOOD · negative")
    second.get_by_role("button", name="save my version over it").click()
    expect(second.locator("#rp-message")).to_contain_text("revision 2")
    older, newer = (revision.correction.aspects for revision in site.store.list_revisions(text))
    assert {a.polarity for a in older if a.word == "pho"} == {"negative"}
    assert [a for a in newer if a.word == "pho"]
    assert not [a for a in newer if a.word == "waiter"]
    # Later corrections start from the latest one.
    correct(first, text)
    expect(first.locator(".rp-editor .rp-hint").first).to_contain_text("corrected this review before")
    expect(first.get_by_role("button", name="Delete “waiter”")).to_have_count(0)


@pytest.mark.parametrize("options", [{"viewport": PHONE, "has_touch": True}, {"color_scheme": "dark"}])
def test_the_page_fits_follows_the_colour_scheme_and_names_every_control(
    visit: Visit, options: dict[str, object]
) -> None:
    page = visit(**options)
    page.get_by_role("button", name="A hotel").click()
    page.get_by_role("button", name="Correct this answer").click()
    expect(page.locator(".rp-editor")).to_be_visible()
    assert page.evaluate(OVERFLOW) <= 0
    assert page.evaluate(NAMELESS) == []
    if options.get("color_scheme") == "dark":
        assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(16, 22, 29)"


def test_no_review_is_in_the_log(site: Site) -> None:
    assert "pho" not in site.log_file.read_text()
