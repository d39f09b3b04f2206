"""Random sequences on the page: nothing typed is lost, and an answer always belongs to the text above it.

`LONG_TESTS=1` walks many more sequences.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from playwright.sync_api import Browser, BrowserContext, Page, expect

from .conftest import Site, is_long_run, page_over, until, visits
from .fake_server import FakeServer

EXAMPLES = ("A noodle bar", "A hotel", "In a few words")
# Texts in the browser's storage, and those that were parsed.
STORED = """() => Object.entries(localStorage).filter(([key]) => key.startsWith("rp:review:"))
    .map(([, value]) => JSON.parse(value)).flatMap((record) => [record.text, record.answer?.text ?? ""])"""
SHOWN = """() => {
    const answers = document.querySelector("#rp-first .rp-text");
    if (!answers || !answers.checkVisibility()) return null;
    const copy = answers.cloneNode(true);
    copy.querySelectorAll(".rp-tag").forEach((tag) => tag.remove());
    return copy.textContent;
}"""


class PageMachine(RuleBasedStateMachine):
    """A person with two tabs, a server that goes away, and a connection that is lost."""

    browser: Browser
    site: Site
    server: FakeServer

    @initialize()
    def open(self) -> None:
        self.stack = ExitStack()
        if not self.server.is_up:
            self.server.start()
        self.page: Page = self.stack.enter_context(visits(self.browser, self.site))()
        self.context: BrowserContext = self.page.context
        self.context.on("page", lambda page: page.set_default_timeout(30_000))
        self.number = 0
        self.texts: set[str] = set()
        self.corrected: set[str] = set()
        self.is_online = True

    def teardown(self) -> None:
        if not hasattr(self, "stack"):
            return
        try:
            self.context.set_offline(False)
            until(lambda: self.corrected <= {r.correction.text for r in self.site.store.list_latest()})
        finally:
            self.stack.close()

    @property
    def box_value(self) -> str:
        return self.page.get_by_label("A review", exact=True).input_value()

    @property
    def is_answered(self) -> bool:
        return self.page.evaluate(SHOWN) is not None

    def settle(self) -> None:
        expect(self.page.locator("#rp-message").get_by_text("Parsing")).to_have_count(0)

    @rule(words=st.sampled_from(["The SOUP {} was fine.", "Yum {}! The BREAD\nand the TEA.", "Nothing {} here."]))
    def type_text(self, words: str) -> None:
        # Typing over a text that is not parsed replaces it.
        if not self.is_answered:
            self.texts.discard(self.box_value)
        self.number += 1
        text = words.format(self.number)
        self.page.get_by_label("A review", exact=True).fill(text)
        self.texts.add(text)

    @rule(key=st.booleans())
    def press_parse(self, key: bool) -> None:
        text = self.box_value
        if key:
            self.page.get_by_label("A review", exact=True).press("Enter")
        else:
            self.page.get_by_role("button", name="Parse", exact=True).click()
        self.settle()
        message = self.page.locator("#rp-message")
        if not text.strip():
            expect(message).to_contain_text("nothing to parse yet")
        elif not (self.is_online and self.server.is_up):
            expect(message).to_contain_text("Your text is still here")
        else:
            expect(self.page.locator("#rp-first .rp-text")).to_be_visible()
        assert self.box_value == text

    @rule(name=st.sampled_from(EXAMPLES))
    def press_example(self, name: str) -> None:
        self.page.get_by_role("button", name=name).click()
        self.settle()

    @rule()
    def press_empty(self) -> None:
        if self.is_answered or not self.box_value.strip():
            self.page.get_by_label("A review", exact=True).fill(" ")
            self.page.get_by_role("button", name="Parse", exact=True).click()
            expect(self.page.locator("#rp-message")).to_contain_text("nothing to parse yet")

    @rule()
    def stop_or_start_server(self) -> None:
        if self.server.is_up:
            self.server.stop()
        else:
            self.server.start()

    @rule()
    def lose_or_restore_connection(self) -> None:
        self.is_online = not self.is_online
        self.context.set_offline(not self.is_online)

    @precondition(lambda self: self.is_online)
    @rule()
    def reload(self) -> None:
        self.page.reload()

    @precondition(lambda self: self.is_online)
    @rule(is_back=st.booleans())
    def move_in_history(self, is_back: bool) -> None:
        move, undo = self.page.go_back, self.page.go_forward
        if not is_back:
            move, undo = undo, move
        move()
        if not self.page.url.startswith(self.site.url):
            undo()
        expect(self.page.get_by_label("A review", exact=True)).to_be_visible()

    @precondition(lambda self: self.is_online)
    @rule()
    def change_tab(self) -> None:
        others = [page for page in self.context.pages if page is not self.page]
        if others:
            self.page = others[0]
        else:
            address = self.page.url
            self.page = self.context.new_page()
            self.page.goto(address)
        self.page.bring_to_front()
        expect(self.page.get_by_label("A review", exact=True)).to_be_visible()

    @precondition(lambda self: self.page.get_by_role("button", name="Correct this answer").is_visible())
    @rule()
    def begin_correction(self) -> None:
        self.page.get_by_role("button", name="Correct this answer").click()
        expect(self.page.get_by_role("heading", name="Correct the answer")).to_be_focused()

    @precondition(lambda self: self.page.locator(".rp-editor").is_visible())
    @rule()
    def change_correction(self) -> None:
        delete = self.page.locator(".rp-editor").get_by_role("button", name=re.compile("^Delete "))
        count = delete.count()
        if count:
            delete.first.click()
        else:
            self.page.get_by_role("button", name="Add implicit aspect").click()
        expect(delete).to_have_count(count - 1 if count else 1)
        # A changed correction waits no more: it is saved again.
        self.corrected.discard(self.page.locator("#rp-source").input_value())

    @precondition(lambda self: self.page.locator(".rp-editor").is_visible())
    @rule()
    def save_correction(self) -> None:
        text = self.page.locator("#rp-source").input_value()
        self.page.get_by_role("button", name="Save the correction").click()
        self.corrected.add(text)
        if not self.is_online:
            expect(self.page.locator(".rp-editor-status")).to_contain_text("It is sent again by itself")
            return
        saved = self.page.locator("#rp-message").get_by_text("Saved as revision")
        conflict = self.page.locator(".rp-conflict-notice")
        expect(saved.or_(conflict).first).to_be_visible()
        if conflict.is_visible():
            conflict.get_by_role("button", name="save my version over it").click()
            expect(saved).to_be_visible()

    @invariant()
    def nothing_is_lost(self) -> None:
        if hasattr(self, "page"):
            lost = self.texts - {*self.page.evaluate(STORED), self.box_value}
            assert not lost

    @invariant()
    def the_answer_belongs_to_the_text(self) -> None:
        if not hasattr(self, "page"):
            return
        shown = self.page.evaluate(SHOWN)
        can_correct = self.page.get_by_role("button", name="Correct this answer").is_visible()
        editors = self.page.locator(".rp-editor").locator("visible=true").count()
        assert shown is None or shown == self.box_value
        assert can_correct + editors == (0 if shown is None else 1)


def test_random_sequences_lose_nothing(fake_server: FakeServer, browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "page").mkdir()
    with page_over(fake_server.url, tmp_path / "home", tmp_path / "page") as site:
        machine = type("Machine", (PageMachine,), {"browser": browser, "site": site, "server": fake_server})
        examples, steps = (200, 40) if is_long_run() else (6, 15)
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
