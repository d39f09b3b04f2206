"""The example of docs/how-to/insights.md runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from insights.making import parquet, review

DOCS = Path(__file__).parents[2] / "docs" / "how-to" / "insights.md"


def test_the_example_in_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [review("[Tea](BEVERAGE+) at four.", business=name) for name in ("Quay", "Hill") for _ in range(10)]
    parquet(tmp_path / "parsed.parquet", rows)
    (example,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    exec(example, {})
    assert capsys.readouterr().out.startswith("BEVERAGE 1.0")
    assert {path.name for path in tmp_path.iterdir()} == {"parsed.parquet", "polarity.png", "report.html"}
