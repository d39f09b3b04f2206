"""The report is self-contained, accessible, and escapes all texts."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser, Page, expect

from insights.making import parquet, review
from insights.planting import planted
from reviews_parsing.errors import DataError
from reviews_parsing.insights import analyse, evidence, figures, write_report
from reviews_parsing.insights import report as report_module
from reviews_parsing.insights.charts import LIBRARIES, VENDOR
from reviews_parsing.insights.report import pieces, render
from reviews_parsing.insights.results import Span

EVIL = "<script>document.title='gone'</script><img src=http://127.0.0.1:9/x onerror=alert(1)>"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a report on reviews that mean well and reviews that do not, in several scripts."""
    folder = tmp_path_factory.mktemp("report")
    rows = [
        review(
            f"The [{word}](FOOD{'-' if n % 3 else '+'}) was [{'cold' if n % 3 else 'superb'}](!) this time, {n}.",
            id=f"r{n}" if n else EVIL,
            shop=f"<b>{n % 2}</b>",
            date=f"2024-{n // 10 + 1:02}-{n % 10 + 1:02}",
        )
        for n in range(60)
        for word in (("soup", "拉麵 $4 or $5", EVIL, "شاورما")[n % 4],)
    ]
    path = folder / "report.html"
    write_report(analyse([parquet(folder / "p.parquet", rows)], ["shop"]), path)
    return path


@pytest.fixture(scope="module")
def page(browser: Browser, report: Path) -> Iterator[tuple[Page, list[str]]]:
    """Yield the report in a browser, and its messages and requests."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    events: list[str] = []
    opened.on("console", lambda message: events.append(message.text))
    opened.on("pageerror", lambda error: events.append(str(error)))
    opened.on("dialog", lambda dialog: events.append(dialog.message))
    opened.on("request", lambda request: events.append(request.url))
    opened.goto(report.as_uri())
    yield opened, events
    opened.close()


def test_it_opens_without_a_complaint_or_a_request(page: tuple[Page, list[str]], report: Path) -> None:
    opened, events = page
    assert events == [report.as_uri()]
    assert opened.title() == "What 60 reviews say"
    assert opened.locator("script[src], link[rel=stylesheet], img, iframe").count() == 0
    scripts = opened.locator("script:not([type='application/json'])").all_text_contents()
    policy = str(opened.locator("meta[http-equiv]").get_attribute("content"))
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert len(hashes) == 4
    sources = " ".join(f"'sha256-{digest}'" for digest in hashes)
    assert f"script-src {sources};" in policy


def test_reviews_stay_text(page: tuple[Page, list[str]]) -> None:
    opened, _ = page
    assert opened.locator("b", has_text=re.compile("^[01]$")).count() == 0
    assert EVIL in str(opened.locator("#words").text_content())
    assert "拉麵 $4 or $5" in str(opened.locator("#words").text_content())
    assert "<b>1</b>" in str(opened.locator("#by-1 svg").first.text_content())


def test_a_sentence_leads_to_its_review(page: tuple[Page, list[str]]) -> None:
    opened, _ = page
    link = opened.locator("blockquote footer a").first
    target = opened.locator(str(link.get_attribute("href")))
    assert target.locator("h3").text_content() == link.text_content()
    marked = opened.locator("blockquote mark").first.text_content()
    assert str(marked) in str(target.locator("p").text_content())


def test_it_can_be_read_without_seeing_the_plots(page: tuple[Page, list[str]]) -> None:
    opened, _ = page
    assert opened.locator("html[lang]").count() == opened.locator("h1").count() == opened.locator("main").count() == 1
    levels = [int(name[1]) for name in opened.locator("h1, h2, h3, h4").evaluate_all("all => all.map(e => e.tagName)")]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    plots = opened.locator("figure > .scroll")
    assert plots.count() == 7
    assert all(label for label in plots.evaluate_all("all => all.map(e => e.getAttribute('aria-label'))"))
    assert opened.locator("details table th[scope=col]").count() > 20
    ids = opened.locator("[id]").evaluate_all("all => all.map(e => e.id)")
    assert len(ids) == len(set(ids))
    for link in opened.locator("a[href^='#']").evaluate_all("all => all.map(e => e.getAttribute('href').slice(1))"):
        assert link in ids


def test_the_keyboard_opens_the_tables(page: tuple[Page, list[str]]) -> None:
    opened, _ = page
    opened.locator("#categories summary").focus()
    opened.keyboard.press("Enter")
    assert opened.locator("#categories details[open] table").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits(page: tuple[Page, list[str]], width: int, scheme: Literal["light", "dark"]) -> None:
    opened, _ = page
    opened.emulate_media(color_scheme=scheme)
    opened.set_viewport_size({"width": width, "height": 800})
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    # Text and paper are far apart in both schemes.
    ink, paper = (
        sum(map(int, re.findall(r"\d+", opened.evaluate(f"getComputedStyle(document.body).{name}"))[:3]))
        for name in ("color", "backgroundColor")
    )
    assert abs(ink - paper) > 500
    assert (paper > ink) is (scheme == "light")


def test_it_prints(page: tuple[Page, list[str]]) -> None:
    opened, _ = page
    assert opened.pdf(format="A4").startswith(b"%PDF")
    opened.emulate_media(media="print")
    assert not opened.locator("nav").is_visible()
    opened.emulate_media(media="screen")


@pytest.fixture
def rated_page(browser: Browser, rated_report: Path) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.goto(rated_report.as_uri())
    yield opened
    opened.close()


def sentence_count(opened: Page) -> int:
    return int(str(opened.locator("#all-count").text_content()).split()[0].replace(",", ""))


def test_findings_lead_and_open_their_sentences(rated_page: Page) -> None:
    first = rated_page.locator("#short .findings li").first
    assert "Business Hill: since Sep 2024, more reviews blame" in str(first.text_content())
    assert sentence_count(rated_page) == 720
    first.locator("a").click()
    assert sentence_count(rated_page) == 32
    items = rated_page.locator("#all-list blockquote")
    assert items.count() == 32
    assert set(rated_page.locator("#all-list mark").all_text_contents()) == {"service"}
    footer = str(items.first.locator("footer").text_content())
    assert "SERVICE −" in footer
    assert "Hill · 2024-" in footer
    assert "stars · probability 81" in footer


def test_a_bar_and_a_cell_open_their_sentences(rated_page: Page) -> None:
    rated_page.locator("#categories svg [data-filter*='polarity=negative']").first.dispatch_event("click")
    assert rated_page.locator("[name=polarity]").input_value() == "negative"
    rated_page.locator("#topics a.open").first.click()
    assert sentence_count(rated_page) == 360
    cell = rated_page.locator("[id^=by-] svg [data-filter*='Hill']").first
    cell.dispatch_event("click")
    assert rated_page.locator("[name='by:business']").input_value() == "Hill"


VENDORED = {
    "d3-7.9.0.min.js": "f2094bbf6141b359722c4fe454eb6c4b0f0e42cc10cc7af921fc158fceb86539",
    "plot-0.6.17.umd.min.js": "4358086467740777dd788d6b27a95cebdbaefdd50c730a3060117073bd7134cb",
    "d3-LICENSE.txt": "3e6849627f74ff73c257a3ae1efb574015d94fc1035c05ec3c15805165efcbc4",
    "plot-LICENSE.txt": "4b295e011e0e046170041b5b46f1349393aeceb95797793a55bd21dbb543363a",
}
"""SHA-256 of the vendored files as they are in the npm packages d3 7.9.0 and @observablehq/plot 0.6.17."""


def test_the_libraries_are_the_published_ones_and_have_their_licences(rated_report: Path) -> None:
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in VENDOR.iterdir()}
    assert digests == VENDORED
    assert set(LIBRARIES) < set(digests)
    page = rated_report.read_text(encoding="utf-8")
    assert page.count("Permission to use, copy, modify, and/or distribute this software") == 2


def test_charts_show_figures_and_open_sentences(rated_page: Page) -> None:
    chart = rated_page.locator("[data-chart=time_polarity]")
    assert not rated_page.locator("figure:has([data-chart=time_polarity]) .scroll").is_visible()
    chart.scroll_into_view_if_needed()
    chart.focus()
    rated_page.keyboard.press("End")
    text = "SERVICE, Dec 2024: 27\u00a0% blame it"
    assert str(chart.get_attribute("aria-valuetext")).startswith(f"{text}; 8 of 30 reviews that mention it; 95")
    expect(chart.locator("g[aria-label=tip]")).to_contain_text(text)
    rated_page.keyboard.press("Enter")
    assert sentence_count(rated_page) == 8
    assert rated_page.locator("[name=from]").input_value() == "2024-12-01"
    assert rated_page.locator("[name=to]").input_value() == "2024-12-31"
    bar = rated_page.locator("[data-chart=impact]")
    bar.hover()
    expect(bar.locator("g[aria-label=tip]")).to_contain_text("SERVICE blamed: \u22120.18 stars on the mean")
    bar.click()
    assert sentence_count(rated_page) == 32
    assert rated_page.locator("[name=to]").input_value() == ""


def test_charts_follow_the_width_and_are_static_on_paper(rated_page: Page) -> None:
    chart, static = (
        rated_page.locator(f"figure:has([data-chart=time_mentions]) {part}") for part in (".chart", ".scroll")
    )
    for width in (390, 1440):
        rated_page.set_viewport_size({"width": width, "height": 800})
        rated_page.wait_for_function(
            "document.querySelector('.chart svg').clientWidth === document.querySelector('.chart').clientWidth"
        )
        assert rated_page.evaluate("document.documentElement.scrollWidth") <= width
        assert (chart.is_visible(), static.is_visible()) == (True, False)
    rated_page.emulate_media(media="print")
    assert (chart.is_visible(), static.is_visible()) == (False, True)


def test_a_word_opens_its_sentences(rated_page: Page) -> None:
    link = rated_page.locator("#words a.n").last
    link.click()
    assert str(sentence_count(rated_page)) == link.text_content()
    assert rated_page.locator("[name=word]").input_value() == "SERVICE/service"


def test_sentences_on_changes_ranges_and_groups_open_theirs(rated_page: Page) -> None:
    for link, filters in (
        ("#time li a.open", {"category": "SERVICE", "from": "2024-09-01", "to": ""}),
        ("#ranges tbody a.open", {"category": "FOOD", "from": "2024-12-01", "to": "2024-12-28"}),
        ("#by-1 li a.open", {"category": "SERVICE", "by:business": "Hill", "from": ""}),
    ):
        rated_page.locator(link).first.dispatch_event("click")
        assert {name: rated_page.locator(f"[name='{name}']").input_value() for name in filters} == filters


def test_cells_of_heat_maps_have_links_in_their_table(rated_page: Page) -> None:
    row = rated_page.locator("#by-1 tbody tr", has_text="blame").filter(has_text="Hill").filter(has_text="SERVICE")
    hits = str(row.first.locator("td").nth(2).text_content()).split()[0]
    row.first.locator("a").dispatch_event("click")
    assert str(sentence_count(rated_page)) == hits


def test_a_page_of_many_reviews_names_the_command_for_its_sentences(
    monkeypatch: pytest.MonkeyPatch, browser: Browser, tmp_path: Path
) -> None:
    monkeypatch.setattr(evidence, "MAX_REVIEWS", 50)
    path = tmp_path / "report.html"
    write_report(analyse([planted(tmp_path, 1, 300)], ["business"]), path)
    opened = browser.new_page()
    errors: list[str] = []
    opened.on("console", lambda message: errors.append(message.text))
    opened.goto(path.as_uri())
    assert "reviews-parsing insights planted-1.parquet --by business --serve 8350" in str(
        opened.locator("main > .note").text_content()
    )
    assert opened.locator("#all, a.open").count() == 0
    assert opened.locator("[data-chart=time_mentions] svg").is_visible()
    assert errors == []
    opened.close()


def test_sentences_are_filtered_sorted_and_searched(rated_page: Page) -> None:
    rated_page.locator("[name=max]").fill("2")
    assert 0 < sentence_count(rated_page) < 720
    rated_page.locator("[name=category]").select_option("FOOD")
    rated_page.locator("[name=from]").fill("2024-12-01")
    few = sentence_count(rated_page)
    assert 0 < few < 30
    rated_page.locator("[name=sort]").select_option("newest")
    dates = re.findall(r"2024-\d\d-\d\d", " ".join(rated_page.locator("#all-list footer").all_text_contents()))
    assert dates == sorted(dates, reverse=True)
    rated_page.locator("[name=search]").fill("no such words")
    assert sentence_count(rated_page) == 0
    rated_page.locator("#filters button[type=reset]").click()
    expect(rated_page.locator("#all-count")).to_contain_text("720 sentences")
    rated_page.locator("#all-more").click()
    assert rated_page.locator("#all-list li").count() == 100


def test_all_sections_are_there_and_folders_are_not(rated_page: Page, rated_report: Path) -> None:
    for section in ("impact", "ranges", "topics", "all"):
        assert rated_page.locator(f"#{section} h2").is_visible()
    assert "Blame of SERVICE costs most: " in str(rated_page.locator("#impact p").first.text_content())
    page = rated_report.read_text(encoding="utf-8")
    assert str(rated_report.parent) not in page
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert re.search(r"default-src 'none'; script-src( 'sha256-[\w+/=]+'){4};", policy[1].replace("&#39;", "'"))


@pytest.mark.parametrize("scheme", ["light", "dark", "forced"])
@pytest.mark.parametrize("width", [390, 1440])
def test_axe_has_no_complaint(rated_page: Page, width: int, scheme: Literal["light", "dark", "forced"]) -> None:
    if scheme == "forced":
        rated_page.emulate_media(forced_colors="active")
    else:
        rated_page.emulate_media(color_scheme=scheme)
    rated_page.set_viewport_size({"width": width, "height": 800})
    levels = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]
    violations = Axe().run(rated_page, options={"runOnly": levels}).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"][:200]) for v in violations] == []
    assert rated_page.evaluate("document.documentElement.scrollWidth") <= width


def test_without_scripts_it_is_read_as_before(browser: Browser, rated_report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto(rated_report.as_uri())
    assert opened.locator("#sentences blockquote").count() >= 1
    assert opened.locator("#time .scroll svg").first.is_visible()
    assert not opened.locator(".chart").first.is_visible()
    assert opened.locator("#topics tbody tr").count() == 2
    assert "This list needs scripts" in str(opened.locator("#all").text_content())
    assert not opened.locator("#all-tools").is_visible()
    context.close()


def test_sentences_are_written_in_blocks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    insights = analyse([planted(tmp_path, 1, 30)], ["business"])
    monkeypatch.setattr(report_module, "BLOCK", 7)
    head, data = b"".join(render(insights)).split(b'<script type="application/json" id="data">')
    assert head.startswith(b"<!doctype html>")
    assert json.loads(data.split(b"</script>")[0]) == json.loads(json.dumps(insights.evidence))
    assert max(map(len, list(render(insights))[1:-1])) < 7 * 1000


def test_the_page_is_well_formed(report: Path) -> None:
    void = {"meta", "link", "br", "img"}
    standing: list[str] = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in void:
                standing.append(tag)

        def handle_startendtag(self, tag: str, attrs: object) -> None:
            pass

        def handle_endtag(self, tag: str) -> None:
            assert standing.pop() == tag

    Checker().feed(report.read_text(encoding="utf-8"))
    assert standing == []


def test_figures_are_named_for_what_they_show(parsed: Path) -> None:
    insights = analyse([parsed], ["month"])
    assert set(figures(insights)) == {"mentions", "polarity", "time_mentions", "time_polarity"}


def test_one_review_and_no_aspect_make_a_page_too(tmp_path: Path) -> None:
    for name, text in (("one", "[Tea](BEVERAGE+) at four, as always."), ("none", "We came on a Monday.")):
        write_report(analyse([parquet(tmp_path / f"{name}.parquet", [review(text)])]), tmp_path / f"{name}.html")
        page = (tmp_path / f"{name}.html").read_text(encoding="utf-8")
        assert "What 1 review says" in page
        assert "--time COLUMN" in page
    assert "No review has an aspect that counts." in page


def test_a_page_that_cannot_be_written_is_one_line(parsed: Path, tmp_path: Path) -> None:
    insights = analyse([parsed])
    (tmp_path / "taken.html").mkdir()
    for target, message in (
        (tmp_path / "taken.html", "is a folder"),
        (tmp_path / "none" / "report.html", "is not a folder"),
        (parsed, "ends in .html"),
    ):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(DataError, match=message):
            write_report(insights, target)
        assert sorted(tmp_path.rglob("*")) == before


@given(st.text(max_size=20), st.lists(st.tuples(st.integers(-2, 22), st.integers(-2, 22)), max_size=5))
def test_pieces_are_the_text(text: str, spans: list[tuple[int, int]]) -> None:
    cut = list(pieces(text, [Span(start, end, "FOOD", "positive") for start, end in sorted(spans)]))
    assert "".join(piece.text for piece in cut) == text
    assert all(text[piece.span.start : piece.span.end] == piece.text for piece in cut if piece.span)
