"""Regressions of cost: the work of parsing a fixed set, counted independently of the machine, against its baseline.

`benchmarks/costs.json` has the counts and the reason of their last change. After a change that is worth its costs, or
that saves some: python benchmarks/costs.py --renew "REASON"
"""

from __future__ import annotations

import copy
import importlib
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from reviews_parsing import AspectParser

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
# Benchmarks are scripts that import each other by name.
sys.path.append(str(BENCHMARKS))
COSTS = importlib.import_module("costs")
BASELINE = COSTS.read_baseline()
TEXTS = ["The ramen was great but the waiter was rude.", "Lovely view.\nSmall rooms, though."]


@pytest.mark.skipif(
    not platform.python_version().startswith(BASELINE["python"] + "."),
    reason="each minor version of Python has other bytecode; the pipelines run the version of the baseline",
)
def test_parsing_costs_at_most_5_percent_more_than_the_baseline() -> None:
    done = subprocess.run([sys.executable, BENCHMARKS / "costs.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def total_bytecodes(parser: AspectParser, texts: list[str]) -> int:
    total: int = COSTS.bytecodes(parser, texts).total()
    return total


@pytest.mark.parametrize("count", [total_bytecodes, COSTS.library_calls])
def test_counts_repeat_exactly_and_see_more_work(
    count: Callable[[AspectParser, list[str]], int], parser: AspectParser, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser.parse(TEXTS)
    work = count(parser, TEXTS)
    assert count(parser, TEXTS) == work
    finish = parser.finish
    monkeypatch.setattr(parser, "finish", lambda *arguments: finish(*arguments) and finish(*arguments))
    assert count(parser, TEXTS) > 1.2 * work


@pytest.mark.parametrize("name", ["bytecodes", "library_calls", "peak_kilobytes", "encoder_runs", "encoder_tokens"])
def test_a_count_5_percent_above_the_baseline_is_an_error(name: str) -> None:
    counts = copy.deepcopy(BASELINE["counts"])
    counts[name] = int(1.04 * BASELINE["counts"][name])
    assert COSTS.excess(counts, BASELINE) == []
    counts[name] = int(1.06 * BASELINE["counts"][name]) + 1
    (line,) = COSTS.excess(counts, BASELINE)
    assert line.startswith(name)
