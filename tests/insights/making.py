"""Parsed reviews for tests, from texts in which the aspects are marked."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reviews_parsing.schema import aspects_arrow_type

Row = dict[str, Any]
POLARITIES = {"+": "positive", "-": "negative", "=": "neutral"}


def review(marked: str, *implicit: str, score: float = 0.9, **columns: Any) -> Row:
    """Return a row as `parse` writes it: "The [soup](FOOD+) was [good](!)." has an aspect and its opinion.

    `implicit` are aspects of no word: "FOOD+".
    """
    text, aspects = "", list[Row]()
    at = 0
    for match in re.finditer(r"\[([^]]+)\]\(([A-Z]*)([-+=!])\)", marked):
        text += marked[at : match.start()]
        words = {"word": match[1], "start": len(text), "end": len(text) + len(match[1])}
        text += match[1]
        at = match.end()
        if match[3] == "!":
            aspects[-1]["opinion"] = words
        else:
            aspects.append(_aspect(match[2], match[3], score) | words)
    text += marked[at:]
    aspects += [_aspect(one[:-1], one[-1], score) for one in implicit]
    return {"text": text, **columns, "aspects": aspects}


def _aspect(category: str, sign: str, score: float) -> Row:
    polarity = {"polarity": POLARITIES[sign], "polarity_score": 0.9, "opinion": None}
    return {"entity_group": category, "score": score, "word": None, "start": None, "end": None, **polarity}


def parquet(path: Path, rows: list[Row], **types: pa.DataType) -> Path:
    """Return a file as `parse` writes it; `types` of columns other than strings and numbers."""
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["text", "aspects"]
    kinds = {"text": pa.string(), **types, "aspects": aspects_arrow_type()}
    columns = {name: pa.array([row.get(name) for row in rows], kinds.get(name)) for name in names}
    pq.write_table(pa.table(columns), path)
    return path


def jsonl(path: Path, rows: list[Row]) -> Path:
    """Return a file as `parse` writes it."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path
