"""Words of a text, and the tokens that an encoder reads for them.

One splitter serves training and inference. A word is a run of letters, digits and marks (with joiners inside); in
scripts written without spaces a single character; anything else that is not white space is one word per grapheme, so
that an emoji never sticks to its neighbour and is never split.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import regex

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# An absurdly long "word" (a kilobyte of base64) must not fill a window by itself; its tag hangs on its first token.
MAX_TOKENS_PER_WORD = 32
# In a longer word a letter that comes three times is nobody's enthusiasm.
MAX_HELD = 32


@cache
def _pattern() -> regex.Pattern[str]:
    unspaced = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
    run = rf"[[\p{{L}}\p{{N}}\p{{M}}_]--[{unspaced}]]+"
    return regex.compile(
        rf"{run}(?:[\u200c\u200d]{run})*|[{unspaced}]\p{{M}}*|(?![\s\x1c-\x1f])(?:\p{{GCB=Prepend}}|\X)", regex.V1
    )


def words(text: str) -> list[tuple[int, int]]:
    """(start, end) of each word; in order, without overlap, and everything between them is white space."""
    return [match.span() for match in _pattern().finditer(text)]


def line_starts(text: str, bounds: Sequence[tuple[int, int]]) -> list[int]:
    """Return the indices of the words that begin a line; the first word of the text is left out."""
    found = set()
    for match in _line_break().finditer(text):
        word = bisect_left(bounds, match.end(), key=lambda word: word[0])
        if 0 < word < len(bounds):
            found.add(word)
    return sorted(found)


def covering(bounds: Sequence[tuple[int, int]], start: int, end: int) -> tuple[int, int] | None:
    """The range of words [first, stop) that text[start:end] touches, or None where it touches none."""
    first = bisect_right(bounds, start, key=lambda word: word[1])
    stop = bisect_left(bounds, end, key=lambda word: word[0])
    return (first, stop) if first < stop else None


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """A text as an encoder reads it, without special tokens.

    `bounds[w]` is (start, end) of word w in code points; `ids[first[w]:first[w + 1]]` are its token ids (`first` holds
    one more entry, the number of tokens). Words that a tokenizer maps to nothing (control characters) are left out.
    """

    bounds: list[tuple[int, int]]
    ids: list[int]
    first: list[int]


def tokenize(tokenizer: Tokenizer, texts: Sequence[str]) -> list[TokenizedText]:
    """Each text as words and token ids. No offset passes through the tokenizer, so its normaliser cannot move them.

    A word whose letters are held ("gooood") has the tokens of the one that is meant, where the vocabulary has that one.
    """
    split = [words(text) for text in texts]
    pieces = []
    for text, bounds in zip(texts, split, strict=True):
        # A word keeps a space before it if the text had one: byte-level vocabularies tell the two apart.
        spaced = [text[s - 1 : e] if s and text[s - 1].isspace() else text[s:e] for s, e in bounds]
        pieces.append([_meant(tokenizer, word) for word in spaced] if _held().search(text) else spaced)
    encodings = tokenizer.encode_batch(pieces, is_pretokenized=True, add_special_tokens=False)
    tokenized = []
    for bounds, encoding in zip(split, encodings, strict=True):
        kept: list[tuple[int, int]] = []
        ids: list[int] = []
        first: list[int] = []
        last = None
        for token, word in zip(encoding.ids, encoding.word_ids, strict=True):
            if word is not None and word != last:
                kept.append(bounds[word])
                first.append(len(ids))
                last = word
            elif len(ids) - first[-1] >= MAX_TOKENS_PER_WORD:
                continue
            ids.append(token)
        tokenized.append(TokenizedText(kept, ids, [*first, len(ids)]))
    return tokenized


@cache
def _line_break() -> regex.Pattern[str]:
    """Everything that `str.splitlines` splits at."""
    return regex.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")


@cache
def _held() -> regex.Pattern[str]:
    return regex.compile(r"(\p{L})\1{2,}", regex.IGNORECASE)


def _meant(tokenizer: Tokenizer, word: str) -> str:
    """`word` with what comes three times or more once or twice, if that is one token and the word is not.

    Of both the lower id: vocabularies begin with what is common.
    """
    if len(word) > MAX_HELD or not _held().search(word):
        return word
    tries = [word, _held().sub(r"\1", word), _held().sub(r"\1\1", word)]
    encodings = tokenizer.encode_batch([[its] for its in tries], is_pretokenized=True, add_special_tokens=False)
    whole = {encoding.ids[0]: its for its, encoding in zip(tries, encodings, strict=True) if len(encoding.ids) == 1}
    return whole[min(whole)] if whole and len(encodings[0].ids) > 1 else word


def special_tokens(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Token ids that the encoder expects before and after a text, such as ([CLS], [SEP])."""
    encoding = tokenizer.encode("a", add_special_tokens=True)
    inner = [i for i, special in enumerate(encoding.special_tokens_mask) if not special]
    return encoding.ids[: inner[0]], encoding.ids[inner[-1] + 1 :]
