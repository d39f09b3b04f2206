"""A real page over a real server or a fake one, all on loopback, and a browser."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from ports import free_port
from reviews_parsing.corrections import CorrectionStore
from serving.client import DEADLINE, Server, environment
from serving.conftest import Start, start

from .fake_server import FakeServer

__all__ = ["start"]
BROWSER_OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
BROWSER_OPTIONS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
Visit = Callable[..., Page]
PHONE: ViewportSize = {"width": 390, "height": 844}


@dataclass(frozen=True)
class Site:
    """A page that is served: its address, its home, its folder of temporary files, and its log."""

    url: str
    home: Path
    temporary: Path
    log_file: Path
    process: subprocess.Popen[bytes]

    @property
    def store(self) -> CorrectionStore:
        return CorrectionStore(self.home / "corrections.db")

    def job_files(self) -> list[Path]:
        while True:
            try:
                return [path for path in (self.home / "page" / "jobs").rglob("*") if path.is_file()]
            except FileNotFoundError:
                continue  # The page deletes a folder while it is listed.


@pytest.fixture(scope="package")
def server(start: Start) -> Iterator[Server]:
    with start(REVIEWS_PARSING_MAX_WAIT="60", REVIEWS_PARSING_MAX_CHARACTERS="20000") as running:
        yield running


@pytest.fixture
def fake_server() -> Iterator[FakeServer]:
    with FakeServer() as running:
        yield running


@contextmanager
def page_over(
    server_url: str, home: Path, folder: Path, *options: str, port: int | None = None, **variables: str
) -> Iterator[Site]:
    """Serve a page with its data in `home`, and temporary files and its log in `folder`."""
    port = port or free_port()
    log_file = folder / "log"
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    settings = {
        "REVIEWS_PARSING_MAX_UPLOAD_MB": "1",
        "REVIEWS_PARSING_PAGE_REQUESTS_PER_MINUTE": "100000",
        "TMPDIR": str(temporary),
    }
    command = [sys.executable, "-m", "reviews_parsing.cli", "demo", f"--port={port}", "--server", server_url, *options]
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            command, env=environment(home, **{**settings, **variables}), stdout=log, stderr=log, cwd=folder
        )
    site = Site(f"http://127.0.0.1:{port}", home, temporary, log_file, process)
    try:
        until(lambda: answers(f"{site.url}/healthz") or process.poll() is not None)
        assert process.poll() is None, log_file.read_text()
        yield site
    finally:
        process.terminate()
        assert process.wait(30) == 0
        assert not [path for path in temporary.rglob("*") if path.is_file()]


@pytest.fixture(scope="package")
def site(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    # The name of a registered model is the registry's: servers call every model the same.
    name = "reviews-parsing-ner-aspects-gym"
    url = f"http://127.0.0.1:{server.http}"
    with page_over(url, folder / "home", folder, REVIEWS_PARSING_MODEL_NAME=name) as running:
        yield running


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=30_000)
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path="/usr/bin/chromium", args=BROWSER_OPTIONS)


@contextmanager
def visits(browser: Browser, site: Site) -> Iterator[Visit]:
    """visit(**context): open the page as another person. All is loaded from the site, and no script fails."""
    requests: list[str] = []
    errors: list[str] = []
    contexts = []

    def visit(expected_server: str = "Version", **options: Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        context.on("request", lambda request: requests.append(request.url))
        context.on("weberror", lambda error: errors.append(str(error.error)))
        page = context.new_page()
        page.set_default_timeout(30_000)
        open_page(page, site, expected_server)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert requests
    assert not [url for url in requests if not url.startswith((site.url, "data:", "blob:"))]
    assert not errors


def open_page(page: Page, site: Site, expected_server: str = "Version") -> None:
    page.goto(site.url)
    expect(page.locator("#rp-servers > *").first).to_contain_text(expected_server)


@pytest.fixture
def visit(browser: Browser, site: Site) -> Iterator[Visit]:
    with visits(browser, site) as visit:
        yield visit


@pytest.fixture(scope="package")
def window(browser: Browser, site: Site) -> Iterator[Page]:
    """Yield a browser window that most tests share, because opening another one doubles their time."""
    with visits(browser, site) as visit:
        yield visit()


@pytest.fixture
def page(window: Page, site: Site) -> Page:
    """Return the page, loaded again, in a browser without stored reviews."""
    window.evaluate("() => localStorage.clear()")
    open_page(window, site)
    return window


def parse(page: Page, text: str) -> None:
    page.get_by_label("A review", exact=True).fill(text)
    page.get_by_role("button", name="Parse", exact=True).click()
    if text.strip():
        expect(page.locator("#rp-first .rp-text").first).to_contain_text(text[:3])
        expect(page.locator("#rp-message > *")).to_have_count(0)


def correct(page: Page, text: str) -> None:
    parse(page, text)
    page.get_by_role("button", name="Correct this answer").click()
    expect(page.get_by_role("heading", name="Correct the answer")).to_be_focused()


def save(page: Page, revision: int = 1) -> None:
    page.get_by_role("button", name="Save the correction").click()
    expect(page.locator("#rp-message")).to_contain_text(f"Saved as revision {revision}. Thank you.")


def upload(page: Page, path: Path) -> None:
    page.get_by_role("link", name="A file", exact=True).click()
    page.locator("#rp-upload input[type=file]").set_input_files(path)
    expect(page.get_by_role("heading", name=path.name)).to_be_visible()


def write_csv(path: Path, texts: list[str]) -> Path:
    path.write_text("id,comment,city\n" + "".join(f'{n},"{text}",Ghent\n' for n, text in enumerate(texts)))
    return path


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
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
    """Assert that the page sends nothing meanwhile."""
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    yield
    assert not requests
