"""The reference of files names every option, format and limit."""

from __future__ import annotations

from pathlib import Path

import typer

from reviews_parsing.batch import Limits
from reviews_parsing.batch.columns import TEXT_NAMES
from reviews_parsing.batch.stats import DEFAULT_MAX_REJECTS
from reviews_parsing.cli.app import app
from reviews_parsing.io.formats import COMPRESSIONS, FORMATS

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "files.md").read_text(encoding="utf-8")


def test_every_option_of_reading_is_documented() -> None:
    command = typer.main.get_command(app).commands["parse"]  # type: ignore[attr-defined]
    panels = ("How files are read", "Limits")
    options = [option for option in command.params if getattr(option, "rich_help_panel", None) in panels]
    names = [name for option in options for name in (*option.opts, *option.secondary_opts)]
    assert len(names) >= 9
    assert [name for name in names if f"`{name}" not in PAGE] == []


def test_every_format_and_limit_is_documented() -> None:
    endings = [ending for entry in FORMATS.values() for ending in entry.endings]
    assert [ending for ending in endings if f"`{ending}`" not in PAGE] == []
    assert [name for name in (*COMPRESSIONS, *TEXT_NAMES) if name not in PAGE] == []
    limits = Limits()
    assert f"| columns | {limits.max_columns:,} |" in PAGE
    assert f"| {limits.max_cell // 2**20} MiB | `--max-cell` |" in PAGE
    assert limits.unpacked_limit(0) == 256 * 2**20
    assert limits.unpacked_limit(2**30) == 100 * 2**30
    assert f"(default {100 * DEFAULT_MAX_REJECTS:g})" in PAGE
