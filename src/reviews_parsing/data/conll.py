"""Reader and writer for CoNLL files: a token per line with its tag in the last column, a blank line between reviews.

Tabs or spaces separate columns; columns between token and tag are preserved. Comments begin with `#` and precede the
first token.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from reviews_parsing.data.conll_comments import RESERVED_KEYS, format_comments, parse_comments
from reviews_parsing.data.tokens import TAG, align, from_tokens, to_tokens
from reviews_parsing.errors import DataError
from reviews_parsing.io.files import decode_utf8, encode_utf8
from reviews_parsing.schema import Review

_DOCSTART = "-DOCSTART-"


class _Block(NamedTuple):
    """Lines of one review; `line` is the number of the first one, 0 for an empty block."""

    line: int
    comments: list[str]
    rows: list[list[str]]


def is_conll(text: str) -> bool:
    """Return True if the first line that is not a comment is a token with a tag."""
    rows = (row.rstrip("\r") for row in text.split("\n") if row.strip())
    cells = _split_cells(next((row for row in rows if not _is_comment(row)), ""))
    return len(cells) > 1 and TAG.fullmatch(cells[-1]) is not None


def decode(data: bytes, name: str) -> Iterator[tuple[int, Review]]:
    """Yield (line, review) for each block. Raises DataError naming a line that is not a token with a tag."""
    for number, block in enumerate(_read_blocks(decode_utf8(data, name), name), start=1):
        comments = parse_comments(block.comments)
        tokens, tags = [row[0] for row in block.rows], [row[-1] for row in block.rows]
        text, aspects, meta = from_tokens(tokens, tags, comments.text)
        columns = [row[1:-1] for row in block.rows]
        if any(columns):
            meta["columns"] = columns
        review_id = f"#{number}" if comments.id is None else comments.id
        review = Review(review_id, text, aspects, comments.meta | meta)
        if _choose_comments(review, tokens, number) != block.comments:
            review = Review(review.id, text, aspects, {**review.meta, "comments": block.comments})
        yield block.line, review


def encode(reviews: Sequence[Review]) -> bytes:
    """Return the file. Raises DataError naming a review with a token or tag that a line cannot hold."""
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
        lines = [*_choose_comments(review, tokens, number), *table]
        # A document marker is a block of its own; without a blank line other readers take it for a token.
        lines = [f"{line}\n" if line.startswith(_DOCSTART) else line for line in lines]
        blocks.append("\n".join(lines) + "\n")
    return encode_utf8("\n".join(blocks), "the reviews")


def _choose_comments(review: Review, tokens: Sequence[str], number: int) -> list[str]:
    """Return the comments of the source if they are consistent with the review, else new ones."""
    default_id = f"#{number}"
    source = review.meta.get("comments")
    if not (isinstance(source, list) and all(isinstance(line, str) and _is_comment(line) for line in source)):
        source = []
    comments = parse_comments(source)
    meta = {key: value for key, value in review.meta.items() if key not in RESERVED_KEYS}
    joined = " ".join(tokens)
    text = joined if comments.text is None or align(tokens, comments.text) is None else comments.text
    parsed_id = default_id if comments.id is None else comments.id
    if source and (parsed_id, text, comments.meta) == (review.id, review.text, meta):
        return source
    needs_text = review.text != joined or not tokens
    review_id = None if review.id == default_id else review.id
    return comments.free_lines + format_comments(review_id, review.text if needs_text else None, meta)


def _read_blocks(text: str, name: str) -> list[_Block]:
    blocks: list[_Block] = []
    pending_comments: list[str] = []  # comments of a block without tokens belong to the next block
    block = _Block(0, [], [])
    rows = (row.rstrip("\r") for row in [*text.split("\n"), ""])
    for line, row in enumerate(rows, start=1):
        if row.strip(" \t"):
            block = block if block.line else _Block(line, pending_comments, [])
            pending_comments = []
            if not block.rows and _is_comment(row):
                block.comments.append(row)
            else:
                block.rows.append(_parse_row(row, f"{name}:{line}"))
            continue
        if block.rows or parse_comments(block.comments).text is not None:
            blocks.append(block)
        elif block.comments:
            pending_comments = block.comments
        block = _Block(0, [], [])
    if pending_comments and blocks:
        blocks[-1].comments.extend(pending_comments)
    return blocks


def _is_comment(row: str) -> bool:
    if row.startswith(_DOCSTART):
        return True
    if not row.startswith("#") or "\n" in row:
        return False
    cells = _split_cells(row)
    is_tagged = len(cells) > 1 and TAG.fullmatch(cells[-1]) is not None
    return not is_tagged or ("\t" not in row and re.match(r"#\s*[^\s=]+ = ", row) is not None)


def _parse_row(row: str, location: str) -> list[str]:
    cells = _split_cells(row)
    if len(cells) < 2:
        raise DataError(
            f"{location}: one column ({row.strip()!r:.40}): give each token and its tag, separated by a tab"
        )
    if not TAG.fullmatch(cells[-1]):
        raise DataError(f"{location}: the last column, '{cells[-1]}', is not an IOB2 tag: O, B-CATEGORY or I-CATEGORY")
    return cells


def _split_cells(row: str) -> list[str]:
    if "\t" not in row:
        return re.split(" +", row.strip(" "))
    *cells, tag = row.split("\t")
    return [*cells, tag.strip(" ")]
