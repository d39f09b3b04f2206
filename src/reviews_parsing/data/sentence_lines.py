r"""Reader for line formats of aspect-based sentiment analysis: `####` and `$T$` files.

`sentence####labels` has one of three kinds of labels: triplets (`[([1, 2], [4], 'POS')]`: token indices of aspect and
opinion; Peng et al., 2020), quads as in ACOS (`1,3 FOOD#QUALITY 2 4,5`), or tagged words (`miso=T-POS`; Li et al.,
2019). A `$T$` file has three lines per aspect: a sentence with `$T$` for the aspect, the aspect, and its polarity.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

from reviews_parsing.data import acos, polarities
from reviews_parsing.data.tokens import UNCATEGORISED, from_tokens
from reviews_parsing.errors import DataError
from reviews_parsing.io.files import decode_utf8
from reviews_parsing.schema import Aspect, Opinion, Review

_SEPARATOR, _PLACEHOLDER = "####", "$T$"
_NUMERIC_POLARITIES = {"-1": "negative", "0": "neutral", "1": "positive"}
_SUPPORTED = "triplets, quads and word=TAG can be read"


def is_sentence_lines(text: str) -> bool:
    """Return True if every line has the separator, or every third line a placeholder."""
    rows = [row for row in text.split("\n") if row.strip()]
    return bool(rows) and (all(_SEPARATOR in row for row in rows) or _is_placeholder_file(rows))


def decode(data: bytes, name: str) -> Iterator[tuple[int, Review]]:
    """Yield (line, review) for each sentence. Raises DataError naming the invalid line."""
    numbered_rows = [
        (line, row.strip("\r")) for line, row in enumerate(decode_utf8(data, name).split("\n"), start=1) if row.strip()
    ]
    is_placeholder_file = _is_placeholder_file([row for _, row in numbered_rows])
    reviews = _decode_placeholders(numbered_rows) if is_placeholder_file else _decode_separated(numbered_rows)
    try:
        yield from reviews
    except _LineError as error:
        raise DataError(f"{name}:{error.line}: {error}") from None


class _LineError(DataError):
    """An error of a line."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def _is_placeholder_file(rows: list[str]) -> bool:
    return _PLACEHOLDER in rows[0] and len(rows) % 3 == 0 and all(_PLACEHOLDER in row for row in rows[::3])


def _decode_placeholders(numbered_rows: list[tuple[int, str]]) -> Iterator[tuple[int, Review]]:
    reviews: list[tuple[int, str, list[Aspect]]] = []
    _check_numbers(numbered_rows[2::3])
    for index in range(0, len(numbered_rows), 3):
        (line, sentence), (_, word), (_, label) = numbered_rows[index : index + 3]
        word, label = word.strip(), label.strip()
        polarity = _NUMERIC_POLARITIES.get(label) or polarities.standardise(label)
        if sentence.count(_PLACEHOLDER) != 1:
            raise _LineError(line, "a sentence with several $T$: give it one")
        if polarity is None:
            raise _LineError(line + 2, f"{label!r:.40} is not a polarity: write positive, negative or neutral")
        sentence = sentence.strip()
        start = sentence.index(_PLACEHOLDER)
        text = sentence.replace(_PLACEHOLDER, word)
        aspect = Aspect(UNCATEGORISED, word, start, start + len(word), polarity)
        if reviews and reviews[-1][1] == text:
            reviews[-1][2].append(aspect)
        else:
            reviews.append((line, text, [aspect]))
    for line, text, aspects in reviews:
        yield line, Review(f"#{line}", text, tuple(aspects))


def _check_numbers(numbered_labels: list[tuple[int, str]]) -> None:
    """Reject numbers of polarities without a -1: 0 may be negative or neutral, and 1 neutral or positive."""
    numbers = [(line, label.strip()) for line, label in numbered_labels if re.fullmatch(r"[0-9]+", label.strip())]
    if numbers and not any(label.strip() == "-1" for _, label in numbered_labels):
        raise _LineError(numbers[0][0], "the polarities are numbers of an unknown scale: write their names")


def _decode_separated(numbered_rows: list[tuple[int, str]]) -> Iterator[tuple[int, Review]]:
    for line, row in numbered_rows:
        text, _, labels = row.partition(_SEPARATOR)
        try:
            yield line, _read_labels(text, labels.strip(), f"#{line}")
        except DataError as error:
            raise _LineError(line, str(error)) from None


def _read_labels(text: str, labels: str, review_id: str) -> Review:
    if labels in ("", "[]"):
        return Review(review_id, text.strip())
    if acos.is_acos(f"{text}\t{labels}"):
        row = f"{text.rstrip()}\t{labels}".encode()
        ((_, review),) = acos.decode(row, "line")
        return Review(review_id, review.text, review.aspects)
    if labels.startswith("["):
        tokens = text.split()
        text = " ".join(tokens)
        return Review(review_id, text, tuple(_read_triplet(item, tokens, text) for item in _parse_list(labels)))
    if _SEPARATOR in labels:
        raise DataError(f"several {_SEPARATOR} in a line, as with opinion tags after aspect tags: {_SUPPORTED}")
    pairs = [pair.rsplit("=", 1) for pair in labels.split()]
    if all(len(pair) == 2 and re.fullmatch(r"O|T(-\w+)?|[BIESU]-\w+|-?[A-Z]+", pair[1]) for pair in pairs):
        return _read_tagged_words(pairs, review_id)
    raise DataError(f"the labels after {_SEPARATOR} ({labels!r:.40}) have an unknown form: {_SUPPORTED}")


def _parse_list(labels: str) -> list[Any]:
    try:
        value = ast.literal_eval(labels)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        value = None
    if not isinstance(value, list):
        raise DataError(f"the labels after {_SEPARATOR} ({labels!r:.40}) are not a list: {_SUPPORTED}")
    return value


def _read_triplet(item: Any, tokens: list[str], text: str) -> Aspect:
    if not (isinstance(item, list | tuple) and item and isinstance(item[0], list | tuple)):
        raise DataError(
            f"{item!r:.60} holds words and not token indices, as in ABSA-QUAD: their place in the sentence is unknown"
        )
    polarity = polarities.standardise(item[2]) if len(item) == 3 and isinstance(item[2], str) else None
    if polarity is None:
        raise DataError(f"{item!r:.60} is not a triplet of aspect, opinion and polarity")
    aspect, opinion = (_span_of(indices, tokens) for indices in item[:2])
    return Aspect(UNCATEGORISED, text[slice(*aspect)], *aspect, polarity, Opinion(text[slice(*opinion)], *opinion))


def _span_of(indices: Any, tokens: list[str]) -> tuple[int, int]:
    """Return the characters of consecutive tokens."""
    is_valid = isinstance(indices, list | tuple) and bool(indices) and all(type(index) is int for index in indices)
    if not is_valid or list(indices) != list(range(indices[0], indices[-1] + 1)):
        raise DataError(f"{indices!r:.40} are not indices of consecutive tokens")
    if indices[0] < 0 or indices[-1] >= len(tokens):
        raise DataError(f"tokens {indices!r:.40} are not among the {len(tokens)}")
    start = sum(len(token) + 1 for token in tokens[: indices[0]])
    return start, start + len(" ".join(tokens[indices[0] : indices[-1] + 1]))


def _read_tagged_words(pairs: list[list[str]], review_id: str) -> Review:
    """Read words with tags such as T-POS, or B-POS and I-POS; a run of equal T tags is one aspect."""
    tags: list[str] = []
    for _, tag in pairs:
        is_target = tag.startswith("T")
        continues = is_target and tags and tags[-1][2:] == tag[2:] and tags[-1] != "O"
        tags.append((f"I{tag[1:]}" if continues else f"B{tag[1:]}") if is_target else tag)
    text, aspects, _ = from_tokens([word for word, _ in pairs], tags)
    named = [(aspect, polarities.standardise(aspect.entity_group)) for aspect in aspects]
    if any(polarity is None for _, polarity in named):
        raise DataError("a tag is not T, B, I, E or S with a polarity such as T-POS")
    return Review(
        review_id, text, tuple(Aspect(UNCATEGORISED, a.word, a.start, a.end, polarity) for a, polarity in named)
    )
