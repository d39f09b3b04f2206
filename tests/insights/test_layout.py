"""The report in Chromium, at 1440 and 390 pixels and on paper, light, dark and in forced colours.

The checks do not depend on fonts: the outline equals `outline.json`, no text covers another one or is cut off, letters
of plots are not huge, the page does not scroll sideways, and axe-core finds no violation.
`WRITE_OUTLINE=1 pytest tests/insights/test_layout.py` writes the outline after a change of the report.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

OUTLINE = Path(__file__).parent / "outline.json"
SCHEMES: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "forced_colors": "none"},
    "dark": {"color_scheme": "dark", "forced_colors": "none"},
    "forced": {"color_scheme": "light", "forced_colors": "active"},
}
PAPER_WIDTH = 794  # A4 in CSS pixels
LOOKS = [(width, scheme) for width in (1440, 390, PAPER_WIDTH) for scheme in SCHEMES]
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
LAYOUT = (Path(__file__).parent / "layout.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(browser: Browser, rated_report: Path) -> Iterator[Page]:
    opened = browser.new_page()
    opened.goto(rated_report.as_uri())
    yield opened
    opened.close()


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_no_text_covers_another_and_nothing_is_cut_off(page: Page, width: int, scheme: str) -> None:
    page.emulate_media(media="print" if width == PAPER_WIDTH else "screen", **SCHEMES[scheme])
    page.set_viewport_size({"width": width, "height": 1000})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(f"{LAYOUT}.faults()") == []
    assert 10 < page.evaluate(f"{LAYOUT}.letters()") < 24
    if width == PAPER_WIDTH:
        # Paper is white, whatever the colours of the screen.
        ink = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--ink')")
        assert ink == "#000"
    if (width, scheme) == (PAPER_WIDTH, "light"):
        violations = Axe().run(page, options=RULES).response["violations"]
        assert [(v["id"], v["nodes"][0]["html"][:200]) for v in violations] == []


def test_the_outline_is_the_recorded_one(page: Page) -> None:
    page.emulate_media(media="screen", **SCHEMES["light"])
    sections = page.evaluate(f"{LAYOUT}.outline()")
    for section in sections.values():
        section["headings"] = [re.sub(r"\d[\d.,]*", "N", " ".join(heading.split())) for heading in section["headings"]]
    if os.environ.get("WRITE_OUTLINE"):
        OUTLINE.write_text(json.dumps(sections, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert sections == json.loads(OUTLINE.read_text(encoding="utf-8"))
