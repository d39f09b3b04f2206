"""Labelling on the page: a queue of reviews, accepted or corrected by keys."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from ports import free_port
from serving.client import environment

from .conftest import page_over, until, upload, visits
from .fake_server import FakeServer

TEXTS = [f"The SOUP {n} was fine." for n in range(4)]


@pytest.fixture
def queue(tmp_path: Path) -> Path:
    path = tmp_path / "to-label.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in [*TEXTS, TEXTS[0], " "]))
    return path


def expect_review(page: Page, number: int) -> None:
    expect(page.get_by_role("heading", name=f"Review {number} of 4")).to_be_focused()
    expect(page.locator(".rp-text, .rp-editor textarea").first).to_be_visible()


def test_a_queue_is_labelled_by_keys(fake_server: FakeServer, browser: Browser, queue: Path, tmp_path: Path) -> None:
    (tmp_path / "page").mkdir()
    options = ("--queue", str(queue))
    with page_over(fake_server.url, tmp_path / "home", tmp_path / "page", *options) as site:
        with visits(browser, site) as visit:
            page = visit()
            page.get_by_role("link", name="Labelling").click()
            expect_review(page, 1)
            page.keyboard.press("a")
            expect_review(page, 2)
            page.keyboard.press("n")
            expect_review(page, 3)
            page.keyboard.press("p")
            expect_review(page, 2)
            page.get_by_role("button", name="Correct this answer").click()
            page.get_by_role("combobox", name="Polarity of “SOUP”").select_option("negative")
            # Keys type where there is text, and do not label.
            page.get_by_label("Your name").fill("")
            page.get_by_label("Your name").press_sequentially("Ada pan")
            page.get_by_role("button", name="Accept and next").click()
            expect_review(page, 3)
            expect(page.get_by_text("2 reviews of 4 labelled.")).to_be_visible()
            # A waiting correction does not hold up the next review, which was loaded ahead.
            page.wait_for_function("() => Object.keys(localStorage).some((key) => key.endsWith('-3'))")
            page.context.set_offline(True)
            page.keyboard.press("a")
            expect(page.get_by_role("heading", name="Review 4 of 4")).to_be_visible()
            page.context.set_offline(False)
            expect(page.get_by_text("3 reviews of 4 labelled.")).to_be_visible()
            until(lambda: len(site.store.list_latest()) == 3)
            # A reload, and another person, go on at the first review without labels.
            page.goto(f"{site.url}/label")
            expect_review(page, 4)
            other = visit()
            other.goto(f"{site.url}/label")
            expect_review(other, 4)
            # Keys can be turned off.
            other.get_by_label("Shortcut keys").uncheck()
            other.keyboard.press("a")
            other.keyboard.press("p")
            expect(other.get_by_role("heading", name="Review 4 of 4")).to_be_visible()
            other.get_by_label("Shortcut keys").check()
            other.get_by_role("heading", name="Review 4 of 4").focus()
            other.keyboard.press("a")
            expect(other.get_by_text("All reviews are labelled.")).to_be_visible()
        corrections = {revision.correction.text: revision.correction for revision in site.store.list_latest()}
        assert set(corrections) == set(TEXTS)
        assert [a.polarity for a in corrections[TEXTS[1]].aspects] == ["negative"]
        assert corrections[TEXTS[1]].author == "Ada pan"
        assert corrections[TEXTS[0]].aspects[0].span == corrections[TEXTS[0]].predicted_aspects[0].span


def test_an_uploaded_file_is_a_queue_too(
    fake_server: FakeServer, browser: Browser, queue: Path, tmp_path: Path
) -> None:
    (tmp_path / "page").mkdir()
    with page_over(fake_server.url, tmp_path / "home", tmp_path / "page") as site, visits(browser, site) as visit:
        page = visit()
        upload(page, queue)
        page.get_by_role("button", name="Label reviews one by one").click()
        expect_review(page, 1)
        expect(page.get_by_text("0 reviews of 4 labelled.")).to_be_visible()


def test_a_page_does_not_start_on_a_queue_without_texts(fake_server: FakeServer, tmp_path: Path) -> None:
    bad = tmp_path / "numbers.jsonl"
    bad.write_text('{"stars": 4}\n')
    command = [sys.executable, "-m", "reviews_parsing.cli", "demo", f"--port={free_port()}", "--queue"]
    for path, message in ((bad, "stars"), (tmp_path / "missing.jsonl", "cannot be read"), (tmp_path, "cannot be read")):
        run = subprocess.run(
            [*command, str(path)],
            env=environment(tmp_path / "home"),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert run.returncode == 1
        assert message in run.stderr
        assert "Traceback" not in run.stderr
