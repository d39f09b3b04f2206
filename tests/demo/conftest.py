"""A real page over a real server, both on loopback, and a browser."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from ports import free_port
from reviews_parsing.corrections import CorrectionStore
from serving.client import DEADLINE, Server, environment
from serving.conftest import Start, start

__all__ = ["start"]
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync"]
Visit = Callable[..., Page]
PHONE = {"width": 390, "height": 844}


@dataclass(frozen=True)
class Site:
    """A page that is served: its address, its home, and the folder of everything temporary."""

    url: str
    home: Path
    temporary: Path
    log_file: Path

    @property
    def store(self) -> CorrectionStore:
        return CorrectionStore(self.home / "corrections.db")

    def files(self) -> list[Path]:
        return [path for path in self.temporary.rglob("*") if path.is_file()]


@pytest.fixture(scope="package")
def server(start: Start) -> Iterator[Server]:
    with start(REVIEWS_PARSING_MAX_WAIT="60", REVIEWS_PARSING_MAX_CHARACTERS="20000") as running:
        yield running


@contextmanager
def page_over(server: Server, home: Path, folder: Path, *options: str) -> Iterator[Site]:
    """A page that keeps corrections in `home`, and everything temporary and its log in `folder`."""
    port, log = free_port(), folder / "log"
    (folder / "tmp").mkdir()
    variables = environment(home, REVIEWS_PARSING_MAX_UPLOAD_MB="1", TMPDIR=str(folder / "tmp"))
    command = [sys.executable, "-m", "reviews_parsing.cli", "demo", f"--port={port}", *options]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, "--server", f"http://127.0.0.1:{server.http}"], env=variables, stdout=out, stderr=out, cwd=folder
        )
    running = Site(f"http://127.0.0.1:{port}", home, folder / "tmp", log)
    try:
        until(lambda: answers(f"{running.url}/healthz") or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        yield running
    finally:
        process.terminate()
        assert process.wait(30) == 0
        assert not running.files()


@pytest.fixture(scope="package")
def site(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with page_over(server, folder / "home", folder) as running:
        yield running


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=30_000)
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path="/usr/bin/chromium", args=QUIET)


@contextmanager
def visits(browser: Browser, site: Site) -> Iterator[Visit]:
    """visit(**context): the page, opened anew by somebody else. Nothing it loads may come from elsewhere."""
    asked: list[str] = []
    errors: list[str] = []
    contexts = []

    def visited(**options: object) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        opened(page, site)
        return page

    yield visited
    for context in contexts:
        context.close()
    assert asked
    assert not [url for url in asked if not url.startswith((site.url, "data:", "blob:"))]
    assert not errors


def opened(page: Page, site: Site) -> None:
    page.goto(site.url)
    expect(page.locator(".rp-serving").first).to_contain_text("Version 1")


@pytest.fixture
def visit(browser: Browser, site: Site) -> Iterator[Visit]:
    with visits(browser, site) as visited:
        yield visited


@pytest.fixture(scope="package")
def window(browser: Browser, site: Site) -> Iterator[Page]:
    """A window for all who need no other person, screen or end of theirs: a new one takes twice the time."""
    with visits(browser, site) as visited:
        yield visited()


@pytest.fixture
def page(window: Page, site: Site) -> Page:
    """The page, loaded anew."""
    opened(window, site)
    return window


def parse(page: Page, text: str) -> None:
    page.get_by_label("A review", exact=True).fill(text)
    page.get_by_role("button", name="Parse", exact=True).click()
    if text.strip():
        expect(page.locator("#rp-first .rp-text")).to_contain_text(text[:3])
        # An answer puts away the editor of the one before.
        expect(page.locator(".rp-editor")).to_have_count(0)


def correct(page: Page, text: str) -> None:
    parse(page, text)
    page.get_by_role("button", name="Correct this answer").click()
    expect(page.get_by_role("heading", name="Correct the answer")).to_be_focused()


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def no_requests(page: Page) -> Iterator[None]:
    """Nothing but the page's heartbeat goes to the server meanwhile."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    yield
    assert not [url for url in asked if "heartbeat" not in url]
