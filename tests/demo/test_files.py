"""A file on the page: what comes out, and what is left of one that nobody waits for."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from reviews_parsing.batch import read_rows
from reviews_parsing.demo.leftout import LeftOut
from serving.client import Server

from .conftest import Site, Visit, until

REVIEWS = [f"The soup at table {n} was lovely but the waiter was rude." for n in range(12)]


def uploaded(page: Page, path: Path) -> None:
    page.get_by_role("tab", name="A file").click()
    page.locator("#rp-upload input[type=file]").set_input_files(path)


def csv(path: Path, texts: list[str]) -> Path:
    path.write_text("id,comment,city\n" + "".join(f'{n},"{text}",Ghent\n' for n, text in enumerate(texts)))
    return path


def test_a_file_becomes_a_table_plots_parquet_and_rows_left_out(page: Page, server: Server, tmp_path: Path) -> None:
    path = csv(tmp_path / "reviews.csv", [*REVIEWS, "A long soup. " * 2000])
    path.write_text(path.read_text() + "13,No city\n14,One,Porto,too many\n")
    uploaded(page, path)
    expect(page.get_by_label("Column of the texts")).to_have_value("comment")
    page.get_by_role("button", name="Parse the file").click()
    expect(page.get_by_role("table", name="Aspects by category")).to_contain_text("FOOD")
    outcome = page.locator("#rp-outcome")
    expect(outcome).to_contain_text("13 reviews")
    expect(outcome).to_contain_text("Longer than the server takes, so without aspects: 1 text.")
    expect(outcome.get_by_text("left out")).to_have_text(
        "2 rows could not be parsed and were left out: 2 values where the header has 3, or the like (2 rows)."
    )
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
    with page.expect_download() as left_out:
        page.get_by_text("Download the rows left out").click()
    assert left_out.value.suggested_filename == "reviews-parsed.rejects.jsonl"
    rejects = [json.loads(line) for line in left_out.value.path().read_text().splitlines()]
    assert [(r["input"], r["line"], r["raw"]) for r in rejects] == [
        ("reviews.csv", 15, "13,No city"),
        ("reviews.csv", 16, "14,One,Porto,too many"),
    ]


def test_the_reasons_of_rows_left_out_are_counted_and_bounded() -> None:
    found = LeftOut()
    assert str(found) == ""
    found.add("'text' is null: there is no text")
    assert str(found) == "1 row could not be parsed and was left out: 'text' is null: there is no text (1 row)."
    for reason in ("byte 0xe9 at offset 5 is not UTF-8", "a", "b", "b", "byte 0xff at offset 77 is not UTF-8", "c"):
        found.add(reason)
    assert str(found).endswith(
        "7 rows could not be parsed and were left out: byte 0xe9 at offset 5 is not UTF-8, or the like (2 rows); "
        "b (2 rows); 'text' is null: there is no text (1 row); other reasons (2 rows)."
    )


def test_a_file_without_a_column_of_texts_is_told_which_there_are(page: Page, tmp_path: Path) -> None:
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


def test_only_what_was_uploaded_is_read(site: Site, tmp_path: Path) -> None:
    """A request that names another file of the machine is answered as one that names none."""
    secret = csv(tmp_path / "secret.csv", ["A secret."])
    head = b'--frontier\r\nContent-Disposition: form-data; name="files"; filename="mine.csv"\r\n\r\n'
    body = head + secret.read_bytes() + b"\r\n--frontier--\r\n"
    [mine] = asked(site, "gradio_api/upload", body, "multipart/form-data; boundary=frontier")
    choices = {path: dropdown(site, path) for path in (mine, str(secret), f"{Path(mine).parent}/../../../secret.csv")}
    assert choices.pop(mine) == [["id", "id"], ["comment", "comment"], ["city", "city"]]
    assert list(choices.values()) == [[], []]


def dropdown(site: Site, path: str) -> Any:
    """The columns that a file is said to have, where a request says that it was uploaded; none where it is refused."""
    config = asked(site, "config")
    upload = next(part["id"] for part in config["components"] if part["type"] == "file")
    event = next(event["id"] for event in config["dependencies"] if [upload, "change"] in event["targets"])
    form = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}], "fn_index": event, "session_hash": "other"}
    asked(site, "gradio_api/queue/join", json.dumps(form).encode())
    with urllib.request.urlopen(f"{site.url}/gradio_api/queue/data?session_hash=other", timeout=30) as stream:
        messages = [json.loads(line.removeprefix(b"data: ")) for line in stream if line.startswith(b"data: ")]
    [done] = [message for message in messages if message["msg"] == "process_completed"]
    return done["output"]["data"][0]["choices"] if done["success"] else []


def asked(site: Site, path: str, body: bytes | None = None, kind: str = "application/json") -> Any:
    """What the page's server answers, as JSON."""
    request = urllib.request.Request(f"{site.url}/{path}", body, {"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


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
