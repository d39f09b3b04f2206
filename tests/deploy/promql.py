"""Parser for the metric and label names in the PromQL queries of this project."""

from __future__ import annotations

import re
from dataclasses import dataclass

WORDS = {"and", "or", "unless", "bool", "offset"}
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
SELECTOR = re.compile(r"(?<![\w:.$])([a-zA-Z_][\w:]*)(\s*\{([^}]*)\})?(?!\s*\(|[\w:])")
MATCHER = re.compile(r"([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)\s*''")


@dataclass(frozen=True)
class Selector:
    metric: str
    labels: frozenset[str]


def selectors(query: str) -> list[Selector]:
    """Return the metrics of a query, each with the labels that it is matched by."""
    bare = GROUPING.sub(" ", _bare(query))
    bare = re.sub(r"\b(?:by|without|group_left|group_right)\b", " ", re.sub(r"\[[^\]]*\]", " ", bare))
    return [
        Selector(name, frozenset(MATCHER.findall(matchers)))
        for name, _, matchers in SELECTOR.findall(bare)
        if name not in WORDS
    ]


def grouped_by(query: str) -> set[str]:
    """Return the labels that a query groups or joins by."""
    return {label.strip() for labels in GROUPING.findall(_bare(query)) for label in labels.split(",") if label.strip()}


def _bare(query: str) -> str:
    """Without what strings say."""
    return re.sub(r'"(?:[^"\\]|\\.)*"', "''", query)
