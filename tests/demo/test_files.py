"""A file on the page: its results, its address, its limits, and the files that remain on disk."""

from __future__ import annotations

import gzip
import json
import socket
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from playwright.sync_api import Browser, Page, expect

from reviews_parsing.batch import read_rows
from reviews_parsing.demo.rejects import RejectSummary
from serving.client import Server

from .conftest import Site, Visit, page_over, save, until, upload, visits, write_csv
from .fake_server import FakeServer

REVIEWS = [f"The soup at table {n} was lovely but the waiter was rude." for n in range(12)]


def parse_file(page: Page) -> None:
    page.get_by_role("button", name="Parse the file").click()
    expect(page.get_by_role("table", name="Aspects by category")).to_be_visible()


def test_a_file_becomes_a_table_plots_parquet_and_rejects(page: Page, server: Server, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "reviews.csv", [*REVIEWS, "A long soup. " * 2000])
    path.write_text(path.read_text() + "13,No city\n14,One,Porto,too many\n")
    upload(page, path)
    expect(page.get_by_label("Column of the texts")).to_have_value("comment")
    parse_file(page)
    expect(page.get_by_role("table", name="Aspects by category")).to_contain_text("FOOD")
    outcome = page.locator("#rp-outcome")
    expect(outcome).to_contain_text("13 reviews")
    expect(outcome).to_contain_text("Longer than the server takes, so without aspects: 1 text.")
    expect(outcome.locator(".rp-note").get_by_text("left out")).to_have_text(
        "2 rows could not be parsed and were left out: 2 values where the header has 3, or the like (2 rows)."
    )
    expect(outcome.locator(".rp-rows > li").first).to_contain_text("at table 0 was lovely")
    expect(outcome.locator("figure svg").first).to_be_visible()
    with page.expect_download() as report:
        page.get_by_text("Download the report").click()
    assert report.value.suggested_filename == "reviews-insights.html"
    with page.expect_download() as download:
        page.get_by_text("Download the Parquet").click()
    assert download.value.suggested_filename == "reviews-parsed.parquet"
    download.value.save_as(tmp_path / "parsed.parquet")
    rows = list(read_rows([str(tmp_path / "parsed.parquet")]))
    assert [row["comment"] for row in rows[:12]] == REVIEWS
    expected = [[(a["word"], a["polarity"]) for a in aspects] for aspects in server.infer(REVIEWS).predictions]
    assert [[(a["word"], a["polarity"]) for a in row["aspects"]] for row in rows[:12]] == expected
    assert rows[12]["aspects"] == []
    with page.expect_download() as download:
        page.get_by_text("Download the rows left out").click()
    assert download.value.suggested_filename == "reviews-parsed.rejects.jsonl"
    rejects = [json.loads(line) for line in download.value.path().read_text().splitlines()]
    assert [(r["input"], r["line"], r["raw"]) for r in rejects] == [
        ("reviews.csv", 15, "13,No city"),
        ("reviews.csv", 16, "14,One,Porto,too many"),
    ]


def test_the_reasons_of_rejected_rows_are_counted_and_bounded() -> None:
    summary = RejectSummary()
    assert str(summary) == ""
    summary.add("'text' is null: there is no text")
    assert str(summary) == "1 row could not be parsed and was left out: 'text' is null: there is no text (1 row)."
    for reason in ("byte 0xe9 at offset 5 is not UTF-8", "a", "b", "b", "byte 0xff at offset 77 is not UTF-8", "c"):
        summary.add(reason)
    assert str(summary).endswith(
        "7 rows could not be parsed and were left out: byte 0xe9 at offset 5 is not UTF-8, or the like (2 rows); "
        "b (2 rows); 'text' is null: there is no text (1 row); other reasons (2 rows)."
    )


def test_reviews_in_a_foreign_language_are_counted(page: Page, tmp_path: Path) -> None:
    upload(page, write_csv(tmp_path / "reviews.csv", [*REVIEWS, "Das Essen war kalt, der Kellner unfreundlich."]))
    parse_file(page)
    expect(page.locator("#rp-outcome")).to_contain_text(
        "In a language that the model does not read, so without probable aspects: 1 review."
    )
    with page.expect_download() as download:
        page.get_by_text("Download the Parquet").click()
    download.value.save_as(tmp_path / "parsed.parquet")
    *_, english, german = read_rows([str(tmp_path / "parsed.parquet")])
    assert (english["language"], english["foreign"]) == ("en", False)
    assert (german["language"], german["foreign"]) == ("de", True)


def test_reviews_in_a_wrong_encoding_are_counted(page: Page, tmp_path: Path) -> None:
    upload(page, write_csv(tmp_path / "reviews.csv", [*REVIEWS, "The crÃ¨me brÃ»lÃ©e was cold."]))
    parse_file(page)
    expect(page.locator("#rp-outcome")).to_contain_text("With characters of a wrong encoding: 1 review; export")


def test_errors_of_a_file_name_its_columns_or_the_file(page: Page, tmp_path: Path) -> None:
    (tmp_path / "numbers.jsonl").write_text('{"stars": 4, "price": 10}\n')
    upload(page, tmp_path / "numbers.jsonl")
    expect(page.get_by_role("alert")).to_contain_text("stars, price")
    page.get_by_role("link", name="Another file").click()
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and then nothing")
    page.locator("#rp-upload input[type=file]").set_input_files(tmp_path / "broken.parquet")
    expect(page.get_by_role("alert")).to_contain_text("broken.parquet")


def test_results_come_back_by_their_address_and_belong_to_their_columns(
    page: Page, visit: Visit, tmp_path: Path
) -> None:
    path = tmp_path / "two.jsonl"
    path.write_text("".join(json.dumps({"text": text, "title": "Great cocktails."}) + "\n" for text in REVIEWS))
    upload(page, path)
    parse_file(page)
    address = page.url
    page.reload()
    expect(page.get_by_role("table", name="Aspects by category")).to_be_visible()
    other = visit()
    other.goto(address)
    expect(other.get_by_role("table", name="Aspects by category")).to_be_visible()
    # Another column hides the results until the file is parsed by it, or the first column is chosen again.
    page.get_by_label("Column of the texts").select_option("title")
    expect(page.get_by_role("table")).to_have_count(0)
    expect(page.locator("#rp-outcome")).to_contain_text("The results are for other columns")
    page.get_by_label("Column of the texts").select_option("text")
    expect(page.get_by_role("table", name="Aspects by category")).to_be_visible()
    # A second file begins without results.
    second = write_csv(tmp_path / "second.csv", ["The tea was cold."])
    upload(page, second)
    expect(page.get_by_label("Column of the texts")).to_have_value("comment")
    expect(page.get_by_role("table")).to_have_count(0)
    expect(page.get_by_text("two.jsonl")).to_have_count(0)
    page.go_back()
    page.go_back()
    expect(page.get_by_role("heading", name="two.jsonl")).to_be_visible()
    expect(page.get_by_role("table", name="Aspects by category")).to_be_visible()


def test_a_column_must_be_chosen_where_none_is_clear(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "unclear.jsonl"
    path.write_text('{"p": "The soup was lovely.", "q": "Fine bread."}\n')
    upload(page, path)
    expect(page.get_by_label("Column of the texts")).to_have_value("")
    page.get_by_role("button", name="Parse the file").click()
    assert page.get_by_label("Column of the texts").evaluate("select => select.validity.valueMissing")
    expect(page.get_by_role("table")).to_have_count(0)


def test_the_layout_of_a_file_is_shown_and_can_be_corrected(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    path.write_text("id^text\n" + "".join(f"{number}^{text}\n" for number, text in enumerate(REVIEWS)))
    upload(page, path)
    expect(page.get_by_role("alert")).to_contain_text("seems to be delimited by '^': give 'Delimiter' '^'")
    read_again = page.get_by_role("button", name="Read the file like this")
    page.get_by_label("Delimiter").fill("^^")
    read_again.click()
    expect(page.get_by_role("alert")).to_contain_text("'Delimiter' '^^' is not one character")
    page.get_by_label("Delimiter").fill("^")
    read_again.click()
    layout = page.locator("#rp-layout summary")
    expect(layout).to_have_text("Layout: CSV, UTF-8, delimiter '^', header in line 1")
    expect(page.get_by_label("Column of the texts")).to_have_value("text")
    parse_file(page)
    expect(page.locator("#rp-outcome")).to_contain_text("12 reviews")
    # The columns remain: the file is parsed again.
    layout.click()
    page.get_by_label("Encoding").fill("latin-1")
    read_again.click()
    expect(layout).to_have_text("Layout: CSV, iso8859-1, delimiter '^', header in line 1")
    expect(page.locator("#rp-outcome")).to_contain_text("12 reviews")
    # Other columns: nothing of the old results is left.
    layout.click()
    page.get_by_label("Header").select_option("No header")
    page.get_by_label("Lines to skip").fill("2")
    read_again.click()
    expect(layout).to_have_text("Layout: CSV, iso8859-1, delimiter '^', no header")
    options = page.get_by_label("Column of the texts").get_by_role("option")
    expect(options).to_have_text(["Choose …", "column_1", "column_2"])
    expect(page.get_by_role("table")).to_have_count(0)
    expect(page.locator("#rp-outcome")).to_be_empty()
    layout.click()
    page.get_by_role("button", name="Detect the layout").click()
    expect(page.get_by_role("alert")).to_contain_text("seems to be delimited by '^'")


def test_only_valid_layouts_of_delimited_files_are_set(site: Site) -> None:
    content = b"id;comment\n1;A fine soup.\n2;The tea was cold.\n"
    job = create(site, "a.csv", content)
    assert (job["layout"], job["reading"]) == ("CSV, UTF-8, delimiter ';', header in line 1", {})
    assert job["dialect"] == {"delimiter": ";", "encoding": "utf-8", "header": True, "skip_lines": 0}
    assert send_json(site, f"api/files/{job['id']}/queue", {"column": "comment"}) == (201, {"total": 2})
    for layout, message in (
        ({"delimiter": "x"}, "'Delimiter' 'x' is not one character"),
        ({"encoding": "utf-99"}, "there is no encoding 'utf-99': give 'Encoding'"),
        ({"skip_lines": -1}, "'skip_lines'"),
        ({"skip_lines": True}, "'skip_lines'"),
        ({"header": "yes"}, "'header'"),
        ({"delimiter": ["a"]}, "'delimiter'"),
        ({"records": "a"}, "'records'"),
    ):
        status, answer = send_json(site, f"api/files/{job['id']}/layout", layout)
        assert (status, message in answer["error"]) == (422, True), answer
    assert send_json(site, f"api/files/{job['id']}/layout", {"skip_lines": 1, "encoding": None})[0] == 202
    job = wait_for(site, job["id"])
    assert (job["columns"], job["reading"]) == (["column_1", "column_2"], {"skip_lines": 1})
    assert send_json(site, f"api/files/{job['id']}/queue")[0] == 404
    rows = create(site, "a.jsonl", b'{"text": "A fine soup."}\n' * 2)
    assert (rows["layout"], rows["has_dialect"]) == ("JSON lines, UTF-8", False)
    status, answer = send_json(site, f"api/files/{rows['id']}/layout", {"delimiter": ";"})
    assert (status, answer["error"]) == (400, "a.jsonl is not delimited text: its layout cannot be set")


def test_workbooks_and_json_arrays_are_read(site: Site, tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["id", "comment"])
    book.active.append([1, "A fine soup."])
    book.save(tmp_path / "a.xlsx")
    job = create(site, "a.xlsx", (tmp_path / "a.xlsx").read_bytes())
    assert (job["guess"], job["has_dialect"]) == ("comment", False)
    assert job["layout"].startswith("spreadsheet")
    assert create(site, "a.json", b'[{"text": "A fine soup."}]')["guess"] == "text"


def test_a_corrected_review_shows_in_the_table_of_its_file(page: Page, tmp_path: Path) -> None:
    text = "The fried plantain was lovely at the counter."
    upload(page, write_csv(tmp_path / "corrected.csv", [text, "The tea was cold."]))
    parse_file(page)
    page.get_by_role("button", name=f"Correct: {text[:40]}").click()
    expect(page.get_by_role("heading", name="Correct the answer")).to_be_visible()
    while (delete := page.get_by_role("button", name="Delete")).count():
        delete.first.click()
    page.get_by_role("button", name="Add implicit aspect").click()
    category = page.get_by_role("combobox", name="Category of the implicit aspect")
    category.select_option(label="New category …")
    page.get_by_label("New category of the implicit aspect").fill("snacks")
    page.get_by_label("New category of the implicit aspect").press("Enter")
    save(page)
    page.get_by_role("link", name="Back to corrected.csv").click()
    expect(page.get_by_role("table", name="Aspects by category")).to_contain_text("SNACKS")
    expect(page.locator("#rp-outcome")).to_contain_text("Corrected: 1 review; the table counts the corrections.")
    expect(page.locator(".rp-rows > li").first).to_contain_text("Corrected by")


def test_deleting_a_file_while_it_is_parsed_ends_the_work(
    page: Page, site: Site, server: Server, tmp_path: Path
) -> None:
    texts = [f"The soup number {n} was lovely but the waiter at the door was rude to us." for n in range(4000)]
    before = set(site.job_files())
    upload(page, write_csv(tmp_path / "many.csv", texts))
    job_id = page.url.rsplit("/", 1)[1]
    page.get_by_role("button", name="Parse the file").click()
    reviews = server.counter("reviews_parsing_reviews_total")
    until(lambda: server.counter("reviews_parsing_reviews_total") > reviews)
    assert set(site.job_files()) - before
    send(site, f"api/files/{job_id}", method="DELETE")
    assert set(site.job_files()) == before
    assert server.counter("reviews_parsing_reviews_total") - reviews < len(texts)
    expect(page.get_by_role("alert")).to_contain_text("this file is not here")


def test_a_stopped_parse_leaves_no_results(page: Page, tmp_path: Path) -> None:
    upload(page, write_csv(tmp_path / "many.csv", REVIEWS * 300))
    page.get_by_role("button", name="Parse the file").click()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#rp-file-message")).to_contain_text("Stopped. No results were stored.")
    expect(page.get_by_role("button", name="Parse the file")).to_be_visible()
    expect(page.get_by_role("table")).to_have_count(0)


def test_an_interrupted_upload_leaves_no_file(site: Site) -> None:
    before = set(site.job_files())
    host, port = site.url.removeprefix("http://").split(":")
    head = f"POST /api/files?name=half.csv HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 500000\r\n\r\ntext\n"
    with socket.create_connection((host, int(port))) as browser:
        browser.sendall(head.encode() + b"A fine soup.\n" * 1000)
        until(lambda: set(site.job_files()) - before)
    until(lambda: set(site.job_files()) <= before)


def test_only_uploaded_files_are_read(site: Site, tmp_path: Path) -> None:
    """Names and ids with other paths of the machine open nothing."""
    secret = write_csv(tmp_path / "secret.csv", ["A secret."])
    name = urllib.parse.quote(str(secret), safe="")
    job_id = send(site, f"api/files?name={name}", b"id,comment,city\n1,Mine.,Ghent\n")["id"]
    until(lambda: send(site, f"api/files/{job_id}")["state"] == "ready")
    job = send(site, f"api/files/{job_id}")
    assert job["columns"] == job["text_columns"] == ["id", "comment", "city"]
    assert job["name"] == "secret.csv"
    for path in (
        f"{job_id}%2f..%2f..",
        f"..%2f{job_id}",
        name,
        f"{job_id}/downloads/..%2fjob.json",
        f"{job_id}/outcome",
    ):
        with pytest.raises(urllib.error.HTTPError) as refused:
            send(site, f"api/files/{path}")
        assert refused.value.code == 404
        refused.value.close()


def test_a_file_that_needs_too_much_memory_ends_its_own_process_only(
    fake_server: FakeServer, browser: Browser, tmp_path: Path
) -> None:
    bomb = tmp_path / "bomb.jsonl.gz"
    with gzip.open(bomb, "wb", compresslevel=9) as file:
        file.write(b'{"text": "')
        for _ in range(30):
            file.write(b"a" * 10**7)
        file.write(b'"}\n')
    (tmp_path / "page").mkdir()
    with (
        page_over(fake_server.url, tmp_path / "home", tmp_path / "page", REVIEWS_PARSING_FILE_MEMORY_MB="512") as site,
        visits(browser, site) as visit,
    ):
        page = visit()
        upload(page, bomb)
        expect(page.get_by_role("alert")).to_contain_text("bomb.jsonl.gz")
        assert send(site, "healthz") == {"ready": True}


def test_a_file_is_parsed_in_its_own_process_group_with_limits(site: Site, page: Page, tmp_path: Path) -> None:
    upload(page, write_csv(tmp_path / "many.csv", REVIEWS * 300))
    page.get_by_role("button", name="Parse the file").click()
    until(lambda: worker_limits(site))
    [limits] = worker_limits(site)
    assert limits["Max data size"] == str(2048 * 10**6)
    assert limits["Max cpu time"] == "900"
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#rp-file-message")).to_contain_text("Stopped")
    until(lambda: not worker_limits(site))


def worker_limits(site: Site) -> list[dict[str, str]]:
    """Return the limits of the worker processes of the page."""
    limits = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rsplit(")", 1)[1].split()[1])
            command = (process / "cmdline").read_bytes()
            lines = (process / "limits").read_text().splitlines()
        except OSError:
            continue
        if parent == site.process.pid and b"reviews_parsing.demo.worker" in command:
            found = {line[:25].strip(): line[26:].split()[0] for line in lines[1:]}
            if found["Max cpu time"] != "unlimited":
                limits.append(found)
    return limits


def send(site: Site, path: str, body: bytes | None = None, method: str | None = None) -> Any:
    """Send a request to the page's server and return the JSON of the answer."""
    request = urllib.request.Request(f"{site.url}/{path}", body, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def send_json(site: Site, path: str, document: Any = None) -> tuple[int, Any]:
    """Send a JSON document, or ask for one; return status and answer, of refusals too."""
    body = None if document is None else json.dumps(document).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{site.url}/{path}", body), timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, json.load(refusal)


def wait_for(site: Site, job_id: str) -> Any:
    """Return the state of a file once it is read."""
    until(lambda: send(site, f"api/files/{job_id}")["state"] != "scanning")
    return send(site, f"api/files/{job_id}")


def create(site: Site, name: str, content: bytes) -> Any:
    """Upload a file without a browser; return its state once it is read."""
    return wait_for(site, send(site, f"api/files?name={name}", content)["id"])


@pytest.mark.parametrize(
    ("path", "size"), [("api/files?name=a.csv", 2 * 10**6), ("api/parse", 17 * 10**6), ("api/corrections", 3 * 10**6)]
)
def test_large_requests_are_refused_before_they_are_read(site: Site, path: str, size: int) -> None:
    request = urllib.request.Request(f"{site.url}/{path}", b"x", {"Content-Length": str(size)}, method="POST")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    assert refused.value.code == 413
    refused.value.close()


def test_the_page_names_no_other_host(site: Site) -> None:
    for path in ("", "v2/docs"):
        with urllib.request.urlopen(f"{site.url}/{path}", timeout=30) as answer:
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
            html = answer.read().decode()
        for tag in ("<script", "<link", "<meta"):
            assert not [part for part in html.split(tag)[1:] if "https://" in part.split(">")[0]]
