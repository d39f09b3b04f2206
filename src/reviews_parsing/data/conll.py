"""Reader and writer for CoNLL files: a token per line with its tag in the last column, a blank line between reviews.

Tabs or spaces separate columns; columns between token and tag are preserved. Comments begin with `#` and precede the
first token. A first column that numbers the tokens, as in CoNLL-U, is dropped; tags may also be in the first of two
columns, or in the only column that holds tags.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from reviews_parsing.data.conll_comments import RESERVED_KEYS, format_comments, parse_comments
from reviews_parsing.data.tokens import TAG, align, from_tokens, to_tokens, warn_of_replaced_texts
from reviews_parsing.errors import DataError
from reviews_parsing.io.files import decode_utf8, encode_utf8
from reviews_parsing.schema import Review

_DOCSTART = "-DOCSTART-"


# Categories of syntactic chunks, whose tags CoNLL-2000 and CoNLL-2003 have beside the labels.
CHUNKS = frozenset("NP VP PP ADJP ADVP SBAR PRT CONJP INTJ LST UCP VC NC PC".split())  # noqa: SIM905


class _Block(NamedTuple):
    """Lines of one review; `line` is the number of the first one, 0 for an empty block."""

    line: int
    comments: list[str]
    rows: list[list[str]]
    lines: list[int]


class _Layout(NamedTuple):
    """Indices of the columns of tokens and of tags, and of the first column that is preserved."""

    token: int = 0
    tag: int = -1
    first: int = 0


def is_conll(text: str) -> bool:
    """Return True if the first line that is not a comment is a token with a tag."""
    rows = (row.rstrip("\r") for row in text.split("\n") if row.strip())
    cells = _split_cells(next((row for row in rows if not _is_comment(row)), ""))
    return len(cells) > 1 and TAG.fullmatch(cells[-1]) is not None


def decode(data: bytes, name: str) -> Iterator[tuple[int, Review]]:
    """Yield (line, review) for each block. Raises DataError naming a line that is not a token with a tag."""
    blocks = _read_blocks(decode_utf8(data, name), name)
    layout = _infer_layout(blocks, name)
    replaced: list[str] = []
    for number, block in enumerate(blocks, start=1):
        comments = parse_comments(block.comments)
        for line, row in zip(block.lines, block.rows, strict=True):
            _check_tag(row[layout.tag], f"{name}:{line}")
        tokens, tags = [row[layout.token] for row in block.rows], [row[layout.tag] for row in block.rows]
        try:
            text, aspects, meta = from_tokens(tokens, tags, comments.text)
        except DataError as error:
            raise DataError(f"{name}:{block.line}: {error}") from None
        if comments.text not in (None, text):
            replaced.append(f"line {block.line}")
        columns = [
            [cell for i, cell in enumerate(row) if i >= layout.first and i not in {layout.token, layout.tag % len(row)}]
            for row in block.rows
        ]
        if any(columns):
            meta["columns"] = columns
        review_id = f"#{number}" if comments.id is None else comments.id
        review = Review(review_id, text, aspects, comments.meta | meta)
        if _choose_comments(review, tokens, number) != block.comments:
            review = Review(review.id, text, aspects, {**review.meta, "comments": block.comments})
        yield block.line, review
    warn_of_replaced_texts(name, replaced)


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
    block = _Block(0, [], [], [])
    rows = (row.rstrip("\r") for row in [*text.split("\n"), ""])
    for line, row in enumerate(rows, start=1):
        if row.strip(" \t"):
            block = block if block.line else _Block(line, pending_comments, [], [])
            pending_comments = []
            if not block.rows and _is_comment(row):
                block.comments.append(row)
            else:
                block.rows.append(_parse_row(row, f"{name}:{line}"))
                block.lines.append(line)
            continue
        if block.rows or parse_comments(block.comments).text is not None:
            blocks.append(block)
        elif block.comments:
            pending_comments = block.comments
        block = _Block(0, [], [], [])
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
    return cells


def _check_tag(tag: str, location: str) -> None:
    if not TAG.fullmatch(tag):
        raise DataError(f"{location}: the last column, '{tag}', is not an IOB2 tag: O, B-CATEGORY or I-CATEGORY")


def _infer_layout(blocks: Sequence[_Block], name: str) -> _Layout:
    """Return the layout of a file. Raises DataError if several columns may hold the tokens or the tags."""
    rows = [row for block in blocks for row in block.rows]
    width = min(map(len, rows), default=0)
    if width < 2:
        return _Layout()
    first = int(width > 2 and _is_index(blocks, rows, name))
    tag_columns = [column for column in range(first, width) if _are_tags([row[column] for row in rows])]
    if all(TAG.fullmatch(row[-1]) for row in rows):
        rivals = [column + 1 for column in tag_columns if first < column < width - 1]
        if rivals and (first or len({len(row) for row in rows}) == 1):
            numbers = ", ".join(map(str, [*rivals, width]))
            raise DataError(f"{name}: columns {numbers} all hold tags, as in GermEval: remove all but one of them")
        return _Layout(first, -1, first)
    is_regular = len({len(row) for row in rows}) == 1
    if width == 2 and tag_columns == [0]:
        return _Layout(1, 0, 0)
    if is_regular and first and len(tag_columns) == 1 and tag_columns[0] > first:
        return _Layout(first, tag_columns[0], first)
    return _Layout(first, -1, first)


def _is_index(blocks: Sequence[_Block], rows: Sequence[Sequence[str]], name: str) -> bool:
    """Return True if the first column numbers the tokens of each review or of the file."""
    if not all(re.fullmatch(r"[0-9]+([-.][0-9]+)?", row[0]) for row in rows) or len(rows) < 2:
        return False
    location = f"{name}:{blocks[0].line}"
    if any(not row[0].isdecimal() for row in rows):
        if any(row[0].isdecimal() for row in rows):
            raise DataError(f"{location}: multiword tokens or empty nodes of CoNLL-U (as 1-2, 8.1): remove those lines")
        return False
    steps = [
        int(later[0]) - int(earlier[0])
        for block in blocks
        for earlier, later in zip(block.rows, block.rows[1:], strict=False)
    ]
    if steps and all(step == 1 for step in steps):
        return True
    if len(rows) > 3 and len({row[0] for row in rows}) > 1:
        raise DataError(f"{location}: the first column holds numbers that do not count tokens: remove the column")
    return False


def _are_tags(cells: Sequence[str]) -> bool:
    """Return True if all cells are tags, and some name a category that is not a syntactic chunk."""
    if not all(TAG.fullmatch(cell) for cell in cells):
        return False
    categories = {cell[2:] for cell in cells if len(cell) > 2}
    return bool(categories) and not categories <= CHUNKS


def _split_cells(row: str) -> list[str]:
    if "\t" not in row:
        return re.split(" +", row.strip(" "))
    *cells, tag = row.split("\t")
    return [*cells, tag.strip(" ")]
