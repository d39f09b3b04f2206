"""Texts that say the same, or nearly: word 3-grams with a Jaccard similarity of at least 0.8."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain
from math import ceil
from typing import NamedTuple

from reviews_parsing.tagging import words

NEAR = 0.8
_SIZE = 3

Shingle = tuple[str, ...]


class Pair(NamedTuple):
    """Text number `later` repeats text number `earlier`; `similarity` is 1 where their words are the same."""

    later: int
    earlier: int
    similarity: float


class _Place(NamedTuple):
    """Where a shingle stands in some indexed texts: in their split, their size, how many rarer ones they hold."""

    group: str
    size: int
    rarer: int


def pairs(texts: Sequence[str], groups: Sequence[str]) -> Iterator[Pair]:
    """For each text, one earlier text of its own group that it repeats, and one of any other group.

    Exact, without comparing all with all: similar sets share one of their rarest members (prefix filter; Bayardo, Ma
    and Srikant, 2007), and early among those (positional filter; Xiao, Wang, Lin and Yu, 2008). Case, punctuation and
    white space do not count; texts without a word are left out.
    """
    keys = [tuple(text[start:end].casefold() for start, end in words(text) if text[start].isalnum()) for text in texts]
    shingles = [frozenset(zip(*(key[i:] for i in range(min(_SIZE, len(key)))), strict=False)) for key in keys]
    counts = Counter(chain.from_iterable(shingles))
    twins: dict[Shingle, dict[str, int]] = defaultdict(dict)
    index: dict[Shingle, dict[_Place, list[int]]] = defaultdict(lambda: defaultdict(list))
    for text, (key, own, group) in enumerate(zip(keys, shingles, groups, strict=True)):
        if not key:
            continue
        found = {other == group: Pair(text, earlier, 1.0) for other, earlier in twins[key].items()}
        if group in twins[key]:
            yield from found.values()
            continue  # its twin is indexed already
        twins[key][group] = text
        least = ceil(NEAR * len(own) - 1e-9)
        rare = sorted(own, key=lambda shingle: (counts[shingle], shingle))[: len(own) - least + 1]
        for rarer, shingle in enumerate(rare):
            for place, candidates in index[shingle].items():
                inside = place.group == group
                shared = min(len(own) - rarer, place.size - place.rarer)  # at most
                if inside not in found and _similarity(shared, len(own), place.size) >= NEAR:
                    near = ((c, _similarity(len(own & shingles[c]), len(own), place.size)) for c in candidates)
                    match = next((Pair(text, *one) for one in near if one[1] >= NEAR), None)
                    found |= {inside: match} if match else {}
        for rarer, shingle in enumerate(rare):
            index[shingle][_Place(group, len(own), rarer)].append(text)
        yield from found.values()


def _similarity(shared: int, size: int, other: int) -> float:
    """Jaccard similarity of two sets."""
    return shared / (size + other - shared)
