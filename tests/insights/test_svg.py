"""Inline SVG keeps words of reviews unchanged and is thread-safe."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from insights.making import parquet, review
from reviews_parsing.insights import analyse, figures
from reviews_parsing.insights.plots import polarity
from reviews_parsing.insights.svg import inline

NAMES = ["#0072b2", 'id="x" url(#y)', "font-family: mine;", "$a$ & <b>", "a \\$ sign"]


def test_categories_are_written_as_they_are(tmp_path: Path) -> None:
    rows = [review("We came on a Monday.", "FOOD+") for _ in NAMES]
    for row, name in zip(rows, NAMES, strict=True):
        row["aspects"][0]["entity_group"] = name
    plots = figures(analyse([parquet(tmp_path / "p.parquet", rows)]))
    svg = inline(plots["mentions"], "plot")
    texts = re.findall(r">([^<>]+)</text>", svg)
    assert {name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for name in NAMES} <= set(texts)
    assert "var(--ink)" in svg


def test_threads_draw_the_same(parsed: Path) -> None:
    insights = analyse([parsed])
    plots = [polarity(insights) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        drawn = set(pool.map(lambda plot: str(inline(plot, "plot")), plots))
    assert len(drawn) == 1
    assert "<text" in drawn.pop()
