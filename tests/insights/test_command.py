"""The command `reviews-parsing insights`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from reviews_parsing.cli import main


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Run the command: (exit status, stdout, stderr)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["reviews-parsing", "insights", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return call


def test_one_command_is_an_answer(run, parsed: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    code, out, err = run(parsed)
    assert (code, err) == (0, "")
    assert "FOOD" in out
    assert "5 reviews, 7 aspects" in out
    assert "\x1b" not in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parsed.parquet"]


def test_a_page_and_tables_are_written_where_asked(run, parsed: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    page, folder = tmp_path / "report.html", tmp_path / "tables"
    code, out, _ = run(parsed, "--by", "id, month", "-o", page, "--tables", folder, "--json")
    assert code == 0
    assert json.loads(out)["by"] == ["id", "month"]
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (folder / "categories.csv").is_file()


def test_help_has_examples(run) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = run("--help")
    assert code == 0
    assert "reviews-parsing insights parsed.parquet --by business,month -o report.html" in " ".join(out.split())


@pytest.mark.parametrize("library", ["duckdb", "simplemma"])
def test_without_the_extra_the_line_says_what_to_install(
    run,  # type: ignore[no-untyped-def]
    parsed: Path,
    monkeypatch: pytest.MonkeyPatch,
    library: str,
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    code, out, err = run(parsed)
    assert (code, out) == (1, "")
    assert "pip install 'reviews-parsing[insights]'" in err


def test_mistakes_are_one_line_and_leave_nothing(run, parsed: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    page = tmp_path / "report.html"
    for arguments, message in (
        (("none.parquet",), "does not exist"),
        ((parsed, "--by", "shop", "-o", page), "no column 'shop'"),
        ((parsed, "--time", "text", "-o", page), "no date"),
        ((parsed, "-o", tmp_path / "none" / "report.html"), "is no folder"),
        ((parsed, "-o", parsed), "ends in .html"),
        ((parsed, "--language", "xx"), "language 'xx'"),
    ):
        code, out, err = run(*arguments)
        assert (code, out) == (1, "")
        (line,) = err.strip().splitlines()
        assert message in line
    assert not page.exists()
