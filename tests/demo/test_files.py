"""A file on the page: what comes out, and what is left of one that nobody waits for."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from reviews_parsing.batch import read_rows
from serving.client import Server

from .conftest import Site, until

Visit = Callable[..., Page]
REVIEWS = [f"The soup at table {n} was lovely but the waiter was rude." for n in range(12)]


def uploaded(page: Page, path: Path) -> None:
    page.get_by_role("tab", name="A file").click()
    page.locator("#rp-upload input[type=file]").set_input_files(path)


def csv(path: Path, texts: list[str]) -> Path:
    path.write_text("id,comment,city\n" + "".join(f'{n},"{text}",Ghent\n' for n, text in enumerate(texts)))
    return path


def test_a_file_becomes_a_table_plots_and_parquet(visit: Visit, server: Server, tmp_path: Path) -> None:
    page = visit()
    uploaded(page, csv(tmp_path / "reviews.csv", [*REVIEWS, "A long soup. " * 2000]))
    expect(page.get_by_label("Column of the texts")).to_have_value("comment")
    page.get_by_role("button", name="Parse the file").click()
    expect(page.get_by_role("table", name="Aspects by category")).to_contain_text("FOOD")
    outcome = page.locator("#rp-outcome")
    expect(outcome).to_contain_text("13 reviews")
    expect(outcome).to_contain_text("1 texts are longer than the server takes")
    expect(outcome.locator(".rp-rows > li").first).to_contain_text("at table 0 was lovely")
    expect(outcome.locator("figure svg").first).to_be_visible()
    with page.expect_download() as report:
        page.get_by_text("Download the report").click()
    assert report.value.suggested_filename == "reviews-insights.html"
    with page.expect_download() as fetched:
        page.get_by_text("Download the Parquet").click()
    assert fetched.value.suggested_filename == "reviews-parsed.parquet"
    fetched.value.save_as(tmp_path / "parsed.parquet")
    rows = list(read_rows([str(tmp_path / "parsed.parquet")]))
    assert [row["comment"] for row in rows[:12]] == REVIEWS
    expected = [[(a["word"], a["polarity"]) for a in found] for found in server.infer(REVIEWS).predictions]
    assert [[(a["word"], a["polarity"]) for a in row["aspects"]] for row in rows[:12]] == expected
    assert rows[12]["aspects"] == []


def test_a_file_without_a_column_of_texts_is_told_which_there_are(visit: Visit, tmp_path: Path) -> None:
    page = visit()
    (tmp_path / "numbers.jsonl").write_text('{"stars": 4, "price": 10}\n')
    uploaded(page, tmp_path / "numbers.jsonl")
    expect(page.get_by_role("alert")).to_contain_text("stars, price")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and then nothing")
    page.locator("#rp-upload").get_by_label("Clear").click()
    page.locator("#rp-upload input[type=file]").set_input_files(tmp_path / "broken.parquet")
    expect(page.get_by_role("alert")).to_contain_text("broken.parquet")


def test_a_browser_that_leaves_while_a_file_is_parsed_leaves_no_work(
    visit: Visit, site: Site, server: Server, tmp_path: Path
) -> None:
    page = visit()
    many = [f"The soup number {n} was lovely but the waiter at the door was rude to us." for n in range(4000)]
    uploaded(page, csv(tmp_path / "many.csv", many))
    page.get_by_role("button", name="Parse the file").click()
    before = server.counter("reviews_parsing_reviews_total")
    until(lambda: server.counter("reviews_parsing_reviews_total") > before)
    assert list(site.temporary.glob("reviews-parsing-page-*"))
    page.context.close()
    until(lambda: not list(site.temporary.glob("reviews-parsing-page-*")))
    assert server.counter("reviews_parsing_reviews_total") - before < len(many)


def test_an_upload_that_breaks_off_leaves_no_file(site: Site) -> None:
    before = set(site.files())
    head = b'--frontier\r\nContent-Disposition: form-data; name="files"; filename="half.csv"\r\n\r\ntext\n'
    host, port = site.url.removeprefix("http://").split(":")
    request = (
        f"POST /gradio_api/upload HTTP/1.1\r\nHost: {host}\r\nContent-Length: 500000\r\n"
        "Content-Type: multipart/form-data; boundary=frontier\r\n\r\n"
    )
    with socket.create_connection((host, int(port))) as browser:
        browser.sendall(request.encode() + head + b"A fine soup.\n" * 1000)
        until(lambda: set(site.files()) - before)
    until(lambda: set(site.files()) <= before)


def test_only_what_was_uploaded_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gradio import FileData

    from reviews_parsing.demo.page import _arrived

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    assert _arrived(FileData(path=str(tmp_path / "uploads" / "a" / "b.csv"))) == str(
        tmp_path / "uploads" / "a" / "b.csv"
    )
    assert _arrived(FileData(path=str(tmp_path / "uploads" / ".." / "secret.csv"))) is None


@pytest.mark.parametrize(("path", "size"), [("gradio_api/upload", 2 * 10**6), ("gradio_api/queue/join", 17 * 10**6)])
def test_what_is_too_large_is_refused_before_it_is_read(site: Site, path: str, size: int) -> None:
    request = urllib.request.Request(f"{site.url}/{path}", b"x", {"Content-Length": str(size)}, method="POST")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    assert refused.value.code == 413
    refused.value.close()


def test_the_page_names_no_other_host(site: Site) -> None:
    with urllib.request.urlopen(site.url, timeout=30) as answer:
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        html = answer.read().decode()
    for tag in ("<script", "<link", "<meta"):
        assert not [part for part in html.split(tag)[1:] if "https://" in part.split(">")[0]]
