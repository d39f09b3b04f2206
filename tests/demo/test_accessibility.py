"""Accessibility of every view by axe-core (WCAG 2.2 AA), at two widths, light, dark and in forced colours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from .conftest import PHONE, Site, Visit, correct, parse, upload, write_csv

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
LOOKS = [
    {"color_scheme": "light"},
    {"color_scheme": "dark", "viewport": PHONE, "has_touch": True},
    {"forced_colors": "active"},
]
OVERFLOW = "() => document.documentElement.scrollWidth - window.innerWidth"
REVIEW = "The pho was lovely but the waiter was rude. Yum!"


def check(page: Page) -> None:
    results = Axe().run(page, options=RULES)
    assert results.violations_count == 0, results.generate_report()
    assert page.evaluate(OVERFLOW) <= 0


def show_editor(page: Page, site: Site, folder: Path) -> None:
    correct(page, REVIEW)
    page.get_by_role("button", name="Add implicit aspect").click()


def show_error(page: Page, site: Site, folder: Path) -> None:
    parse(page, " ")


def show_answer(page: Page, site: Site, folder: Path) -> None:
    parse(page, REVIEW)


def show_upload(page: Page, site: Site, folder: Path) -> None:
    page.goto(f"{site.url}/files")
    expect(page.locator("#rp-file-hint")).to_contain_text("At most")


def show_results(page: Page, site: Site, folder: Path) -> None:
    upload(page, write_csv(folder / "reviews.csv", ["The pho was lovely.", "The waiter was rude.", "Great view."]))
    page.locator("#rp-layout summary").click()
    page.get_by_role("button", name="Parse the file").click()
    expect(page.get_by_role("table", name="Aspects by category")).to_be_visible()


def show_queue(page: Page, site: Site, folder: Path) -> None:
    upload(page, write_csv(folder / "queue.csv", ["The pho was lovely.", "The waiter was rude."]))
    page.get_by_role("button", name="Label reviews one by one").click()
    expect(page.locator(".rp-aspects")).to_be_visible()


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: "-".join(map(str, look)))
@pytest.mark.parametrize("show", [show_answer, show_editor, show_error, show_upload, show_results, show_queue])
def test_views_have_no_violations_and_fit(
    visit: Visit, site: Site, tmp_path: Path, show: Callable[[Page, Site, Path], None], look: dict[str, object]
) -> None:
    page = visit(**look)
    show(page, site, tmp_path)
    check(page)


def test_the_api_reference_has_a_title_and_is_drawn(visit: Visit, site: Site) -> None:
    page = visit()
    page.goto(f"{site.url}/v2/docs")
    assert page.title() == "API reference – Reviews Parsing"
    expect(page.locator("#swagger-ui")).to_contain_text("/v2/models/")
