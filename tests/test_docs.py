"""Documentation: the site builds without warnings, its navigation is complete, and tutorials run as printed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from urllib.parse import urljoin

import pytest

PROJECT = Path(__file__).parent.parent
DOCS = PROJECT / "docs"
KINDS = {"tutorial", "how-to", "reference", "explanation", "decisions", "research", "runbooks"}
DECISIONS = sorted((DOCS / "decisions").glob("0*.md"))
TUTORIALS = sorted((DOCS / "tutorial").glob("*.md"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the site as `make docs` builds it: warnings are errors, such as a broken link or anchor."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "src"), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


class Links(HTMLParser):
    """The targets of links in a page, those in its navigation apart."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.all: set[str] = set()
        self.navigation: set[str] = set()
        self._depth = 0
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self._depth += tag == "nav"
        if tag == "a" and (target := attributes.get("href")):
            self.all.add(target)
            if self._depth:
                self.navigation.add(target)

    def handle_endtag(self, tag: str) -> None:
        self._depth -= tag == "nav"


def pages(site: Path) -> set[str]:
    """Return the addresses of all pages, below the root of the site."""
    return {f"{page.parent.relative_to(site)}/".removeprefix("./") for page in site.rglob("index.html")}


def test_every_page_is_reachable_from_the_navigation(site: Path) -> None:
    navigation = {target for target in Links(site / "index.html").navigation if "//" not in target}
    assert pages(site) <= {urljoin("/", target).split("#")[0].removeprefix("/") for target in navigation}


def test_every_page_in_docs_belongs_to_a_kind(site: Path) -> None:
    sources = {path.relative_to(DOCS) for path in DOCS.rglob("*.md")} - {Path("glossary.md")}
    assert {path.parts[0] for path in sources} == KINDS
    built = {str(PurePosixPath(path).with_suffix("")).removesuffix("index").rstrip("/") + "/" for path in sources}
    assert built <= pages(site)


def test_the_reference_names_every_command_and_every_public_name(site: Path) -> None:
    from typer.main import get_command

    import reviews_parsing
    from reviews_parsing.cli.app import app

    commands = (site / "reference" / "cli" / "index.html").read_text(encoding="utf-8")
    for name in get_command(app).commands:  # type: ignore[attr-defined]
        assert f'id="reviews-parsing-{name}"' in commands, name
    python = (site / "reference" / "python" / "index.html").read_text(encoding="utf-8")
    for name in reviews_parsing.__all__:
        assert f'id="reviews_parsing.{name}"' in python, name


def test_no_link_of_the_site_goes_to_a_source_file(site: Path) -> None:
    for page in site.rglob("index.html"):
        assert not [target for target in Links(page).all if target.endswith(".md") and "//" not in target], page


def test_the_changelog_begins_with_the_version_of_the_package_or_an_unreleased_one() -> None:
    changelog = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (Unreleased|\d{4}-\d{2}-\d{2})$", changelog, re.MULTILINE)
    assert len(releases) == len(re.findall("^## ", changelog, re.MULTILINE))
    numbers = [tuple(map(int, number.split("."))) for number, _ in releases]
    assert numbers == sorted(numbers, reverse=True)
    dated = [number for number, date in releases if date != "Unreleased"]
    assert releases[0][1] == "Unreleased" or releases[0][0] == version("reviews-parsing")
    assert version("reviews-parsing") in {releases[0][0], dated[0]}


@pytest.mark.parametrize("record", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_a_number_a_date_a_status_and_three_parts(record: Path) -> None:
    text = record.read_text(encoding="utf-8")
    assert text.startswith(f"# {int(record.name[:4])}. ")
    assert re.search(r"^- Date: \d{4}-\d{2}-\d{2}$", text, re.MULTILINE)
    status = re.search(r"^- Status: (proposed|accepted|superseded by \d+)$", text, re.MULTILINE)
    assert status is not None
    assert re.findall(r"^## (.*)", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]
    index = (DOCS / "decisions" / "index.md").read_text(encoding="utf-8")
    assert f"]({record.name}) | {status[1]} |" in index


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs_from_top_to_bottom(tutorial: Path, tmp_path: Path) -> None:
    shutil.copytree(PROJECT / "examples", tmp_path / "examples")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for language, block in re.findall(r"```(\w+)\n(.*?)```", tutorial.read_text(encoding="utf-8"), re.DOTALL):
        if language == "json":
            json.loads(block)
            continue
        commands = block.strip().splitlines() if language == "bash" else [block]
        # Installing is done by whoever runs this.
        for command in [command for command in commands if not command.startswith("make ")]:
            program = ["bash", "-c", command] if language == "bash" else [sys.executable, "-c", command]
            done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, (command, done.stderr)
