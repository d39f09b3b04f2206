"""Names of label file forms that are refused, recognised for the error message."""

from __future__ import annotations

import re

from reviews_parsing.data.polarities import standardise
from reviews_parsing.data.tokens import TAG

_TABLE_DELIMITERS = ("\t", ";", "|", ",")


def describe_form(text: str) -> str | None:  # noqa: PLR0911
    """Return the form that a text file seems to have, and the remedy; None if it is unknown."""
    rows = [row.rstrip("\r") for row in text.split("\n") if row.strip()][:200]
    if not rows:
        return None
    if all(re.match(r"([TREAMN#]\d*|\*)\t", row) for row in rows) and any(
        re.match(r"T\d+\t\S+ \d+ \d+", r) for r in rows
    ):
        return "brat's standoff annotations, whose text is in another file: convert both to JSON lines"
    if any(row.startswith("#FORMAT=WebAnno") for row in rows[:3]) or all(re.match(r"\d+-\d+\t", r) for r in rows[-3:]):
        return "WebAnno or INCEpTION TSV: export CoNLL 2002 instead"
    if sum(row.startswith("__label__") for row in rows) > len(rows) / 2:
        return "fastText's labels of whole texts, which have no spans"
    if any(re.search(r"\[[^\]\n]+\]\([^)\s]+\)|\[[^\]\n]+\]\{\"entity\"", row) for row in rows):
        return "labels inside the text, as in Rasa's Markdown or YAML: convert them to JSON ('rasa data convert nlu')"
    if any(re.search(r"<([A-Za-z_#]+)[^<>]*>[^<>]+</\1>", row) for row in rows):
        return "labels as tags inside the text: convert them to JSON lines with offsets"
    if _is_atepc(rows):
        return "ATEPC, as PyABSA writes it (token, tag, polarity): remove the last column, or write JSON lines"
    for delimiter in () if _has_tag_column(rows) else _TABLE_DELIMITERS:
        widths = {row.count(delimiter) for row in rows[:20]}
        if 0 not in widths and len(widths) == 1 and len(rows) > 1:
            columns = ", ".join(cell.strip('" ') for cell in rows[0].split(delimiter))
            return f"a table with the columns {columns:.60}: convert it to JSON lines with offsets"
    return _describe_sentence_lines(rows)


def _describe_sentence_lines(rows: list[str]) -> str | None:
    """Return the form of lines with a sentence and its labels, or of text without any tag."""
    if any(re.search(r"\[B-ASP\]|\[ASP\]|!sent!", row) for row in rows):
        return "PyABSA's inference format, with [B-ASP] around the words: write JSON lines with offsets"
    if len(rows) % 3 == 0 and any("$T$" in row for row in rows):
        return "a $T$ file with a damaged group: give three lines per aspect"
    if any("####" in row for row in rows):
        return "a #### file in which some line has no ####: give each line its labels"
    if any(re.search(r"###\s*[\[({]|=> *\(|\$(LABEL|T)\$", row, re.IGNORECASE) for row in rows):
        return "a line format of aspect-based sentiment analysis of another kind: write JSON lines with offsets"
    cells = [cell for row in rows if not row.startswith("#") for cell in row.split()]
    if cells and not any(re.fullmatch(r"O|[BIESULM]-.*", cell) for cell in cells):
        return "text without labels, or with labels in an unknown form: write JSON lines with offsets"
    return None


def _has_tag_column(rows: list[str]) -> bool:
    columns = zip(*(row.split() for row in rows if not row.startswith("#")), strict=False)
    return any(all(TAG.fullmatch(c) for c in cells) and any(c[1:2] == "-" for c in cells) for cells in columns)


def _is_atepc(rows: list[str]) -> bool:
    cells = [row.split() for row in rows]
    return all(len(row) == 3 and re.fullmatch(r"O|[BI]-\w+", row[1]) for row in cells) and all(
        standardise(row[2]) is not None or re.fullmatch(r"-?\d+", row[2]) for row in cells
    )
