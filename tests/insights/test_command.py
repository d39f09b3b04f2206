"""The command `reviews-parsing insights`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from insights.making import parquet, review
from reviews_parsing.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command: (exit status, stdout, stderr)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["reviews-parsing", "insights", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return call


def test_one_command_is_an_answer(run: Run, parsed: Path, tmp_path: Path) -> None:
    code, out, err = run(parsed)
    assert (code, err) == (0, "")
    assert "FOOD" in out
    assert "5 reviews, 7 aspects" in out
    assert "\x1b" not in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parsed.parquet"]


def test_a_page_and_tables_are_written_where_asked(run: Run, parsed: Path, tmp_path: Path) -> None:
    page, folder = tmp_path / "report.html", tmp_path / "tables"
    code, out, _ = run(parsed, "--by", "id, month", "-o", page, "--tables", folder, "--json")
    assert code == 0
    assert json.loads(out)["by"] == ["id", "month"]
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (folder / "categories.csv").is_file()


def test_help_has_examples(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert "reviews-parsing insights parsed.parquet --by business,month -o report.html" in " ".join(out.split())


@pytest.mark.parametrize("library", ["duckdb", "simplemma"])
def test_without_the_extra_the_line_says_what_to_install(
    run: Run,
    parsed: Path,
    monkeypatch: pytest.MonkeyPatch,
    library: str,
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    code, out, err = run(parsed)
    assert (code, out) == (1, "")
    assert "pip install 'reviews-parsing[insights]'" in err


def test_mistakes_are_one_line_and_leave_nothing(run: Run, parsed: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    for arguments, message in (
        (("none.parquet",), "does not exist"),
        ((parsed, "--by", "shop", "-o", page), "no column 'shop'"),
        ((parsed, "--time", "text", "-o", page), "no date"),
        ((parsed, "-o", tmp_path / "none" / "report.html"), "is not a folder"),
        ((parsed, "-o", parsed), "ends in .html"),
        ((parsed, "--language", "xx"), "language 'xx'"),
    ):
        code, out, err = run(*arguments)
        assert (code, out) == (1, "")
        (line,) = err.strip().splitlines()
        assert message in line
    assert not page.exists()


def test_everything_is_written_where_asked(run: Run, parsed: Path, tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in ("tables", "pictures", "digest")}
    code, out, _ = run(parsed, *(part for name, folder in folders.items() for part in (f"--{name}", folder)))
    assert code == 0
    assert all(f"-> {folder}" in out for folder in folders.values())
    assert {"findings.csv", "tables.xlsx", "insights.json"} <= {path.name for path in folders["tables"].iterdir()}
    assert {"mentions.png", "mentions.svg"} <= {path.name for path in folders["pictures"].iterdir()}
    assert {path.name for path in folders["digest"].iterdir()} == {"digest.html", "digest.txt", "digest.json"}


def test_an_alert_exits_with_3_after_everything_is_written(run: Run, parsed: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    code, out, _ = run(parsed, "--alert", "blame:STAFF>10%", "--alert", "change", "-o", page)
    assert code == 3
    assert "alert: blame:STAFF>10%: it is 20.0 %." in out
    assert page.is_file()
    code, out, _ = run(parsed, "--alert", "blame:STAFF>30%", "--alert", "change")
    assert (code, "alert:" in out) == (0, False)
    code, out, _ = run(parsed, "--alert", "blame:STAFF>10%", "--json")
    assert (code, json.loads(out)["alerts"]) == (3, ["blame:STAFF>10%: it is 20.0 %."])


def test_options_reach_the_analysis(run: Run, tmp_path: Path) -> None:
    rows = [
        review("The [tea](BEVERAGE+).", grade=str(n % 5 + 1), day=f"0{n % 9 + 1}/0{n % 2 + 1}/24", business="AB"[n % 2])
        for n in range(40)
    ]
    path = parquet(tmp_path / "p.parquet", rows)
    topics = tmp_path / "topics.toml"
    topics.write_text('[rename]\n"BEVERAGE/tea" = "Tea of the house"\n')
    options = ("--rating", "grade", "--time", "day", "--date-format", "%d/%m/%y", "--as-of", "2024-03-01")
    code, out, _ = run(path, *options, "--compare", "month", "--topics", topics, "--json")
    document = json.loads(out)
    assert code == 0
    assert (document["by"], document["place"], document["rating"]["column"]) == (["business"], "business", "grade")
    assert (document["first"], document["compared"]["first"]) == ("2024-01-01", "2024-02-01")
    assert [topic["name"] for topic in document["topics"]] == ["Tea of the house"]


def test_mistakes_in_new_options_are_one_line(run: Run, parsed: Path, tmp_path: Path) -> None:
    for arguments, message in (
        (("--rating", "text"), "no ratings in column 'text'"),
        (("--compare", "fortnight"), "names no ranges"),
        (("--alert", "soon"), "is not an alert"),
        (("--alert", "stars<38"), "stars are at most 5"),
        (("--topics", tmp_path / "none.toml"), "cannot be read"),
        (("--date-format", "%Q"), "is not a format of dates"),
        (("--digest", parsed), "is a file"),
        (("--pictures", parsed), "is a file"),
    ):
        code, out, err = run(parsed, *arguments)
        assert (code, out) == (1, "")
        (line,) = err.strip().splitlines()
        assert message in line
