"""Nothing typed is lost: reloads, lost connections, restarts of the page, and closed tabs."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Dialog, Page, expect

from ports import free_port

from .conftest import Site, Visit, correct, page_over, parse, save, upload, visits, write_csv
from .fake_server import FakeServer

TEXT = "The SOUP was fine, the waiter rude."


@pytest.fixture
def fake_site(fake_server: FakeServer, tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "page").mkdir()
    with page_over(fake_server.url, tmp_path / "home", tmp_path / "page") as site:
        yield site


@pytest.fixture
def fake_visit(browser: Browser, fake_site: Site) -> Iterator[Visit]:
    with visits(browser, fake_site) as visit:
        yield visit


def test_a_reload_keeps_the_text_the_answer_and_the_correction(fake_visit: Visit) -> None:
    page = fake_visit()
    page.get_by_label("A review", exact=True).fill("Half a rev")
    page.reload()
    expect(page.get_by_label("A review", exact=True)).to_have_value("Half a rev")
    correct(page, TEXT)
    page.get_by_role("combobox", name="Polarity of “SOUP”").select_option("negative")
    page.get_by_label("Your name").fill("Ada")
    page.reload()
    expect(page.locator("#rp-first .rp-text")).to_contain_text("The SOUP")
    expect(page.get_by_role("combobox", name="Polarity of “SOUP”")).to_have_value("negative")
    expect(page.get_by_label("Your name")).to_have_value("Ada")
    # An example does not take its place: the correction stays in the list of unfinished reviews.
    page.get_by_role("button", name="A café").click()
    expect(page.locator("#rp-first .rp-text")).to_contain_text("flat white")
    page.get_by_role("link", name=TEXT).click()
    expect(page.get_by_role("combobox", name="Polarity of “SOUP”")).to_have_value("negative")
    save(page)


def test_a_correction_is_thrown_away_only_after_a_question(fake_visit: Visit) -> None:
    page = fake_visit()
    correct(page, TEXT)
    page.get_by_role("combobox", name="Polarity of “SOUP”").select_option("negative")
    questions: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        questions.append(dialog.message)
        dialog.dismiss()

    def accept(dialog: Dialog) -> None:
        questions.append(dialog.message)
        dialog.accept()

    page.once("dialog", dismiss)
    page.get_by_role("button", name="Throw away this correction").click()
    expect(page.get_by_role("combobox", name="Polarity of “SOUP”")).to_have_value("negative")
    page.once("dialog", accept)
    page.get_by_role("button", name="Throw away this correction").click()
    expect(page.locator(".rp-editor")).to_have_count(0)
    assert questions == ["Throw away this correction? It is not saved."] * 2


def test_a_correction_waits_for_the_page_and_is_sent_again(fake_visit: Visit, fake_site: Site) -> None:
    page = fake_visit()
    correct(page, TEXT)
    page.get_by_role("combobox", name="Polarity of “SOUP”").select_option("negative")
    page.context.set_offline(True)
    page.get_by_role("button", name="Save the correction").click()
    expect(page.locator(".rp-editor-status")).to_contain_text("It is sent again by itself.")
    assert fake_site.store.list_latest() == []
    page.context.set_offline(False)
    expect(page.locator("#rp-message")).to_contain_text("Saved as revision 1. Thank you.")
    [revision] = fake_site.store.list_latest()
    assert [aspect.polarity for aspect in revision.correction.aspects] == ["negative"]


def test_a_server_that_is_away_keeps_the_text_and_answers_once_it_is_back(
    fake_visit: Visit, fake_server: FakeServer
) -> None:
    page = fake_visit()
    fake_server.stop()
    page.get_by_label("A review", exact=True).fill(TEXT)
    page.get_by_role("button", name="Parse", exact=True).click()
    expect(page.locator("#rp-message")).to_contain_text("Your text is still here")
    expect(page.get_by_label("A review", exact=True)).to_have_value(TEXT)
    fake_server.start()
    page.get_by_role("button", name="Parse", exact=True).click()
    expect(page.locator("#rp-first .rp-text")).to_contain_text("The SOUP")
    expect(page.get_by_role("button", name="Correct this answer")).to_be_visible()


def test_two_tabs_show_one_state(fake_visit: Visit) -> None:
    page = fake_visit()
    correct(page, TEXT)
    other = page.context.new_page()
    other.goto(page.url)
    other.get_by_role("combobox", name="Polarity of “SOUP”").select_option("neutral")
    expect(page.get_by_role("combobox", name="Polarity of “SOUP”")).to_have_value("neutral")
    save(page)
    expect(other.locator("#rp-first .rp-corrected")).to_contain_text("revision 1")
    expect(other.locator(".rp-editor")).to_have_count(0)


def test_back_and_forward_show_the_reviews_in_their_order(fake_visit: Visit) -> None:
    page = fake_visit()
    for text in (TEXT, "The BREAD was stale.", "The TEA was cold."):
        parse(page, text)
    shown = page.locator("#rp-first .rp-text")
    for text, move in (("The BREAD", page.go_back), ("The SOUP", page.go_back), ("The BREAD", page.go_forward)):
        move()
        expect(shown).to_contain_text(text)
        expect(page.get_by_label("A review", exact=True)).to_have_value(re.compile(text))


def test_a_restarted_page_finishes_a_file(fake_server: FakeServer, browser: Browser, tmp_path: Path) -> None:
    port, folder = free_port(), tmp_path / "page"
    folder.mkdir()
    fake_server.delay = 1
    with ExitStack() as first, ExitStack() as stack:
        site = first.enter_context(page_over(fake_server.url, tmp_path / "home", folder, port=port))
        page = stack.enter_context(visits(browser, site))()
        upload(page, write_csv(tmp_path / "many.csv", [f"The SOUP {n} was fine." for n in range(1500)]))
        page.get_by_role("button", name="Parse the file").click()
        expect(page.locator(".rp-progress")).to_contain_text(re.compile(r"[1-9]\d* reviews"))
        first.close()
        expect(page.get_by_text("this page tries again")).to_be_visible()
        fake_server.delay = 0
        stack.enter_context(page_over(fake_server.url, tmp_path / "home", folder, port=port))
        expect(page.get_by_role("table", name="Aspects by category")).to_contain_text("1,500")
        expect(page.get_by_text("this page tries again")).to_have_count(0)


def test_results_are_deleted_after_a_day(fake_server: FakeServer, browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "page").mkdir()
    folder = tmp_path / "home" / "page" / "jobs"
    for job_id, hours in (("a" * 32, 25), ("b" * 32, 23)):
        (folder / job_id).mkdir(parents=True)
        fields = {"id": job_id, "name": "x.csv", "created": time.time() - 3600 * hours, "state": "ready"}
        (folder / job_id / "job.json").write_text(json.dumps(fields))
    (folder / ("c" * 32)).mkdir()
    with page_over(fake_server.url, tmp_path / "home", tmp_path / "page") as site, visits(browser, site) as visit:
        assert [path.name for path in folder.iterdir()] == ["b" * 32]
        page: Page = visit()
        page.goto(f"{site.url}/files/{'a' * 32}")
        expect(page.get_by_role("alert")).to_contain_text("results are deleted after a day")
