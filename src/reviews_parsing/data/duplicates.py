"""Detection of duplicate and near-duplicate texts: Jaccard similarity of word trigrams."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain
from math import ceil
from typing import NamedTuple

from reviews_parsing.tagging import words

SIMILARITY_THRESHOLD = 0.8
_SHINGLE_WORDS = 3

Shingle = tuple[str, ...]
"""Consecutive words of a text."""


class DuplicatePair(NamedTuple):
    """Indices of two similar texts, and their similarity, which is 1 if their words are the same."""

    later: int
    earlier: int
    similarity: float


class _IndexKey(NamedTuple):
    """Key of indexed texts: their group, their number of shingles, and the number of rarer shingles they have."""

    group: str
    size: int
    rank: int


def find_duplicates(texts: Sequence[str], groups: Sequence[str]) -> Iterator[DuplicatePair]:
    """Yield, for each text, one similar earlier text of its group and one of any other group, if there are any.

    Exact, without comparing all pairs: similar sets share one of their rarest elements (prefix filter; Bayardo, Ma and
    Srikant, 2007), near the start of both when ordered by rarity (positional filter; Xiao, Wang, Lin and Yu, 2008).
    Case, punctuation and white space are ignored, and so are texts without words.
    """
    keys = [tuple(text[start:end].casefold() for start, end in words(text) if text[start].isalnum()) for text in texts]
    shingles = [frozenset(zip(*(key[i:] for i in range(min(_SHINGLE_WORDS, len(key)))), strict=False)) for key in keys]
    counts = Counter(chain.from_iterable(shingles))
    exact_matches: dict[Shingle, dict[str, int]] = defaultdict(dict)
    index: dict[Shingle, dict[_IndexKey, list[int]]] = defaultdict(lambda: defaultdict(list))
    for text, (key, shingle_set, group) in enumerate(zip(keys, shingles, groups, strict=True)):
        if not key:
            continue
        matches = exact_matches[key].items()
        pairs = {earlier_group == group: DuplicatePair(text, earlier, 1.0) for earlier_group, earlier in matches}
        if group in exact_matches[key]:
            yield from pairs.values()
            continue  # the earlier duplicate is in the index
        exact_matches[key][group] = text
        size = len(shingle_set)
        min_shared = ceil(SIMILARITY_THRESHOLD * size - 1e-9)
        prefix = sorted(shingle_set, key=lambda shingle: (counts[shingle], shingle))[: size - min_shared + 1]
        for rank, shingle in enumerate(prefix):
            for entry, candidates in index[shingle].items():
                same_group = entry.group == group
                max_shared = min(size - rank, entry.size - entry.rank)
                if same_group in pairs or _jaccard(max_shared, size, entry.size) < SIMILARITY_THRESHOLD:
                    continue
                for candidate in candidates:
                    similarity = _jaccard(len(shingle_set & shingles[candidate]), size, entry.size)
                    if similarity >= SIMILARITY_THRESHOLD:
                        pairs[same_group] = DuplicatePair(text, candidate, similarity)
                        break
        for rank, shingle in enumerate(prefix):
            index[shingle][_IndexKey(group, size, rank)].append(text)
        yield from pairs.values()


def _jaccard(shared: int, size: int, other_size: int) -> float:
    return shared / (size + other_size - shared)
