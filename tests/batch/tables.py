"""Tables of strings in every form, written and read without the code under test."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

Row = dict[str, Any]

AWKWARD = ["\r\n", "\r", "\n", "\t", " ", "\u00a0", "\u2028", "\x85", "\ufeff", "\0", ",", ";", '"', "'", '""', "\\"]
AWKWARD += ["🍜", "👩‍🍳", "e\u0301", "寿司", "007", "2024-01-06", "NULL", "NaN", "true", "{", "[]", "=1+1", "#"]
PRAISE = [
    "The gnocchi were pillowy",
    "the waiter sighed at us",
    "$9 for a pint of cider",
    "lovely harbour view",
    "Yum!",
]

strings = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.lists(st.sampled_from(AWKWARD + PRAISE), max_size=8).map("".join),
)
names = strings.filter(lambda name: name not in ("text", "aspects"))


@dataclass
class Table:
    names: list[str]
    rows: list[Row]


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Return a few rows of strings; one of the columns is `text`."""
    columns = draw(st.permutations(["text", *draw(st.lists(names, max_size=3, unique=True))]))
    row = st.tuples(*(strings for _ in columns)).map(lambda values: dict(zip(columns, values, strict=True)))
    return Table(list(columns), draw(st.lists(row, min_size=1, max_size=4)))


def write(table: Table, path: Path) -> Path:
    if path.suffix == ".parquet":
        columns = {name: pa.array([row[name] for row in table.rows], pa.string()) for name in table.names}
        pq.write_table(pa.table(columns), path)
    elif path.suffix == ".jsonl":
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in table.rows]
        path.write_bytes("".join(lines).encode())
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL)
            writer.writerows([table.names, *(row.values() for row in table.rows)])
    return path


def read(path: Path) -> tuple[list[str], list[Row]]:
    """(names, rows), aspects being lists of dicts."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        return table.column_names, table.to_pylist()
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_bytes().decode().split("\n")[:-1]]
        return list(rows[0]), rows
    with path.open(encoding="utf-8", newline="") as file:
        header, *values = csv.reader(file, strict=True)
    rows = [dict(zip(header, row, strict=True)) for row in values]
    return header, [row | {"aspects": json.loads(row["aspects"])} for row in rows]
