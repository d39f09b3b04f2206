"""Word splitter and word-aligned tokenizer, the same for training and inference.

A word is a run of letters, digits and marks (with joiners inside), a single character in scripts written without
spaces, and one grapheme of anything else but white space, so that an emoji is never split nor joined to its neighbour.
"""

from __future__ import annotations

import itertools
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import regex

from reviews_parsing.tagging.surface import normalise

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Limits the share of a window that a very long "word", such as base64, can take.
MAX_TOKENS_PER_WORD = 32
# Longer words are not corrected for elongation ("gooood").
MAX_ELONGATED_CHARACTERS = 32
# Words whose tokens are kept: some 8 MB.
MAX_KNOWN_WORDS = 2**15
# The words of ASCII, where each grapheme is a character: a simpler pattern, three times as fast.
_ASCII_WORD = re.compile(r"\w+|[^\w\s\x1c-\x1f]", re.ASCII)


@cache
def _pattern() -> regex.Pattern[str]:
    unspaced = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
    run = rf"[[\p{{L}}\p{{N}}\p{{M}}_]--[{unspaced}]]+"
    return regex.compile(
        rf"{run}(?:[\u200c\u200d]{run})*|[{unspaced}]\p{{M}}*|(?![\s\x1c-\x1f])(?:\p{{GCB=Prepend}}|\X)", regex.V1
    )


def words(text: str) -> list[tuple[int, int]]:
    """Return (start, end) of each word in order, without white space, markup and invisible characters."""
    return _split(text)[0]


def _split(text: str) -> tuple[list[tuple[int, int]], list[str]]:
    """Return the bounds of each word and its normalised form, including a preceding space."""
    surface = normalise(text)
    normalised = text if surface is None else surface.text
    pattern = _ASCII_WORD if normalised.isascii() else _pattern()
    spans = [match.span() for match in pattern.finditer(normalised)]
    # Byte-level vocabularies distinguish words with and without a preceding space.
    forms = [normalised[s - 1 : e] if s and normalised[s - 1].isspace() else normalised[s:e] for s, e in spans]
    if "&" in normalised:
        forms = [_spell_out_ampersand(forms, i) for i in range(len(forms))]
    if surface is None:
        return spans, forms
    bounds = [(surface.starts[start], surface.ends[end - 1]) for start, end in spans]
    # One entity or ligature may contain several words, which share its bounds: only the first is used.
    indices = [i for i, (start, _) in enumerate(bounds) if i == 0 or start >= bounds[i - 1][1]]
    return [bounds[i] for i in indices], [forms[i] for i in indices]


def _spell_out_ampersand(forms: Sequence[str], i: int) -> str:
    """Return form i, ` and` for an ampersand before a word in lower case: "burgers & fries", but "Kettle & Crumb".

    In labelled reviews an ampersand is nearly always part of a name, which is one span; nouns joined by "and" are two.
    """
    if forms[i].strip() != "&" or not 0 < i < len(forms) - 1:
        return forms[i]
    previous, following = forms[i - 1].strip(), forms[i + 1].strip()
    joins_words = previous.isalpha() and len(previous) > 1 and following.islower() and len(following) > 1
    return " and" if joins_words else forms[i]


def line_starts(text: str, bounds: Sequence[tuple[int, int]]) -> list[int]:
    """Return the indices of words that begin a line, except the first word of the text."""
    starts = set()
    for match in _line_break().finditer(text):
        word = bisect_left(bounds, match.end(), key=lambda word: word[0])
        if 0 < word < len(bounds):
            starts.add(word)
    return sorted(starts)


def covering(bounds: Sequence[tuple[int, int]], start: int, end: int) -> tuple[int, int] | None:
    """Return the range [first, stop) of words that overlap text[start:end], or None."""
    first = bisect_right(bounds, start, key=lambda word: word[1])
    stop = bisect_left(bounds, end, key=lambda word: word[0])
    return (first, stop) if first < stop else None


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """Words and token ids of a text, without special tokens.

    `bounds[w]` is (start, end) of word w in code points, `ids[first[w]:first[w + 1]]` are its token ids; the last entry
    of `first` is the number of tokens. Words without tokens (control characters) are omitted.
    """

    bounds: list[tuple[int, int]]
    ids: list[int]
    first: list[int]


class WordTokenizer:
    """Splits texts into words and tokenizes each word; offsets are independent of the tokenizer's normaliser.

    An elongated word ("gooood") gets the token of its dictionary form if the vocabulary has that form. Tokens of up to
    about MAX_KNOWN_WORDS words are kept, since most words of a text are common. Thread-safe.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        # Token ids that the encoder expects before and after a text, such as ([CLS], [SEP]).
        self.special_tokens = _special_tokens(tokenizer)
        self._known: dict[str, tuple[int, ...]] = {}

    def tokenize(self, texts: Sequence[str]) -> list[TokenizedText]:
        """Return the words and tokens of each text."""
        split = [_split(text) for text in texts]
        known = self._tokens({form for _, forms in split for form in forms})
        tokenized = []
        for bounds, forms in split:
            tokens = [known[form] for form in forms]
            ids = list(itertools.chain.from_iterable(tokens))
            first = [0, *itertools.accumulate(map(len, filter(None, tokens)))]
            tokenized.append(TokenizedText(list(itertools.compress(bounds, tokens)), ids, first))
        return tokenized

    def _tokens(self, forms: set[str]) -> dict[str, tuple[int, ...]]:
        """Return the token ids of the words `forms`, and of others."""
        # A new dictionary once it is full: other threads may still read the old one.
        known = self._known
        if len(known) > MAX_KNOWN_WORDS:
            known = self._known = {}
        if unknown := list(forms.difference(known)):
            ids = self._encode([self._shorten(form) for form in unknown])
            known.update(zip(unknown, ids, strict=True))
        return known

    def _encode(self, forms: Sequence[str]) -> list[tuple[int, ...]]:
        """Return the token ids of each word."""
        pieces = [[form] for form in forms]
        encodings = self._tokenizer.encode_batch(pieces, is_pretokenized=True, add_special_tokens=False)
        return [tuple(encoding.ids[:MAX_TOKENS_PER_WORD]) for encoding in encodings]

    def _shorten(self, word: str) -> str:
        """Return an elongated word with repeated letters reduced to one or two, if that is one token and `word` is not.

        If both forms are tokens, the lower id wins because vocabularies list common words first.
        """
        if len(word) > MAX_ELONGATED_CHARACTERS or not _elongation().search(word):
            return word
        forms = [word, _elongation().sub(r"\1", word), _elongation().sub(r"\1\1", word)]
        ids = self._encode(forms)
        tokens = {form_ids[0]: form for form, form_ids in zip(forms, ids, strict=True) if len(form_ids) == 1}
        return tokens[min(tokens)] if tokens and len(ids[0]) > 1 else word


@cache
def _line_break() -> regex.Pattern[str]:
    """Return the pattern of line breaks: those of `str.splitlines`, a backslash with n or r, HTML tags."""
    return regex.compile(
        r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+|\\[nr]|<(?:br|/?p|/?div|/?li|/tr)(?:\s[^<>]{0,200})?/?>",
        regex.IGNORECASE,
    )


@cache
def _elongation() -> regex.Pattern[str]:
    return regex.compile(r"(\p{L})\1{2,}", regex.IGNORECASE)


def _special_tokens(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    encoding = tokenizer.encode("a", add_special_tokens=True)
    inner = [i for i, special in enumerate(encoding.special_tokens_mask) if not special]
    return encoding.ids[: inner[0]], encoding.ids[inner[-1] + 1 :]
