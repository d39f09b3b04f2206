"""Sequences of what people do on the page, by a state machine: no text is lost, and results are of their file."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from playwright.sync_api import Browser, Page, expect

from .conftest import Site, page_over, until, write_csv
from .fake_server import FakeServer
from .test_files import send

EXAMPLES = ("A noodle bar", "A café")
MAX_TABS, STEPS = 2, 8
ROUNDS = int(os.environ.get("SEQUENCES", "5"))
STORED = "() => Object.values(localStorage).map((value) => JSON.parse(value)).filter((value) => value?.id)"
SHOWN = """() => Object.fromEntries([["answer", "#rp-first .rp-text"], ["correct", "#rp-correct"]].map(
  ([name, selector]) => [name, Boolean(document.querySelector(selector)?.checkVisibility())]))"""
Drafts = dict[str, str]


@pytest.fixture
def site(fake_server: FakeServer, tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "page").mkdir()
    with page_over(fake_server.url, tmp_path / "home", tmp_path / "page") as running:
        yield running


def parsed_files(site: Site) -> dict[str, str]:
    """Return the number of reviews, as the page shows it, by id of two parsed files."""
    jobs = {}
    for name, count in (("first.csv", 2), ("second.csv", 3)):
        body = "text\n" + "".join(f"The SOUP {n} was fine.\n" for n in range(count))
        jobs[send(site, f"api/files?name={name}", body.encode())["id"]] = f"{count} reviews"
    for job_id in jobs:
        wait_for(site, job_id, "ready")
        send(site, f"api/files/{job_id}/parse", b'{"column": "text"}')
    for job_id in jobs:
        wait_for(site, job_id, "done")
    return jobs


def wait_for(site: Site, job_id: str, state: str) -> None:
    until(lambda: send(site, f"api/files/{job_id}")["state"] == state)


class Visitor(RuleBasedStateMachine):
    """A person with one or two tabs; `drafts` are texts that were typed and not parsed, by record."""

    def __init__(
        self, browser: Browser, site: Site, fake_server: FakeServer, files: Mapping[str, str], new_file: Path
    ) -> None:
        super().__init__()
        self.site, self.fake_server, self.files, self.new_file = site, fake_server, files, new_file
        fake_server.is_broken = False
        self.context = browser.new_context()
        self.errors: list[str] = []
        self.context.on("weberror", lambda error: self.errors.append(str(error.error)))
        self.tabs: list[Page] = []
        self.drafts: Drafts = {}
        self.typed = self.uploads = 0
        self.add_tab(f"{site.url}/")

    def teardown(self) -> None:
        self.context.close()
        assert self.errors == []

    @property
    def page(self) -> Page:
        return self.tabs[-1]

    @property
    def record(self) -> str:
        return self.page.url.partition("#")[2]

    def on_reviews(self) -> bool:
        return self.page.url.partition("#")[0] == f"{self.site.url}/"

    def add_tab(self, url: str) -> None:
        page = self.context.new_page()
        page.set_default_timeout(30_000)
        self.tabs.append(page)
        self.open(url)

    def open(self, url: str) -> None:
        self.page.goto(url)
        self.settle()

    def settle(self) -> None:
        """Wait until the view is drawn."""
        expect(self.page.locator("#rp-servers > *").first).to_be_visible()
        if "/files/" in self.page.url:
            expect(self.page.locator("#rp-file-form button").first).to_be_visible()

    def shown(self) -> dict[str, bool]:
        """Return whether an answer and the button to correct it are visible."""
        shown: dict[str, bool] = self.page.evaluate(SHOWN)
        return shown

    def press(self, action: Callable[[], None], text: str) -> None:
        """Parse a text; it stays a draft if the server does not answer."""
        former = self.record
        action()
        message = self.page.locator("#rp-message")
        if self.fake_server.is_broken:
            expect(message).to_contain_text("Your text is still here")
        else:
            expect(message.locator("> *")).to_have_count(0)
        if self.drafts.get(former) == text:
            del self.drafts[former]
        if self.fake_server.is_broken and not self.shown()["answer"]:
            self.drafts[self.record] = self.input.input_value()

    @rule()
    def press_without_a_text(self) -> None:
        self.open(f"{self.site.url}/")
        self.page.get_by_role("button", name="Parse", exact=True).click()
        expect(self.page.locator("#rp-message")).to_contain_text("There is nothing to parse yet")

    @rule(name=st.sampled_from(EXAMPLES))
    @precondition(lambda self: self.on_reviews())
    def try_an_example(self, name: str) -> None:
        button = self.page.get_by_role("button", name=name, exact=True)
        self.press(button.click, "")
        assert self.input.input_value()
        if not self.fake_server.is_broken:
            self.drafts.pop(self.record, None)

    @rule()
    @precondition(lambda self: self.on_reviews())
    def type_a_text(self) -> None:
        self.typed += 1
        self.input.fill(f"Draft {self.typed}: the BREAD was fine.")
        self.drafts[self.record] = self.input.input_value()

    @rule()
    @precondition(lambda self: self.on_reviews() and self.input.input_value())
    def parse_the_text(self) -> None:
        self.press(lambda: self.input.press("Enter"), self.input.input_value())

    @rule(number=st.sampled_from((0, 1)))
    def open_a_file(self, number: int) -> None:
        job_id = list(self.files)[number]
        self.open(f"{self.site.url}/files/{job_id}")

    @rule()
    @precondition(lambda self: not self.uploads)
    def upload_a_file(self) -> None:
        self.uploads += 1
        self.open(f"{self.site.url}/files")
        self.page.locator("#rp-upload input[type=file]").set_input_files(self.new_file)
        expect(self.page.get_by_role("heading", name="new.csv")).to_be_visible()
        self.settle()

    @rule()
    def reload(self) -> None:
        self.page.reload()
        self.settle()

    @rule(forward=st.booleans())
    def go_through_the_history(self, forward: bool) -> None:
        former = self.page.url
        self.page.go_forward() if forward else self.page.go_back()
        if not self.page.url.startswith(self.site.url):
            self.open(former)
        self.settle()

    @rule()
    def break_or_repair_the_server(self) -> None:
        self.fake_server.is_broken = not self.fake_server.is_broken

    @rule()
    def change_the_tab(self) -> None:
        if len(self.tabs) < MAX_TABS:
            self.add_tab(self.page.url)
        else:
            self.tabs.reverse()
            self.page.bring_to_front()

    @property
    def input(self) -> Any:
        return self.page.get_by_label("A review", exact=True)

    @invariant()
    def nothing_typed_is_lost(self) -> None:
        stored = {record["id"]: record["text"] for record in self.page.evaluate(STORED)}
        assert {name: stored.get(name) for name in self.drafts} == self.drafts
        if self.on_reviews():
            listed = self.page.locator(".rp-unfinished a")
            expect(listed).to_have_count(len(self.drafts) - (self.record in self.drafts))
            if self.record in self.drafts:
                expect(self.input).to_have_value(self.drafts[self.record])

    @invariant()
    def an_answer_can_be_corrected(self) -> None:
        if self.on_reviews():
            shown = self.shown()
            assert shown["correct"] == shown["answer"]
            if shown["answer"]:
                expect(self.page.locator("#rp-first .rp-text").first).to_contain_text(self.input.input_value()[:15])

    @invariant()
    def results_are_those_of_the_file(self) -> None:
        match = re.fullmatch(r".*/files/([\w-]+)", self.page.url)
        if match:
            count = self.files.get(match[1])
            headings = self.page.locator("#rp-outcome h2")
            if count is None:
                expect(self.page.get_by_role("heading", name="new.csv")).to_be_visible()
                expect(headings).to_have_count(0)
            else:
                expect(headings.first).to_have_text(count)


def test_no_sequence_loses_text_or_mixes_files(
    browser: Browser, site: Site, fake_server: FakeServer, tmp_path: Path
) -> None:
    files = parsed_files(site)
    new_file = write_csv(tmp_path / "new.csv", ["The TEA was cold."])
    options = settings(
        max_examples=ROUNDS,
        stateful_step_count=STEPS,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    factory: Any = partial(Visitor, browser, site, fake_server, files, new_file)
    run_state_machine_as_test(factory, settings=options)
