"""CoNLL: a token and its tag on a line, more columns between them kept, a blank line between reviews.

Columns are apart by tabs or spaces; comments begin with `#` and stand before the first token.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from reviews_parsing.data import comments
from reviews_parsing.data.tokens import TAG, align, from_tokens, to_tokens
from reviews_parsing.errors import DataError
from reviews_parsing.io.files import decode_utf8, encode_utf8
from reviews_parsing.schema import Review

_DOCSTART = "-DOCSTART-"


class _Block(NamedTuple):
    line: int
    comments: list[str]
    rows: list[list[str]]


def decode(data: bytes, name: str) -> Iterator[tuple[int, Review]]:
    """(line, review) of each block. Raises DataError naming the line that is no token with a tag."""
    for number, block in enumerate(_blocks(decode_utf8(data, name), name), start=1):
        said = comments.parse(block.comments)
        tokens, tags = [row[0] for row in block.rows], [row[-1] for row in block.rows]
        text, aspects, meta = from_tokens(tokens, tags, said.text)
        columns = [row[1:-1] for row in block.rows]
        if any(columns):
            meta["columns"] = columns
        review_id = f"#{number}" if said.id is None else said.id
        review = Review(review_id, text, aspects, said.meta | meta)
        if _comments(review, tokens, number) != block.comments:
            review = Review(review.id, text, aspects, {**review.meta, "comments": block.comments})
        yield block.line, review


def encode(reviews: Sequence[Review]) -> bytes:
    """Raises DataError naming the review with a token or tag that no line can hold."""
    blocks = []
    for number, review in enumerate(reviews, start=1):
        tokens, tags = to_tokens(review)
        columns = review.meta.get("columns")
        if not (isinstance(columns, list) and len(columns) == len(tokens)):
            columns = [[]] * len(tokens)
        rows = [[token, *extra, tag] for token, extra, tag in zip(tokens, columns, tags, strict=True)]
        if any(re.search(r"[\t\r\n]", str(cell)) for row in rows for cell in row):
            raise DataError(f"review {review.id}: a token or category holds a tab or line break: write jsonl instead")
        table = ["\t".join(map(str, row)) for row in rows]
        if table and _is_comment(table[0]):
            raise DataError(f"review {review.id}: begins like a comment ({table[0]!r:.40}): write jsonl instead")
        lines = [*_comments(review, tokens, number), *table]
        # The marker of a new document is a block of its own, or other readers take it for a token.
        lines = [f"{line}\n" if line.startswith(_DOCSTART) else line for line in lines]
        blocks.append("\n".join(lines) + "\n")
    return encode_utf8("\n".join(blocks), "the reviews")


def _comments(review: Review, tokens: Sequence[str], number: int) -> list[str]:
    """The source's own comments where they still say what the review says, else comments that do."""
    default = f"#{number}"
    kept = review.meta.get("comments")
    kept = kept if isinstance(kept, list) and all(isinstance(line, str) and _is_comment(line) for line in kept) else []
    said = comments.parse(kept)
    meta = {key: value for key, value in review.meta.items() if key not in comments.RESERVED}
    joined = " ".join(tokens)
    text = joined if said.text is None or align(tokens, said.text) is None else said.text
    if kept and (default if said.id is None else said.id, text, said.meta) == (review.id, review.text, meta):
        return kept
    needs_text = review.text != joined or not tokens
    rendered = comments.render(None if review.id == default else review.id, review.text if needs_text else None, meta)
    return said.free + rendered


def _blocks(text: str, name: str) -> list[_Block]:
    blocks: list[_Block] = []
    waiting: list[str] = []  # comments of a block without tokens belong to the next one
    block = _Block(0, [], [])
    rows = (row.rstrip("\r") for row in [*text.split("\n"), ""])
    for line, row in enumerate(rows, start=1):
        if row.strip(" \t"):
            block = block if block.line else _Block(line, waiting, [])
            waiting = []
            if not block.rows and _is_comment(row):
                block.comments.append(row)
            else:
                block.rows.append(_columns(row, f"{name}:{line}"))
            continue
        if block.rows or comments.parse(block.comments).text is not None:
            blocks.append(block)
        elif block.comments:
            waiting = block.comments
        block = _Block(0, [], [])
    if waiting and blocks:
        blocks[-1].comments.extend(waiting)
    return blocks


def _is_comment(row: str) -> bool:
    if row.startswith(_DOCSTART):
        return True
    if not row.startswith("#") or "\n" in row:
        return False
    cells = _cells(row)
    is_row = len(cells) > 1 and TAG.fullmatch(cells[-1]) is not None
    return not is_row or ("\t" not in row and re.match(r"#\s*[^\s=]+ = ", row) is not None)


def _columns(row: str, where: str) -> list[str]:
    cells = _cells(row)
    if len(cells) < 2:
        raise DataError(f"{where}: one column ({row.strip()!r:.40}): give each token and its tag, apart by a tab")
    if not TAG.fullmatch(cells[-1]):
        raise DataError(f"{where}: the last column, '{cells[-1]}', is not an IOB2 tag: O, B-CATEGORY or I-CATEGORY")
    return cells


def _cells(row: str) -> list[str]:
    if "\t" not in row:
        return re.split(" +", row.strip(" "))
    *cells, tag = row.split("\t")
    return [*cells, tag.strip(" ")]


def looks_like(text: str) -> bool:
    """Whether the first line that is no comment is a token with a tag."""
    rows = (row.rstrip("\r") for row in text.split("\n") if row.strip())
    row = next((row for row in rows if not _is_comment(row)), "")
    return len(_cells(row)) > 1 and TAG.fullmatch(_cells(row)[-1]) is not None
